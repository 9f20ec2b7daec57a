with

opportunities as (
    {{ union_of_sources('opportunity') }}
),

users as (
    select * from {{ ref('dim_user') }}
),

contacts as (
    select * from {{ ref('dim_contact') }}
),

account_versions as (
    select * from {{ ref('dim_account_scd2') }}
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

dated as (
    select
        *,
        {{ to_reporting_date('created_at') }} as created_date,
        case when is_closed then {{ end_of_reporting_day('close_date') }} end as closed_at
    from opportunities
),

-- A closed opportunity belongs to the account as it was at the end of its close date, an open one to the account
-- as it is now.
with_account_version as (
    {{ with_account_version('dated', 'closed_at', account_id='resolved_account_id') }}
),

-- Amounts are converted by the rate of the close date, even while the opportunity is open.
converted as (
    select
        with_account_version.*,
        {{ converted('with_account_version.amount', 'with_account_version.currency_iso_code', 'rates.rate') }}
            as amount_converted
    from with_account_version
    left join rates
        on
            {{
                rate_in_force(
                    'rates', 'with_account_version.currency_iso_code', 'with_account_version.close_date'
                )
            }}
),

final as (
    select
        -- keys
        opportunities.opportunity_id,
        coalesce(opportunities.account_key, {{ unknown_key() }}) as account_key,
        opportunities.account_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        opportunities.owner_user_id,
        coalesce(contacts.contact_key, {{ unknown_key() }}) as contact_key,
        opportunities.contact_id,
        opportunities.campaign_id,
        opportunities.record_type_id,
        {{ date_key('opportunities.created_date') }} as created_date_key,
        {{ date_key('opportunities.close_date') }} as close_date_key,
        -- what it is
        opportunities.opportunity_name,
        opportunities.opportunity_type,
        opportunities.record_type_name,
        case
            when opportunities.is_won then 'Won'
            when opportunities.is_closed then 'Lost'
            else 'Open'
        end as opportunity_status,
        opportunities.stage_name,
        opportunities.forecast_category,
        opportunities.forecast_category_name,
        opportunities.lead_source,
        opportunities.loss_reason,
        opportunities.is_won,
        opportunities.is_closed,
        {{ is_open_pipeline('opportunities.is_closed', 'opportunities.forecast_category') }} as is_open_pipeline,
        opportunities.currency_iso_code,
        -- measures, in the record's currency
        opportunities.amount,
        opportunities.expected_revenue,
        opportunities.arr_c,
        opportunities.arr_churn_c,
        {{ weighted_amount('opportunities.amount', 'opportunities.probability') }} as weighted_amount,
        -- measures, in the reporting currency
        opportunities.amount_converted,
        {{ weighted_amount('opportunities.amount_converted', 'opportunities.probability') }}
            as weighted_amount_converted,
        -- measures
        opportunities.probability,
        opportunities.probability / 100 as win_probability,
        opportunities.days_to_close,
        -- dates
        opportunities.created_at,
        opportunities.created_date,
        opportunities.close_date,
        opportunities.last_activity_date,
        opportunities.last_stage_changed_at,
        -- provenance
        opportunities.source_system{{ pass_through('opportunities') }}
    from converted as opportunities
    left join users on opportunities.resolved_owner_user_id = users.user_id
    left join contacts on opportunities.resolved_contact_id = contacts.contact_id
)

select * from final
