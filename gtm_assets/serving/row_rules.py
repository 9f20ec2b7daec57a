"""Whose the rows of core and mart are and which columns hold personal data, as the dbt project says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gtm_assets.engines.engine import Table

READ_BY_PEOPLE: tuple[Literal["core", "mart"], ...] = ("core", "mart")
CERTIFIED: Literal["certified"] = "certified"
"""The layer of datasets, which are views of those."""
EVERYONE, ALL = "everyone", "all"
"""Rules of tables whose rows belong to nobody: all see them; only who may see all rows does."""
VISIBLE_BY = {"owner_user_key": "user_key", "manager_user_key": "user_key", "owner_user_id": "user_id"}
"""By column of a table, which column of gtm_access.visible_user it is looked up in."""


def missing_rules(described: Mapping[str, Table]) -> list[str]:
    """The tables of core and mart without a rule that says whose their rows are."""
    known = {EVERYONE, ALL, "opportunity_id", *VISIBLE_BY}
    return sorted(
        name
        for name, table in described.items()
        if name.split(".")[0].removeprefix("gtm_") in READ_BY_PEOPLE
        and (
            table.row_rule not in known
            or (table.row_rule not in (EVERYONE, ALL) and table.row_rule not in table.columns)
        )
    )


def tiers_of(described: Mapping[str, Table]) -> dict[str, Mapping[str, str]]:
    """The columns of core and mart that hold personal data, by table, with their tiers."""
    return {
        name: table.tiers
        for name, table in described.items()
        if name.split(".")[0].removeprefix("gtm_") in READ_BY_PEOPLE
    }
