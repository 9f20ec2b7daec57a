"""The process that builds: what it tells, and that it ends with whoever started it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from filelock import Timeout

from gtm_assets.dbt import process as dbt_process
from gtm_assets.dbt import project
from gtm_assets.dbt.process import ExternalListed, NodeEnded, build_beside, builder_lock
from gtm_assets.dbt.project import TransformError, build_arguments, manifest_path
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.engines.files import connect
from gtm_assets.settings import Settings, load_settings

SEED = build_arguments(
    ["funnel_steps", "primary_key_funnel_steps_funnel_step", "primary_key_funnel_steps_kpi_name"]
)
PARENT = """
import sys
from pathlib import Path
from gtm_assets.dbt.process import build_beside, warm_up
from gtm_assets.dbt.project import build_arguments
from gtm_assets.settings import load_settings

if sys.argv[1] == "warm":
    warm_up()
    print("begun", flush=True)
    sys.stdin.read()
settings = load_settings({"GTM_HOME": sys.argv[2]})
for told in build_beside(build_arguments(), settings, settings.warehouse_path):
    print("begun", flush=True)
"""


@pytest.fixture
def settings(tmp_path) -> Settings:
    return load_settings({"GTM_HOME": str(tmp_path)})


@pytest.fixture(scope="module", autouse=True)
def _parsed() -> Path:
    return manifest_path()


def start_parent(what: str, home: Path) -> tuple[subprocess.Popen, psutil.Process]:
    """A process that builds, or waits, and the process that it has started for that."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, what, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout.readline().strip() == b"begun"
    [child] = psutil.Process(parent.pid).children()
    return parent, child


def test_each_node_is_told_with_its_rows_after_the_external_tables(settings):
    listed, seed, *tests = build_beside(SEED, settings, settings.warehouse_path)

    assert listed == ExternalListed([])
    with connect(settings.warehouse_path, read_only=False) as connection:
        assert [(seed.row_count,)] == connection.sql("select count(*) from gtm_staging.funnel_steps").fetchall()
    assert tests
    for test in tests:
        assert test.message["data"]["node_info"]["node_status"] == "pass"
        assert test == NodeEnded(test.message)


def test_what_finds_the_rows_against_a_test_comes_with_the_first_of_them(settings):
    list(build_beside(SEED, settings, settings.warehouse_path))
    with connect(settings.warehouse_path, read_only=False) as connection:
        connection.sql("insert into gtm_staging.funnel_steps select * from gtm_staging.funnel_steps limit 1")

    failing = []
    with pytest.raises(TransformError, match="dbt build failed:\ntest "):
        for told in build_beside(["test", *SEED[1:]], settings, settings.warehouse_path):
            if isinstance(told, NodeEnded) and told.failing_rows:
                failing.append(told)

    assert failing
    with connect(settings.warehouse_path, read_only=False) as connection:
        for node in failing:
            assert len(connection.sql(node.failing_sql).fetchall()) == len(node.failing_rows)


def test_a_process_that_is_killed_is_told_and_leaves_the_warehouse_free(settings):
    with pytest.raises(TransformError, match=r"exit code -9.*GTM_DBT_THREADS=1"):
        told = build_beside(build_arguments(), settings, settings.warehouse_path)
        next(told)
        alive = [c for c in psutil.Process().children() if c.status() != psutil.STATUS_ZOMBIE]
        [child] = [c for c in alive if "gtm_assets.dbt.process" in " ".join(c.cmdline())]
        child.kill()
        # What it had told before still comes.
        list(told)

    with Warehouse.of(settings).locked("a test"):
        pass


def test_whoever_stops_listening_ends_the_process(settings):
    with closing(build_beside(build_arguments(), settings, settings.warehouse_path)) as told:
        next(told)
        with pytest.raises(Timeout):
            builder_lock(settings.warehouse_path).acquire(timeout=0)

    builder_lock(settings.warehouse_path).acquire(timeout=0)


@pytest.mark.parametrize("what", ["build", "warm"])
def test_the_process_ends_when_its_parent_is_killed(settings, what):
    parent, child = start_parent(what, settings.home)

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()

    # At once, and not when the build, which takes three times as long, has ended; the warm one may still import.
    psutil.wait_procs([child], timeout=5 if what == "build" else 30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_warehouse_is_not_opened_before_the_build_of_a_killed_run_has_ended(settings, tmp_path):
    settings.warehouse_path.parent.mkdir(exist_ok=True)
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from filelock import FileLock\n"
            "with FileLock(sys.argv[1]): print('held', flush=True); time.sleep(2)",
            builder_lock(settings.warehouse_path).lock_file,
        ],
        stdout=subprocess.PIPE,
    )
    held.stdout.readline()
    began = time.monotonic()

    with Warehouse.of(settings).locked("a test"):
        waited = time.monotonic() - began

    assert waited > 1
    held.wait()


def test_a_process_that_waits_has_read_the_manifest_of_the_engine(settings, monkeypatch):
    engine, asked = DuckDB(settings.warehouse_path), []
    read = project.parsed_manifest
    monkeypatch.setattr(project, "engine_of", lambda _: engine)
    monkeypatch.setattr(project, "parsed_manifest", lambda given=None: asked.append(given) or read(given))

    project.warm_up(settings)

    assert asked == [engine]
    assert not settings.warehouse_path.exists()


def test_a_process_that_waits_is_the_next_to_build_and_one_that_died_is_replaced(settings):
    for kill in (False, True):
        dbt_process.warm_up()
        dbt_process.warm_up()
        [waiting] = dbt_process._waiting
        if kill:
            waiting.kill()
            waiting.wait()

        told = list(build_beside(SEED, settings, settings.warehouse_path))

        assert told and not dbt_process._waiting
        # 1 where it saw the parent let go before it ended by itself.
        assert waiting.returncode in ((-9,) if kill else (0, 1))
