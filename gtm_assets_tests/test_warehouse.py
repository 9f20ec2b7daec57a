"""The warehouse's lock: it is the operating system's, and whoever is refused is told by whom."""

import subprocess
import sys
import textwrap
import time

import duckdb
import pytest

from gtm_assets.dbt.warehouse import Warehouse, WarehouseError


@pytest.fixture
def warehouse(tmp_path) -> Warehouse:
    duckdb.connect(str(tmp_path / "warehouse.duckdb")).close()
    return Warehouse(tmp_path / "warehouse.duckdb", tmp_path / "warehouse.lock")


def start(code: str, *arguments) -> subprocess.Popen:
    """A process that prints `ready` once it holds what it is to hold, then waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "ready"
    return process


HOLD_LOCK = """
    import sys, time
    from pathlib import Path
    from gtm_assets.dbt.warehouse import Warehouse
    with Warehouse(Path(sys.argv[1]), Path(sys.argv[2])).locked("run 1234abcd"):
        print("ready", flush=True)
        time.sleep(float(sys.argv[3]))
"""


def test_a_second_process_waits_and_says_for_whom(warehouse, tmp_path):
    holder = start(HOLD_LOCK, warehouse.path, tmp_path / "warehouse.lock", 1.5)
    said, began = [], time.monotonic()

    with warehouse.locked("run 5678", said.append):
        waited = time.monotonic() - began

    holder.wait()
    assert waited > 0.5
    assert f"process {holder.pid} (run 1234abcd, since" in said[0]


def test_a_killed_process_leaves_no_lock_behind(warehouse, tmp_path):
    holder = start(HOLD_LOCK, warehouse.path, tmp_path / "warehouse.lock", 600)
    assert warehouse.holder()

    holder.kill()
    holder.wait()

    assert warehouse.holder() is None
    with warehouse.locked("run 5678", lambda text: pytest.fail(f"waited: {text}")):
        pass


@pytest.mark.parametrize("file", ["warehouse.duckdb", "warehouse.staging.duckdb"])
def test_a_program_that_has_a_file_open_is_named_with_what_to_do(warehouse, file):
    foreign = start(
        "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('ready', flush=True); time.sleep(600)",
        warehouse.path.with_name(file),
    )

    try:
        with pytest.raises(WarehouseError) as refused, warehouse.locked("run 5678"):
            pass
        assert f"{file} is open in process {foreign.pid}" in str(refused.value)
        assert "open the published file instead" in str(refused.value)
    finally:
        foreign.kill()
        foreign.wait()
    assert warehouse.holder() is None


@pytest.mark.parametrize("file", ["warehouse.duckdb", "warehouse.staging.duckdb"])
def test_a_file_that_is_no_database_is_explained_and_left_as_it_is(tmp_path, file):
    path = tmp_path / file
    path.write_bytes(b"not a database" * 1000)

    damaged = Warehouse(tmp_path / "warehouse.duckdb", tmp_path / "warehouse.lock")
    with (
        pytest.raises(WarehouseError, match="move it away and run: gtm run --full-refresh"),
        damaged.locked("run"),
    ):
        pass
    assert path.read_bytes() == b"not a database" * 1000


def test_without_a_warehouse_opening_it_says_how_to_build_one(tmp_path):
    absent = Warehouse(tmp_path / "warehouse.duckdb", tmp_path / "warehouse.lock")
    with pytest.raises(WarehouseError, match="Build it: gtm run"), absent.open("a test"):
        pass


def test_a_reader_that_fails_leaves_the_file_closed_and_the_lock_free(warehouse):
    with pytest.raises(ZeroDivisionError), warehouse.open("a test") as connection:
        connection.execute("select 1").fetchall()
        raise ZeroDivisionError

    assert warehouse.holder() is None
    duckdb.connect(str(warehouse.path)).close()
