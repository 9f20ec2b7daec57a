"""`gtm run` on an export in a folder: what lands, what a newer export changes, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pytest

from gtm_assets.engines.files import connect
from gtm_assets_tests.gtm_process import SMALL, GtmHome
from gtm_assets_tests.pipedrive_exports import SMALL_EXPORT, write, write_export

pytestmark = pytest.mark.slow


def stages(home: GtmHome) -> list[tuple]:
    with connect(home.warehouse) as connection:
        query = "select stage_id, stage_name from gtm_staging.base_pipedrive__stages order by all"
        return connection.execute(query).fetchall()


@dataclass(frozen=True)
class Landed:
    """An export, and a state folder in which it has been landed and built."""

    folder: Path
    home: GtmHome
    said: str

    def copy(self, path: Path) -> Landed:
        """The same, to be changed. The export is the same folder, which the lake knows: it is written afresh."""
        shutil.copytree(self.home.path, path)
        write_export(self.folder)
        return replace(self, home=replace(self.home, path=path))


@pytest.fixture(scope="module")
def landed(tmp_path_factory) -> Landed:
    path = tmp_path_factory.mktemp("pipedrive")
    folder = write_export(path / "export")
    home = GtmHome(path / "gtm", (*SMALL.items(), ("GTM_PIPEDRIVE_DIR", str(folder))))
    return Landed(folder, home, home.run().check().output)


def test_an_export_lands_beside_the_made_up_salesforce(landed):
    assert "raw: pipedrive" in landed.said and "raw: salesforce" in landed.said
    assert f"source     pipedrive: the export in {landed.folder}" in landed.said
    assert "landed  pipedrive.activity: 3 new versions in 3 partitions" in landed.said
    assert "landed  pipedrive.deal_changes: 3 new versions in 3 partitions" in landed.said
    assert stages(landed.home) == [(1, "Lead Generation"), (2, "Qualified Lead")]
    assert "0 failed" in landed.said and "pipedrive/" not in landed.said

    doctor = landed.home.in_process("doctor").output
    assert "pipedrive.activity: 3 records in activity.csv of 2025-12-01 00:00 UTC; lacks nothing." in doctor


def test_a_lake_with_an_export_takes_no_made_up_one(landed):
    made_up = GtmHome(landed.home.path, tuple(SMALL.items())).in_process("run")

    assert made_up.code == 1
    assert "holds the deals of an export of GTM_PIPEDRIVE_DIR" in made_up.output


@pytest.mark.nightly
def test_a_newer_export_is_a_new_version_and_a_missing_file_an_error(landed, tmp_path):
    landed = landed.copy(tmp_path / "gtm")
    folder, home = landed.folder, landed.home

    write(folder, "stages", [(1, "Leads"), *SMALL_EXPORT["stages"][1:]], hours=24)
    said = home.run().check().output
    assert "landed  pipedrive.stages: 1 new versions in 1 partitions" in said
    assert "landed  pipedrive.activity" not in said
    assert stages(home) == [(1, "Leads"), (2, "Qualified Lead")]
    with duckdb.connect(str(home.published), read_only=True) as connection:
        listed = "select max(partition_key) from gtm_meta.published_partitions where source_name = 'pipedrive'"
        assert connection.execute(listed).fetchall() == [("2026-09-11",)]

    write(folder, "users", [(7, "Ann Lee", "ann@acme.example", "tomorrow")], hours=24)
    (folder / "activity.csv").unlink()
    refused = home.run("--from", "2026-09-11", "--to", "2026-09-11")
    assert refused.code == 1
    assert f"pipedrive.activity: activity.csv is not in {folder} (GTM_PIPEDRIVE_DIR)" in refused.output
    assert "wrong pipedrive.activity" in home.in_process("doctor").output
