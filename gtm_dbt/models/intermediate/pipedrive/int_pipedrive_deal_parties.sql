with

changes as (
    select * from {{ ref('stg_pipedrive__deal_changes') }}
    where deal_id is not null
),

-- The newest value of each field.
ranked as (
    select
        deal_id,
        changed_field_key,
        nullif(trim(new_value), '') as new_value,
        row_number() over (
            partition by deal_id, changed_field_key
            order by changed_at desc, deal_change_id desc
        ) as recency
    from changes
    where changed_field_key in ('org_name', 'person_name', 'person_email')
),

newest as (
    select
        deal_id,
        max(case when changed_field_key = 'org_name' then new_value end) as org_name,
        max(case when changed_field_key = 'person_name' then new_value end) as person_name,
        max(case when changed_field_key = 'person_email' then lower(new_value) end) as person_email
    from ranked
    where recency = 1
    group by deal_id
),

known_since as (
    select
        deal_id,
        min(changed_at) as first_changed_at
    from changes
    group by deal_id
),

normalised as (
    select
        newest.*,
        known_since.first_changed_at,
        {{ normalised_company('newest.org_name') }} as normalised_org_name,
        {{ normalised_text('newest.person_name') }} as normalised_person_name,
        {{ company_domain('newest.person_email') }} as email_domain
    from newest
    inner join known_since on newest.deal_id = known_since.deal_id
),

final as (
    select
        -- keys
        deal_id,
        case
            when normalised_org_name is not null
                then {{ pipedrive_id(surrogate_key(['normalised_org_name'])) }}
        end as pipedrive_account_id,
        -- The email identifies a person, or, without one, the name at the company.
        case
            when person_email is not null
                then {{ pipedrive_id(surrogate_key(['person_email'])) }}
            when normalised_person_name is not null
                then
                    {{ pipedrive_id(
                        surrogate_key(['normalised_person_name', "coalesce(normalised_org_name, '')"])
                    ) }}
        end as pipedrive_contact_id,
        -- what it is
        org_name,
        normalised_org_name,
        person_name,
        normalised_person_name,
        person_email,
        email_domain,
        -- dates
        first_changed_at,
        -- provenance
        'pipedrive' as source_system
    from normalised
)

select * from final
