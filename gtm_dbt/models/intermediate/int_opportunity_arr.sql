{%- set opening = var('arr')['opening'] -%}

with

opportunities as (
    select
        *,
        {{ arr_column('gain') }} as stated_gain,
        {{ arr_column('loss') }} as stated_loss,
        {{ arr_column('opening') }} as opening_now
    from {{ ref('fct_opportunity') }}
    where is_closed
),

rates as (
    select * from {{ ref('int_currency_rates') }}
),

-- A lost renewal that states no loss loses what it opened with.
silent_renewals as (
    select
        opportunity_id,
        opening_now
    from opportunities
    where
        not is_won
        and coalesce(stated_loss, 0) = 0
        and {{ is_renewal('opportunity_type') }}
),

opened as (
    {% if is_versioned(opening) %}
        select
            ranked.opportunity_id,
            ranked.opening_arr
        from (
            select
                versions.opportunity_id,
                cast(versions.{{ opening }} as {{ amount_type() }}) as opening_arr,
                row_number() over (
                    partition by versions.opportunity_id
                    order by versions.system_modstamp, versions._partition_key, versions._version_hash
                ) as rank_in_time
            from {{ ref('int_opportunity_versions') }} as versions
            inner join silent_renewals on versions.opportunity_id = silent_renewals.opportunity_id
            where versions.{{ opening }} is not null
        ) as ranked
        where ranked.rank_in_time = 1
    {% else %}
        select
            opportunity_id,
            opening_now as opening_arr
        from silent_renewals
    {% endif %}
),

measured as (
    select
        opportunities.*,
        case when opportunities.is_won then opportunities.stated_gain end as gained_arr,
        case
            when coalesce(opportunities.stated_loss, 0) <> 0 then opportunities.stated_loss
            else opened.opening_arr
        end as lost_arr,
        opened.opportunity_id is not null as is_loss_of_opening
    from opportunities
    left join opened on opportunities.opportunity_id = opened.opportunity_id
),

-- An entry has whole cents, so that balances are the sum of their entries to the cent.
converted as (
    select
        measured.*,
        {{ cents(converted('measured.gained_arr', 'measured.currency_iso_code', 'rates.rate')) }}
            as gained_arr_converted,
        {{ cents(converted('measured.lost_arr', 'measured.currency_iso_code', 'rates.rate')) }}
            as lost_arr_converted
    from measured
    left join rates on {{ rate_in_force('rates', 'measured.currency_iso_code', 'measured.close_date') }}
    where coalesce(measured.gained_arr, 0) <> 0 or coalesce(measured.lost_arr, 0) <> 0
),

final as (
    select
        -- keys
        opportunity_id,
        account_key,
        owner_user_key,
        -- what it is
        is_won,
        is_loss_of_opening,
        currency_iso_code,
        -- measures, in the record's currency
        gained_arr,
        lost_arr,
        -- measures, in the reporting currency
        gained_arr_converted,
        lost_arr_converted,
        -- dates
        close_date,
        -- provenance
        source_system
    from converted
)

select * from final
