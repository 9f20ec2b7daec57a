with

rates as (
    select * from {{ ref('currency_rates') }}
),

final as (
    select
        from_currency,
        rate,
        valid_from,
        -- Each rate is in force until the next one of its currency.
        lead(valid_from) over (partition by from_currency order by valid_from) as valid_to
    from rates
)

select * from final
