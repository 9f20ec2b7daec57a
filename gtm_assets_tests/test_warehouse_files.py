"""The warehouse's two files: what is found in which, and that the first is written anew where that pays."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from gtm_assets.engines import files
from gtm_assets.engines.files import STORAGE_VERSION, compact, connect, create, staging_path


@pytest.fixture
def path(tmp_path) -> Path:
    """A warehouse with a table in each file, and the ledgers of both."""
    path = tmp_path / "warehouse.duckdb"
    create(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"attach '{staging_path(path)}' as staging")
        for place, what in (("", "gtm_core.fct"), ("staging.", "gtm_staging.stg")):
            connection.execute(f"create schema {place}gtm_meta; create schema {place}{what.split('.')[0]}")
            connection.execute(f"create table {place}{what} (key integer not null)")
            connection.execute(f"insert into {place}{what} values (1)")
            connection.execute(f"create table {place}gtm_meta.consumed_batches as select '{what}' as model")
    return path


def blocks(path: Path) -> tuple[int, int]:
    """All blocks and the free ones."""
    with duckdb.connect(str(path), read_only=True) as connection:
        query = "select total_blocks, free_blocks from pragma_database_size()"
        (found,) = connection.execute(query).fetchall()
        return found


def version(path: Path) -> str:
    with duckdb.connect(str(path), read_only=True) as connection:
        query = "select tags['storage_version'] from duckdb_databases() where database_name = current_database()"
        ((found,),) = connection.execute(query).fetchall()
        return found


def fill(path: Path, share: float) -> None:
    """Rows of random text in two tables, of which one goes: that share of the file is free."""
    with duckdb.connect(str(path)) as connection:
        rows = 200_000
        for table, count in (("goes", rows * share), ("stays", rows * (1 - share))):
            connection.execute(
                f"create table gtm_core.{table} as select md5(i::varchar) as text from range({int(count)}) r(i)"
            )
            connection.execute("checkpoint")
        connection.execute("drop table gtm_core.goes")


def test_a_name_is_found_in_the_file_where_it_lies_and_the_first_file_has_the_say(path):
    with connect(path) as connection:
        assert connection.execute("select key from gtm_core.fct union all from gtm_staging.stg").fetchall() == [
            (1,),
            (1,),
        ]
        ledgers = "from gtm_meta.consumed_batches union all from staging.gtm_meta.consumed_batches"
        assert connection.execute(ledgers).fetchall() == [("gtm_core.fct",), ("gtm_staging.stg",)]
        assert connection.execute("select current_database()").fetchall() == [("warehouse",)]


def test_a_warehouse_without_a_second_file_is_opened_too(path):
    staging_path(path).unlink()

    with connect(path) as connection:
        assert connection.execute("from gtm_core.fct").fetchall() == [(1,)]
    assert not staging_path(path).exists()


def test_a_warehouse_keeps_the_format_that_it_was_made_with(path):
    # As dbt opens it.
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table gtm_core.other as select 1 as key")

    assert version(path).startswith(STORAGE_VERSION)


@pytest.mark.parametrize(("share", "is_written_anew"), [(0.6, True), (0.1, False)])
def test_a_file_is_written_anew_where_much_of_it_is_free(path, share, is_written_anew, monkeypatch):
    monkeypatch.setattr(files, "FREE_BLOCKS", 0)
    fill(path, share)
    before, (total, free) = path.stat(), blocks(path)
    assert (free > total * files.FREE_SHARE) == is_written_anew

    assert compact(path) == is_written_anew

    assert (path.stat().st_ino != before.st_ino) == is_written_anew
    assert blocks(path)[1] <= total * files.FREE_SHARE
    assert (path.stat().st_size < before.st_size * 0.6) == is_written_anew
    assert [file.name for file in path.parent.glob(".*")] == []
    # Nothing is lost, constraints included.
    with connect(path, read_only=False) as connection:
        assert connection.execute("select count(*) from gtm_core.stays").fetchall() == [(200_000 * (1 - share),)]
        assert connection.execute("from gtm_meta.consumed_batches").fetchall() == [("gtm_core.fct",)]
        with pytest.raises(duckdb.ConstraintException):
            connection.execute("insert into gtm_core.fct values (null)")


def test_a_warehouse_of_another_format_is_written_in_that_of_what_is_published(tmp_path):
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema gtm_core; create table gtm_core.fct as select 1 as key")
    assert not version(path).startswith(STORAGE_VERSION)

    assert compact(path) and not compact(path)

    assert version(path).startswith(STORAGE_VERSION)
    with connect(path) as connection:
        assert connection.execute("from gtm_core.fct").fetchall() == [(1,)]


def test_where_the_disk_is_full_the_file_stays_as_it_is(path, monkeypatch):
    monkeypatch.setattr(files, "FREE_BLOCKS", 0)
    fill(path, 0.6)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)

    assert not compact(path)
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*"))


KILLED = """
import os, sys, pathlib
from gtm_assets.engines import files
files.FREE_SHARE, files.FREE_BLOCKS = 0, 0
path = pathlib.Path(sys.argv[1])
die = lambda *_: os._exit(9)
if sys.argv[2] == "before the rename":
    pathlib.Path.replace = die
else:
    os.fsync = die
files.compact(path)
"""


@pytest.mark.parametrize("when", ["before it is on the disk", "before the rename"])
def test_a_process_that_is_killed_while_it_writes_the_file_anew_leaves_it_whole(path, when, monkeypatch):
    fill(path, 0.5)
    before = path.read_bytes()

    assert subprocess.run([sys.executable, "-c", KILLED, path, when]).returncode == 9

    assert list(path.parent.glob(".*")) and path.read_bytes() == before
    monkeypatch.setattr(files, "FREE_BLOCKS", 0)
    assert compact(path)
    assert not list(path.parent.glob(".*"))


def test_what_was_only_logged_when_a_process_was_killed_is_in_the_file_that_is_written_anew(path, monkeypatch):
    program = (
        "import duckdb, os, sys; connection = duckdb.connect(sys.argv[1]);"
        "connection.execute('insert into gtm_core.fct values (2)'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, path]).returncode == 9
    assert files.log_path(path).stat().st_size > 0
    monkeypatch.setattr(files, "FREE_BLOCKS", -1)
    monkeypatch.setattr(files, "FREE_SHARE", -1)

    assert compact(path)

    assert not files.log_path(path).exists()
    with connect(path) as connection:
        assert connection.execute("from gtm_core.fct order by 1").fetchall() == [(1,), (2,)]
