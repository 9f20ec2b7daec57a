with

opportunities as (
    select
        *,
        coalesce(is_won, false) as is_won_opportunity,
        {{ is_closed_opportunity('is_closed', 'is_won') }} as is_closed_opportunity
    from {{ ref('stg_salesforce__opportunity') }}
),

owners as (
    select * from {{ ref('stg_salesforce__user') }}
),

record_types as (
    select * from {{ ref('stg_salesforce__record_type') }}
),

final as (
    select
        -- keys
        opportunities.opportunity_id,
        opportunities.account_id,
        opportunities.account_id as resolved_account_id,
        opportunities.owner_user_id,
        opportunities.owner_user_id as resolved_owner_user_id,
        opportunities.contact_id,
        opportunities.contact_id as resolved_contact_id,
        opportunities.campaign_id,
        opportunities.record_type_id,
        -- what it is
        opportunities.opportunity_name,
        opportunities.opportunity_type,
        record_types.record_type_name,
        opportunities.stage_name,
        opportunities.forecast_category,
        opportunities.forecast_category_name,
        opportunities.lead_source,
        opportunities.loss_reason_c as loss_reason,
        opportunities.is_won_opportunity as is_won,
        opportunities.is_closed_opportunity as is_closed,
        opportunities.currency_iso_code,
        -- measures, in the record's currency
        opportunities.amount,
        opportunities.expected_revenue,
        opportunities.arr_c,
        opportunities.arr_churn_c,
        -- measures
        opportunities.probability,
        -- The owner entered the close date, so days are counted in the owner's time zone.
        case
            when opportunities.is_closed_opportunity
                then
                    {{
                        days_to_written_date(
                            'opportunities.created_at', 'opportunities.close_date', 'owners.time_zone_sid_key'
                        )
                    }}
        end as days_to_close,
        -- dates
        opportunities.created_at,
        opportunities.close_date,
        opportunities.last_activity_date,
        opportunities.last_stage_changed_at,
        -- provenance
        'salesforce' as source_system{{ pass_through('opportunities') }}
    from opportunities
    left join owners on opportunities.owner_user_id = owners.user_id
    left join record_types on opportunities.record_type_id = record_types.record_type_id
)

select * from final
