with

parties as (
    select * from {{ ref('int_pipedrive_deal_parties') }}
    where pipedrive_contact_id is not null
),

accounts as (
    select * from {{ ref('int_account__pipedrive') }}
),

salesforce_contacts as (
    select
        contact_id,
        account_id,
        lower(trim(email)) as email,
        {{ normalised_text('contact_name') }} as normalised_name
    from {{ ref('stg_salesforce__contact') }}
),

-- The newest deal of a person gives the name and the company.
ranked as (
    select
        *,
        row_number() over (
            partition by pipedrive_contact_id
            order by
                case when person_name is null then 1 else 0 end asc,
                first_changed_at desc,
                deal_id desc
        ) as recency,
        min(first_changed_at) over (partition by pipedrive_contact_id) as first_seen_at
    from parties
),

people as (
    select
        ranked.pipedrive_contact_id,
        ranked.person_name as contact_name,
        ranked.normalised_person_name as normalised_name,
        ranked.person_email as email,
        ranked.pipedrive_account_id,
        accounts.account_id,
        ranked.first_seen_at
    from ranked
    left join accounts on ranked.pipedrive_account_id = accounts.source_account_id
    where ranked.recency = 1
),

candidates as (
    select
        people.pipedrive_contact_id,
        contacts.contact_id,
        case when people.account_id = contacts.account_id then 1 else 2 end as rule_rank
    from people
    inner join salesforce_contacts as contacts on people.email = contacts.email
    union all
    select
        people.pipedrive_contact_id,
        contacts.contact_id,
        3 as rule_rank
    from people
    inner join salesforce_contacts as contacts
        on people.normalised_name = contacts.normalised_name and people.account_id = contacts.account_id
),

-- Where several contacts match by the best rule, none is taken.
found as (
    {{ best_matches('candidates', 'pipedrive_contact_id', 'contact_id') }}
),

final as (
    select
        -- keys
        {{ surrogate_key(["'pipedrive'", 'people.pipedrive_contact_id']) }} as contact_key,
        case when found.candidate_count = 1 then found.contact_id else people.pipedrive_contact_id end
            as contact_id,
        people.pipedrive_contact_id as source_contact_id,
        people.account_id,
        people.pipedrive_account_id as source_account_id,
        -- what it is
        people.contact_name,
        people.email,
        case
            when found.candidate_count is null then 'none'
            when found.candidate_count > 1 then 'ambiguous'
            when found.rule_rank = 1 then 'email and account'
            when found.rule_rank = 2 then 'email'
            else 'name and account'
        end as match_rule,
        -- measures
        cast(
            case
                when found.candidate_count is null or found.candidate_count > 1 then 0
                when found.rule_rank = 1 then 1
                when found.rule_rank = 2 then 0.95
                else 0.75
            end
            as decimal(3, 2)
        ) as confidence,
        coalesce(found.candidate_count, 0) as candidate_count,
        -- dates
        people.first_seen_at as created_at,
        -- provenance
        'pipedrive' as source_system
    from people
    left join found on people.pipedrive_contact_id = found.pipedrive_contact_id
)

select * from final
