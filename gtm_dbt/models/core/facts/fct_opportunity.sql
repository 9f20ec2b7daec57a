with

opportunities as (
    select * from {{ ref('stg_salesforce__opportunity') }}
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

record_types as (
    select * from {{ ref('stg_salesforce__record_type') }}
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

pipedrive_deals as (
    select * from {{ ref('int_pipedrive_deals') }}
),

classified as (
    select
        opportunities.*,
        coalesce(opportunities.is_won, false) as is_won_deal,
        {{ is_closed_deal('opportunities.is_closed', 'opportunities.is_won') }} as is_closed_deal,
        {{ to_reporting_date('opportunities.created_at') }} as created_date
    from opportunities
),

attributed as (
    select
        classified.*,
        case
            when classified.is_won_deal then 'Won'
            when classified.is_closed_deal then 'Lost'
            else 'Open'
        end as opportunity_status,
        case when classified.is_closed_deal then {{ end_of_reporting_day('classified.close_date') }} end
            as closed_at
    from classified
),

-- A closed deal belongs to the account as it was at the end of that day, an open one to the account as it is.
with_account_version as (
    select
        attributed.*,
        account_versions.account_key
    from attributed
    left join account_versions
        on
            attributed.account_id = account_versions.account_id
            and {{ account_version_at('account_versions', 'attributed.closed_at') }}
),

-- By the rate of the close date, also while the deal is open.
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
        deals.opportunity_id,
        coalesce(deals.account_key, {{ unknown_key() }}) as account_key,
        deals.account_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        deals.owner_user_id,
        coalesce(contacts.contact_key, {{ unknown_key() }}) as contact_key,
        deals.contact_id,
        deals.campaign_id,
        deals.record_type_id,
        {{ date_key('deals.created_date') }} as created_date_key,
        {{ date_key('deals.close_date') }} as close_date_key,
        -- what it is
        deals.opportunity_name,
        deals.opportunity_type,
        record_types.record_type_name,
        deals.opportunity_status,
        deals.stage_name,
        deals.forecast_category,
        deals.forecast_category_name,
        deals.lead_source,
        deals.loss_reason_c as loss_reason,
        deals.is_won_deal as is_won,
        deals.is_closed_deal as is_closed,
        {{ is_open_pipeline('deals.is_closed_deal', 'deals.forecast_category') }} as is_open_pipeline,
        deals.currency_iso_code,
        -- measures, in the record's currency
        deals.amount,
        deals.expected_revenue,
        deals.arr_c,
        deals.arr_churn_c,
        {{ weighted_amount('deals.amount', 'deals.probability') }} as weighted_amount,
        -- measures, in the reporting currency
        deals.amount_converted,
        {{ weighted_amount('deals.amount_converted', 'deals.probability') }} as weighted_amount_converted,
        -- measures
        deals.probability,
        case
            when deals.is_closed_deal
                then {{ days_to_written_date('deals.created_at', 'deals.close_date', 'users.time_zone') }}
        end as days_to_close,
        -- dates
        deals.created_at,
        deals.created_date,
        deals.close_date,
        deals.last_activity_date,
        deals.last_stage_changed_at,
        -- provenance
        'salesforce' as source_system{{ pass_through('deals') }}
    from converted as deals
    left join users on deals.owner_user_id = users.user_id
    left join contacts on deals.contact_id = contacts.contact_id
    left join record_types on deals.record_type_id = record_types.record_type_id
),

pipedrive_dated as (
    select
        *,
        {{ to_reporting_date('created_at') }} as created_date,
        {{ to_reporting_date('closed_at') }} as close_date
    from pipedrive_deals
),

pipedrive_final as (
    select
        {{ pipedrive_id('deals.deal_id') }} as opportunity_id,
        coalesce(account_versions.account_key, {{ unknown_key() }}) as account_key,
        deals.pipedrive_account_id as account_id,
        coalesce(users.user_key, {{ unknown_key() }}) as owner_user_key,
        {{ pipedrive_id('deals.user_id') }} as owner_user_id,
        coalesce(contacts.contact_key, {{ unknown_key() }}) as contact_key,
        deals.pipedrive_contact_id as contact_id,
        null as campaign_id,
        null as record_type_id,
        {{ date_key('deals.created_date') }} as created_date_key,
        {{ date_key('deals.close_date') }} as close_date_key,
        null as opportunity_name,
        null as opportunity_type,
        null as record_type_name,
        deals.deal_status as opportunity_status,
        deals.stage_name,
        null as forecast_category,
        null as forecast_category_name,
        null as lead_source,
        deals.lost_reason as loss_reason,
        deals.deal_status = 'Won' as is_won,
        deals.deal_status in ('Won', 'Lost') as is_closed,
        false as is_open_pipeline,
        null as currency_iso_code,
        null as amount,
        null as expected_revenue,
        null as arr_c,
        null as arr_churn_c,
        null as weighted_amount,
        null as amount_converted,
        null as weighted_amount_converted,
        null as probability,
        {{ dbt.datediff('deals.created_date', 'deals.close_date', 'day') }} as days_to_close,
        deals.created_at,
        deals.created_date,
        deals.close_date,
        null as last_activity_date,
        deals.stage_changed_at as last_stage_changed_at,
        deals.source_system{{ pass_through_nulls() }}
    from pipedrive_dated as deals
    left join account_versions
        on
            deals.account_id = account_versions.account_id
            and {{ account_version_at('account_versions', end_of_reporting_day('deals.close_date')) }}
    left join users on {{ pipedrive_id('deals.user_id') }} = users.pipedrive_user_id
    left join contacts on deals.contact_id = contacts.contact_id
),

both_sources as (
    select * from final
    union all
    select * from pipedrive_final
)

select * from both_sources
