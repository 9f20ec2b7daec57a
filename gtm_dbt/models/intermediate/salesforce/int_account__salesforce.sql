with

accounts as (
    select * from {{ ref('stg_salesforce__account') }}
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
        accounts.account_id,
        accounts.account_id as source_account_id,
        accounts.owner_user_id,
        accounts.parent_account_id,
        accounts.record_type_id,
        -- what it is
        accounts.account_name,
        record_types.record_type_name,
        accounts.account_type,
        accounts.industry,
        accounts.segment_c as segment,
        accounts.rating,
        accounts.account_source,
        owners.user_name as owner_name,
        accounts.website,
        accounts.phone,
        accounts.billing_city,
        accounts.billing_state,
        accounts.billing_country,
        {{ annual_revenue_band('accounts.annual_revenue') }} as annual_revenue_band,
        accounts.currency_iso_code,
        -- measures
        accounts.number_of_employees,
        accounts.annual_revenue,
        -- dates
        accounts.created_at,
        accounts.last_activity_date,
        -- provenance
        'salesforce' as source_system{{ pass_through('accounts') }}
    from accounts
    left join owners on accounts.owner_user_id = owners.user_id
    left join record_types on accounts.record_type_id = record_types.record_type_id
)

select * from final
