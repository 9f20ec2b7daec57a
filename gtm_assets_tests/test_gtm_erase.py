"""`gtm erase`: a person is taken out of all that a state folder holds; the test searches for itself."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gtm_assets.lake.rewriting import Rewriting
from gtm_assets.privacy.certificate import Certificate, TableTouched
from gtm_assets_tests.gtm_process import GtmHome
from gtm_assets_tests.test_erasure import PEOPLE

EMPTY = (("GTM_START_DATE", "2026-09-09"), ("GTM_END_DATE", "2026-09-11"), ("GTM_SYNTHETIC_SCALE", "0.001"))


def person_in(published: Path) -> tuple[str, str, str]:
    """Id, address and name of a contact with tasks and emails, whose name nobody else has."""
    with duckdb.connect(str(published), read_only=True) as db:
        return db.sql(
            """
            select contact_id, email, contact_name from gtm_core.dim_contact
            where email is not null and contact_name is not null and source_system = 'salesforce'
                and contact_id in (select contact_id from gtm_core.fct_task)
            qualify count(*) over (partition by contact_name) = 1
            order by contact_id limit 1
            """
        ).fetchall()[0]  # fmt: skip


def decoded(path: Path) -> str:
    """All that a file says, in lower case: its bytes, and what lies compressed in it."""
    content = path.read_bytes()
    texts = [content.decode("utf-8", "replace")]
    if content.startswith(b"PAR1"):
        texts.append(str(pl.read_parquet(path, hive_partitioning=False).to_dicts()))
    elif content[8:12] == b"DUCK":
        with duckdb.connect(str(path), read_only=True) as db:
            for schema, table in db.execute("select schema_name, table_name from duckdb_tables()").fetchall():
                texts.append(str(db.execute(f'from "{schema}"."{table}"').fetchall()))
    elif content.startswith(b"\x1f\x8b"):
        texts.append(gzip.decompress(content).decode())
    return "\n".join(texts).lower()


def holders(home: Path, *values: str) -> list[str]:
    """The files that say one of some values."""
    files = [path for path in sorted(home.rglob("*")) if path.is_file()]
    return [str(p.relative_to(home)) for p in files if any(value.lower() in decoded(p) for value in values)]


def numbers(published: Path) -> dict[str, tuple]:
    """Rows of each table of core and mart, and the sum of each column of numbers."""
    found = {}
    with duckdb.connect(str(published), read_only=True) as db:
        tables = db.execute(
            "select schema_name || '.' || table_name from duckdb_tables() where schema_name <> 'gtm_meta'"
        ).fetchall()
        for (table,) in tables:
            columns = db.execute(f"describe {table}").fetchall()
            sums = [f'sum("{c[0]}")' for c in columns if c[1].startswith(("DECIMAL", "BIGINT", "INTEGER"))]
            found[table] = db.execute(f"select count(*), {', '.join(['1', *sums])} from {table}").fetchall()[0]
    return found


@pytest.fixture
def home(built_home, tmp_path) -> GtmHome:
    """A copy of the built home, with the person in places that a platform in use has beside tables."""
    copy = GtmHome(tmp_path / "gtm", built_home.settings)
    shutil.copytree(built_home.path, copy.path)
    return copy


def plant(home: GtmHome, email: str, name: str) -> Path:
    """Let the person stand in logs and records of runs, in old copies and in what was deleted from a database."""
    logs = home.path / "dagster" / "storage" / "planted" / "compute_logs"
    logs.mkdir(parents=True)
    (logs / "1.err").write_text(f"first: '{email.upper()}' of {name}\nthe next line stays\n")
    (logs / "1.err.gz").write_bytes(gzip.compress(json.dumps({"who": [name, email]}).encode()))
    with closing(sqlite3.connect(logs / "events.db")) as db:
        db.execute("create table events (body text)")
        db.executemany("insert into events values (?)", [(f"row of {email}",), ("row of nobody",)] * 50)
        db.execute("delete from events where rowid < 20")
        db.commit()
    (home.path / "as_of").mkdir()
    shutil.copyfile(home.published, home.path / "as_of" / "2026-09-10T0449Z.duckdb")
    (home.path / "served").mkdir()
    os.link(home.published, home.path / "served" / "postgres.duckdb")
    return logs


@pytest.mark.nightly
def test_a_person_is_gone_from_every_file_and_all_numbers_stay(home):
    id_, email, name = person_in(home.published)
    logs = plant(home, email, name)
    before = numbers(home.published)
    there = holders(home.path, email, name)
    assert {"warehouse.duckdb", "published/gtm.duckdb", "served/postgres.duckdb"} <= set(there)
    assert any(path.startswith("lake/") for path in there)

    done = home.command("erase", "--email", f" {email.upper()} ", "--yes").check()
    assert holders(home.path, email, name) == []
    assert numbers(home.published) == before
    with duckdb.connect(str(home.published), read_only=True) as db:
        query = f"select contact_name, email, phone, title from gtm_core.dim_contact where contact_id = '{id_}'"
        assert db.sql(query).fetchall() == [(None,) * 4]
    assert "the next line stays" in (logs / "1.err").read_text()
    with closing(sqlite3.connect(logs / "events.db")) as db:
        ((kept,),) = db.execute("select count(*) from events where body = 'row of nobody'").fetchall()
    assert kept > 20

    certificate = Path(done.output.split("certificate  ")[-1].strip())
    said = json.loads(certificate.with_suffix(".json").read_text())
    assert said["found"] == [] and said["values_searched"] >= 2
    assert said["tables"]["salesforce.contact"]["records"] == 1
    assert {str(logs / "1.err"), str(logs / "1.err.gz"), str(logs / "events.db")} <= set(said["cleaned"])
    assert not list((home.path / "erasures").glob("under-way*"))
    # Nothing is pending, and the same again finds nobody.
    assert "unchanged  all stands as built" in home.run().check().output
    again = home.command("erase", "--email", email, "--yes")
    assert again.code == 1 and "Nobody is known by" in again.output


@pytest.mark.nightly
@pytest.mark.parametrize("lake_is_restored", [True, False])
def test_a_restored_state_folder_is_cleaned_before_the_next_run_does_anything(home, tmp_path, lake_is_restored):
    _, email, name = person_in(home.published)
    home = GtmHome(home.path, (*home.settings, ("GTM_ERASURES_DIR", str(tmp_path / "kept"))))
    if not lake_is_restored:
        shutil.move(home.path / "lake", tmp_path / "lake")
        home = GtmHome(home.path, (*home.settings, ("GTM_LAKE_URL", str(tmp_path / "lake"))))
    plant(home, email, name)
    backup = tmp_path / "backup"
    shutil.copytree(home.path, backup)
    home.command("erase", "--email", email, "--yes").check()
    shutil.rmtree(home.path)
    shutil.copytree(backup, home.path)
    assert holders(home.path, email, name)
    output = home.run().check().output
    assert "Erasures are not applied to all that is here" in output and "certificate" in output
    assert holders(home.path, email, name) == []
    assert "Erasures are not applied" not in home.run().check().output


@pytest.mark.nightly
def test_an_erasure_that_was_killed_goes_on_with_the_next_run(home):
    _, email, name = person_in(home.published)
    process = home.start("erase", "--email", email, "--yes")
    for line in process.stdout:
        if "The warehouse is built anew" in line:
            process.kill()
    process.wait()
    assert (home.path / "erasures" / "under-way.json").stat().st_mode & 0o777 == 0o600
    assert holders(home.path, email, name)
    assert "certificate" in home.run().check().output
    assert holders(home.path, email, name) == []


# -- what is asked wrong ------------------------------------------------------------------------------------------


@pytest.fixture
def empty(tmp_path) -> GtmHome:
    return GtmHome(tmp_path / "gtm", EMPTY)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either --email or --id"),
        (("--email", "a@b.example", "--id", "003"), "only one of them"),
        (("--email", " "), "either --email or --id"),
        (("--replay", "--email", "a@b.example"), "leave the other options out"),
        (("--email", "a@b.example", "--block", "--dry-run"), "leave --dry-run out"),
    ],
)
def test_what_is_asked_wrong_is_refused(empty, arguments, said):
    done = empty.in_process("erase", *arguments)
    assert done.code == 2 and said in done.output
    assert not empty.path.exists()


def test_nobody_is_touched_where_nobody_is_known(empty):
    done = empty.in_process("erase", "--email", "nobody@x.example", "--yes")
    assert done.code == 1 and "Nobody is known by nobody@x.example: nothing was touched" in done.output
    assert not (empty.path / "erasures").exists()
    assert "Nobody was erased" in empty.in_process("erase", "--replay").check().output


def test_what_is_not_reached_is_refused(empty):
    other = GtmHome(empty.path, (*EMPTY, ("GTM_ENGINE", "spark")))
    done = other.in_process("erase", "--email", "a@b.example")
    assert done.code == 1 and "GTM_ENGINE=spark keeps the lake's files and older snapshots" in done.output


def test_a_file_that_still_names_the_person_is_named_and_there_is_no_certificate(empty):
    email = "jane@acme.example"
    empty.path.mkdir()
    notes = empty.path / "notes.txt"
    notes.write_text(f"Mail to <{email.title()}>!\n")
    done = empty.in_process("erase", "--email", email, "--block", "--yes")
    assert done.code == 1 and f"the person still stands in {notes} (its bytes)" in done.output
    assert not list((empty.path / "erasures").glob("certificate*"))
    notes.write_text(f"Mail to <mary-{email}>!\n")
    assert "certificate" in empty.in_process("erase", "--replay").check().output
    assert email not in "".join(p.read_text() for p in (empty.path / "erasures").glob("certificate*"))


def test_a_question_that_is_not_answered_touches_nothing(empty):
    done = empty.in_process("erase", "--email", "jane@acme.example", "--block")
    assert done.code == 1 and "can't be undone" in done.output
    assert not (empty.path / "erasures").exists()


def test_a_certificate_says_what_all_passes_did_and_reads_as_a_text_and_as_json(tmp_path):
    done = Certificate(["abc"], datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 5, tzinfo=UTC))
    touched = done.tables.setdefault("crm.person", TableTouched())
    for ids, versions in (({"1", "2"}, 3), ({"3"}, 1)):
        one = Rewriting(PEOPLE, ids, versions, files=["a"], cells=Counter(name=versions))
        touched.add(one, 3)
    path = done.write(tmp_path)
    said = json.loads(path.with_suffix(".json").read_text())
    assert said["tables"]["crm.person"] == {
        "records": 3,
        "versions": 4,
        "versions_removed": 0,
        "quarantined": 0,
        "files": 2,
        "values": {"name": 4},
    }
    assert "crm.person: 3 records, 4 versions in 2 files" in path.read_text()
    assert "Found: nothing" in path.read_text()
