"""Reconciliation: counts and sums of every additive measure, per day, from the raw records to core to reports.

Raw to core is computed a second time, straight from the lake's files, by SQL of its own: it shares nothing with
the models that it checks but the rule that says which version of a record is the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import dagster as dg
import duckdb

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.dbt.project import project_variables
from gtm_assets.dbt.sample import rows_of
from gtm_assets.engines.files import STAGING
from gtm_assets.finding import Finding

CENTS = "decimal(38, 2)"
"""To which a report rounds the sum of each of its rows, half a cent away from zero."""
SUM = "decimal(38, 6)"
"""Sums are exact: a sum of floating point numbers would depend on the order of the rows."""
TODAY = f"""(
    select cast(timezone('{project_variables()["reporting_timezone"]}', coalesce(
        (select max(now_at) from gtm_meta.external_now), (select max(read_until) from gtm_meta.lake_batches)
    )) as date)
)"""
"""SQL: the day that the models' now is on."""


@dataclass(frozen=True)
class SourceReconciliation:
    """A table of core whose rows of a source are the undeleted records of a raw table."""

    source: str
    core: str
    raw: str
    rows: str
    """Condition on the rows of core that are the source's records."""
    measures: Mapping[str, str] = field(default_factory=dict)
    """Core column to the raw column, or to what core makes where that is empty: the same rule, said once more."""
    day: tuple[str, str] | None = ("created_date", "created_date")
    """Core's day and the raw instant that it is the day of; None: the whole table is compared."""
    records: str = "select * from records"
    """What rows of core are made of, from the CTE ``records``, the raw table's undeleted ones."""


@dataclass(frozen=True)
class ReportReconciliation:
    """A report whose additive measures, by one of its columns, are those of core."""

    report: str
    by: str
    measures: tuple[str, ...]
    core: str
    """Select of the column and the same measures from core, rounded where the report rounds: once, row by row.

    ``{rows_of_sources}`` stands for the rows that each source adds.
    """


REPORT_RECONCILIATIONS = (
    ReportReconciliation(
        "rep_owner_performance",
        "owner_user_key",
        ("opportunity_count", "won_count", "lost_count", "won_amount", "lost_amount", "pipeline_amount"),
        f"""
select
    owner_user_key,
    count(*) as opportunity_count,
    count(*) filter (is_won) as won_count,
    count(*) filter (is_closed and not is_won) as lost_count,
    cast(sum(amount_converted) filter (is_won) as {CENTS}) as won_amount,
    cast(sum(amount_converted) filter (is_closed and not is_won) as {CENTS}) as lost_amount,
    cast(
        sum(amount_converted) filter (not is_closed and coalesce(forecast_category, 'Omitted') <> 'Omitted')
        as {CENTS}
    ) as pipeline_amount
from gtm_core.fct_opportunity
group by all
""",
    ),
    ReportReconciliation(
        "rep_daily_activity",
        "date_day",
        ("tasks_completed_count", "opportunities_created_count", "leads_created_count", "won_count", "lost_count"),
        """
select
    date_day,
    count(*) filter (what = 'task') as tasks_completed_count,
    count(*) filter (what = 'opportunity') as opportunities_created_count,
    count(*) filter (what = 'lead') as leads_created_count,
    count(*) filter (what = 'won') as won_count,
    count(*) filter (what = 'lost') as lost_count
from (
    select completed_date as date_day, 'task' as what from gtm_core.fct_task
    union all
    select created_date, 'opportunity' from gtm_core.fct_opportunity
    union all
    select created_date, 'lead' from gtm_core.dim_lead where lead_key <> 'unknown'
    union all
    select close_date, 'won' from gtm_core.fct_opportunity where is_won
    union all
    select close_date, 'lost' from gtm_core.fct_opportunity where is_closed and not is_won
)
where date_day is not null
group by all
""",
    ),
    ReportReconciliation(
        "rep_executive_summary",
        "month_start_date",
        ("won_count", "lost_count", "won_amount", "lost_amount", "opportunities_created_count", "lead_count"),
        f"""
select
    cast(date_trunc('month', happened_on) as date) as month_start_date,
    count(*) filter (what = 'won') as won_count,
    count(*) filter (what = 'lost') as lost_count,
    cast(sum(amount) filter (what = 'won') as {CENTS}) as won_amount,
    cast(sum(amount) filter (what = 'lost') as {CENTS}) as lost_amount,
    count(*) filter (what = 'opportunity') as opportunities_created_count,
    count(*) filter (what = 'lead') as lead_count
from (
    select close_date as happened_on, 'won' as what, amount_converted as amount
    from gtm_core.fct_opportunity where is_won
    union all
    select close_date, 'lost', amount_converted from gtm_core.fct_opportunity where is_closed and not is_won
    union all
    select created_date, 'opportunity', null from gtm_core.fct_opportunity
    union all
    select created_date, 'lead', null from gtm_core.dim_lead where lead_key <> 'unknown'
)
where happened_on < (select max(month_start_date) + interval 1 month from gtm_mart.rep_executive_summary)
group by all
""",
    ),
    ReportReconciliation(
        "rep_lead_conversion",
        "created_month",
        ("lead_count", "converted_lead_count"),
        """
select
    cast(date_trunc('month', created_date) as date) as created_month,
    count(*) as lead_count,
    count(*) filter (is_converted) as converted_lead_count
from gtm_core.dim_lead
where lead_key <> 'unknown'
group by all
""",
    ),
    ReportReconciliation(
        "rep_arr_monthly",
        "month_start_date",
        ("movement_count", "new_arr", "expansion_arr", "reactivation_arr", "contraction_arr", "churn_arr"),
        f"""
select
    cast(date_trunc('month', movement_date) as date) as month_start_date,
    count(*) as movement_count,
    sum(moved_arr) filter (movement_type = 'new') as new_arr,
    sum(moved_arr) filter (movement_type = 'expansion') as expansion_arr,
    sum(moved_arr) filter (movement_type = 'reactivation') as reactivation_arr,
    sum(moved_arr) filter (movement_type = 'contraction') as contraction_arr,
    sum(moved_arr) filter (movement_type = 'churn') as churn_arr
from gtm_core.fct_arr_movement
where movement_date <= {TODAY}
group by all
""",
    ),
    ReportReconciliation(
        "rep_quota_attainment",
        "period_key",
        ("quota_amount",),
        f"""
select
    period_key,
    sum(quota_amount) as quota_amount
from (
    select period_key, owner_user_key, cast(sum(quota_amount_converted) as {CENTS}) as quota_amount
    from gtm_core.fct_forecasting_quota
    group by all
)
group by all
""",
    ),
    ReportReconciliation(
        "rep_sales_velocity",
        "entry_month",
        ("entered_count",),
        """
-- An opportunity that came into a stage twice in a month counts once.
select
    cast(date_trunc('month', entered_date) as date) as entry_month,
    count(distinct opportunity_id || coalesce(stage_name, '')) as entered_count
from gtm_core.fct_opportunity_stage_history
where not is_closed_stage
group by all
""",
    ),
    ReportReconciliation(
        "rep_pipeline_health",
        "week_end_date",
        ("open_count", "open_amount", "weighted_amount"),
        f"""
select
    week_end_date,
    sum(open_count) as open_count,
    sum(open_amount) as open_amount,
    sum(weighted_amount) as weighted_amount
from (
    select
        cast(date_trunc('week', date_day) as date) + 6 as week_end_date,
        owner_user_key, stage_name, source_system,
        sum(opportunity_count) as open_count,
        cast(sum(amount) as {CENTS}) as open_amount,
        cast(sum(weighted_amount) as {CENTS}) as weighted_amount
    from gtm_core.fct_pipeline_snapshot
    -- The last day that the week has, be the pipeline of it empty.
    where date_day = least(cast(date_trunc('week', date_day) as date) + 6, {TODAY})
    group by all
)
group by all
""",
    ),
    ReportReconciliation(
        "rep_pipeline_waterfall",
        "pipeline_period_key",
        ("start_count", "start_amount", "end_count", "end_amount"),
        """
select
    pipeline_period_key,
    sum(opportunity_count) filter (date_day = opening_day) as start_count,
    sum(amount) filter (date_day = opening_day) as start_amount,
    sum(opportunity_count) filter (date_day = closing_day) as end_count,
    sum(amount) filter (date_day = closing_day) as end_amount
from (select distinct pipeline_period_key, opening_day, closing_day from gtm_mart.rep_pipeline_waterfall)
inner join gtm_core.fct_pipeline_snapshot on date_day in (opening_day, closing_day)
group by all
""",
    ),
    ReportReconciliation(
        "rep_slipped_deals",
        "pushed_date",
        ("days_pushed",),
        """
select
    date_day as pushed_date,
    sum(close_date - close_date_before) as days_pushed
from (
    select
        date_day,
        close_date,
        is_open_pipeline,
        lag(close_date) over days as close_date_before,
        lag(is_open_pipeline) over days as was_open_pipeline,
        lag(date_day) over days as day_before
    from gtm_core.fct_opportunity_history
    window days as (partition by opportunity_id order by date_day)
)
where was_open_pipeline and day_before = date_day - 1
    and date_trunc('month', close_date) > date_trunc('month', close_date_before)
group by all
""",
    ),
    ReportReconciliation(
        "rep_sales_funnel_monthly",
        "month",
        ("deals_count",),
        """
select
    cast(date_trunc('month', entered) as date) as month,
    count(*) as deals_count
from (
{rows_of_sources}
)
group by all
""",
    ),
    ReportReconciliation(
        "rep_campaign_attribution",
        "campaign_key",
        ("member_count",),
        "select campaign_key, count(*) as member_count from gtm_core.fct_campaign_member group by all",
    ),
)


def report_reconciliations(added: Sequence[Mapping[str, str]]) -> list[ReportReconciliation]:
    """The reconciliations of all reports. ``added``: of each source the rows that it adds, by report."""

    def with_rows(rule: ReportReconciliation) -> ReportReconciliation:
        rows = [source[rule.report] for source in added if rule.report in source]
        return replace(rule, core=rule.core.replace("{rows_of_sources}", "\nunion all\n".join(rows)))

    return [with_rows(rule) for rule in REPORT_RECONCILIATIONS]


Newest = Callable[[duckdb.DuckDBPyConnection, RawTable], str | None]
"""Gives the SQL of a raw table's newest versions with ``is_gone``, or None where nothing has come."""


def reconcile_with_source(
    warehouse: duckdb.DuckDBPyConnection,
    rule: SourceReconciliation,
    table: RawTable,
    newest: Newest,
    timezone: str,
    allowance: float,
) -> Finding:
    """Whether a table of core holds what its raw table holds.

    ``timezone`` is the one in which a timestamp becomes a day. Batches that base has not consumed don't count.
    """
    core_day, raw_day = rule.day or ("null", None)
    core = f"""
select
    cast({core_day} as date) as day,
    count(*) as records{"".join(f",{chr(10)}    sum(cast({c} as {SUM})) as {c}" for c in rule.measures)}
from gtm_core.{rule.core}
where {rule.rows}
group by all
"""
    versions = newest(warehouse, table)
    if versions is None:
        nothing = "".join(f", 0::{SUM} as {c}" for c in rule.measures)
        source = f"select null::date as day, 0::bigint as records{nothing} where false"
    else:
        day = f"cast(timezone('{timezone}', {raw_day}) as date)" if raw_day else "null::date"
        measures = "".join(f",\n    sum(cast({raw} as {SUM})) as {core}" for core, raw in rule.measures.items())
        source = f"""
with records as (select * from ({versions}) where not is_gone)

select
    {day} as day,
    count(*) as records{measures}
from ({rule.records})
group by all
"""
    subject = f"gtm_core.{rule.core} and the raw records of {table.qualified_name}"
    return _compare(warehouse, subject, "day", ("records", *rule.measures), source, core, allowance)


def newest_in_lake(warehouse: duckdb.DuckDBPyConnection, table: RawTable) -> str | None:
    """The newest versions by the lake's own files."""
    files = _consumed_files(warehouse, table)
    if not files:
        return None
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    id_, cursor = table.id_column, table.cursor
    # Most records have one version of their latest time: ties are decided for the others alone.
    return f"""
with batches as (
    select batch_id, partition_key
    from gtm_meta.lake_batches
    where source_name = '{table.source}' and table_name = '{table.name}'
),
files as (
    select *, coalesce({table.deletes.value}, false) as is_gone
    from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)
    -- A merged file may hold a batch that has landed since the list was made.
    where _batch_id in (select batch_id from batches)
),
latest as (
    select {id_}, max({cursor}) as {cursor} from files group by all
),
candidates as (
    select files.* from files inner join latest using ({id_}, {cursor})
),
several as (
    select {id_} from candidates group by all having count(*) > 1
),
sightings as (
    select
        candidates.*,
        min(batches.partition_key) over (partition by candidates._version_hash) as first_partition
    from candidates
    inner join batches on candidates._batch_id = batches.batch_id
    where candidates.{id_} in (select {id_} from several)
),
ranked as (
    select
        *,
        row_number() over (
            partition by {id_} order by first_partition desc, is_gone desc, _version_hash desc
        ) as recency
    from sightings
)
select * from candidates where {id_} not in (select {id_} from several)
union all by name
select * exclude (first_partition, recency) from ranked where recency = 1
"""


def newest_external(warehouse: duckdb.DuckDBPyConnection, table: RawTable) -> str:
    """An external table's rows as base has read them: another loader may have written its file since."""
    base = f"gtm_staging.base_{table.source}__{table.name}"
    return f"select *, coalesce({table.deletes.value}, false) as is_gone from {base}"


def _consumed_files(warehouse: duckdb.DuckDBPyConnection, table: RawTable) -> list[str]:
    rows = warehouse.execute(
        "select distinct batches.file_path from gtm_meta.lake_batches as batches"
        f" inner join {STAGING}.gtm_meta.consumed_batches as consumed"
        "     on batches.batch_id = consumed.batch_id and consumed.parent = ? and consumed.model = ?"
        " where batches.source_name = ? and batches.table_name = ? order by all",
        [table.qualified_name, f"base_{table.source}__{table.name}", table.source, table.name],
    ).fetchall()
    return [row[0] for row in rows]


def reconcile_with_core(
    warehouse: duckdb.DuckDBPyConnection, rule: ReportReconciliation, allowance: float
) -> Finding:
    """Whether a report adds up to core."""
    measures = "".join(f",\n    sum(cast({m} as {SUM})) as {m}" for m in rule.measures)
    report = f"select {rule.by}{measures}\nfrom gtm_mart.{rule.report}\ngroup by all"
    subject = f"gtm_mart.{rule.report} and core"
    return _compare(warehouse, subject, rule.by, rule.measures, rule.core, report, allowance)


def _compare(
    warehouse: duckdb.DuckDBPyConnection,
    subject: str,
    by: str,
    measures: tuple[str, ...],
    expected: str,
    found: str,
    allowance: float,
) -> Finding:
    """Compare two selects of ``by`` and measures. A group that one of them lacks counts as zeros there."""

    def values(side: str) -> str:
        return "".join(f",\n    coalesce(cast({side}.{m} as {SUM}), 0) as {side}_{m}" for m in measures)

    both = f"""
with expected as ({expected}),
found as ({found})
select
    coalesce(expected.{by}, found.{by}) as {by}{values("expected")}{values("found")}
from expected
full join found on expected.{by} is not distinct from found.{by}
"""
    differ = " or ".join(f"expected_{m} <> found_{m}" for m in measures)
    totals = ", ".join(
        f"sum(expected_{m}), sum(found_{m}),"
        # The greatest share by which a group is off; a group that should be empty is wholly off.
        f" max(case when expected_{m} = found_{m} then 0.0"
        f" when expected_{m} = 0 then 1.0"
        f" else abs(found_{m} - expected_{m})::double / abs(expected_{m})::double end)"
        for m in measures
    )
    ((groups, differing, *sums),) = warehouse.execute(
        f"select count(*), count(*) filter ({differ}), {totals} from ({both})"
    ).fetchall()
    figures: dict[str, Any] = {"groups_compared": groups, "groups_that_differ": differing}
    worst = 0.0
    for measure, total_expected, total_found, off in zip(
        measures, sums[0::3], sums[1::3], sums[2::3], strict=True
    ):
        figures[measure] = _number(total_found)
        if off:
            figures[f"{measure}_expected"] = _number(total_expected)
        worst = max(worst, off or 0.0)
    if not differing:
        return Finding(True, f"{subject} agree in {len(measures)} totals, each by {by}.", figures=figures)
    sql = f"select * from ({both}) where {differ} order by {by}"
    within = worst <= allowance
    return Finding(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN if within else dg.AssetCheckSeverity.ERROR,
        sentence=f"{subject} differ in {differing:,} of {groups:,} groups by {by}, by up to {worst:.2%}"
        + (
            f", which the allowance of {allowance:.2%} lets pass."
            if within
            else ". Look at the rows; then build afresh: gtm run --full-refresh"
        ),
        figures=figures,
        sql=sql,
        sample=rows_of(warehouse, sql),
    )


def _number(value: Decimal | None) -> float | int:
    if value is None:
        return 0
    return int(value) if value == int(value) else float(value)
