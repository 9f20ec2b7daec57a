with

parties as (
    select * from {{ ref('int_pipedrive_deal_parties') }}
    where pipedrive_account_id is not null
),

salesforce_accounts as (
    select
        account_id,
        {{ normalised_company('account_name') }} as normalised_name,
        {{ company_domain('website') }} as web_domain
    from {{ ref('stg_salesforce__account') }}
),

companies as (
    select
        pipedrive_account_id,
        normalised_org_name as normalised_name,
        min(first_changed_at) as first_seen_at
    from parties
    group by pipedrive_account_id, normalised_org_name
),

-- The most frequent spelling in deals.
spellings as (
    select
        pipedrive_account_id,
        org_name,
        row_number() over (
            partition by pipedrive_account_id order by count(*) desc, org_name asc
        ) as rank_in_company
    from parties
    group by pipedrive_account_id, org_name
),

-- The most frequent domain of the people in deals.
domains as (
    select
        pipedrive_account_id,
        email_domain,
        row_number() over (
            partition by pipedrive_account_id order by count(*) desc, email_domain asc
        ) as rank_in_company
    from parties
    where email_domain is not null
    group by pipedrive_account_id, email_domain
),

described as (
    select
        companies.pipedrive_account_id,
        companies.normalised_name,
        companies.first_seen_at,
        spellings.org_name as account_name,
        domains.email_domain
    from companies
    inner join spellings
        on companies.pipedrive_account_id = spellings.pipedrive_account_id and spellings.rank_in_company = 1
    left join domains
        on companies.pipedrive_account_id = domains.pipedrive_account_id and domains.rank_in_company = 1
),

candidates as (
    select
        described.pipedrive_account_id,
        salesforce_accounts.account_id,
        case when described.email_domain = salesforce_accounts.web_domain then 1 else 3 end as rule_rank
    from described
    inner join salesforce_accounts on described.normalised_name = salesforce_accounts.normalised_name
    union all
    select
        described.pipedrive_account_id,
        salesforce_accounts.account_id,
        2 as rule_rank
    from described
    inner join salesforce_accounts on described.email_domain = salesforce_accounts.web_domain
),

-- Where several accounts match by the best rule, none is taken.
found as (
    {{ best_matches('candidates', 'pipedrive_account_id', 'account_id') }}
),

final as (
    select
        -- keys
        case when found.candidate_count = 1 then found.account_id else described.pipedrive_account_id end
            as account_id,
        described.pipedrive_account_id as source_account_id,
        -- what it is
        described.account_name,
        described.email_domain as website,
        case
            when found.candidate_count is null then 'none'
            when found.candidate_count > 1 then 'ambiguous'
            when found.rule_rank = 1 then 'domain and name'
            when found.rule_rank = 2 then 'domain'
            else 'name'
        end as match_rule,
        -- measures
        cast(
            case
                when found.candidate_count is null or found.candidate_count > 1 then 0
                when found.rule_rank = 1 then 1
                when found.rule_rank = 2 then 0.9
                else 0.8
            end
            as decimal(3, 2)
        ) as confidence,
        coalesce(found.candidate_count, 0) as candidate_count,
        -- dates
        described.first_seen_at as created_at,
        -- provenance
        'pipedrive' as source_system
    from described
    left join found on described.pipedrive_account_id = found.pipedrive_account_id
)

select * from final
