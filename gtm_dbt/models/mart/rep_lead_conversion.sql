{{ amounts_add_up() }}

with

leads as (
    select
        dim_lead.*,
        cast({{ dbt.date_trunc('month', 'dim_lead.created_date') }} as date) as created_month,
        coalesce(dim_lead.lead_source, 'Unknown') as known_lead_source
    from {{ ref('dim_lead') }} as dim_lead
    where dim_lead.lead_key <> {{ unknown_key() }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

months as (
    select * from {{ ref('int_months') }}
),

-- Where several leads were converted into one opportunity, it belongs to the first of them.
deals_of_leads as (
    select
        leads.lead_key,
        opportunities.opportunity_id,
        opportunities.is_won,
        opportunities.amount_converted,
        row_number() over (
            partition by opportunities.opportunity_id
            order by leads.converted_date, leads.created_at, leads.lead_id
        ) as lead_number
    from leads
    inner join opportunities on leads.converted_opportunity_id = opportunities.opportunity_id
    where leads.is_converted
),

leads_with_deals as (
    select
        leads.created_month,
        leads.known_lead_source,
        leads.source_system,
        leads.is_converted,
        leads.days_to_convert,
        deals_of_leads.opportunity_id,
        deals_of_leads.is_won,
        deals_of_leads.amount_converted
    from leads
    left join deals_of_leads
        on leads.lead_key = deals_of_leads.lead_key and deals_of_leads.lead_number = 1
),

counted as (
    select
        -- keys
        {{ surrogate_key(['created_month', 'known_lead_source', 'source_system']) }} as lead_conversion_key,
        created_month,
        known_lead_source as lead_source,
        -- leads
        count(*) as lead_count,
        count(case when is_converted then 1 end) as converted_lead_count,
        {{ safe_divide('count(case when is_converted then 1 end)', 'count(*)') }} as conversion_rate,
        cast(avg(days_to_convert) as {{ engine_type('double') }}) as average_days_to_convert,
        -- opportunities
        count(opportunity_id) as opportunity_count,
        count(case when is_won then 1 end) as won_count,
        {{ money('sum(case when is_won then amount_converted end)') }} as won_amount,
        -- provenance
        source_system
    from leads_with_deals
    group by created_month, known_lead_source, source_system
),

final as (
    select
        -- keys
        counted.lead_conversion_key,
        counted.created_month,
        counted.lead_source,
        -- what it is
        months.fiscal_year,
        months.fiscal_quarter,
        months.fiscal_quarter_name,
        coalesce(months.is_month_over, false) as is_month_over,
        coalesce(months.is_latest, false) as is_latest,
        -- leads
        counted.lead_count,
        counted.converted_lead_count,
        counted.conversion_rate,
        counted.average_days_to_convert,
        -- opportunities
        counted.opportunity_count,
        counted.won_count,
        counted.won_amount,
        -- provenance
        counted.source_system
    from counted
    left join months on counted.created_month = months.month_start_date
)

select * from final
