"""What `gtm doctor` says of a state folder, through click's runner."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from gtm_assets.cli import main as cli
from gtm_assets.lake.store import Lake
from gtm_assets_tests.pipedrive_exports import BY_NAME, CALENDAR, exported, write_export

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def doctor(tmp_path, monkeypatch):
    """Asks the doctor of a fresh state folder, with further settings; gives the exit code and the lines."""

    def ask(**given: str) -> tuple[int, list[str]]:
        for name, value in ({"GTM_HOME": str(tmp_path / "gtm")} | given).items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(cli.main, ["doctor"])
        assert not result.exception or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout.splitlines()

    return ask


def test_settings_that_contradict_the_state_folders_calendar_are_told(doctor, tmp_path):
    (tmp_path / "gtm").mkdir()
    (tmp_path / "gtm" / "calendar.json").write_text('{"first_partition": "2026-03-01"}')

    code, lines = doctor(GTM_START_DATE="2026-03-02")

    assert code == 1
    assert "GTM_START_DATE is 2026-03-02, and the calendar of" in " ".join(lines)


def test_what_has_not_been_built_yet_is_not_wrong(doctor, tmp_path):
    code, lines = doctor()

    assert [line for line in lines if not line.startswith("ok ")] == []
    assert code == 0
    home = tmp_path / "gtm"
    assert lines[-3:] == [
        "ok    The dbt project is parsed.",
        f"ok    There is no warehouse at {home}/warehouse.duckdb yet: gtm run builds it.",
        "ok    Nothing is published yet: gtm run publishes.",
    ]
    assert "ok    The lake is empty yet: gtm run lands, builds and publishes." in lines
    assert "ok    The sources are refreshed: salesforce daily, pipedrive daily." in lines


def test_how_the_files_of_an_export_are_read_is_told_and_what_can_not_be_read_is_wrong(doctor, tmp_path):
    folder = write_export(tmp_path / "export")
    for name, content in (("users", b"id;name\n7;Ann\n"), ("stages", b"PK\x03\x04 xl/workbook.xml")):
        (folder / f"{name}.csv").write_bytes(content)
        exported(folder / f"{name}.csv", hours=1)

    code, lines = doctor(GTM_PIPEDRIVE_DIR=str(folder), GTM_PIPEDRIVE_REFRESH="15m")

    assert code == 1
    assert "ok    The sources are refreshed: salesforce daily, pipedrive 15m." in lines
    told = f"ok    pipedrive.users: {folder}/users.csv is read as values separated by semicolons."
    assert told in lines
    (wrong,) = [line for line in lines if line.startswith("wrong")]
    assert wrong.startswith(f"wrong pipedrive.stages: {folder}/stages.csv is an Excel workbook (.xlsx)")


def test_a_damaged_warehouse_is_wrong(doctor, tmp_path):
    home = tmp_path / "gtm"
    home.mkdir()
    (home / "warehouse.duckdb").write_text("no database" * 500)

    code, lines = doctor()

    assert code == 1
    assert [line[:30] for line in lines if line.startswith("wrong")] == [f"wrong {home}"[:30]]


def test_an_external_database_that_has_no_rows_yet_is_told(doctor, tmp_path):
    database = tmp_path / "external.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("create schema gtm_raw")
        connection.execute("create table gtm_raw.lead (id varchar, _fivetran_synced timestamp with time zone)")

    code, lines = doctor(GTM_SALESFORCE_SOURCE="external", GTM_EXTERNAL_DATABASE=str(database))

    assert code == 1
    (wrong,) = [line for line in lines if not line.startswith("ok ")]
    assert wrong.startswith(
        "wrong No row of the external database says when it was loaded (_fivetran_synced), and nothing is"
    )
    assert (
        f"ok    The external database {database} holds 1 of the 25 tables, loaded until an unknown time." in lines
    )


def test_a_file_of_an_export_that_was_forgotten_is_not_wrong(doctor, tmp_path):
    folder = write_export(tmp_path / "export")
    (folder / "stages.csv").unlink()
    forgotten = Lake(tmp_path / "gtm" / "lake")

    code, lines = doctor(GTM_PIPEDRIVE_DIR=str(folder))
    assert code == 1
    assert [line[:27] for line in lines if line.startswith("wrong")] == ["wrong pipedrive.stages: sta"]

    forgotten.forget(BY_NAME["stages"], AT)
    code, lines = doctor()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert code == 0
    assert "ok    pipedrive.stages: stages.csv is gone, as its owner has said." in lines


def test_no_text_of_a_list_is_cut_off_where_there_is_little_room(tmp_path, monkeypatch):
    id_, value = "8be7640a04bced106e21bf59b818ff86" * 2, "abcdefghij" * 7
    user, window = BY_NAME["users"], CALENDAR.window("2026-01-01")
    lake = Lake(tmp_path / "gtm" / "lake")
    lake.land(user, window, [pl.DataFrame({"id": [id_], "modified": [value], "exported_at": [AT]})], window.end)
    monkeypatch.setenv("GTM_HOME", str(tmp_path / "gtm"))
    monkeypatch.setattr(cli, "console", Console(highlight=False, soft_wrap=True, width=60))

    listed = CliRunner().invoke(cli.main, ["quarantine", "list", "pipedrive.users"])

    cells = zip(*(line.split("│")[1:-1] for line in listed.stdout.splitlines() if "│" in line), strict=True)
    partition, shown_id, reason = ("".join(part.strip() for part in column) for column in cells)
    assert (partition, shown_id) == ("2026-01-01", id_)
    assert value in reason
