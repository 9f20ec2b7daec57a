{#- Records whose versions have a gap or an overlap, or not exactly one current version. -#}
{% test one_history_per_record(model, column_name) %}

with

versions as (
    select
        {{ column_name }},
        valid_from,
        valid_to,
        is_current,
        lead(valid_from) over (partition by {{ column_name }} order by valid_from) as next_valid_from,
        count(case when is_current then 1 end) over (partition by {{ column_name }}) as current_count
    from {{ model }}
)

select *
from versions
where
    valid_to is distinct from next_valid_from
    or valid_to <= valid_from
    or is_current <> (valid_to is null)
    or current_count <> 1

{% endtest %}
