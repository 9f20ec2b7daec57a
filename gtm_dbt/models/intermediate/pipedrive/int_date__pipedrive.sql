with

final as (
    {{
        dates_met([
            ('int_opportunity__pipedrive', 'created_at'),
            ('int_opportunity__pipedrive', 'close_date'),
            ('stg_pipedrive__activity', 'due_at'),
        ])
    }}
)

select date_day from final
