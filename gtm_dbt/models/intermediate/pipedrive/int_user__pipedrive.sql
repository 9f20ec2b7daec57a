with

users as (
    select
        *,
        nullif(lower(trim(email)), '') as address,
        row_number() over (partition by nullif(lower(trim(email)), '') order by user_id) as rank_in_address
    from {{ ref('stg_pipedrive__users') }}
),

-- The email identifies a person. Of several Salesforce users with it, the active one counts, then the oldest.
salesforce_users as (
    select
        user_id,
        nullif(lower(trim(email)), '') as address,
        row_number() over (
            partition by nullif(lower(trim(email)), '')
            order by case when is_active then 0 else 1 end asc, created_at asc, user_id asc
        ) as rank_in_address
    from {{ ref('stg_salesforce__user') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'pipedrive'", 'users.user_id']) }} as user_key,
        coalesce(salesforce_users.user_id, {{ pipedrive_id('users.user_id') }}) as user_id,
        {{ pipedrive_id('users.user_id') }} as source_user_id,
        -- what it is
        users.user_name,
        users.email,
        -- provenance
        'pipedrive' as source_system
    from users
    left join salesforce_users
        on
            users.address = salesforce_users.address
            and users.rank_in_address = 1
            and salesforce_users.rank_in_address = 1
)

select * from final
