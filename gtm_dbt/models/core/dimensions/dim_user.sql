with

records as (
    {{ union_of_sources('user') }}
),

pipedrive_users as (
    select
        user_id,
        source_user_id as pipedrive_user_id
    from records
    where source_system = 'pipedrive'
),

-- A person whom several sources have is one row, that of the source whose id they have here.
final as (
    select
        -- keys
        records.user_key,
        records.user_id,
        pipedrive_users.pipedrive_user_id,
        records.manager_user_id,
        records.user_role_id,
        -- what it is
        records.user_name,
        records.email,
        records.title,
        records.department,
        records.division,
        records.audit_phase_c,
        records.user_type,
        records.user_role_name,
        records.manager_name,
        records.is_active,
        records.time_zone,
        -- dates
        records.created_at,
        records.last_login_at,
        -- provenance
        records.source_system{{ pass_through('records') }}
    from records
    left join pipedrive_users on records.user_id = pipedrive_users.user_id
    where records.user_id = records.source_user_id
),

with_unknown as (
    {{
        with_unknown_member('final', {
            'user_key': unknown_key(),
            'user_id': unknown_key(),
            'user_name': "'Unknown'",
            'source_system': unknown_key(),
        })
    }}
)

select * from with_unknown
