"""The page of pipeline, bookings, quota, forecast and velocity, for sales managers and their owners.

A chart over another report is its rows, with the columns of :data:`OWNER` where the choices above the page are to
change it, and an entry in a section.
"""

from __future__ import annotations

from collections.abc import Sequence

from gtm_assets.reporting.charts import by_name, over_time, waterfall
from gtm_assets.reporting.page import Chart, Choice, Content, Page, Section, Table, Tile, options_of
from gtm_assets.reporting.published import Published
from gtm_assets.reporting.rows import Column, Measure, Rows, written

OWNER = (Column("owner_name", "Owner"), Column("manager_name", "Team of"))
"""The columns by which the choices above the page are made."""
PIPELINE = Measure("Pipeline", "pipeline_amount", "amount", metric="pipeline")
WEIGHTED = Measure("Weighted pipeline", "weighted_pipeline_amount", "amount", metric="weighted_pipeline")
WON = Measure("Bookings", "won_amount", "amount", metric="bookings")
WIN_RATE = Measure("Win rate", "won_count", "share", ("won_count", "lost_count"), metric="win_rate_by_count")
WEEKS, PERIODS, MONTHS = 26, 8, 24
"""How far back weeks, quota's periods and months go."""
MOST = 30
"""So many owners are drawn; the table has all of them."""
_WITHOUT = "No manager"
START, END = "Start", "End"
DUE, LATER = "By the end of the month", "Later"
STEPS = {
    "start_amount": START,
    **{
        f"{movement}_amount": movement.replace("_", " ").capitalize()
        for movement in (
            *("created", "first_seen", "reopened", "restored", "included", "transferred_in", "transferred_out"),
            *(
                "increased",
                "decreased",
                "pulled_in",
                "pushed_out",
                "revalued",
                "won",
                "lost",
                "omitted",
                "deleted",
            ),
        )
    },
    "end_amount": END,
}
"""The columns of the waterfall in their order, with what they are called."""


def _owners(published: Published) -> Rows:
    return published.rows(
        "owners",
        f"""
        select
            owner_name, coalesce(manager_name, '{_WITHOUT}') as manager_name, pipeline_amount,
            weighted_pipeline_amount, pipeline_count, won_amount, won_amount_quarter_to_date,
            won_amount_month_to_date, won_count, lost_count, lost_amount
        from gtm_mart.rep_owner_performance
        where opportunity_count > 0
        order by pipeline_amount desc, owner_name
        """,
        *OWNER,
        Column("pipeline_amount", "Pipeline", "amount"),
        Column("weighted_pipeline_amount", "Weighted pipeline", "amount"),
        Column("pipeline_count", "Deals in the pipeline", "count"),
        Column("won_amount", "Bookings", "amount"),
        Column("won_amount_quarter_to_date", "Booked this quarter", "amount"),
        Column("won_amount_month_to_date", "Booked this month", "amount"),
        Column("won_count", "Won", "count"),
        Column("lost_count", "Lost", "count"),
        Column("lost_amount", "Lost amount", "amount"),
        report="gtm_mart.rep_owner_performance",
    )


def _health(
    published: Published, name: str, keys: Sequence[Column], condition: str, figures: Sequence[Column]
) -> Rows:
    """The pipeline's health by keys and owner, with the manager whom the owner has now."""
    by = ", ".join(f"health.{key.name}" for key in keys)
    return published.rows(
        name,
        f"""
        select
            {by}, health.owner_name, coalesce(max(owners.manager_name), '{_WITHOUT}') as manager_name,
            {", ".join(f"sum(health.{figure.name}) as {figure.name}" for figure in figures)}
        from gtm_mart.rep_pipeline_health as health
        left join gtm_mart.rep_owner_performance as owners on health.owner_user_key = owners.owner_user_key
        where {condition}
        group by {by}, health.owner_user_key, health.owner_name
        order by {by}, health.owner_name
        """,
        *keys,
        *OWNER,
        *figures,
        report="gtm_mart.rep_pipeline_health",
    )


def _pipeline(published: Published, owners: Rows) -> Section:
    newest = "(select max(week_end_date) from gtm_mart.rep_pipeline_health)"
    stages = _health(
        published,
        "stages",
        [Column("stage_order", "Order", "count"), Column("stage_name", "Stage")],
        f"health.week_end_date = {newest}",
        [
            Column("open_amount", "Pipeline", "amount"),
            Column("weighted_amount", "Weighted", "amount"),
            Column("open_count", "Deals", "count"),
            Column("overdue_count", "Overdue", "count"),
            Column("idle_count", "Idle", "count"),
        ],
    )
    weeks = _health(
        published,
        "weeks",
        [Column("week_end_date", "Week to", "week")],
        f"health.week_end_date > {newest} - {7 * WEEKS}",
        [
            Column("open_amount", "Pipeline", "amount"),
            Column("added_amount", "Added", "amount"),
            Column("won_amount", "Won", "amount"),
            Column("lost_amount", "Lost", "amount"),
            Column("slipped_count", "Slipped", "count"),
            Column("advanced_count", "Advanced", "count"),
        ],
    )
    return Section(
        "The pipeline",
        [
            Chart(
                "By stage",
                stages,
                ["stage_name"],
                [
                    Measure("Weighted", "weighted_amount", "amount"),
                    Measure("Pipeline", "open_amount", "amount"),
                    Measure("Deals", "open_count", "count"),
                    Measure("Overdue", "overdue_count", "count"),
                    Measure("Idle", "idle_count", "count"),
                ],
                note="At the end of the last week, or so far in the one under way. The paler bar is the pipeline, "
                "the darker its weighted part.",
                drawn=by_name(),
            ),
            Chart(
                "What moved in each week",
                weeks,
                ["week_end_date"],
                [
                    Measure("Added", "added_amount", "amount"),
                    Measure("Won", "won_amount", "amount"),
                    Measure("Lost", "lost_amount", "amount"),
                    Measure("Slipped", "slipped_count", "count"),
                    Measure("Advanced", "advanced_count", "count"),
                ],
                note=f"Weeks are named by their Sunday. The last {WEEKS} at most.",
                drawn=over_time(),
            ),
            Chart(
                "At each week's end",
                weeks,
                ["week_end_date"],
                [Measure("Pipeline", "open_amount", "amount")],
                drawn=over_time(),
            ),
            Chart(
                "By owner",
                owners,
                ["owner_name"],
                [
                    WEIGHTED,
                    PIPELINE,
                    Measure("Deals", "pipeline_count", "count"),
                    Measure("Booked this quarter", "won_amount_quarter_to_date", "amount"),
                    WIN_RATE,
                ],
                drawn=by_name(target="Booked this quarter"),
                note="The paler bar is the pipeline, the darker its weighted part, the mark what is booked this "
                "quarter.",
                largest_first=True,
                wide=True,
                most=MOST,
            ),
        ],
    )


def _movements(published: Published) -> Section:
    """How the pipeline went from one month's end to the next, and which close dates left their month."""
    steps = ", ".join(f'{column} as "{label}"' for column, label in STEPS.items())
    labels = [*STEPS.values()]
    months = published.rows(
        "waterfall",
        f"""
        select
            period_start_date, period_name, step, side, owner_name, manager_name, sum(amount) as amount
        from (
            unpivot (
                select
                    period_start_date, period_name,
                    case when is_due then '{DUE}' else '{LATER}' end as side,
                    coalesce(owner_name, 'Not known') as owner_name,
                    coalesce(manager_name, '{_WITHOUT}') as manager_name, {steps}
                from gtm_mart.rep_pipeline_waterfall
                where period_type = 'Month' and is_whole
            )
            on {", ".join(f'"{label}"' for label in labels)} into name step value amount
        )
        where
            period_start_date > (select max(period_start_date) from gtm_mart.rep_pipeline_waterfall)
            - interval {MONTHS} month
            and (amount <> 0 or step in ('{START}', '{END}'))
        group by all
        order by period_start_date desc, min(list_position({labels}, step)), side, owner_name
        """,
        Column("period_start_date", "From", "month"),
        Column("period_name", "Month"),
        Column("step", "Step"),
        Column("side", "Close date"),
        *OWNER,
        Column("amount", "Amount", "amount"),
        report="gtm_mart.rep_pipeline_waterfall",
    )
    slipped = published.rows(
        "slipped",
        f"""
        select
            date_trunc('month', pushed_date)::date as pushed_month,
            coalesce(owner_name, 'Not known') as owner_name,
            coalesce(manager_name, '{_WITHOUT}') as manager_name, count(*) as pushes,
            count(*) filter (is_out_of_quarter) as pushes_out_of_quarter, sum(amount) as amount
        from gtm_mart.rep_slipped_deals
        where pushed_date > (select max(pushed_date) from gtm_mart.rep_slipped_deals) - interval {MONTHS} month
        group by all
        order by 1, 2, 3
        """,
        Column("pushed_month", "Month", "month"),
        *OWNER,
        Column("pushes", "Pushes", "count"),
        Column("pushes_out_of_quarter", "Out of the quarter", "count"),
        Column("amount", "Slipped", "amount"),
        report="gtm_mart.rep_slipped_deals",
    )
    return Section(
        "How it moved",
        [
            Chart(
                "From the month before to the end of the month",
                months,
                ["step"],
                [Measure("Amount", "amount", "amount")],
                note="What came in is green, what went out red. Close dates that cross the month's end and "
                "transfers are on two sides, which come to nothing together: choose one to see them.",
                drawn=waterfall(START, END),
                wide=True,
            ),
            Chart(
                "Amount of deals whose close date left its month",
                slipped,
                ["pushed_month"],
                [
                    Measure("Slipped", "amount", "amount", metric="slipped_amount"),
                    Measure("Pushes", "pushes", "count", metric="pushes"),
                    Measure("Out of the quarter", "pushes_out_of_quarter", "count"),
                ],
                note="Each push to a later month counts, on the day on which the date was changed.",
                drawn=over_time(),
                wide=True,
            ),
        ],
        choices=[
            Choice("period_name", "Month", options_of(months, "period_name", written)),
            Choice("side", "Close date", [(DUE, DUE), (LATER, LATER)], everything="All pipeline"),
        ],
    )


def _recurring(published: Published) -> Section:
    """ARR by month, and how much of it stays."""
    arr = published.rows(
        "arr",
        f"""
        select
            month_start_date, closing_arr, new_arr, expansion_arr, reactivation_arr, contraction_arr, churn_arr,
            customer_count, nrr, grr, logo_churn_rate
        from gtm_mart.rep_arr_retention
        order by month_start_date desc
        limit {MONTHS}
        """,
        Column("month_start_date", "Month", "month"),
        Column("closing_arr", "ARR", "amount"),
        Column("new_arr", "New", "amount"),
        Column("expansion_arr", "Expansion", "amount"),
        Column("reactivation_arr", "Reactivation", "amount"),
        Column("contraction_arr", "Contraction", "amount"),
        Column("churn_arr", "Churn", "amount"),
        Column("customer_count", "Customers", "count"),
        Column("nrr", "NRR", "share"),
        Column("grr", "GRR", "share"),
        Column("logo_churn_rate", "Logo churn", "share"),
        report="gtm_mart.rep_arr_retention",
    )
    moved = [
        Measure(label, f"{label.lower()}_arr", "amount", metric=f"{label.lower()}_arr")
        for label in ("New", "Expansion", "Reactivation", "Contraction", "Churn")
    ]
    return Section(
        "Recurring revenue",
        [
            Chart(
                "ARR at the month's end",
                arr,
                ["month_start_date"],
                [
                    Measure("ARR", "closing_arr", "amount", metric="arr"),
                    Measure("Customers", "customer_count", "count"),
                ],
                drawn=over_time(),
            ),
            Chart("What moved it", arr, ["month_start_date"], moved, drawn=over_time()),
            Chart(
                "How much of it stays",
                arr,
                ["month_start_date"],
                [
                    Measure("NRR", "nrr", "share"),
                    Measure("GRR", "grr", "share"),
                    Measure("Logo churn", "logo_churn_rate", "share"),
                ],
                note="Of the customers of a year before: their ARR today, without what grew, and how many left.",
                if_missing="A year before there was no customer.",
                drawn=over_time("line"),
                wide=True,
            ),
        ],
    )


def _quota(published: Published) -> Section:
    quotas = published.rows(
        "quotas",
        f"""
        select
            period_name, period_start_date, owner_name, coalesce(manager_name, '{_WITHOUT}') as manager_name,
            quota_amount, bookings_amount
        from gtm_mart.rep_quota_attainment
        where period_name in (
            select period_name from gtm_mart.rep_quota_attainment
            where quota_amount > 0
            group by period_name
            order by max(period_start_date) desc
            limit {PERIODS}
        )
        order by period_start_date desc, period_name, quota_amount desc, owner_name
        """,
        Column("period_name", "Period"),
        Column("period_start_date", "From", "day"),
        *OWNER,
        Column("quota_amount", "Quota", "amount"),
        Column("bookings_amount", "Bookings", "amount"),
        report="gtm_mart.rep_quota_attainment",
    )
    booked = Measure("Bookings", "bookings_amount", "amount", metric="quota_bookings")
    quota = Measure("Quota", "quota_amount", "amount", metric="quota")
    attained = Measure("Attainment", "bookings_amount", "share", ("quota_amount",), metric="quota_attainment")
    return Section(
        "Quota",
        [
            Tile("Quota", quotas, quota, better=""),
            Tile("Booked", quotas, booked, better=""),
            Tile("Attainment", quotas, attained, better=""),
            Chart(
                "Bookings and quota by owner",
                quotas,
                ["owner_name"],
                [booked, quota, attained],
                drawn=by_name(target="Quota"),
                note="The mark is the quota.",
                largest_first=True,
                wide=True,
                most=MOST,
            ),
            Table("By team", quotas, ["manager_name"], [quota, booked, attained], largest_first=True, wide=True),
        ],
        choices=[Choice("period_name", "Period", options_of(quotas, "period_name", written))],
    )


def _forecast(published: Published) -> Section:
    forecasts = published.rows(
        "forecasts",
        """
        select
            period_name, forecasting_type_id, owner_name, forecast_date,
            replace(replace(forecast_category, 'Only', ''), 'Forecast', '') as forecast_category, forecast_amount,
            actual_amount
        from gtm_mart.rep_forecast_accuracy
        where
            owner_name in (select manager_name from gtm_mart.rep_manager_performance)
            and period_name in (
                select period_name from gtm_mart.rep_forecast_accuracy
                group by period_name
                order by max(period_start_date) desc
                limit 4
            )
        order by
            period_start_date desc, forecasting_type_id, max(forecast_amount) over (partition by owner_name) desc,
            owner_name, forecast_date, forecast_category
        """,
        Column("period_name", "Period"),
        Column("forecasting_type_id", "Forecast type"),
        Column("owner_name", "Forecast of"),
        Column("forecast_date", "Day", "day"),
        Column("forecast_category", "Category"),
        Column("forecast_amount", "Forecast", "amount"),
        Column("actual_amount", "Booked", "amount"),
        report="gtm_mart.rep_forecast_accuracy",
    )
    types = forecasts.distinct("forecasting_type_id")
    return Section(
        "Forecast",
        [
            Chart(
                "Forecast of the period by category, week by week",
                forecasts,
                ["forecast_date", "forecast_category"],
                [
                    Measure("Forecast", "forecast_amount", "amount"),
                    Measure("Booked", "actual_amount", "amount"),
                ],
                drawn=over_time("line", target="Booked"),
                note="Of a manager with the team. Each category holds the surer ones too. The mark is what "
                "is booked in the period so far.",
                if_missing="Forecasts are known from the first landed day on, of periods that are not over "
                "by then.",
            )
        ],
        choices=[
            Choice("owner_name", "Forecast of", options_of(forecasts, "owner_name", written)),
            Choice("period_name", "Period", options_of(forecasts, "period_name", written)),
            # Forecasts of several types must not be added.
            *(
                [Choice("forecasting_type_id", "Type", options_of(forecasts, "forecasting_type_id", written))]
                if len(types) > 1
                else []
            ),
        ],
    )


def _accounts(published: Published) -> Section:
    accounts = published.rows(
        "accounts",
        f"""
        select
            coalesce(accounts.segment, 'Not known') as segment,
            coalesce(accounts.owner_name, 'Not known') as owner_name,
            coalesce(max(owners.manager_name), '{_WITHOUT}') as manager_name,
            count(*) as accounts,
            count(*) filter (accounts.is_idle) as idle_accounts,
            sum(accounts.pipeline_amount) as pipeline_amount,
            sum(accounts.weighted_pipeline_amount) as weighted_pipeline_amount,
            sum(accounts.won_amount) as won_amount
        from gtm_mart.rep_account_health as accounts
        left join gtm_mart.rep_owner_performance as owners
            on accounts.owner_user_id = owners.owner_user_id and accounts.source_system = owners.source_system
        where accounts.source_system <> 'unknown'
        group by 1, 2, accounts.owner_user_id
        order by sum(accounts.pipeline_amount) desc, 1, 2
        """,
        Column("segment", "Segment"),
        *OWNER,
        Column("accounts", "Accounts", "count"),
        Column("idle_accounts", "Idle", "count"),
        Column("pipeline_amount", "Pipeline", "amount"),
        Column("weighted_pipeline_amount", "Weighted pipeline", "amount"),
        Column("won_amount", "Bookings", "amount"),
        report="gtm_mart.rep_account_health",
    )
    counted = [
        Measure("Pipeline", "pipeline_amount", "amount"),
        Measure("Bookings of all time", "won_amount", "amount"),
        Measure("Accounts", "accounts", "count"),
        Measure("Idle accounts", "idle_accounts", "count"),
    ]
    return Section(
        "Accounts",
        [
            Tile("Accounts", accounts, counted[2], better=""),
            Tile(
                "Idle accounts",
                accounts,
                counted[3],
                better="",
                note="With pipeline, and long without activity.",
            ),
            Tile("Their pipeline", accounts, counted[0], better=""),
            Chart(
                "Pipeline by segment",
                accounts,
                ["segment"],
                [counted[0], *counted[2:]],
                drawn=by_name(),
                largest_first=True,
            ),
            Chart(
                "Pipeline by owner of the account",
                accounts,
                ["owner_name"],
                [counted[0], *counted[2:]],
                drawn=by_name(),
                largest_first=True,
                wide=True,
                most=MOST,
            ),
        ],
        choices=[
            Choice("segment", "Segment", options_of(accounts, "segment", written), everything="All segments")
        ],
    )


def _velocity(published: Published) -> Section:
    velocity = published.rows(
        "velocity",
        f"""
        select
            entry_month, source_system, stage_name, entered_count, left_forward_count, lost_count,
            median_days_in_stage
        from gtm_mart.rep_sales_velocity
        where entry_month > (select max(entry_month) from gtm_mart.rep_sales_velocity) - interval {MONTHS} month
        order by entry_month desc, source_system desc, stage_order, stage_name
        """,
        Column("entry_month", "Month", "month"),
        Column("source_system", "Source"),
        Column("stage_name", "Stage"),
        Column("entered_count", "Entered", "count"),
        Column("left_forward_count", "Went on", "count"),
        Column("lost_count", "Lost", "count"),
        Column("median_days_in_stage", "Median days", "number"),
        report="gtm_mart.rep_sales_velocity",
    )
    return Section(
        "Velocity",
        [
            Chart(
                "Median days in each stage",
                velocity,
                ["stage_name"],
                [
                    Measure("Median days", "median_days_in_stage", "number", metric="median_days_in_stage"),
                    Measure("Entered", "entered_count", "count"),
                ],
                drawn=by_name(),
                if_missing="No deal of the month has left these stages yet.",
            ),
            Chart(
                "Deals that went on, of those that entered",
                velocity,
                ["stage_name"],
                [
                    Measure("Went on", "left_forward_count", "count"),
                    Measure("Entered", "entered_count", "count"),
                    Measure("Lost", "lost_count", "count"),
                    Measure("Share that went on", "left_forward_count", "share", ("entered_count",)),
                ],
                drawn=by_name(target="Lost"),
                note="The paler bar is who entered, the darker who went on, the mark who was lost. Those that are "
                "still in the stage may go on yet.",
            ),
        ],
        note="By the month in which deals entered the stage.",
        choices=[
            Choice("entry_month", "Month", options_of(velocity, "entry_month", written)),
            Choice(
                "source_system",
                "Source",
                [(name, name.capitalize()) for name in velocity.distinct("source_system")],
            ),
        ],
    )


def _content(published: Published) -> Content:
    owners = _owners(published)
    names = sorted(options_of(owners, "owner_name", written))
    teams = sorted(options_of(owners, "manager_name", written))
    return Content(
        [
            Section(
                "Now",
                [
                    Tile("Pipeline", owners, PIPELINE, better=""),
                    Tile("Weighted pipeline", owners, WEIGHTED, better=""),
                    Tile("Deals", owners, Measure("Deals", "pipeline_count", "count"), better=""),
                    Tile(
                        "Booked this quarter",
                        owners,
                        Measure("Booked this quarter", "won_amount_quarter_to_date", "amount"),
                        better="",
                    ),
                    Tile(
                        "Booked this month",
                        owners,
                        Measure("Booked this month", "won_amount_month_to_date", "amount"),
                        better="",
                    ),
                    Tile("Win rate of all time", owners, WIN_RATE, better=""),
                ],
            ),
            _pipeline(published, owners),
            _movements(published),
            _quota(published),
            _forecast(published),
            _recurring(published),
            _accounts(published),
            _velocity(published),
        ],
        choices=[
            Choice("manager_name", "Team of", teams, everything="All teams"),
            Choice("owner_name", "Owner", names, everything="All owners"),
        ],
    )


PAGE = Page(
    "revenue", "Revenue and pipeline", "Pipeline, quota, forecast and velocity, by team and owner.", _content
)
