"""Which tables of core hold Salesforce's records, and how they are counted a second time."""

from __future__ import annotations

from collections.abc import Mapping

from gtm_assets.catalog.origin import Origin
from gtm_assets.checks.active_rows import RecordReconciliation
from gtm_assets.checks.reconciliation import SourceReconciliation

_BY_CREATION = ("created_date", "created_date")


def _source(
    core: str,
    raw: str,
    measures: Mapping[str, str] | None = None,
    day: tuple[str, str] | None = _BY_CREATION,
) -> SourceReconciliation:
    return SourceReconciliation("salesforce", core, raw, "source_system = 'salesforce'", measures or {}, day)


SOURCE_RECONCILIATIONS = (
    _source("dim_user", "user", day=None),
    _source(
        "dim_account",
        "account",
        {"annual_revenue": "annual_revenue", "number_of_employees": "number_of_employees"},
    ),
    _source("dim_contact", "contact"),
    _source(
        "dim_lead",
        "lead",
        {"annual_revenue": "annual_revenue", "number_of_employees": "number_of_employees"},
    ),
    _source(
        "dim_campaign",
        "campaign",
        {
            "budgeted_cost": "budgeted_cost",
            "actual_cost": "actual_cost",
            "expected_revenue": "expected_revenue",
            "number_sent": "number_sent",
        },
    ),
    _source("dim_product", "product_2"),
    _source("dim_forecasting_period", "period", day=None),
    _source(
        "fct_opportunity",
        "opportunity",
        {
            "amount": "amount",
            "expected_revenue": "expected_revenue",
            "arr_c": "arr_c",
            "arr_churn_c": "arr_churn_c",
        },
    ),
    _source(
        "fct_opportunity_line_item",
        "opportunity_line_item",
        {"quantity": "quantity", "total_price": "total_price"},
    ),
    _source("fct_opportunity_contact_role", "opportunity_contact_role"),
    _source(
        "fct_opportunity_field_history",
        "opportunity_field_history",
        day=None,
    ),
    _source("fct_task", "task", {"call_duration_in_seconds": "call_duration_in_seconds"}),
    _source(
        "fct_event",
        "event",
        {
            "duration_minutes": (
                "coalesce(duration_in_minutes, date_diff('minute', start_date_time, end_date_time))"
            ),
        },
    ),
    _source(
        "fct_email_message",
        "email_message",
        {"open_count": "open_count_c", "click_count": "click_count_c"},
    ),
    _source("fct_campaign_member", "campaign_member"),
    _source(
        "fct_campaign_influence",
        "campaign_influence",
        {"influence_amount": "revenue_share", "influence_percent": "influence"},
    ),
    _source(
        "fct_forecasting_quota",
        "forecasting_quota",
        {"quota_amount": "quota_amount", "quota_quantity": "quota_quantity"},
        day=None,
    ),
    _source(
        "fct_forecasting_item",
        "forecasting_item",
        {
            "forecast_amount": "forecast_amount",
            "amount_without_adjustments": "amount_without_adjustments",
            "owner_only_amount": "owner_only_amount",
            "forecast_quantity": "forecast_quantity",
        },
        day=None,
    ),
)


REPORT_ROWS = {
    "rep_sales_funnel_monthly": """
select min(intervals.entered_date) as entered
from gtm_core.fct_opportunity_stage_history as intervals
inner join gtm_staging.salesforce_funnel_steps as steps using (stage_name)
where steps.funnel_step is not null
group by intervals.opportunity_id, steps.funnel_step
union all
-- A deal's first two calls or meetings, by the days on which they took place.
select unnest(list(activity_date order by activity_date)[:2])
from gtm_core.fct_activity
where
    source_system = 'salesforce'
    and activity_type in ('Call', 'Meeting')
    and is_completed
    and activity_date is not null
    and opportunity_id in (select opportunity_id from gtm_core.fct_opportunity)
group by opportunity_id
""",
}


def _record(core: str, raw: str, id_column: str, *same: str, **renamed: str) -> RecordReconciliation:
    return RecordReconciliation(core, raw, id_column, {**{name: name for name in same}, **renamed})


_PERSON = ("first_name", "last_name", "email", "phone", "title", "lead_source")

RECORD_RECONCILIATIONS = (
    _record(
        "dim_user",
        "user",
        "user_id",
        *("email", "title", "department", "division", "audit_phase_c", "user_type", "is_active", "user_role_id"),
        user_name="name",
        manager_user_id="manager_id",
        time_zone="time_zone_sid_key",
        created_at="created_date",
    ),
    _record(
        "dim_account",
        "account",
        "account_id",
        *("industry", "rating", "account_source", "website", "phone", "billing_city", "billing_state"),
        *("billing_country", "currency_iso_code", "number_of_employees", "annual_revenue", "last_activity_date"),
        *("record_type_id",),
        account_name="name",
        account_type="type",
        segment="segment_c",
        owner_user_id="owner_id",
        parent_account_id="parent_id",
        created_at="created_date",
    ),
    _record(
        "dim_contact",
        "contact",
        "contact_id",
        *_PERSON,
        *("account_id", "mobile_phone", "department", "mailing_city", "mailing_state", "mailing_country"),
        *("has_opted_out_of_email", "last_activity_date"),
        contact_name="name",
        owner_user_id="owner_id",
        reports_to_contact_id="reports_to_id",
        created_at="created_date",
    ),
    _record(
        "dim_lead",
        "lead",
        "lead_id",
        *_PERSON,
        *("company", "rating", "industry", "country", "number_of_employees", "annual_revenue"),
        *("converted_account_id", "converted_contact_id", "converted_opportunity_id"),
        lead_name="name",
        lead_status="status",
        owner_user_id="owner_id",
        created_at="created_date",
    ),
    _record(
        "dim_campaign",
        "campaign",
        "campaign_id",
        *(
            "is_active",
            "currency_iso_code",
            "budgeted_cost",
            "actual_cost",
            "expected_revenue",
            "expected_response",
        ),
        *("number_sent", "start_date", "end_date"),
        campaign_name="name",
        campaign_type="type",
        campaign_status="status",
        parent_campaign_id="parent_id",
        owner_user_id="owner_id",
        created_at="created_date",
    ),
    _record(
        "dim_product",
        "product_2",
        "product_id",
        *("product_code", "family", "description", "quantity_unit_of_measure", "is_active"),
        product_name="name",
        created_at="created_date",
    ),
    _record(
        "dim_forecasting_period",
        "period",
        "period_id",
        *("period_label", "quarter_label", "start_date", "end_date"),
        period_name="fully_qualified_label",
        period_type="type",
        period_number="number",
    ),
    _record(
        "fct_opportunity",
        "opportunity",
        "opportunity_id",
        *("account_id", "contact_id", "campaign_id", "record_type_id", "stage_name", "forecast_category"),
        *("forecast_category_name", "lead_source", "currency_iso_code", "amount", "expected_revenue", "arr_c"),
        *("arr_churn_c", "probability", "close_date", "last_activity_date"),
        opportunity_name="name",
        opportunity_type="type",
        loss_reason="loss_reason_c",
        owner_user_id="owner_id",
        last_stage_changed_at="last_stage_change_date",
        created_at="created_date",
    ),
    _record(
        "fct_opportunity_line_item",
        "opportunity_line_item",
        "opportunity_line_item_id",
        *("opportunity_id", "pricebook_entry_id", "currency_iso_code", "quantity", "unit_price", "list_price"),
        *("discount", "total_price", "service_date"),
        opportunity_line_item_name="name",
        created_at="created_date",
    ),
    _record(
        "fct_opportunity_contact_role",
        "opportunity_contact_role",
        "opportunity_contact_role_id",
        *("opportunity_id", "contact_id", "role"),
        created_at="created_date",
    ),
    _record(
        "fct_opportunity_field_history",
        "opportunity_field_history",
        "opportunity_field_history_id",
        *("opportunity_id", "old_value", "new_value"),
        field_name="field",
        field_data_type="data_type",
        changed_by_user_id="created_by_id",
        changed_at="created_date",
    ),
    _record(
        "fct_task",
        "task",
        "task_id",
        *("who_id", "what_id", "task_subtype", "priority", "call_type", "call_disposition", "activity_date"),
        *("call_duration_in_seconds",),
        task_type="type",
        task_status="status",
        owner_user_id="owner_id",
        created_at="created_date",
    ),
    _record(
        "fct_event",
        "event",
        "event_id",
        *("who_id", "what_id", "event_subtype"),
        event_type="type",
        started_at="start_date_time",
        ended_at="end_date_time",
        owner_user_id="owner_id",
        created_at="created_date",
    ),
    _record(
        "fct_email_message",
        "email_message",
        "email_message_id",
        "related_to_id",
        message_status="status",
        message_at="message_date",
        open_count="open_count_c",
        click_count="click_count_c",
        owner_user_id="created_by_id",
        created_at="created_date",
    ),
    _record(
        "fct_campaign_member",
        "campaign_member",
        "campaign_member_id",
        *("campaign_id", "lead_id", "contact_id", "first_responded_date"),
        campaign_member_status="status",
        created_at="created_date",
    ),
    _record(
        "fct_campaign_influence",
        "campaign_influence",
        "campaign_influence_id",
        *("campaign_id", "opportunity_id", "contact_id", "model_id", "currency_iso_code"),
        influence_percent="influence",
        influence_amount="revenue_share",
        created_at="created_date",
    ),
    _record(
        "fct_forecasting_quota",
        "forecasting_quota",
        "forecasting_quota_id",
        *("period_id", "forecasting_type_id", "currency_iso_code", "quota_amount", "quota_quantity", "start_date"),
        owner_user_id="quota_owner_id",
    ),
    _record(
        "fct_forecasting_item",
        "forecasting_item",
        "forecasting_item_id",
        *("period_id", "forecasting_type_id", "parent_forecasting_item_id", "forecast_category_name"),
        *("currency_iso_code", "forecast_amount", "amount_without_adjustments", "owner_only_amount"),
        *("forecast_quantity",),
        forecast_category="forecasting_item_category",
        owner_user_id="owner_id",
    ),
)

MORE_ORIGINS = (
    Origin("fct_activity", "activity_id", "task", rows="activity_source = 'Task'"),
    Origin("fct_activity", "activity_id", "event", rows="activity_source = 'Event'"),
    Origin("fct_activity", "activity_id", "email_message", rows="activity_source = 'Email message'"),
    *(
        Origin(core, "opportunity_id", *raw)
        for core in ("fct_opportunity_stage_history", "fct_pipeline_change", "fct_pipeline_movement")
        for raw in (("opportunity",), ("opportunity_field_history", "opportunity_id"))
    ),
    Origin("fct_arr_movement", "opportunity_id", "opportunity"),
)
"""Tables of core whose rows are of several objects, or of several records."""
