"""Pipedrive's base models: the newest version of each record, and typed empties where there is none."""

from datetime import UTC, datetime

from gtm_assets_tests.dbt_harness import PIPEDRIVE, Home, at, partition

BASE = [f"base_pipedrive__{table.name}" for table in PIPEDRIVE.values()]


def stage(number: int, name: str, exported: datetime, **changes: object) -> dict[str, object]:
    return {
        "id": str(number),
        "stage_id": number,
        "stage_name": name,
        "exported_at": exported,
        "_fivetran_deleted": False,
    } | changes


def columns(home: Home, name: str) -> list[tuple]:
    return home.rows(
        "select column_name, lower(data_type) from information_schema.columns "
        f"where table_name = '{name}' order by ordinal_position"
    )


def test_where_nothing_has_landed_base_is_empty_and_typed(tmp_path):
    home = Home(tmp_path / "gtm")

    home.build(*BASE)

    for table in PIPEDRIVE.values():
        name = f"base_pipedrive__{table.name}"
        assert home.rows(f"select count(*) from gtm_staging.{name}") == [(0,)]
        assert columns(home, name)[: len(table.columns)] == [(c.name, c.type.sql) for c in table.columns]


def test_the_newest_version_of_each_record_counts(tmp_path):
    home = Home(tmp_path / "gtm")
    home.land("pipedrive.stages", partition(2), stage(1, "Lead Generation", at(2)), stage(2, "Demo", at(2)))
    home.land(
        "pipedrive.stages", partition(3), stage(1, "Leads", at(3)), stage(2, "Demo", at(3), _fivetran_deleted=True)
    )

    home.build("base_pipedrive__stages")

    found = home.rows(
        "select stage_id, stage_name, _fivetran_deleted from gtm_staging.base_pipedrive__stages order by 1"
    )
    assert found == [(1, "Leads", False), (2, "Demo", True)]


def test_what_was_built_of_a_source_that_is_off_goes_and_comes_back(tmp_path):
    home = Home(tmp_path / "gtm")
    home.land("pipedrive.stages", partition(2), stage(1, "Lead Generation", datetime(2026, 1, 1, tzinfo=UTC)))
    home.build("base_pipedrive__stages")
    count = "select count(*) from gtm_staging.base_pipedrive__stages"

    home.without = "pipedrive"
    home.build("base_pipedrive__stages")
    assert home.rows(count) == [(0,)]

    home.without = ""
    home.build("base_pipedrive__stages")
    assert home.rows(count) == [(1,)]
