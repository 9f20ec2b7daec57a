"""The first page: where the business stands."""

from __future__ import annotations

from gtm_assets.reporting.charts import by_name, over_time
from gtm_assets.reporting.page import Chart, Choice, Content, Page, Section, Tile, options_of
from gtm_assets.reporting.published import Published
from gtm_assets.reporting.rows import Column, Measure, Rows, written

SUMMARY = "gtm_mart.rep_executive_summary"
_MONTH = Column("month_start_date", "Month", "month")
_FIGURES = (
    Column("won_amount", "Bookings", "amount"),
    Column("won_count", "Deals won", "count"),
    Column("win_rate_by_count", "Win rate", "share"),
    Column("average_won_amount", "Average deal", "amount"),
    Column("pipeline_amount", "Pipeline", "amount"),
    Column("weighted_pipeline_amount", "Weighted pipeline", "amount"),
    Column("opportunities_created_amount", "New pipeline", "amount"),
    Column("quota_amount", "Quota of the period", "amount"),
    Column("quota_booked_amount", "Booked in the period", "amount"),
    Column("quota_attainment", "Quota attainment", "share"),
    Column("lead_count", "Leads", "count"),
    Column("lead_conversion_rate", "Lead conversion", "share"),
    Column("meeting_count", "Meetings", "count"),
)
_BEFORE = {"month before": "month_before", "year before": "year_before"}
_METRICS = {
    "won_amount": "bookings",
    "won_count": "won_deals",
    "win_rate_by_count": "win_rate_by_count",
    "lead_count": "leads_created",
    "lead_conversion_rate": "lead_conversion",
    "meeting_count": "meetings",
}
_HEADLINES = (
    "won_amount",
    "quota_attainment",
    "pipeline_amount",
    "win_rate_by_count",
    "opportunities_created_amount",
    "average_won_amount",
    "lead_count",
    "meeting_count",
)
NO_PIPELINE = "No deal was there yet, or nothing is known of the pipeline that early."


def measure(name: str) -> Measure:
    """A measure of the summary's months."""
    column = next(column for column in _FIGURES if column.name == name)
    return Measure(column.label, column.name, column.kind, metric=_METRICS.get(name, ""))


def months(published: Published) -> Rows:
    """The summary, newest month first, each figure with those of the month and of the year before."""
    before = [
        Column(f"{column.name}_{ending}", f"{column.label}, {called}", column.kind)
        for called, ending in _BEFORE.items()
        for column in _FIGURES
    ]
    columns = (_MONTH, Column("last_day", "Last day", "day"), *_FIGURES, *before)
    return published.rows(
        "months",
        f"select {', '.join(column.name for column in columns)} from {SUMMARY} order by month_start_date desc",
        *columns,
        report=SUMMARY,
    )


def headlines(summary: Rows) -> list[Tile]:
    """The headline numbers of a month."""
    return [
        Tile(
            measure(name).label,
            summary,
            measure(name),
            before=[(called, f"{name}_{ending}") for called, ending in _BEFORE.items()],
        )
        for name in _HEADLINES
    ]


def oldest_first(summary: Rows) -> Rows:
    """The months in the order of time."""
    return Rows("trend", summary.columns, [*reversed(summary.values)], summary.query, summary.report)


def bookings(trend: Rows) -> Chart:
    """Bookings by month, with those of the year before."""
    return Chart(
        "Bookings, and those of the year before",
        trend,
        ["month_start_date"],
        [measure("won_amount"), Measure("Year before", "won_amount_year_before", "amount")],
        drawn=over_time(target="Year before"),
        note="The mark is the same month of the year before.",
    )


def _content(published: Published) -> Content:
    summary = months(published)
    newest = summary.values[0] if summary.values else None
    under_way = ""
    if newest is not None:
        day = written(newest[1].isoformat(), "day")
        under_way = (
            f"{written(newest[0].isoformat(), 'month')} counts up to {day}; the months that it is compared with "
            "are whole, where they are over."
        )
    trend = oldest_first(summary)
    last = [row[0] for row in summary.values]
    since = [(last[n - 1].isoformat(), f"Last {n} months") for n in (24, 12, 6) if len(last) >= n]
    teams = published.rows(
        "teams",
        "select manager_name, won_amount_quarter_to_date, pipeline_amount, weighted_pipeline_amount, won_count,"
        " lost_count, won_amount"
        " from gtm_mart.rep_manager_performance where pipeline_count + won_count > 0"
        " order by pipeline_amount desc, manager_name",
        Column("manager_name", "Manager"),
        Column("won_amount_quarter_to_date", "Booked this quarter", "amount"),
        Column("pipeline_amount", "Pipeline", "amount"),
        Column("weighted_pipeline_amount", "Weighted pipeline", "amount"),
        Column("won_count", "Won", "count"),
        Column("lost_count", "Lost", "count"),
        Column("won_amount", "Bookings", "amount"),
        report="gtm_mart.rep_manager_performance",
    )
    funnel = published.rows(
        "funnel",
        "select month, kpi_name, source_system, deals_count from gtm_mart.rep_sales_funnel_monthly"
        " order by month desc, funnel_step, source_system",
        Column("month", "Month", "month"),
        Column("kpi_name", "Step"),
        Column("source_system", "Source"),
        Column("deals_count", "Deals", "count"),
        report="gtm_mart.rep_sales_funnel_monthly",
    )
    month = Choice("month_start_date", "Month", options_of(summary, "month_start_date", written))
    return Content(
        [
            Section("The month", headlines(summary), choices=[month], note=under_way),
            Section(
                "The trend",
                [
                    bookings(trend),
                    Chart(
                        "Bookings of the quota's period so far, and the quota",
                        trend,
                        ["month_start_date"],
                        [measure("quota_booked_amount"), measure("quota_amount"), measure("quota_attainment")],
                        drawn=over_time(target="Quota of the period"),
                        note="The mark is the quota of the whole period.",
                        if_missing="Without a quota there is no period.",
                    ),
                    Chart(
                        "Pipeline at the month's end",
                        trend,
                        ["month_start_date"],
                        [measure("pipeline_amount"), measure("weighted_pipeline_amount")],
                        drawn=over_time(),
                        if_missing=NO_PIPELINE,
                    ),
                    Chart(
                        "Win rate",
                        trend,
                        ["month_start_date"],
                        [measure("win_rate_by_count")],
                        drawn=over_time("line"),
                    ),
                ],
                choices=[Choice("month_start_date", "Period", since, everything="All months", from_on=True)],
            ),
            Section(
                "Teams",
                [
                    Chart(
                        "Pipeline by manager, with all who report to them",
                        teams,
                        ["manager_name"],
                        [
                            Measure("Weighted pipeline", "weighted_pipeline_amount", "amount"),
                            Measure("Pipeline", "pipeline_amount", "amount"),
                            Measure("Booked this quarter", "won_amount_quarter_to_date", "amount"),
                        ],
                        drawn=by_name(target="Booked this quarter"),
                        note="The paler bar is the pipeline, the darker its weighted part, the mark what is "
                        "booked this quarter. Managers of managers count their managers' teams too.",
                    )
                ],
            ),
            Section(
                "The funnel",
                [
                    Chart(
                        "Deals that entered each step in the month",
                        funnel,
                        ["kpi_name"],
                        [Measure("Deals", "deals_count", "count")],
                        drawn=by_name(),
                    )
                ],
                choices=[
                    Choice("month", "Month", options_of(funnel, "month", written)),
                    Choice(
                        "source_system",
                        "Source",
                        [(name, name.capitalize()) for name in sorted(funnel.distinct("source_system"))],
                        everything="All sources",
                    ),
                ],
            ),
        ]
    )


PAGE = Page("index", "Executive", "Where the business stands against its plan.", _content)
