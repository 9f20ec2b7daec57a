"""`gtm run` from end to end, as a process: build, repeat, break, kill."""

import dataclasses
import random
import re
import shutil
import subprocess
import threading
import time
from datetime import date

import duckdb
import polars as pl
import pytest

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.engines.files import connect
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.sources.pipedrive.catalog import TABLES as PIPEDRIVE
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets_tests.gtm_process import GtmHome, differences, tables

pytestmark = pytest.mark.slow

MODELS = ("gtm_staging", "gtm_intermediate", "gtm_core", "gtm_mart")


def models(home: GtmHome) -> dict[str, list[tuple]]:
    """What the models hold, the published copy included."""
    built = tables(home.warehouse, lambda schema: schema in MODELS)
    public = tables(home.published, lambda schema: schema in MODELS)
    return {**built, **{f"published {name}": rows for name, rows in public.items()}}


@pytest.fixture
def home(built_home, tmp_path) -> GtmHome:
    """A copy of the built state folder, to be changed."""
    shutil.copytree(built_home.path, tmp_path / "gtm")
    return GtmHome(tmp_path / "gtm")


def test_a_run_from_nothing_publishes_and_says_so(built_home):
    with duckdb.connect(str(built_home.published), read_only=True) as connection:
        users, deals = connection.execute(
            "select (select count(*) from gtm_core.dim_user), (select count(*) from gtm_core.fct_opportunity)"
        ).fetchone()
        first, last, partitions = connection.execute(
            "select first_partition, last_partition, partition_count from gtm_meta.publication"
        ).fetchone()

    assert users > 25
    assert deals > 500
    assert (first, last, partitions) == ("2026-09-09", "2026-09-11", 3)


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([("built ", 0.4)], id="twice"),
        pytest.param(
            [
                ("Loading ", 1),
                *[("landed ", 6)] * 3,
                *[("built ", part) for part in (0.01, 0.2, 0.4, 0.7, 1)],
            ],
            id="10_times",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_killed_at_any_moment_the_next_run_gives_the_same_tables(built_home, tmp_path, moments):
    """`kill -9` while landing, building, proving, and in the end publishing; each run goes on where the last died.

    A moment is the beginning of a line and how often it is said; of tables built the share of all.
    """
    chance, home = random.Random(20260909), GtmHome(tmp_path / "gtm")
    # Of the second of its runs.
    tables_built = len(re.findall("^built ", built_home.output_file.read_text(), re.MULTILINE)) // 2
    for said, times in moments:
        if said == "built ":
            times = int(times * tables_built)
        process = home.start("run")
        output = say_until(process, said, max(times, 1))
        time.sleep(chance.uniform(0, 0.5))
        assert process.poll() is None, f"ended before it said {said!r} {times} times:\n{output}"
        process.kill()
        process.communicate()
    half_published = home.published.with_name(f".{home.published.name}.tmp")
    half_published.unlink(missing_ok=True)
    assert not home.published.exists()
    process = home.start("run")
    threading.Thread(target=process.stdout.read, daemon=True).start()
    while not half_published.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not home.published.exists()

    home.run().check()
    assert differences(models(home), models(built_home)) == []
    assert not list((home.path / "lake").rglob("*.tmp"))


def say_until(process: subprocess.Popen, said: str, times: int) -> str:
    """What a process says until so many lines begin with ``said``, or it ends."""
    lines = []
    while times and (line := process.stdout.readline()):
        lines.append(line)
        times -= line.startswith(said)
    return "".join(lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(
            ["--from", "2026-09-10", "--now"],
            [
                "0 new versions",
                "The calendar has ended with partition 2026-09-11 (GTM_END_DATE; `open` lets it go on): no",
                "source     salesforce, synthetic: read up to 2026-09-13 04:49 UTC, the last partition",
            ],
            id="the_same_days",
        ),
        pytest.param(
            ["--to", "2026-09-11"],
            ["All partitions that are over have landed"],
            id="nothing_new",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_running_again_changes_nothing(home, arguments, told):
    before, lake = models(home), home.lake_files()

    again = home.run(*arguments).check()

    assert [sentence for sentence in told if sentence not in again.output] == []
    assert home.lake_files() == lake
    assert differences(models(home), before) == []


@pytest.mark.nightly
def test_days_landed_out_of_order_give_the_same_tables(built_home, tmp_path):
    home = GtmHome(tmp_path / "gtm")
    home.run("--from", "2026-09-11").check()
    home.run("--to", "2026-09-10").check()

    other, undisturbed = (
        {name: rows for name, rows in models(h).items() if "gtm_meta" not in name and "_pipedrive__" not in name}
        for h in (home, built_home)
    )
    assert differences(other, undisturbed) == []
    # When a row of an export was first seen depends on which one came first; what it says does not.
    assert exports(home) == exports(built_home)


def exports(home: GtmHome) -> dict[str, list[tuple]]:
    with connect(home.warehouse) as connection:
        return {
            table.name: connection.execute(
                "select columns(lambda c: c not in ('exported_at', '_batch_id'))"
                f" from gtm_staging.stg_pipedrive__{table.name} order by all"
            ).fetchall()
            for table in PIPEDRIVE
        }


@pytest.mark.nightly
def test_as_of_a_day_gives_what_was_published_on_that_day_and_touches_nothing_else(built_home, home):
    warehouse, public = home.warehouse.read_bytes(), home.published.read_bytes()

    # Partition 2026-09-10 ends at the boundary of 2026-09-11.
    home.run("--as-of", "2026-09-11").check()

    (built,) = (home.path / "as_of").glob("*.duckdb")
    then, published_then = (
        tables(path, lambda schema: schema in MODELS) for path in (built, built_home.first_publication)
    )
    assert differences(then, published_then) == []
    assert (home.warehouse.read_bytes(), home.published.read_bytes()) == (warehouse, public)


def test_a_day_of_which_nothing_can_be_known_is_refused(built_home):
    assert "nothing was known as of 2026-09-09" in built_home.in_process("run", "--as-of", "2026-09-09").output
    assert "has not landed" in built_home.in_process("run", "--as-of", "2026-09-13").output


@pytest.mark.nightly
def test_an_unreadable_batch_is_named_and_landing_the_day_again_mends_it(built_home, home):
    batch = next((home.path / "lake/salesforce/contact/partition=2026-09-11").glob("*.parquet"))
    batch.write_bytes(batch.read_bytes()[:100])
    published = home.published.read_bytes()

    broken = home.run("--full-refresh")
    assert broken.code == 1
    assert "salesforce.contact 2026-09-11" in broken.output
    assert "gtm run --from 2026-09-11 --to 2026-09-11" in broken.output
    assert home.published.read_bytes() == published

    home.run("--from", "2026-09-11", "--to", "2026-09-11").check()
    assert differences(models(home), models(built_home)) == []
    assert list(batch.parent.glob("*.unreadable"))


def test_a_warehouse_that_somebody_has_open_is_told_with_the_process(home):
    connection = duckdb.connect(str(home.warehouse))
    try:
        # With nothing to do the warehouse is not opened.
        idle, refused = home.run(), home.run("--force")
    finally:
        connection.close()

    assert idle.code == 0
    assert refused.code == 1
    assert "is open in process" in refused.output
    assert "open the published file instead" in refused.output


@pytest.mark.nightly
def test_a_full_disk_is_told_and_with_space_the_run_goes_on(built_home, tmp_path):
    """3 MB are full while landing, 24 MB while building."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("a small disk can be mounted by root alone")
    home = GtmHome(disk / "gtm")
    try:
        while_landing = home.run()
        subprocess.run(["mount", "-o", "remount,size=24m", str(disk)], check=True)
        while_building = home.run()
        subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
        home.run().check()
        assert differences(models(home), models(built_home)) == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)

    assert "built " not in while_landing.output and "built " in while_building.output
    for full in (while_landing, while_building):
        assert full.code == 1
        assert f"the disk of {home.path} is full" in full.output
        assert "Free space and run again" in full.output


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("GTM_SYNTHETIC_SCALE", "0", "GTM_SYNTHETIC_SCALE='0': Input should be greater than 0"),
        ("GTM_SYNTHETIC_SCAEL", "1", "GTM_SYNTHETIC_SCAEL is not a setting: did you mean GTM_SYNTHETIC_SCALE?"),
        ("GTM_START_DATE", "yesterday", "GTM_START_DATE='yesterday'"),
    ],
)
def test_a_bad_setting_is_named_before_anything_is_done(tmp_path, setting, value, said):
    home = GtmHome(tmp_path / "gtm", ((setting, value),))

    refused = home.in_process("run")

    assert refused.code == 1
    assert said in refused.output
    assert not home.path.exists()


def test_a_partition_of_the_future_is_refused_without_a_traceback(tmp_path):
    home = GtmHome(tmp_path / "gtm", (("GTM_END_DATE", "open"),))

    refused = home.run("--from", "2199-01-01", "--to", "2199-01-02")

    assert refused.code == 1
    assert "partition 2199-01-02 is not over" in refused.output
    assert "Traceback" not in refused.output
    assert not home.path.exists()


@pytest.mark.parametrize(
    "mends", [pytest.param(False, id="told"), pytest.param(True, id="mended", marks=pytest.mark.nightly)]
)
def test_a_broken_history_is_not_published_and_a_full_refresh_mends_it(built_home, home, mends):
    published = home.published.read_bytes()
    with connect(home.warehouse, read_only=False) as connection:
        # No model touches these records again: an incremental build leaves the gap.
        broken = connection.execute(
            "update gtm_core.dim_account_scd2 set valid_to = valid_to - interval 1 hour where not is_current"
        ).fetchone()[0]
    assert broken > 0

    refused = home.run()
    kept = home.published.read_bytes()

    assert refused.code == 1
    assert kept == published
    assert "failed, blocks publishing: gtm_core/dim_account_scd2 one_history_per_record" in refused.output
    assert "build the history afresh: gtm run --full-refresh" in " ".join(refused.output.split())
    if not mends:
        return
    home.run("--full-refresh").check()
    # What incremental runs have built is what a full refresh builds.
    assert differences(models(home), models(built_home)) == []


@pytest.mark.parametrize(
    "built", [pytest.param(False, id="landed"), pytest.param(True, id="built", marks=pytest.mark.nightly)]
)
def test_quarantined_records_are_listed_and_come_back_once_the_catalogue_is_mended(home, built):
    campaign = next(table for table in OBJECTS if table.name == "campaign")
    wrong = dataclasses.replace(
        campaign,
        columns=tuple(
            dataclasses.replace(column, type=ColumnType.INTEGER) if column.name == "status" else column
            for column in campaign.columns
        ),
    )
    window = Calendar(date(2026, 9, 9), date(2026, 9, 11)).window("2026-09-11")
    record = {"id": "701A", "name": "Fair", "status": "Planned", "is_deleted": "false"}
    page = pl.DataFrame([{**record, "system_modstamp": "2026-09-12T01:00:00.000+0000"}])
    Lake(home.path / "lake").land(wrong, window, [page], window.end)

    listed = home.in_process("quarantine", "list", "salesforce.campaign").check()
    examined = home.in_process("doctor")
    retried = home.in_process("quarantine", "retry", "salesforce.campaign").check()

    assert "701A" in listed.output
    assert "status is not a whole number: 'Planned'" in listed.output
    assert examined.code == 1
    assert "gtm quarantine retry salesforce.campaign" in examined.output
    assert "1 records landed, 0 still wait" in retried.output
    assert "701A" in Lake(home.path / "lake").read(campaign).collect()["id"]
    if not built:
        return
    assert "All partitions that are over have landed" in home.run().check().output
    campaigns = tables(home.warehouse)["gtm_staging.stg_salesforce__campaign"]
    assert [row for row in campaigns if "701A" in row]


def test_a_table_that_is_not_there_is_told_with_those_that_are(home):
    unknown = home.in_process("quarantine", "list", "salesforce.nothing")

    assert unknown.code == 1
    assert "salesforce.nothing is not a table. The tables are: salesforce.account" in unknown.output
    assert "No record waits" in home.in_process("quarantine", "list").check().output


def test_doctor_finds_a_healthy_home_well_and_names_what_is_wrong(home):
    well = home.in_process("doctor")
    batch = next((home.path / "lake/salesforce/user/partition=2026-09-09").glob("*.parquet"))
    batch.write_bytes(b"")
    matrix = ("GTM_ALERT_MATRIX", str(home.path / "none.yml"))
    ill = dataclasses.replace(home, settings=(*home.settings, matrix)).in_process("doctor")

    assert well.code == 0, well.output
    assert "Published" in well.output
    assert ill.code == 1
    assert "salesforce.user 2026-09-09" in ill.output
    assert "none.yml can't be read" in ill.output and "GTM_ALERT_MATRIX names it" in ill.output


def test_nothing_is_written_outside_the_state_folder(built_home):
    written = {path.name for path in built_home.path.iterdir()}

    locks = {"warehouse.lock", "warehouse.dbt.lock", "calendar.lock"}
    warehouse = {"warehouse.duckdb", "warehouse.staging.duckdb", "warehouse.state.json"}
    assert written <= {"lake", *warehouse, "published", "dagster", "dbt", "calendar.json", "costs.sqlite", *locks}
    assert list((built_home.path / "dbt/target/compiled").rglob("fct_opportunity.sql"))
