"""The page of trust: each figure and verdict on it is its source's, and a check that failed shows as failed."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest

from gtm_assets.dbt.project import manifest_path
from gtm_assets.explaining.lineage import lineage
from gtm_assets.reporting import html, trust
from gtm_assets.reporting.published import open_published
from gtm_assets.reporting.rows import short

pytestmark = pytest.mark.slow

FIGURES = {
    "bookings": "select sum(amount_converted) from gtm_core.fct_opportunity where is_won and {month}(close_date)",
    "pipeline": "select sum(amount_converted) from gtm_core.fct_opportunity where is_open_pipeline",
    "weighted_pipeline": """
        select sum(weighted_amount_converted) from gtm_core.fct_opportunity where is_open_pipeline""",
    "win_rate_by_amount": """
        select sum(amount_converted) filter (is_won) / sum(amount_converted)
        from gtm_core.fct_opportunity where is_closed and {quarter}(close_date)""",
    "win_rate_by_count": """
        select count(*) filter (is_won) / count(*)
        from gtm_core.fct_opportunity where is_closed and {quarter}(close_date)""",
    "quota_attainment": """
        select sum(bookings_amount) / sum(quota_amount)
        from gtm_mart.rep_quota_attainment where {quarter}(period_start_date) and period_type is not null""",
    "leads_created": """
        select count(*) from gtm_core.dim_lead where lead_key <> 'unknown' and {month}(created_date)""",
    "calls": "select sum(call_count) from gtm_mart.rep_daily_activity where {month}(date_day)",
    "meetings": "select sum(meeting_count) from gtm_mart.rep_daily_activity where {month}(date_day)",
    "emails": "select sum(email_count) from gtm_mart.rep_daily_activity where {month}(date_day)",
}
"""The same figures by hand. The last day of which records count is in September 2026: the third quarter."""


class Texts(HTMLParser):
    """The rows of all tables, by the table's title."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._cell = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data.strip()


def page_of(path: Path) -> html.Made:
    with open_published(path) as published:
        return html.made(trust.PAGE, published, [trust.PAGE])


@pytest.fixture(scope="module")
def page(built_home) -> html.Made:
    return page_of(built_home.published)


def by_metric(page: html.Made) -> dict[str, dict[str, object]]:
    rows = page.rows["trust"]
    names = [column.name for column in rows.columns]
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows.values}


def test_every_figure_is_the_one_that_is_computed_by_hand(built_home, page):
    found = by_metric(page)
    assert found.keys() >= FIGURES.keys()
    shown = " ".join(re.sub(r"<[^>]+>", " ", page.html).split())
    with duckdb.connect(str(built_home.published), read_only=True) as file:
        ((as_of,),) = file.execute("select cast(as_of as varchar) from gtm_meta.publication").fetchall()
        assert as_of.startswith("2026-09-1")
        for metric, query in FIGURES.items():
            days = {"month": ("2026-09-01", "2026-09-30"), "quarter": ("2026-07-01", "2026-09-30")}
            for name, (first, last) in days.items():
                query = re.sub(rf"{{{name}}}\((\w+)\)", rf"\1 between date '{first}' and date '{last}'", query)
            ((expected,),) = file.execute(query).fetchall()
            (kind,) = (
                k for k in ("amount", "count", "share", "number") if found[metric][f"value_{k}"] is not None
            )
            value = found[metric][f"value_{kind}"]
            assert value == (pytest.approx(float(expected), rel=1e-12) if kind == "share" else expected), metric
            plain = int(value * 100) if kind == "amount" else value
            assert short(plain, kind, "USD") in shown, f"{metric} is not on the page"


def test_every_verdict_and_count_of_checks_is_that_of_the_publication(built_home, page):
    manifest = json.loads(manifest_path().read_text())
    by_name = {node["name"]: node for node in manifest["metrics"].values()}
    cells = {row[0]: row for row in Texts(page.html).rows if row}
    with duckdb.connect(str(built_home.published), read_only=True) as file:
        file.execute("set TimeZone = 'UTC'")
        for metric in ("bookings", "leads_created", "calls"):
            measure = by_name[metric]["type_params"]["measure"]["name"]
            (model,) = (
                semantic["depends_on"]["nodes"][0]
                for semantic in manifest["semantic_models"].values()
                if measure in {one["name"] for one in semantic["measures"]}
            )
            assets = lineage(manifest, [model]).assets
            counts = dict(
                file.execute(
                    "select outcome, count(*) from gtm_meta.checks where list_contains(?, asset) group by all",
                    [assets],
                ).fetchall()
            )
            ((reconciled,),) = file.execute(
                "select strftime(max(checked_at), '%Y-%m-%d %H:%M UTC') from gtm_meta.checks"
                " where list_contains(?, asset) and check_name like 'reconciles_with_%'",
                [assets],
            ).fetchall()
            label, _, verdict, at, _, passed, warned, failed = cells[by_name[metric]["label"]]
            assert (int(passed), int(warned)) == (counts["passed"], counts.get("warned", 0)), label
            assert failed == "0" and counts["passed"] > 20
            assert verdict == ("stands, with a warning" if counts.get("warned") else "stands")
            assert at == reconciled


@pytest.mark.parametrize("outcome", ["failed", "missing"])
def test_a_check_that_failed_shows_as_failed(built_home, tmp_path, page, outcome):
    """Planted in what is published: of opportunities, which leads are not made of."""
    file = tmp_path / "gtm.duckdb"
    file.write_bytes(built_home.published.read_bytes())
    with duckdb.connect(str(file)) as published:
        published.execute(
            "update gtm_meta.checks set outcome = ?"
            " where asset = 'gtm_core/fct_opportunity' and check_name = 'reconciles_with_source'",
            [outcome],
        )
    failing = page_of(file)

    verdicts = {metric: row["verdict"] for metric, row in by_metric(failing).items()}
    assert {verdicts[name] for name in ("bookings", "pipeline", "win_rate_by_amount", "quota_attainment")} == {
        trust.FAILED
    }
    assert verdicts["leads_created"] == by_metric(page)["leads_created"]["verdict"] != trust.FAILED
    rows = Texts(failing.html).rows
    told = [row for row in rows if row[:3] == ["reconciles_with_source", "gtm_core/fct_opportunity", outcome]]
    assert len(told) >= 2, "it stands beside what it was reconciled with, and among those that did not pass"
    assert trust.FAILED in failing.html and trust.FAILED not in page.html


def test_what_is_missing_shows(built_home, tmp_path):
    file = tmp_path / "gtm.duckdb"
    file.write_bytes(built_home.published.read_bytes())
    with duckdb.connect(str(file)) as published:
        published.execute("insert into gtm_meta.quarantine values ('salesforce', 'lead', 3)")
        published.execute("insert into gtm_meta.unreadable_tables values ('salesforce', 'task', 'no <right>')")
    lacking = page_of(file)

    found = by_metric(lacking)
    assert found["leads_created"]["verdict"] == found["calls"]["verdict"] == trust.LACKS
    assert found["bookings"]["verdict"] != trust.LACKS
    assert "3 records wait in quarantine" in lacking.html and "no &lt;right&gt;" in lacking.html


def test_a_report_that_is_not_the_sum_of_its_records_is_not_trusted(built_home, tmp_path):
    file = tmp_path / "gtm.duckdb"
    file.write_bytes(built_home.published.read_bytes())
    with duckdb.connect(str(file)) as published:
        published.execute("update gtm_mart.rep_quota_attainment set quota_amount = quota_amount + 0.01")

    assert by_metric(page_of(file))["quota_attainment"]["verdict"] == trust.FAILED
