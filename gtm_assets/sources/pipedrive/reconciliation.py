"""Which tables of core hold Pipedrive's records, and how they are counted a second time."""

from __future__ import annotations

from gtm_assets.catalog.origin import Origin
from gtm_assets.checks.reconciliation import SourceReconciliation

SOURCE_RECONCILIATIONS = (
    SourceReconciliation(
        "pipedrive",
        "dim_user",
        "users",
        day=None,
        rows="pipedrive_user_id is not null",
    ),
    SourceReconciliation(
        "pipedrive",
        "fct_opportunity",
        "deal_changes",
        day=("created_date", "created_at"),
        rows="source_system = 'pipedrive'",
        records="""
select
    deal_id,
    coalesce(min(change_time) filter (changed_field_key = 'add_time'), min(change_time)) as created_at
from records
where deal_id is not null
group by deal_id
""",
    ),
    SourceReconciliation(
        "pipedrive",
        "fct_activity",
        "activity",
        measures={"is_completed": "done"},
        day=("activity_date", "due_to"),
        rows="source_system = 'pipedrive'",
    ),
)

REPORT_ROWS = {
    "rep_sales_funnel_monthly": """
select cast(timezone('UTC', min(changes.change_time)) as date) as entered
from gtm_staging.base_pipedrive__deal_changes as changes
inner join gtm_staging.pipedrive_stages as stages
    on regexp_extract(changes.new_value, '^ *0*([0-9]+)([.]0*)? *$', 1) = stages.stage_id::varchar
where
    changes.changed_field_key = 'stage_id'
    and not coalesce(changes._fivetran_deleted, false)
    and stages.funnel_step is not null
group by changes.deal_id, stages.funnel_step
union all
select min(cast(timezone('UTC', activities.due_to) as date))
from gtm_staging.base_pipedrive__activity as activities
inner join gtm_staging.pipedrive_activity_types as types on activities.type = types.activity_type
where
    activities.done
    and activities.deal_id is not null
    and activities.due_to is not null
    and not coalesce(activities._fivetran_deleted, false)
    and types.funnel_step is not null
group by activities.deal_id, types.funnel_step, date_trunc('month', timezone('UTC', activities.due_to))
""",
}

_OURS = "source_system = 'pipedrive'"
ORIGINS = (
    Origin("fct_opportunity", "opportunity_id", "deal_changes", "deal_id", "pipedrive-", _OURS),
    Origin("fct_activity", "activity_id", "activity", prefix="pipedrive-", rows=_OURS),
)
