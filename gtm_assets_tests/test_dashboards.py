"""Dashboards: what the repository has of them holds together, and each of their users sees just their rows."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import duckdb
import jinja2
import pytest
import yaml

from gtm_assets.dashboards import bundle, rights, server
from gtm_assets.dashboards.bundle import Certificate, DashboardsError, Source, documents, prepared
from gtm_assets.dashboards.client import Client, Rights
from gtm_assets.dashboards.rights import PERMISSIONS, condition, rights_of, rows_of
from gtm_assets.dashboards.source import source_of
from gtm_assets.dbt.project import manifest_path
from gtm_assets.publishing.publish import descriptions
from gtm_assets.serving.access_file import DEFAULT, AccessError, Person, parse
from gtm_assets.serving.sharing import Sharing, share
from gtm_assets.settings import PROJECT_DIR, load_settings
from gtm_assets_tests.dashboards_server import Dashboards, chart_data
from gtm_assets_tests.dashboards_server import rows_of as rows_shown
from gtm_assets_tests.gtm_process import GtmHome
from gtm_assets_tests.needs import require
from gtm_assets_tests.test_access import PEOPLE, USERS

DATASETS = ("accounts", "activity", "bookings_and_quota", "opportunities", "pipeline")
KEYS = {
    "accounts": "account_id",
    "activity": "activity_key",
    "bookings_and_quota": "quota_attainment_key",
    "opportunities": "opportunity_id",
    "pipeline": "pipeline_snapshot_key",
}
PAGES = {"executive": 8, "operations": 13, "revenue": 8}
"""Charts of each dashboard."""
MANAGER = """
  manager:
    layers: {mart: read, certified: read}
    sees: [internal, confidential]
    dashboards: manager
"""
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def found() -> dict:
    return documents()


@pytest.fixture(scope="module")
def manifest() -> dict:
    return json.loads(manifest_path().read_text())


@pytest.fixture(scope="module")
def described(manifest) -> dict:
    return descriptions(manifest)


def of_kind(found: dict, kind: str) -> dict[str, dict]:
    return {
        path.split("/")[-1].removesuffix(".yaml"): d for path, d in found.items() if path.startswith(f"{kind}/")
    }


def columns_named(chart: dict) -> set[str]:
    """The columns that a chart reads: of its form, and of the query that is asked of it over the API."""
    form, query = chart["params"], json.loads(chart["query_context"])["queries"][0]
    named = {*form.get("groupby", []), *form.get("all_columns", []), *filter(None, [form.get("x_axis")])}
    named |= {one["subject"] for one in form["adhoc_filters"]} | {one["col"] for one in query["filters"]}
    named |= {one if isinstance(one, str) else one["sqlExpression"] for one in query["columns"]}
    return named | {by for by, _ in query.get("orderby", []) if by not in metrics_named(chart)}


def metrics_named(chart: dict) -> set[str]:
    form, query = chart["params"], json.loads(chart["query_context"])["queries"][0]
    return {*form.get("metrics", []), *filter(None, [form.get("metric")]), *query["metrics"]}


# -- what the repository has -------------------------------------------------------------------------------------


def test_each_chart_stands_on_one_dashboard_and_names_columns_and_metrics_that_its_dataset_has(found):
    datasets = {d["uuid"]: d for d in of_kind(found, "datasets").values()}
    charts = of_kind(found, "charts")
    placed = [chart for d in of_kind(found, "dashboards").values() for chart in bundle.charts_of(d)]
    assert sorted(placed) == sorted(chart["uuid"] for chart in charts.values())
    assert {name: len(bundle.charts_of(d)) for name, d in of_kind(found, "dashboards").items()} == PAGES
    for name, chart in charts.items():
        dataset = datasets[chart["dataset_uuid"]]
        assert columns_named(chart) <= {one["column_name"] for one in dataset["columns"]}, name
        assert metrics_named(chart) <= {one["metric_name"] for one in dataset["metrics"]}, name
        assert columns_named(chart) | metrics_named(chart), name


def test_datasets_are_the_certified_ones_with_the_projects_words_and_metrics(found, manifest, described):
    datasets = bundle.datasets(found)
    assert {n for n, d in datasets.items() if d["schema"] == "gtm_certified"} == set(DATASETS)
    models = {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    for name in DATASETS:
        table, dataset = described[f"gtm_certified.{name}"], datasets[name]
        meta = models[name]["config"]["meta"]
        assert {one["column_name"]: one["description"] for one in dataset["columns"]} == table.columns, name
        assert dataset["description"] == table.description
        said = {one["metric_name"]: one["expression"] for one in dataset["metrics"]}
        assert {**said, **{metric: what["value"] for metric, what in meta["metrics"].items()}} == said, name
        badge = {"certified_by": meta["dagster"]["owners"][0], "details": meta["service_level"]}
        assert dataset["extra"]["certification"] == badge
    assert {"sentence", "figures"} & {c["column_name"] for c in datasets["checks"]["columns"]} == set()


def test_each_dashboard_is_an_exposure_by_its_name(found, manifest):
    exposures = {e["name"]: e for e in manifest["exposures"].values()}
    for slug, dashboard in of_kind(found, "dashboards").items():
        exposure = exposures[f"{slug}_dashboard"]
        assert dashboard["slug"] == slug and dashboard["published"]
        assert (dashboard["dashboard_title"], dashboard["description"]) == (
            exposure["label"],
            exposure["description"],
        )
        assert dashboard["certified_by"] == exposure["owner"]["email"]


@pytest.mark.slow
def test_what_is_published_has_each_column_and_answers_each_metric_and_query(found, built_home):
    with closing(duckdb.connect(str(built_home.published), read_only=True)) as published:
        for name, dataset in bundle.datasets(found).items():
            relation = f"({dataset['sql']})" if dataset["sql"] else f"{dataset['schema']}.{name}"
            there = {row[0]: row[1] for row in published.execute(f"describe select * from {relation}").fetchall()}
            named = {one["column_name"]: one["type"] for one in dataset["columns"]}
            assert named.items() <= there.items(), name
            if dataset["schema"] == "gtm_certified":
                assert named.keys() == there.keys(), name
            for metric in dataset["metrics"]:
                published.execute(f"select {metric['expression']} from {relation} as held").fetchall()


def test_a_badge_is_shown_where_what_is_published_says_that_it_is_certified(found, described):
    access = parse(DEFAULT + PEOPLE, "access.yml")
    certified = {name: Certificate(name != "pipeline", "rita@acme.example") for name in DATASETS}

    some = prepared(found, Source("duckdb", "duckdb:///x", certified), access, described)
    every = {name: Certificate(True, None) for name in DATASETS}
    whole = prepared(found, Source("duckdb", "duckdb:///x", every), access, described)
    none = prepared(found, Source("duckdb", "duckdb:///x"), access, described)

    badges = {
        name: d["extra"] and d["extra"]["certification"]["certified_by"]
        for name, d in bundle.datasets(some).items()
    }
    assert {name: badges[name] for name in DATASETS} == {
        name: None if name == "pipeline" else "rita@acme.example" for name in DATASETS
    }
    shown = {name: bool(d["certified_by"]) for name, d in of_kind(some, "dashboards").items()}
    assert shown == {"executive": False, "operations": True, "revenue": False}
    assert all(d["certified_by"] for d in of_kind(whole, "dashboards").values())
    assert not any(d["certified_by"] for d in of_kind(none, "dashboards").values())


def test_on_a_server_the_readers_views_are_read_and_a_password_is_given_apart(found, described):
    pytest.importorskip("adbc_driver_postgresql", reason="make setup-postgres")
    settings = load_settings(
        {
            "GTM_SERVE_URL": "postgresql://gtm:one@127.0.0.1:5433/gtm",
            "GTM_DASHBOARDS_URL": "postgresql://boards:two%2F@127.0.0.1:5433/gtm",
        }
    )
    source, passwords = source_of(settings)
    made = prepared(found, source, parse(DEFAULT + PEOPLE, "access.yml"), described)

    assert passwords == {"databases/gtm.yaml": "two/"}
    assert made["databases/gtm.yaml"]["sqlalchemy_uri"] == (
        "postgresql+psycopg2://boards:XXXXXXXXXX@127.0.0.1:5433/gtm"
    )
    datasets = bundle.datasets(made)
    assert datasets["opportunities"]["schema"] == "gtm_reader_certified"
    assert "from gtm_reader_certified.opportunities as held" in datasets["opportunities"]["sql"]
    assert datasets["checks"]["schema"] == "gtm_published_meta"
    assert "from gtm_reader_core.dim_account_scd2" in datasets["history_versions"]["sql"]


# -- who sees what -----------------------------------------------------------------------------------------------


def test_rights_are_those_of_the_access_file():
    text = DEFAULT.replace("  administrator:\n", MANAGER.lstrip("\n") + "  administrator:\n", 1)
    people = """
  eve: {roles: [manager, bi], scope: region, regions: [South, North]}
  key1: {roles: [analyst], scope: all, kind: key}
"""
    readers = {
        reader.login: reader for reader in rights_of(parse(text + PEOPLE + people.lstrip("\n"), "access.yml"))
    }

    # Those who have no right there have no user: loader2; key1 is nobody who looks at pages.
    assert set(readers) == {"ana", "boss", "rita", "max", "north", "tool", "dev", "eve"}
    assert readers["ana"].roles == (
        *("gtm creator", "gtm reads certified", "gtm reads core", "gtm reads meta"),
        *("gtm sees internal", "gtm rows of all"),
    )
    assert readers["eve"].roles == (
        *("gtm manager", "gtm viewer", "gtm reads certified", "gtm sees internal", "gtm sees confidential"),
        "gtm rows of region North, South",
    )
    assert readers["boss"].roles[0] == "Admin" and readers["tool"].roles[0] == "gtm viewer"
    assert readers["ana"].rows.people is None
    assert len({readers[login].rows for login in ("rita", "max", "north", "dev")}) == 4


def test_what_viewers_managers_and_creators_may_do_grows_and_ends_before_sql_lab_datasets_and_rules():
    viewer, manager, creator = (PERMISSIONS[name] for name in ("viewer", "manager", "creator"))
    assert viewer < manager < creator
    assert not [one for one in viewer if one[0] in ("can_csv", "can_write") and one[1] in ("Superset", "Chart")]
    assert ("can_csv", "Superset") in manager and ("can_write", "Chart") not in manager
    assert ("can_write", "Dashboard") in creator
    for permission, resource in creator:
        assert not re.search("sql|database|rowlevel|user|role", resource, re.I) or resource in (
            *("CurrentUserRestApi", "UserDBModelView"),
        ), (permission, resource)
    assert ("can_write", "Dataset") not in creator


@pytest.mark.parametrize(
    ("person", "seen"),
    [
        (Person(roles=("bi",), scope="own", user="Rita@acme.example"), ["u-rita"]),
        (Person(roles=("bi",), scope="own", user="u-sam"), ["u-sam"]),
        (Person(roles=("bi",), scope="team", user="u-max"), ["u-max", "u-rita", "u-sam"]),
        (Person(roles=("bi",), scope="region", regions=("North",)), ["u-rita", "u-top"]),
        (Person(roles=("bi",), scope="region", regions=("North", "So'uth")), ["u-rita", "u-top"]),
        (Person(roles=("bi",), scope="own", user="x' or '1' = '1"), []),
    ],
)
def test_a_row_rule_gives_the_rows_of_the_scope(described, person, seen):
    rows = rows_of("somebody", person)
    with closing(duckdb.connect()) as file:
        file.execute("create schema gtm_core")
        file.execute(f"create table gtm_core.dim_user as {USERS}")
        file.execute(
            f"create table gtm_core.fct_activity as select 'a-' || user_id as activity_key,"
            f" user_key as owner_user_key from ({USERS})"
        )
        # The owner's id as it came is that of another system: the rule goes by the table's key.
        file.execute(
            "create table activity as select activity_key, 'pipedrive-1' as owner_user_id"
            " from gtm_core.fct_activity"
        )
        clause = condition(rows, "activity", described)
        found = file.execute(f"select activity_key from activity where ({clause}) order by 1").fetchall()

    assert [key for (key,) in found] == [f"a-{user}" for user in seen]


def test_each_certified_dataset_has_a_table_that_says_whose_its_rows_are(found, described):
    mine = rows_of("rita", Person(roles=("bi",), scope="own"))
    for name in DATASETS:
        key, table = rights.OWNED[name]
        assert key == KEYS[name] and key in described[table].columns, name
        assert table in described[f"gtm_certified.{name}"].query, name
        assert condition(mine, name, described)
        assert condition(rows_of("ana", Person(roles=("bi",), scope="all")), name, described) is None
    with pytest.raises(AccessError, match="dataset deals"):
        condition(mine, "deals", described)


def test_a_name_that_would_be_read_as_a_template_is_refused():
    access = parse(DEFAULT + PEOPLE + "  bad: {roles: [bi], user: '{{ 1 }}'}\n", "access.yml")
    with pytest.raises(AccessError, match=r"people\.bad"):
        rights.refuse_templates(access)


def test_personal_data_are_shown_to_those_alone_who_see_their_tier(found, described):
    access = parse(DEFAULT + PEOPLE, "access.yml")
    made = bundle.datasets(prepared(found, Source("duckdb", "duckdb:///x"), access, described))
    dataset = made["activity"]
    columns = [one["column_name"] for one in dataset["columns"]]
    values = ", ".join(f"'Zoë van Berg' as {c}" for c in columns)

    def shown(*roles: str) -> dict[str, str]:
        sql = jinja2.Template(dataset["sql"]).render(current_user_roles=lambda: list(roles) or None)
        with closing(duckdb.connect()) as file:
            file.execute("create schema gtm_certified")
            file.execute(f"create table gtm_certified.activity as select {values}")
            return dict(zip(columns, file.execute(sql).fetchall()[0], strict=True))

    masked, plain = "Z. v. B.", "Zoë van Berg"
    for roles in ((), ("gtm viewer", "gtm sees internal")):
        assert shown(*roles) == {c: masked if c in ("owner_name", "manager_name") else plain for c in columns}
    assert set(shown("gtm sees confidential").values()) == {plain}
    personal = {name for name in DATASETS if described[f"gtm_certified.{name}"].tiers}
    assert {name for name, d in made.items() if "current_user_roles" in (d["sql"] or "")} == personal != set()


def test_a_dashboard_is_open_to_those_who_may_read_all_that_it_shows(found):
    layers = bundle.layers_of(found)
    readers = {reader.login: reader for reader in rights_of(parse(DEFAULT + PEOPLE, "access.yml"))}

    assert layers == {
        "executive": {"certified"},
        "operations": {"certified", "core", "meta"},
        "revenue": {"certified"},
    }
    assert [name for name in layers if readers["tool"].may_open(layers[name])] == ["executive", "revenue"]
    assert all(readers["ana"].may_open(one) for one in layers.values())


# -- set-up ------------------------------------------------------------------------------------------------------


def test_the_lock_has_what_superset_needs_and_no_address():
    lock = server.LOCK.read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.M))
    [ours] = re.findall(r"^    duckdb==(\S+)$", (PROJECT_DIR / "setup.cfg").read_text(), re.M)

    # A file of a newer DuckDB can't be read by an older one.
    assert pinned["duckdb"] == ours
    assert pinned["flask-caching"] == "2.3.1" and {
        "rich",
        "cachetools",
        "duckdb-engine",
        "psycopg2-binary",
    } <= set(pinned)
    assert "http" not in lock and "index" not in re.sub(r"--no-emit-index-url", "", lock)


def test_its_pages_may_ask_this_server_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERSET_HOME", str(tmp_path))
    monkeypatch.setenv("SUPERSET_SECRET_KEY", "k" * 48)
    config = runpy.run_path(str(PROJECT_DIR / "dashboards" / "superset_config.py"))

    policy = config["TALISMAN_CONFIG"]["content_security_policy"]
    sources = {one for given in policy.values() for one in ([given] if isinstance(given, str) else given)}
    assert sources == {"'self'", "'none'", "'unsafe-inline'", "'strict-dynamic'", "blob:", "data:"}
    assert policy["default-src"] == policy["connect-src"] == ["'self'"]
    assert config["TALISMAN_ENABLED"] and config["THEME_FONT_URL_ALLOWED_DOMAINS"] == []
    assert config["THEME_DEFAULT"]["token"]["colorPrimary"] == "#2457b0"
    assert not config["FEATURE_FLAGS"]["ALLOW_ADHOC_SUBQUERY"]


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    home = GtmHome(tmp_path / "gtm")
    assert "Build it: gtm run" in home.in_process("dashboards").output
    served = load_settings({"GTM_HOME": str(home.path), "GTM_SERVE_URL": "postgresql://gtm@127.0.0.1:5433/gtm"})
    with pytest.raises(DashboardsError, match="set GTM_DASHBOARDS_URL"):
        source_of(served)
    monkeypatch.setattr(server, "BIN", tmp_path / "nothing" / "bin")
    with pytest.raises(DashboardsError, match="make setup-dashboards"):
        server.Instance(tmp_path)


def test_a_port_that_is_taken_is_said(tmp_path, monkeypatch):
    (tmp_path / "superset").touch()
    monkeypatch.setattr(server, "BIN", tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(DashboardsError, match=f"port {port} is taken.*PORT={port + 1}"),
            server.Instance(tmp_path).running(port),
        ):
            pass


def test_secrets_are_made_once_in_files_that_we_alone_read(tmp_path, monkeypatch):
    (tmp_path / "superset").touch()
    monkeypatch.setattr(server, "BIN", tmp_path)
    folder = tmp_path / "dashboards"

    first = server.Instance(folder).password
    assert server.Instance(folder).password == first and len(first) >= 24
    assert (folder / "admin_password").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


# -- a server ----------------------------------------------------------------------------------------------------

LOGINS = ("boss", "own", "team", "north", "ana", "some")


@pytest.fixture(scope="module")
def home(built_home, tmp_path_factory) -> GtmHome:
    """A state folder with what is published alone, and people of its own organisation in its access file."""
    home = GtmHome(tmp_path_factory.mktemp("dashboards") / "gtm")
    home.published.parent.mkdir(parents=True)
    shutil.copyfile(built_home.published, home.published)
    with closing(duckdb.connect(str(home.published), read_only=True)) as published:
        [(owner, manager, region)] = published.execute(
            "select owners.email, managers.email, owners.division from gtm_core.dim_user as owners"
            " inner join gtm_core.dim_user as managers on owners.manager_user_id = managers.user_id"
            " inner join gtm_certified.opportunities as deals on deals.owner_user_id = owners.user_id"
            " where owners.division is not null group by all order by count(*) desc, 1 limit 1"
        ).fetchall()
    text = DEFAULT.replace("  administrator:\n", MANAGER.lstrip("\n") + "  administrator:\n", 1)
    people = {
        "boss": {"roles": ["administrator"], "scope": "all"},
        "own": {"roles": ["bi"], "scope": "own", "user": owner},
        "team": {"roles": ["analyst"], "scope": "team", "user": manager},
        "north": {"roles": ["manager"], "scope": "region", "regions": [region]},
        "ana": {"roles": ["analyst"], "scope": "all"},
        "some": {"roles": ["bi"], "scope": "own", "user": owner},
        "feed": {"roles": ["bi"], "scope": "all", "kind": "service"},
    }
    lines = yaml.safe_dump(people, sort_keys=False)
    (home.path / "access.yml").write_text(text + "".join(f"  {line}\n" for line in lines.splitlines()))
    return home


@pytest.fixture(scope="module")
def served(home, tmp_path_factory) -> Iterator[Dashboards]:
    """Dashboards in an empty instance."""
    require(None if server.is_installed() else "Superset is not installed: make setup-dashboards")
    dashboards = Dashboards(home, tmp_path_factory.mktemp("log") / "output").start()
    yield dashboards
    assert dashboards.stop() == []


def client(served: Dashboards, login: str) -> Client:
    return Client(served.address, login, served.passwords[login])


@pytest.mark.nightly
def test_brought_into_an_empty_instance_each_chart_answers_each_of_several_users_with_just_their_rows(
    served, home, found, described, tmp_path
):
    assert set(served.passwords) == {"admin", *LOGINS}
    assert set(served.pages) == set(PAGES)
    access = parse((home.path / "access.yml").read_text(), "access.yml")
    seen: dict[str, dict[str, list]] = {}
    for login in LOGINS:
        reader = client(served, login)
        charts = {one["slice_name"]: one["id"] for one in reader.all("chart/")}
        opened = {one["slug"] for one in reader.all("dashboard/")}
        meta = login not in ("own", "north", "some")
        assert opened == (set(PAGES) if meta else {"executive", "revenue"}), login
        assert len(charts) == (29 if meta else 18), login
        for name, chart in charts.items():
            answer = chart_data(reader._session, served.address, chart)
            assert answer["status"] == "success" and not answer["error"], (login, name)
        file = tmp_path / f"{login}.duckdb"
        share(home.published, file, access, Sharing.of(access, login, None), described, NOW)
        datasets = {one["table_name"]: one["id"] for one in reader.all("dataset/")}
        with closing(duckdb.connect(str(file), read_only=True)) as shared:
            for name, key in KEYS.items():
                columns = [key, *sorted(described[f"gtm_certified.{name}"].tiers)]
                rows = rows_shown(reader._session, served.address, datasets[name], columns)
                wanted = shared.execute(
                    f"select {', '.join(columns)} from gtm_certified.{name} group by all"
                ).fetchall()
                got = [tuple(row[c] for c in columns) for row in rows]
                # What they see is what gtm share writes for them: the same rows, masked alike.
                assert sorted(got, key=str) == sorted(wanted, key=str), (login, name)
                seen.setdefault(name, {})[login] = got
    for name in ("opportunities", "activity"):
        counts = {login: len(rows) for login, rows in seen[name].items()}
        assert 0 < counts["own"] < counts["team"] <= counts["ana"] == counts["boss"], (name, counts)
        assert counts["north"] < counts["ana"]
    names = {row[1] for row in seen["opportunities"]["ana"]}
    assert all(name is None or re.fullmatch(r"(\w\.[ -]?)+", name) for name in names), names
    assert any(" " in (row[1] or "") and "." not in row[1] for row in seen["opportunities"]["boss"])


@pytest.mark.nightly
def test_what_a_user_may_not_do_is_refused(served):
    ids = {one["table_name"]: one["id"] for one in client(served, "boss").all("dataset/")}
    database = client(served, "boss").all("database/")[0]["id"]
    query = {"database_id": database, "sql": "select count(*) as n from gtm_core.dim_user", "runAsync": False}
    chart = {"slice_name": "Mine", "viz_type": "table", "datasource_id": ids["opportunities"]}
    chart |= {"datasource_type": "table", "params": "{}"}
    for login in ("own", "north", "ana"):
        reader = client(served, login)
        with pytest.raises(DashboardsError, match="403"):
            reader.post("sqllab/execute/", query)
        with pytest.raises(DashboardsError, match=r"40[34]"):
            reader.put(f"dataset/{ids['opportunities']}", {"sql": "select * from gtm_core.dim_user"})
        with pytest.raises(DashboardsError, match="403"):
            reader.get("security/users/")
        with pytest.raises(DashboardsError, match="403"):
            reader.get("rowlevelsecurity/")
    for login in ("own", "north"):
        with pytest.raises(DashboardsError, match="403"):
            client(served, login).post("chart/", chart)
    assert client(served, "ana").post("chart/", chart)["id"]
    assert client(served, "boss").post("sqllab/execute/", query)["data"][0]["n"] > 1
    outside = {**query, "sql": "select * from read_text('/etc/hostname')"}
    with pytest.raises(DashboardsError, match="disabled by configuration"):
        client(served, "boss").post("sqllab/execute/", outside)
    # Whoever may not read what the platform says of itself is refused its data too, not only the page.
    with pytest.raises(AssertionError, match=r"403|not have access|permission"):
        rows_shown(client(served, "own")._session, served.address, ids["publication"], ["run_id"])
    # A condition of a reader's own reads no other table.
    body = {
        "datasource": {"id": ids["opportunities"], "type": "table"},
        "queries": [
            {
                "columns": ["opportunity_id"],
                "extras": {"where": "owner_user_id in (select user_id from gtm_core.dim_user)"},
            }
        ],
        "result_format": "json",
        "result_type": "full",
    }
    with pytest.raises(DashboardsError, match=r"sub-queries"):
        client(served, "ana").post("chart/data", body)


@pytest.mark.nightly
def test_the_dashboards_open_in_a_browser_without_an_error_and_ask_no_other_machine(served, browser):
    for login, pages in {"ana": PAGES, "north": {"executive": 8, "revenue": 8}}.items():
        with browser.page() as page:
            refused: list[str] = []
            page.on("console", lambda said, kept=refused: kept.append(said.text))
            page.goto(f"{served.address}/login/")
            page.fill("input#username", login)
            page.fill("input[type=password]", served.passwords[login])
            page.keyboard.press("Enter")
            page.wait_for_url(re.compile(r"/superset/welcome|/dashboard/list"))
            for name, count in pages.items():
                page.goto(served.pages[name])
                boxes = page.locator(".dashboard-component-chart-holder")
                for number in range(count):
                    box = boxes.nth(number)
                    box.scroll_into_view_if_needed()
                    # A box is done when it has a drawing, a table, a figure, or says that there is nothing.
                    drawn = box.locator("canvas, table tbody tr, .superset-legacy-chart-big-number, .ant-empty")
                    done = drawn.or_(box.get_by_text("No results were returned for this query"))
                    done.first.wait_for(state="attached")
                    assert box.locator(".ant-alert-error, [data-test=error-message]").count() == 0, (name, number)
                assert boxes.count() == count
                assert page.get_by_text("Data error").count() == 0
                browser.screenshot(page, f"dashboard_{name}_{login}")
    # Superset's own pixel is all that its pages would ask elsewhere; the policy holds it back before it is asked.
    assert all("scarf.sh" in said for said in refused if "Content Security Policy" in said), refused
    assert browser.foreign == []


@pytest.mark.nightly
def test_a_new_publication_is_seen_at_once_and_who_left_the_access_file_may_not_come_in(
    served, home, found, described
):
    source, _ = source_of(load_settings({"GTM_HOME": str(home.path)}))
    boss = client(served, "boss")
    ids = {one["table_name"]: one["id"] for one in boss.all("dataset/")}
    newer = home.published.with_name("newer.duckdb")
    shutil.copyfile(home.published, newer)
    with closing(duckdb.connect(str(newer))) as file:
        file.execute("update gtm_meta.publication set run_id = 'another run'")
    newer.replace(home.published)
    assert rows_shown(boss._session, served.address, ids["publication"], ["run_id", "as_of"])[0]["run_id"] == (
        "another run"
    )

    access = parse((home.path / "access.yml").read_text(), "access.yml")
    people = {login: person for login, person in access.people.items() if login != "some"}
    people["own"] = replace_scope(people["own"])
    owner = client(served, "own")
    before = rows_shown(owner._session, served.address, ids["opportunities"], ["opportunity_id"])
    changed = access.model_copy(update={"people": people})
    admin = Client(served.address, "admin", served.passwords["admin"])
    assert Rights(admin, changed, bundle.layers_of(found), source, described).apply() == {}

    after = rows_shown(owner._session, served.address, ids["opportunities"], ["opportunity_id"])
    assert len(after) > len(before) > 0
    with pytest.raises(DashboardsError, match="401"):
        client(served, "some")


def replace_scope(person: Person) -> Person:
    return person.model_copy(update={"scope": "all", "user": None})
