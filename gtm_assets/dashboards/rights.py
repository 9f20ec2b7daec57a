"""Who may do what in the dashboards and whose rows they see: the access file in the dashboards' own terms.

Superset adds up the roles of a user. So each thing that the access file says of a person is a role of its own:
what they may do, which layers they read, which personal data are shown to them, and whose rows they see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gtm_assets.engines.engine import Table
from gtm_assets.engines.files import literal
from gtm_assets.serving.access_file import TIERS, Access, AccessError, Layer, Person, Right
from gtm_assets.serving.row_rules import VISIBLE_BY

PREFIX = "gtm "
"""What the names begin with of roles and rules that are made from the access file."""
ADMINISTRATORS = "Admin"
"""Superset's own role, which SQL Lab belongs to."""
USERS = "gtm_core.dim_user"
LAYERS: Mapping[str, Layer] = {"gtm_certified": "certified", "gtm_core": "core", "gtm_meta": "meta"}
"""The layer that a dataset belongs to, by its schema."""
OWNED: Mapping[str, tuple[str, str]] = {
    "accounts": ("account_id", "gtm_core.dim_account"),
    "activity": ("activity_key", "gtm_core.fct_activity"),
    "bookings_and_quota": ("quota_attainment_key", "gtm_mart.rep_quota_attainment"),
    "opportunities": ("opportunity_id", "gtm_core.fct_opportunity"),
    "pipeline": ("pipeline_snapshot_key", "gtm_core.fct_pipeline_snapshot"),
}
"""By certified dataset, its key and the table whose rows it has: that table's rule says whose they are.

A dataset has the owner's id as it came, which is not the one in dim_user where a person uses two systems.
"""
_VIEWER = frozenset(
    {
        ("can_dashboard", "Superset"),
        ("can_dashboard_permalink", "Superset"),
        ("can_explore_json", "Superset"),
        ("can_fetch_datasource_metadata", "Superset"),
        ("can_get", "MenuApi"),
        ("can_get_drill_info", "Dataset"),
        ("can_language_pack", "Superset"),
        ("can_list", "AsyncEventsRestApi"),
        ("can_log", "Superset"),
        ("can_read", "AvailableDomains"),
        ("can_read", "Chart"),
        ("can_read", "CssTemplate"),
        ("can_read", "CurrentUserRestApi"),
        ("can_read", "Dashboard"),
        ("can_read", "DashboardFilterStateRestApi"),
        ("can_read", "DashboardPermalinkRestApi"),
        ("can_read", "Dataset"),
        ("can_read", "ExploreFormDataRestApi"),
        ("can_read", "SecurityRestApi"),
        ("can_read", "Theme"),
        ("can_recent_activity", "Log"),
        ("can_this_form_get", "ResetMyPasswordView"),
        ("can_this_form_post", "ResetMyPasswordView"),
        ("can_time_range", "Api"),
        ("can_userinfo", "UserDBModelView"),
        ("can_view_chart_as_table", "Dashboard"),
        ("can_write", "DashboardFilterStateRestApi"),
        ("can_write", "ExploreFormDataRestApi"),
        ("menu_access", "Dashboards"),
        ("menu_access", "Home"),
        ("resetmypassword", "UserDBModelView"),
    }
)
_MANAGER = _VIEWER | {
    ("can_csv", "Superset"),
    ("can_drill", "Dashboard"),
    ("can_share_chart", "Superset"),
    ("can_share_dashboard", "Superset"),
    ("can_write", "DashboardPermalinkRestApi"),
}
_CREATOR = _MANAGER | {
    ("can_explore", "Superset"),
    ("can_export", "Chart"),
    ("can_export", "Dashboard"),
    ("can_get", "Datasource"),
    ("can_put_chart_customizations", "Dashboard"),
    ("can_query", "Api"),
    ("can_query_form_data", "Api"),
    ("can_read", "Explore"),
    ("can_read", "ExplorePermalinkRestApi"),
    ("can_read", "Tag"),
    ("can_slice", "Superset"),
    ("can_view_query", "Dashboard"),
    ("can_write", "Chart"),
    ("can_write", "Dashboard"),
    ("can_write", "ExplorePermalinkRestApi"),
    ("menu_access", "Charts"),
    ("menu_access", "Datasets"),
}
PERMISSIONS: Mapping[str, frozenset[tuple[str, str]]] = {
    "viewer": _VIEWER,
    "manager": _MANAGER,
    "creator": _CREATOR,
}
"""What each may do, as Superset's permissions and what they are for. None reaches SQL Lab or a dataset's query."""


@dataclass(frozen=True)
class Rows:
    """Whose rows some people see."""

    role: str
    people: str | None
    """A query of the owners, with user_key and user_id; None where they see all."""


@dataclass(frozen=True)
class Reader:
    """A person who reads dashboards."""

    login: str
    roles: tuple[str, ...]
    """By their names in Superset, but for those that open dashboards."""
    layers: frozenset[Layer]
    """What they may read."""
    rows: Rows

    def may_open(self, layers: frozenset[Layer]) -> bool:
        """Whether they may open a dashboard that reads these layers: no chart of it is to be an error to them."""
        return layers <= self.layers


def rights_of(access: Access) -> list[Reader]:
    """The people of an access file whose roles give them a right in the dashboards.

    Services, keys and embedding applications have no user there.
    """
    readers = []
    for login, person in access.people.items():
        rights = {access.roles[name].dashboards for name in person.roles} - {"none"}
        if person.kind != "person" or not rights:
            continue
        rows = rows_of(login, person)
        seen = {tier for name in person.roles for tier in access.roles[name].sees}
        read = {
            layer
            for layer in LAYERS.values()
            if any(access.right(name, layer) is not Right.NONE for name in person.roles)
        }
        own = [ADMINISTRATORS if right == "administrator" else f"{PREFIX}{right}" for right in sorted(rights)]
        roles = [*own, *map(reads, sorted(read)), *(sees(tier) for tier in TIERS if tier in seen), rows.role]
        readers.append(Reader(login, tuple(roles), frozenset(read), rows))
    return readers


def reads(layer: Layer) -> str:
    """The role of those who read a layer's datasets."""
    return f"{PREFIX}reads {layer}"


def opens(dashboard: str) -> str:
    """The role of those who may open a dashboard."""
    return f"{PREFIX}opens {dashboard}"


def sees(tier: str) -> str:
    """The role of those to whom a tier of personal data is shown."""
    return f"{PREFIX}sees {tier}"


def rows_of(login: str, person: Person) -> Rows:
    """Whose rows a person sees: the same people as on the server (:mod:`gtm_assets.serving.sharing`).

    They are looked up at each query, so that who changes teams is seen by the new manager with the next
    publication.
    """
    known_as = literal(person.user or login)
    is_them = f"(lower(email) = lower({known_as}) or user_id = {known_as})"
    owners = f"select user_key, user_id from {USERS}"
    if person.scope == "all":
        return Rows(f"{PREFIX}rows of all", None)
    if person.scope == "region":
        regions = sorted(person.regions)
        among = ", ".join(map(literal, regions))
        return Rows(f"{PREFIX}rows of region {', '.join(regions)}", f"{owners} where division in ({among})")
    if person.scope == "own":
        return Rows(f"{PREFIX}rows of {login}", f"{owners} where {is_them}")
    team = (
        f"with recursive team as ({owners} where {is_them} union"
        f" select users.user_key, users.user_id from {USERS} as users"
        " inner join team on users.manager_user_id = team.user_id) select user_key, user_id from team"
    )
    return Rows(f"{PREFIX}rows of the team of {login}", team)


def condition(rows: Rows, dataset: str, described: Mapping[str, Table]) -> str | None:
    """The condition of a certified dataset's rows, in SQL: those of its table that the server's policy would show.

    None where all are seen. ``described`` is what the dbt project says of its tables.

    Raises:
        AccessError: nothing says whose the dataset's rows are.
    """
    if rows.people is None:
        return None
    key, table = OWNED.get(dataset, ("", ""))
    rule = described[table].row_rule if table in described else ""
    if rule not in VISIBLE_BY:
        raise AccessError(
            f"nothing says whose the rows of the dataset {dataset} are: enter it in {__name__}.OWNED"
        )
    owners = f"select {VISIBLE_BY[rule]} from ({rows.people}) as people"
    return f"{key} in (select {key} from {table} where {rule} in ({owners}))"


def refuse_templates(access: Access) -> None:
    """Refuse names that Superset would read as a template where they stand in a condition.

    Raises:
        AccessError: names the login.
    """
    for login, person in access.people.items():
        said = " ".join([login, person.user or "", *person.regions])
        if "{{" in said or "{%" in said or "{#" in said:
            raise AccessError(f"people.{login}: a name with {{ and {{, % or # can't stand in a rule of dashboards")
