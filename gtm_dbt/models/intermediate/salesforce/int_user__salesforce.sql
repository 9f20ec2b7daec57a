with

users as (
    select * from {{ ref('stg_salesforce__user') }}
),

roles as (
    select * from {{ ref('stg_salesforce__user_role') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'users.user_id']) }} as user_key,
        users.user_id,
        users.user_id as source_user_id,
        users.manager_user_id,
        users.user_role_id,
        -- what it is
        users.user_name,
        users.email,
        users.title,
        users.department,
        users.division,
        users.audit_phase_c,
        users.user_type,
        roles.user_role_name,
        managers.user_name as manager_name,
        users.is_active,
        users.time_zone_sid_key as time_zone,
        -- dates
        users.created_at,
        users.last_login_at,
        -- provenance
        'salesforce' as source_system{{ pass_through('users') }}
    from users
    left join roles on users.user_role_id = roles.user_role_id
    left join users as managers on users.manager_user_id = managers.user_id
)

select * from final
