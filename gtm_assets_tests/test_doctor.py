"""What `gtm doctor` says of a state folder, through click's runner."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gtm_assets import cli
from gtm_assets_tests.pipedrive_exports import exported, write_export


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


def test_how_the_files_of_an_export_are_read_is_told_and_what_can_not_be_read_is_wrong(doctor, tmp_path):
    folder = write_export(tmp_path / "export")
    for name, content in (("users", b"id;name\n7;Ann\n"), ("stages", b"PK\x03\x04 xl/workbook.xml")):
        (folder / f"{name}.csv").write_bytes(content)
        exported(folder / f"{name}.csv", hours=1)

    code, lines = doctor(GTM_PIPEDRIVE_DIR=str(folder))

    assert code == 1
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
