"""Pipedrive's raw assets in Dagster: what a run lands of an export, and what its checks say of it."""

import dataclasses
from pathlib import Path

import dagster as dg
import pytest

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.checks.raw import DRIFT, QUARANTINE, VALUES, VOLUME, Limits
from gtm_assets.lake.store import Lake
from gtm_assets.sources.pipedrive.assets import raw_asset
from gtm_assets.sources.pipedrive.export import ExportError, ExportFolder
from gtm_assets.sources.raw_asset import Rules
from gtm_assets_tests.pipedrive_exports import BY_NAME, CALENDAR, exported, newest, write, write_export

ACTIVITY = BY_NAME["activity"]
RULES = Rules(CALENDAR, Limits(volume_tolerance=0.2, quarantine_share=0.05), retry_seconds=0)
MANY = [(n, "meeting", 7, 100 + n, "True", f"2024-07-{n % 28 + 1:02d}T06:47:10") for n in range(200)]


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_export(tmp_path / "export", activity=MANY)


@pytest.fixture
def land(lake, folder):
    """Land a range of days of January 2026 in one run; gives its result."""
    with dg.instance_for_test() as instance:

        def run(
            first: int, last: int, full: bool = False, raise_on_error: bool = True
        ) -> dg.ExecuteInProcessResult:
            ends = (f"2026-01-{first:02d}", f"2026-01-{last:02d}")
            names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
            return dg.materialize(
                [raw_asset(ACTIVITY, {"done", "due_to"}, RULES)],
                instance=instance,
                resources={"pipedrive": ExportFolder(folder), "lake": lake},
                tags=dict(zip(names, ends, strict=True)),
                run_config={"ops": {"pipedrive__activity": {"config": {"full": full}}}},
                raise_on_error=raise_on_error,
            )

        yield run


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def added(result: dg.ExecuteInProcessResult) -> dict[str, int]:
    """Versions added by partition."""
    made = [event.materialization for event in result.get_asset_materialization_events()]
    return {each.partition: each.metadata["dagster/partition_row_count"].value for each in made}


def test_all_of_an_export_lands_in_the_first_partition_and_no_check_cries(lake, land):
    result = land(1, 31)

    rows = added(result)
    assert rows == {f"2026-01-{day:02d}": 200 if day == 1 else 0 for day in range(1, 32)}
    assert checks(result) == {QUARANTINE: True, DRIFT: True, VOLUME: True, VALUES: True}
    assert lake.partitions(ACTIVITY) == list(rows)


def test_a_run_compares_an_export_once_and_again_where_it_changes_under_way(lake, folder, land, monkeypatch):
    compared = []

    def land_export(table, window, *args):
        compared.append(window.key)
        if window.key == "2026-01-03":
            write(folder, "activity", MANY[:-1], hours=24)
        return Lake.land_export(lake, table, window, *args)

    monkeypatch.setattr(lake, "land_export", land_export)
    land(3, 6)

    assert compared == ["2026-01-03", "2026-01-04"]
    assert lake.partitions(ACTIVITY) == [f"2026-01-{day:02d}" for day in range(3, 7)]


def test_an_export_that_comes_back_within_a_run_is_compared_again(lake, folder, land, monkeypatch):
    compared = []

    def land_export(table, window, *args):
        compared.append(window.key)
        if len(compared) < 3:
            write(folder, "activity", MANY[:-1] if len(compared) == 1 else MANY, hours=24 * (len(compared) % 2))
        return Lake.land_export(lake, table, window, *args)

    monkeypatch.setattr(lake, "land_export", land_export)
    land(3, 6)

    assert compared == ["2026-01-03", "2026-01-04", "2026-01-05"]


def test_a_newer_export_is_landed_in_the_partition_that_is_run(lake, folder, land):
    land(1, 2)
    write(folder, "activity", [*MANY[:-1], (*MANY[-1][:4], "False", MANY[-1][5])], hours=24)

    assert checks(land(3, 3))[VOLUME]

    assert [row["done"] for row in newest(lake, "activity")].count(False) == 1
    assert added(land(3, 3)) == {"2026-01-03": 0}


def test_a_full_extraction_marks_what_is_gone(lake, folder, land):
    land(1, 1)
    write(folder, "activity", MANY[:-1], hours=24)

    result = land(2, 2, full=True)

    metadata = result.get_asset_materialization_events()[0].materialization.metadata
    assert metadata["hard_deleted"].value == 1
    assert len(newest(lake, "activity")) == 199


def test_bad_rows_wait_and_block_where_they_are_many(folder, land):
    write(folder, "activity", [*MANY, *((1000 + n, "meeting", 7, 1, "perhaps", "") for n in range(5))])
    result = land(1, 3)
    (finding,) = [e for e in result.get_asset_check_evaluations() if e.check_name == QUARANTINE]
    assert (finding.passed, finding.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert finding.metadata["records"].value == 5

    # One more bad row is all that the next export brings: still few of the whole.
    write(folder, "activity", [*MANY, *((1000 + n, "meeting", 7, 1, "perhaps", "") for n in range(6))], hours=24)
    (finding,) = [e for e in land(4, 4).get_asset_check_evaluations() if e.check_name == QUARANTINE]
    assert finding.severity == dg.AssetCheckSeverity.WARN
    assert finding.metadata["records"].value == 6

    write(folder, "activity", [*MANY, *((1000 + n, "meeting", 7, 1, "perhaps", "") for n in range(20))], hours=48)
    (finding,) = [
        e for e in land(5, 5, raise_on_error=False).get_asset_check_evaluations() if e.check_name == QUARANTINE
    ]
    assert finding.severity == dg.AssetCheckSeverity.ERROR
    assert finding.metadata["records"].value == 20


def test_a_column_that_models_read_and_the_next_export_lacks_is_drift(folder, land):
    land(1, 1)
    path = folder / "activity.csv"
    lines = [",".join(line.split(",")[:4]) for line in path.read_text().splitlines()]
    path.write_text("\n".join([*lines, "999,meeting,7,999", ""]))
    exported(path, hours=24)

    (finding,) = [e for e in land(2, 2).get_asset_check_evaluations() if e.check_name == DRIFT]

    assert (finding.passed, finding.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "pipedrive.activity no longer returns done, due_to, which models read" in finding.description


def test_how_a_file_was_read_is_told_with_what_it_brought(folder, land):
    path = folder / "activity.csv"
    path.write_bytes(path.read_text().replace(",", ";").rstrip().encode("utf-16"))
    exported(path, hours=1)

    (event,) = land(1, 1).get_asset_materialization_events()

    assert event.materialization.metadata["file"].value == (
        f"pipedrive.activity: {path} is read as values separated by semicolons and text in UTF-16.\n\n"
        f"pipedrive.activity: {path} has no newline at its end. If it was cut, so is its last row."
    )


def test_a_file_that_is_missing_stops_the_run_and_what_has_landed_stays(lake, folder, land):
    land(1, 1)
    (folder / "activity.csv").unlink()

    with pytest.raises(ExportError, match=r"activity\.csv is not in .*Put the file there"):
        land(2, 2)
    assert lake.partitions(ACTIVITY) == ["2026-01-01"]
    assert len(newest(lake, "activity")) == 200


def test_what_was_mended_in_the_catalogue_comes_out_of_quarantine(lake, folder, land):
    write(folder, "activity", [*MANY, (999, "meeting", "Ann", 1, "True", "")])
    land(1, 1)
    columns = tuple(
        dataclasses.replace(column, type=ColumnType.STRING) if column.name == "assigned_to_user" else column
        for column in ACTIVITY.columns
    )
    mended = dataclasses.replace(ACTIVITY, columns=columns)
    end = CALENDAR.window("2026-01-01").end

    assert lake.retry(ACTIVITY, CALENDAR.window, end) == []
    assert [landing.added for landing in lake.retry(mended, CALENDAR.window, end)] == [1]
    assert lake.quarantined(ACTIVITY).is_empty()
    assert "999-1-meeting-1" in {row["id"] for row in newest(lake, "activity")}


def test_a_file_that_is_forgotten_lands_empty_until_it_is_there_again(lake, folder, land):
    land(1, 1)
    (folder / "activity.csv").unlink()
    with pytest.raises(ExportError, match=r"any more: gtm source forget pipedrive\.activity"):
        land(2, 2)
    lake.forget(ACTIVITY, CALENDAR.window("2026-01-02").end)

    landed = added(land(2, 3))

    assert landed == {"2026-01-02": 0, "2026-01-03": 0}
    assert len(newest(lake, "activity")) == 200
    assert lake.unreadable_partitions(ACTIVITY) == ["2026-01-02", "2026-01-03"]
    assert not ExportFolder(folder).has_news(ACTIVITY, lake)
    write(folder, "activity", MANY[:-1], hours=24)
    land(4, 4)
    assert lake.forgotten(ACTIVITY) is None
    (folder / "activity.csv").unlink()
    with pytest.raises(ExportError):
        land(5, 5)
