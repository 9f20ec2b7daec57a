"""How a report's measure is followed to rows of core: the rule of the report, said once more, row by row.

The rows' values add up to the report's, to the cent; an explanation says so of each number, or that they do not.
A measure that stands in no trail is followed as far as the report's own rows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trail:
    """What of core a measure of a report is made of."""

    core: str
    key: str
    """The column of core that names a row."""
    value: str
    """The column of core that is added up, or 1 where rows are counted."""
    select: str
    """Gives ``report_key``, ``row_key`` and ``value``. ``{core}`` and ``{mart}`` stand for schemas."""


TRAILS = {
    ("rep_quota_attainment", "quota_amount"): Trail(
        "fct_forecasting_quota",
        "forecasting_quota_id",
        "quota_amount_converted",
        """
select
    report.quota_attainment_key as report_key,
    quotas.forecasting_quota_id as row_key,
    quotas.quota_amount_converted as value
from {mart}.rep_quota_attainment as report
inner join {core}.fct_forecasting_quota as quotas
    on report.owner_user_key = quotas.owner_user_key and report.period_key = quotas.period_key
""",
    ),
    ("rep_quota_attainment", "bookings_amount"): Trail(
        "fct_opportunity",
        "opportunity_id",
        "amount_converted",
        """
select
    report.quota_attainment_key as report_key,
    opportunities.opportunity_id as row_key,
    opportunities.amount_converted as value
from {mart}.rep_quota_attainment as report
inner join {core}.fct_opportunity as opportunities
    on
        report.owner_user_key = opportunities.owner_user_key
        and opportunities.is_won
        and opportunities.close_date between report.period_start_date and report.period_end_date
""",
    ),
    ("rep_campaign_attribution", "member_count"): Trail(
        "fct_campaign_member",
        "campaign_member_id",
        "1",
        "select campaign_key as report_key, campaign_member_id as row_key, 1 as value"
        " from {core}.fct_campaign_member",
    ),
    ("rep_campaign_attribution", "response_count"): Trail(
        "fct_campaign_member",
        "campaign_member_id",
        "1",
        "select campaign_key as report_key, campaign_member_id as row_key, 1 as value"
        " from {core}.fct_campaign_member where has_responded",
    ),
    ("rep_campaign_attribution", "actual_cost"): Trail(
        "dim_campaign",
        "campaign_key",
        "actual_cost_converted",
        "select campaign_key as report_key, campaign_key as row_key, actual_cost_converted as value"
        " from {core}.dim_campaign",
    ),
}
"""By report and by the column that a metric adds up."""
