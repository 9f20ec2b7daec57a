with

users as (
    select * from {{ ref('base_salesforce__user') }}
),

renamed as (
    select
        -- keys
        id as user_id,
        manager_id as manager_user_id,
        user_role_id,
        created_by_id as created_by_user_id,
        last_modified_by_id as last_modified_by_user_id,
        -- what it is
        username,
        first_name,
        last_name,
        name as user_name,
        email,
        title,
        department,
        division,
        audit_phase_c,
        user_type,
        is_active,
        time_zone_sid_key,
        default_currency_iso_code,
        -- dates
        last_login_date as last_login_at,
        created_date as created_at,
        last_modified_date as last_modified_at,
        system_modstamp,
        -- provenance
        _batch_id{{ pass_through() }}
    from users
    where not coalesce(_fivetran_deleted, false)
)

select * from renamed
