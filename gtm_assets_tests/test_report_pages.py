"""Report pages of a built warehouse: each figure is its report's and its metric's, and a browser shows them."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from math import isclose
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import Page, expect

from gtm_assets.reporting.html import SCRIPT
from gtm_assets.reporting.names import PICTURE, SENTENCE
from gtm_assets.reporting.pages import PAGES
from gtm_assets.reporting.report import write_report
from gtm_assets_tests.test_metrics import ASK_ALL, query

pytestmark = pytest.mark.slow

NAMES = [page.name for page in PAGES]
NEWEST = "(select max({0}) from gtm_mart.{1})"
SUMMARY = "from gtm_mart.rep_executive_summary"
OF_NEWEST_MONTH = (
    f"{SUMMARY} where month_start_date = {NEWEST.format('month_start_date', 'rep_executive_summary')}"
)
OWNERS = "from gtm_mart.rep_owner_performance where opportunity_count > 0"
WEEK = f"where week_end_date = {NEWEST.format('week_end_date', 'rep_pipeline_health')}"
PERIOD = (
    "from gtm_mart.rep_quota_attainment where period_start_date ="
    " (select max(period_start_date) from gtm_mart.rep_quota_attainment where quota_amount > 0)"
)
ACCOUNTS = "from gtm_mart.rep_account_health where source_system <> 'unknown'"
SPEED = (
    f"from gtm_mart.rep_sales_velocity where entry_month = {NEWEST.format('entry_month', 'rep_sales_velocity')}"
    " and source_system = (select max(source_system) from gtm_mart.rep_sales_velocity"
    f" where entry_month = {NEWEST.format('entry_month', 'rep_sales_velocity')})"
)
FORECASTS = """
    from gtm_mart.rep_forecast_accuracy where owner_name = (
        select owner_name from gtm_mart.rep_forecast_accuracy
        where owner_name in (select manager_name from gtm_mart.rep_manager_performance)
        order by
            period_start_date desc, forecasting_type_id, max(forecast_amount) over (partition by owner_name) desc,
            owner_name
        limit 1
    )
"""
LAST_WEEKS = """
    from gtm_mart.rep_pipeline_health
    where week_end_date > (select max(week_end_date) from gtm_mart.rep_pipeline_health) - 182
"""
MOVED = "from gtm_mart.rep_pipeline_waterfall where period_type = 'Month' and is_latest"
WATERFALL = [
    ("start_amount", "Start", True),
    *(
        (f"{step.lower().replace(' ', '_')}_amount", step, False)
        for step in (
            *("Created", "First seen", "Reopened", "Restored", "Included", "Transferred in", "Transferred out"),
            *(
                "Increased",
                "Decreased",
                "Pulled in",
                "Pushed out",
                "Revalued",
                "Won",
                "Lost",
                "Omitted",
                "Deleted",
            ),
        )
    ),
    ("end_amount", "End", True),
]
"""The waterfall's columns, what the page calls them, and whether it shows them where they are nothing."""
RETENTION = """
    from gtm_mart.rep_arr_retention
    where month_start_date > (select max(month_start_date) from gtm_mart.rep_arr_retention) - interval 24 month
"""
VERSIONS = " union all ".join(
    f"select '{name}' as history, {name}_id as record, valid_from, is_current, is_deleted"
    f" from gtm_core.dim_{name}_scd2 where source_system <> 'unknown'"
    for name in ("account", "contact", "user")
)
RANKED = (
    f"select *, row_number() over (partition by history, record order by valid_from) as version from ({VERSIONS})"
)

TILES = {
    "index": {
        "Bookings": f"select won_amount {OF_NEWEST_MONTH}",
        "Quota attainment": f"select quota_attainment {OF_NEWEST_MONTH}",
        "Pipeline": f"select pipeline_amount {OF_NEWEST_MONTH}",
        "Win rate": f"select win_rate_by_count {OF_NEWEST_MONTH}",
        "New pipeline": f"select opportunities_created_amount {OF_NEWEST_MONTH}",
        "Average deal": f"select average_won_amount {OF_NEWEST_MONTH}",
        "Leads": f"select lead_count {OF_NEWEST_MONTH}",
        "Meetings": f"select meeting_count {OF_NEWEST_MONTH}",
    },
    "revenue": {
        "Pipeline": f"select sum(pipeline_amount) {OWNERS}",
        "Weighted pipeline": f"select sum(weighted_pipeline_amount) {OWNERS}",
        "Deals": f"select sum(pipeline_count) {OWNERS}",
        "Booked this quarter": f"select sum(won_amount_quarter_to_date) {OWNERS}",
        "Booked this month": f"select sum(won_amount_month_to_date) {OWNERS}",
        "Win rate of all time": f"select sum(won_count) / sum(won_count + lost_count) {OWNERS}",
        "Quota": f"select sum(quota_amount) {PERIOD}",
        "Booked": f"select sum(bookings_amount) {PERIOD}",
        "Attainment": f"select sum(bookings_amount)::double / sum(quota_amount)::double {PERIOD}",
        "Accounts": f"select count(*) {ACCOUNTS}",
        "Idle accounts": f"select count(*) {ACCOUNTS} and is_idle",
        "Their pipeline": f"select sum(pipeline_amount) {ACCOUNTS}",
    },
    "operations": {
        "Read up to": "select strftime(as_of, '%Y-%m-%d %H:%M') from gtm_meta.publication",
        "Last day landed": "select max(partition_key) from gtm_meta.published_partitions",
        "Checks passed": "select checks_passed from gtm_meta.publication",
        "Checks that did not pass": "select count(*) from gtm_meta.findings",
        "Records in quarantine": "select coalesce(sum(record_count), 0) from gtm_meta.quarantine",
        "Tables that can't be read": "select count(*) from gtm_meta.unreadable_tables",
    },
}
"""Of each page its headline numbers as the reports say them, each with a query of its own."""

TABLES = {
    "index": {
        "Bookings, and those of the year before": (
            f"select month_start_date, won_amount, won_amount_year_before {SUMMARY}"
        ),
        "Bookings of the quota's period so far, and the quota": (
            f"select month_start_date, quota_booked_amount, quota_amount, quota_attainment {SUMMARY}"
        ),
        "Pipeline at the month's end": (
            f"select month_start_date, pipeline_amount, weighted_pipeline_amount {SUMMARY}"
        ),
        "Win rate": f"select month_start_date, win_rate_by_count {SUMMARY}",
        "Pipeline by manager, with all who report to them": (
            "select manager_name, weighted_pipeline_amount, pipeline_amount, won_amount_quarter_to_date"
            " from gtm_mart.rep_manager_performance where pipeline_count + won_count > 0"
        ),
        "Deals that entered each step in the month": (
            "select kpi_name, sum(deals_count) from gtm_mart.rep_sales_funnel_monthly"
            f" where month = {NEWEST.format('month', 'rep_sales_funnel_monthly')} group by all"
        ),
    },
    "revenue": {
        "By stage": (
            "select stage_name, sum(weighted_amount), sum(open_amount), sum(open_count), sum(overdue_count),"
            f" sum(idle_count) from gtm_mart.rep_pipeline_health {WEEK} group by all"
        ),
        "What moved in each week": (
            "select week_end_date, sum(added_amount), sum(won_amount), sum(lost_amount), sum(slipped_count),"
            f" sum(advanced_count) {LAST_WEEKS} group by all"
        ),
        "At each week's end": f"select week_end_date, sum(open_amount) {LAST_WEEKS} group by all",
        "From the month before to the end of the month": " union all ".join(
            f"select '{step}', sum({column}) {MOVED} group by all having bool_or({column} <> 0 or {always})"
            for column, step, always in WATERFALL
        ),
        "Amount of deals whose close date left its month": (
            "select date_trunc('month', pushed_date)::date, sum(amount), count(*),"
            " count(*) filter (is_out_of_quarter) from gtm_mart.rep_slipped_deals where pushed_date >"
            " (select max(pushed_date) - interval 24 month from gtm_mart.rep_slipped_deals) group by all"
        ),
        "ARR at the month's end": f"select month_start_date, closing_arr, customer_count {RETENTION}",
        "What moved it": (
            "select month_start_date, new_arr, expansion_arr, reactivation_arr, contraction_arr, churn_arr"
            f" {RETENTION}"
        ),
        "How much of it stays": f"select month_start_date, nrr, grr, logo_churn_rate {RETENTION}",
        "By owner": (
            "select owner_name, sum(weighted_pipeline_amount), sum(pipeline_amount), sum(pipeline_count),"
            " sum(won_amount_quarter_to_date), sum(won_count) / nullif(sum(won_count + lost_count), 0)"
            f" {OWNERS} group by all"
        ),
        "Bookings and quota by owner": (
            "select owner_name, sum(bookings_amount), sum(quota_amount),"
            f" sum(bookings_amount)::double / nullif(sum(quota_amount)::double, 0) {PERIOD} group by all"
        ),
        "By team": (
            "select coalesce(manager_name, 'No manager'), sum(quota_amount), sum(bookings_amount),"
            f" sum(bookings_amount)::double / nullif(sum(quota_amount)::double, 0) {PERIOD} group by all"
        ),
        "Forecast of the period by category, week by week": (
            "select forecast_date, replace(forecast_category, 'Only', ''), sum(forecast_amount),"
            f" sum(actual_amount) {FORECASTS} and period_start_date ="
            " (select max(period_start_date) from gtm_mart.rep_forecast_accuracy) group by all"
        ),
        "Pipeline by segment": (
            "select coalesce(segment, 'Not known'), sum(pipeline_amount), count(*), count(*) filter (is_idle)"
            f" {ACCOUNTS} group by all"
        ),
        "Pipeline by owner of the account": (
            "select coalesce(owner_name, 'Not known'), sum(pipeline_amount), count(*), count(*) filter (is_idle)"
            f" {ACCOUNTS} group by all"
        ),
        "Median days in each stage": f"select stage_name, median_days_in_stage, entered_count {SPEED}",
        "Deals that went on, of those that entered": (
            "select stage_name, left_forward_count, entered_count, lost_count,"
            f" left_forward_count / nullif(entered_count, 0) {SPEED}"
        ),
    },
    "operations": {
        "Checks that did not pass": (
            "select check_name, asset, outcome, regexp_extract(sentence, 'against it: ([0-9,]+)', 1)"
            " from gtm_meta.findings"
        ),
        "Certified datasets": (
            "select dataset, if(is_certified, 'certified', 'not certified'), coalesce(reason, ''), service_level"
            " from gtm_meta.certified_datasets"
        ),
        "Tables landed of each day": (
            "select partition_key::date, source_name, count(distinct table_name)"
            " from gtm_meta.published_partitions group by all"
        ),
        "Tables, and up to when they were read": (
            "select source_name, table_name, strftime(max(read_until), '%Y-%m-%d %H:%M UTC'),"
            " count(distinct partition_key) from gtm_meta.published_partitions group by all"
        ),
        "Records in quarantine": "select source_name, table_name, record_count from gtm_meta.quarantine",
        "Tables that the source does not let us read": (
            "select source_name, table_name, reason from gtm_meta.unreadable_tables"
        ),
        "New and changed records by day": (
            "select valid_from::date, count(*) filter (version = 1), count(*) filter (version > 1)"
            f" from ({RANKED})"
            " where valid_from >= (select as_of - interval 31 day from gtm_meta.publication) group by all"
        ),
        "Records and their versions": (
            "select history, count(*) filter (is_current), count(*), count(*) filter (version > 1),"
            f" count(*) filter (is_current and is_deleted) from ({RANKED}) group by all"
        ),
        "Seconds of building by day, all models together": (
            "select day, round(sum(seconds))::bigint, sum(builds) from gtm_meta.cost_daily group by all"
        ),
        "The 15 slowest models, a build each": (
            "select model, sum(seconds) / sum(builds), sum(builds) from gtm_meta.cost_daily group by all"
            " order by 2 desc limit 15"
        ),
    },
}
"""Of each page its charts and tables, each with a query of its own."""


@dataclass
class Parsed(HTMLParser):
    """A page as it stands in its file, before any script runs: tiles by label, tables by title."""

    tiles: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    alternatives: dict[str, str] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _text: str = ""
    _title: str = ""

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "data":
            self.tiles[self._title] = given["value"] or ""
        elif tag == "tbody":
            self.tables[self._title] = []
        elif tag == "tr" and self._title in self.tables:
            self.tables[self._title].append([])
        elif given.get("role") == "img":
            self.alternatives[self._title] = given["aria-label"] or ""
        self._text = ""

    def handle_data(self, data):
        self._text += data

    def handle_endtag(self, tag):
        if tag == "h3":
            self._title = self._text.strip()
        elif tag in ("td", "th") and self.tables.get(self._title):
            self.tables[self._title][-1].append(self._text)
        self._text = ""


@pytest.fixture(scope="module")
def report(built_home, tmp_path_factory) -> Path:
    """The folder that the home's last run has written; what a rewriting would write is the same."""
    folder = built_home.path / "published" / "report"
    again = write_report(built_home.published, tmp_path_factory.mktemp("report") / "report")
    counted = {page.page.name: page.figures for page in again.pages if page.page.name in TILES}
    assert counted == {name: len(TILES[name]) + len(TABLES[name]) for name in NAMES if name in TILES}
    assert again.seconds < 60
    return folder


@pytest.fixture(scope="module")
def parsed(report) -> dict[str, Parsed]:
    found = {}
    for name in NAMES:
        found[name] = Parsed()
        found[name].feed((report / f"{name}.html").read_text())
    return found


def asked(home, query: str) -> list[tuple]:
    with duckdb.connect(str(home.published), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(query).fetchall()


def shown(value, is_amount: bool = False) -> str:
    """A figure as a table shows it, written here once more."""
    match value:
        case None:
            return "–"
        case Decimal():
            return f"{'−' if value < 0 else ''}${abs(value):,.2f}"
        case float():
            return f"{value:.12g}"
        case int():
            return f"{value:,}"
    text = str(value)
    return text


def same(cell: str, value, kind: str) -> bool:
    """Whether a cell says this figure: amounts and counts exactly, others to the decimal that is shown."""
    if value is None:
        return cell == "–"
    if kind == "month":
        return cell == f"{value:%b %Y}"
    if kind == "share":
        return abs(float(cell.removesuffix(" %").replace("−", "-")) - value * 100) <= 0.05 + 1e-9
    if kind == "number":
        return abs(float(cell) - value) <= 0.05 + 1e-9
    if kind == "amount":
        return cell == shown(Decimal(value))
    return cell == (f"{int(value):,}" if kind == "count" else str(value))


def data_of(report: Path, name: str) -> dict:
    text = (report / f"{name}.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize("name", [name for name in NAMES if name in TILES])
def test_each_headline_number_is_that_of_the_report(built_home, parsed, name):
    assert parsed[name].tiles.keys() == TILES[name].keys()
    for label, sql in TILES[name].items():
        ((value,),) = asked(built_home, sql)
        said = parsed[name].tiles[label]
        match value:
            case None:
                assert said == "", label
            case Decimal():
                assert said == str(int(value * 100)), label
            case float():
                assert isclose(float(said), value, rel_tol=1e-12), label
            case _:
                assert said == str(value), label


@pytest.mark.parametrize("name", [name for name in NAMES if name in TABLES])
def test_each_figure_of_a_chart_or_table_is_that_of_the_report(built_home, report, parsed, name):
    figures = {f["title"]: f for f in data_of(report, name)["figures"] if f["kind"] != "tile"}

    assert figures.keys() == TABLES[name].keys()
    for title, sql in TABLES[name].items():
        kinds = [one["kind"] for one in (*figures[title]["by"], *figures[title]["measures"])]
        keys = len(figures[title]["by"])
        rows = asked(built_home, sql)
        cells = parsed[name].tables[title]
        assert len(cells) == len(rows), title
        for row in rows:
            matching = [c for c in cells if all(same(c[n], row[n], kinds[n]) for n in range(keys))]
            assert any(all(map(same, c, row, kinds)) for c in matching), (title, row, matching)


def test_the_comparison_finds_what_differs():
    assert same("$1,234.50", Decimal("1234.5"), "amount") and not same("$1,234.51", Decimal("1234.5"), "amount")
    assert same("12.3 %", 0.1234, "share") and not same("12.5 %", 0.1234, "share")
    assert same("Nov 2026", duckdb.sql("select date '2026-11-01'").fetchall()[0][0], "month")
    assert not same("–", 0, "count")


METRICS = {
    "months": ("index", "months", "month_start_date", "metric_time__month"),
    "owners": ("revenue", "owners", None, None),
    "quotas": ("revenue", "quotas", "period_start_date", "metric_time__day"),
}
"""Rows of pages whose figures are metrics: page, rows, and the column by which they are grouped."""


def test_each_figure_that_names_a_metric_is_what_the_metric_says(built_home, report, tmp_path):
    """Amounts and counts exactly. By month or period; the owners' together."""
    questions = {}
    for about, (name, rows, column, dimension) in METRICS.items():
        page = data_of(report, name)
        measures = {
            one["metric"]: one
            for figure in page["figures"]
            if figure["rows"] == rows
            for one in figure["measures"]
            if one["metric"] and one["kind"] in ("amount", "count")
        }
        if measures:
            questions[about] = (page["rows"][rows], column, dimension, measures)
    assert {metric for *_, measures in questions.values() for metric in measures} == {
        *("bookings", "leads_created", "meetings", "pipeline", "weighted_pipeline", "quota", "quota_bookings")
    }
    asked = [
        ["metrics", *query(tmp_path / f"{about}.csv", measures, [dimension or "metric_time__year"])]
        for about, (_, _, dimension, measures) in questions.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", ASK_ALL],
        input=json.dumps(asked),
        env=built_home.environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    compared = 0
    for about, (rows, column, dimension, measures) in questions.items():
        answers = list(csv.DictReader((tmp_path / f"{about}.csv").open()))
        places = {name: place for place, (name, _) in enumerate(rows["columns"])}
        for metric, measure in measures.items():
            scale = 100 if measure["kind"] == "amount" else 1
            embedded: dict[str, int] = {}
            for row in rows["values"]:
                key = row[places[column]] if column else "all"
                embedded[key] = embedded.get(key, 0) + (row[places[measure["of"]]] or 0)
            said: dict[str, Decimal] = {}
            for answer in answers:
                key = answer[dimension][:10] if dimension else "all"
                said[key] = said.get(key, Decimal(0)) + Decimal(answer[metric] or 0) * scale
            for key in embedded:
                assert embedded[key] == said.get(key, 0), (metric, key)
                compared += bool(embedded[key])
    assert compared > 10


# -- in a browser ----------------------------------------------------------------------------------------------

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@dataclass
class Look:
    """A page in the browser, and what it asked for and complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def look(browser, report):
    """Opens a page of the report. A request that leaves the folder fails, and is noted."""
    contexts = []

    def open_page(name: str, viewport=DESKTOP, scheme="light", zone="America/Los_Angeles") -> Look:
        context = browser.browser.new_context(viewport=viewport, color_scheme=scheme, timezone_id=zone)
        contexts.append(context)
        found = Look(context.new_page())
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.goto((report / f"{name}.html").resolve().as_uri())
        found.page.wait_for_selector("html[data-drawn]", state="attached")
        return found

    yield open_page
    for context in contexts:
        context.close()


def marks(page: Page) -> dict[str, int]:
    """Of each chart that is shown how many marks are drawn."""
    script = """figures => Object.fromEntries(figures.map(f => [f.querySelector('h3').textContent,
        f.querySelectorAll('.mark-rect path, .mark-symbol path, .mark-line path').length]))"""
    return page.locator("figure:has(.chart:not([hidden]))").evaluate_all(script)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_drawn_and_asks_nobody(browser, look, report, parsed, name, viewport, scheme):
    seen = look(name, viewport, scheme)
    page = seen.page
    browser.screenshot(page, f"{name}-{viewport['width']}-{scheme}")

    assert seen.complaints == []
    folder = report.resolve().as_uri()
    assert {url.removeprefix(folder) for url in seen.requests} <= {f"/{name}.html", f"/{SCRIPT}"}
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    drawn = marks(page)
    for title, said in parsed[name].alternatives.items():
        rows = len(parsed[name].tables[title])
        assert said.startswith(f"{title}.")
        if title in drawn:
            assert drawn[title] > 0, title
            assert re.search(r"last .*highest ", said), said
        else:
            # A chart without a figure says so instead.
            assert "No figures" in said, title
            expect(
                page.locator("figure", has=page.get_by_role("heading", name=title)).locator(".missing")
            ).to_be_visible()
        assert rows or "No figures" in said
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
    fills = page.locator(".mark-rect path").evaluate_all("marks => marks.map(m => getComputedStyle(m).fill)")
    assert not fills or "rgb(0, 0, 0)" not in fills


def test_all_bars_of_a_chart_are_there(look, parsed):
    drawn = marks(look("index").page)
    # A bar for each month that has a figure, and a mark for each that has one of the year before.
    rows = parsed["index"].tables["Bookings, and those of the year before"]
    assert drawn["Bookings, and those of the year before"] >= sum(row[1] != "–" for row in rows)
    assert drawn["Deals that entered each step in the month"] >= len(
        parsed["index"].tables["Deals that entered each step in the month"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_landmarks_headings_and_names(look, name):
    page = look(name).page

    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("html").get_attribute("lang") == "en"
    for select in page.locator("select").all():
        assert select.evaluate("s => s.labels[0].textContent.trim()")
    for figure in page.locator("figure:has(.chart)").all():
        title = figure.locator("h3").text_content()
        assert figure.locator(".chart").get_attribute("aria-label").startswith(f"{title}.")
        assert figure.locator(".chart").get_attribute("role") == "img"
        assert figure.locator("table").count() == 1
        assert figure.locator("svg").count() == figure.locator("[aria-hidden=true] svg").count()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the figures"


def test_choices_by_keyboard_change_the_figures_to_those_of_the_report(built_home, look):
    page = look("revenue").page
    team = page.get_by_role("combobox", name="Team of")
    pipeline = page.locator(".tile:has(h3:text-is('Pipeline')) data")
    before = pipeline.get_attribute("value")
    while page.evaluate("document.activeElement.tagName") != "SELECT":
        page.keyboard.press("Tab")
    expect(team).to_be_focused()
    page.keyboard.press("ArrowDown")
    name = team.evaluate("s => s.selectedOptions[0].textContent")

    ((expected,),) = asked(
        built_home, f"select sum(pipeline_amount) {OWNERS} and coalesce(manager_name, 'No manager') = '{name}'"
    )
    expect(pipeline).to_have_attribute("value", str(int(expected * 100)))
    expect(page.get_by_role("status")).to_have_text(f"Team of: {name}. The figures follow.")
    deaf = page.locator("figure", has=page.get_by_role("heading", name="Median days in each stage")).locator(
        ".deaf"
    )
    expect(deaf).to_have_text("Shows all, whatever the choice of team of.")
    owners = page.locator("figure", has=page.get_by_role("heading", name="By owner", exact=True))
    of_team = asked(built_home, f"select 1 {OWNERS} and coalesce(manager_name, 'No manager') = '{name}'")
    expect(owners.locator("tbody tr")).to_have_count(len(of_team))
    page.get_by_role("button", name="Show all").press("Enter")
    expect(pipeline).to_have_attribute("value", before)
    expect(deaf).to_be_hidden()


def test_another_month_has_the_figures_of_that_month(built_home, look):
    page = look("index").page
    page.get_by_role("combobox", name="Month").first.select_option(index=1)

    ((won, before),) = asked(
        built_home,
        f"select won_amount, won_amount_month_before {SUMMARY} order by month_start_date desc limit 1 offset 1",
    )
    tile = page.locator(".tile:has(h3:text-is('Bookings'))")
    expect(tile.locator("data")).to_have_attribute("value", str(int(won * 100)))
    expect(tile.locator("b").first).to_have_attribute("title", f"month before: {shown(before)}")


@pytest.mark.parametrize("name", NAMES)
def test_the_browser_writes_what_the_file_says(look, name):
    """With every choice made anew as it was, all figures are written by the script, as they were by Python."""
    page = look(name).page
    everything = "all => all.map(e => e.outerHTML.replace(/\\s+/g, ' '))"
    figures = page.locator(".tile data, .change, tbody, .missing:not([hidden])")
    before = figures.evaluate_all(everything)
    sentences = page.locator(".chart").evaluate_all("all => all.map(e => e.ariaLabel)")
    page.evaluate("document.dispatchEvent(new Event('reset'))")
    page.evaluate("() => new Promise(done => setTimeout(done, 300))")

    assert figures.evaluate_all(everything) == before
    assert page.locator(".chart").evaluate_all("all => all.map(e => e.ariaLabel)") == sentences


def test_print_is_light_and_leaves_out_what_is_clicked(look):
    page = look("index", scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")

    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')") == "#18222e"
    expect(page.get_by_role("navigation")).to_be_hidden()
    expect(page.locator(".chart svg").first).to_be_visible()
    assert len(page.pdf(format="A4")) > 20_000


def test_without_the_library_tables_and_choices_work(look, report, tmp_path, browser):
    alone = tmp_path / "index.html"
    alone.write_text((report / "index.html").read_text())
    with browser.browser.new_context() as context:
        page = context.new_page()
        page.goto(alone.as_uri())
        page.get_by_role("combobox", name="Month").first.select_option(index=1)
        expect(page.get_by_role("status")).to_contain_text("The figures follow.")


def test_no_page_holds_a_person_but_owners(built_home, report):
    texts = {path.name: path.read_text() for path in report.glob("*.html")}
    contacts = asked(
        built_home, "select contact_name, email from gtm_core.dim_contact where source_system <> 'unknown'"
    )
    assert len(contacts) > 50
    owners = {name for (name,) in asked(built_home, "select user_name from gtm_core.dim_user")}
    for name, text in texts.items():
        found = [one for row in contacts for one in row if one and one not in owners and one in text]
        assert found == [], name


def test_a_run_says_where_the_report_is(built_home, report):
    said = built_home.output_file.read_text()

    assert f"report     {(report / 'index.html').as_uri()}" in said
    sentence = (report / SENTENCE).read_text()
    assert "bookings $" in sentence
    assert (report / PICTURE).read_bytes().startswith(b"\x89PNG")
