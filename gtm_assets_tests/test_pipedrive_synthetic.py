"""The synthetic export: pure, growing, in step with the synthetic org, and as blemished as a real one."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest

from gtm_assets.lake.coerce import coerce
from gtm_assets.partitions import Window
from gtm_assets.sources.pipedrive.catalog import TABLES
from gtm_assets.sources.pipedrive.synthetic import SyntheticExport
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg

BY_NAME = {table.name: table for table in TABLES}
END = datetime(2026, 9, 12, 4, 49, tzinfo=UTC)


@pytest.fixture(scope="module")
def export() -> SyntheticExport:
    return SyntheticExport(1, 0.01)


@pytest.fixture(scope="module")
def org() -> dict[str, pl.DataFrame]:
    source, window = SyntheticOrg(1, 0.01), Window("", None, END)
    return {
        t.name: pl.concat(source.snapshot(t, window)) for t in OBJECTS if t.name in ("user", "account", "contact")
    }


def rows(export: SyntheticExport, name: str, at: datetime = END) -> pl.DataFrame:
    """The rows as they are in the file, repeats included."""
    return pl.read_csv(export.csv(BY_NAME[name], at), infer_schema=False)


def values(export: SyntheticExport, key: str) -> set[str]:
    return set(
        rows(export, "deal_changes").filter(pl.col("changed_field_key") == key)["new_value"].str.strip_chars()
    )


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_an_export_is_a_function_of_seed_scale_and_instant(export, table):
    fresh = SyntheticExport(1, 0.01)
    fresh.csv(table, END + timedelta(days=100))

    assert fresh.csv(table, END) == export.csv(table, END)
    if table.name in ("activity", "deal_changes"):
        assert SyntheticExport(2, 0.01).csv(table, END) != export.csv(table, END)
        assert SyntheticExport(1, 0.1).extract(table, Window("", None, END)).rows.height > 3 * len(
            export.extract(table, Window("", None, END)).rows
        )


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_fits_the_catalogue(export, table):
    extract = export.extract(table, Window("", None, END))

    typed = coerce(table, extract.rows)

    assert typed.fits.all() and not typed.missing_columns and not typed.unknown_columns
    assert typed.frame["id"].is_unique().all() and not extract.notes


def test_a_later_export_has_all_changes_of_an_earlier_one_and_activities_get_done(export):
    before, after = (Counter(rows(export, "deal_changes", at).rows()) for at in (END - timedelta(days=30), END))
    assert before <= after and before != after

    states: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for day in range(150, -1, -3):
        extract = export.extract(BY_NAME["activity"], Window("", None, END - timedelta(days=day)))
        for id_, *state in extract.rows.select("id", "done", "due_to").iter_rows():
            states[id_].append(tuple(state))
    assert len(states) == extract.rows.height, "none is gone"
    assert any(seen[0][0] == "false" and seen[-1][0] == "true" for seen in states.values()), "some get done"
    assert not any(("true", "false") in pairwise(done for done, _ in seen) for seen in states.values())
    assert any(len({due for _, due in seen}) > 1 for seen in states.values()), "some are for another day"


def test_people_and_companies_are_those_of_the_org_some_spelled_otherwise_and_some_are_not(export, org):
    users = set(rows(export, "users")["email"])
    assert len(users & set(org["user"]["email"])) == len(users) - 1 > 5

    emails = values(export, "person_email")
    assert 0 < len(emails - set(org["contact"]["email"])) < len(emails & set(org["contact"]["email"]))

    names = values(export, "org_name")
    own = {name for name in names if name.startswith("Pipeworks")}
    assert own and names & set(org["account"]["name"]) and names - set(org["account"]["name"]) - own


def test_it_has_the_blemishes_of_a_real_one(export):
    changes, activities = rows(export, "deal_changes"), rows(export, "activity")

    assert changes.is_duplicated().any(), "change rows repeat"
    added = changes.filter(pl.col("changed_field_key") == "add_time").unique()
    assert added["deal_id"].is_duplicated().any(), "a deal has add_time more than once"
    entered = changes.filter(pl.col("changed_field_key") == "stage_id").unique()
    assert entered.select("deal_id", "new_value").is_duplicated().any(), "a deal enters a stage again"
    shared = activities.select("activity_id", "deal_id").unique()
    assert shared["activity_id"].is_duplicated().any(), "an activity_id is shared"
    known = activities["deal_id"].is_in(changes["deal_id"].unique().implode())
    assert 0.2 < known.mean() < 0.5, "most deals of activities are not in the changes"
    assert set(activities["done"]) == {"True", "False"}
    assert {str(n) for n in range(1, 10)} == set(entered["new_value"])
