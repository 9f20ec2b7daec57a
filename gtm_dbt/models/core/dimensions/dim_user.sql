with

users as (
    select * from {{ ref('stg_salesforce__user') }}
),

roles as (
    select * from {{ ref('stg_salesforce__user_role') }}
),

pipedrive_users as (
    select
        *,
        {{ pipedrive_id('user_id') }} as pipedrive_user_id,
        nullif(lower(trim(email)), '') as address,
        row_number() over (partition by nullif(lower(trim(email)), '') order by user_id) as rank_in_address
    from {{ ref('stg_pipedrive__users') }}
),

-- One person is one email. Of several users with it the active one, then the oldest, is the person's.
addresses as (
    select
        user_id,
        nullif(lower(trim(email)), '') as address,
        row_number() over (
            partition by nullif(lower(trim(email)), '')
            order by case when is_active then 0 else 1 end asc, created_at asc, user_id asc
        ) as rank_in_address
    from users
),

same_people as (
    select
        addresses.user_id,
        pipedrive_users.pipedrive_user_id
    from addresses
    inner join pipedrive_users on addresses.address = pipedrive_users.address
    where addresses.rank_in_address = 1 and pipedrive_users.rank_in_address = 1
),

final as (
    select
        -- keys
        {{ surrogate_key(["'salesforce'", 'users.user_id']) }} as user_key,
        users.user_id,
        same_people.pipedrive_user_id,
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
    left join same_people on users.user_id = same_people.user_id
),

only_in_pipedrive as (
    select
        {{ surrogate_key(["'pipedrive'", 'pipedrive_users.user_id']) }} as user_key,
        pipedrive_users.pipedrive_user_id as user_id,
        pipedrive_users.pipedrive_user_id,
        null as manager_user_id,
        null as user_role_id,
        pipedrive_users.user_name,
        pipedrive_users.email,
        null as title,
        null as department,
        null as division,
        null as audit_phase_c,
        null as user_type,
        null as user_role_name,
        null as manager_name,
        null as is_active,
        null as time_zone,
        null as created_at,
        null as last_login_at,
        'pipedrive' as source_system{{ pass_through_nulls() }}
    from pipedrive_users
    left join same_people on pipedrive_users.pipedrive_user_id = same_people.pipedrive_user_id
    where same_people.pipedrive_user_id is null
),

both_sources as (
    select * from final
    union all
    select * from only_in_pipedrive
),

with_unknown as (
    {{
        with_unknown_member('both_sources', {
            'user_key': unknown_key(),
            'user_id': unknown_key(),
            'user_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
