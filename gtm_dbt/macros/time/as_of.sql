{#-
    "Now" for all models: the var `as_of` (an instant, or a date: that day's partition boundary), else up to when
    the lake was read: the end of the last partition that has landed, or the minute up to which it has landed early;
    in external mode what gtm_meta.external_now says. No model reads the clock.
-#}
{% macro as_of() -%}
    {%- set given = var('as_of', none) -%}
    {%- if given is none and execute and is_external() -%}
        (select external_now.now_at from {{ meta_table('external_now') }} as external_now)
    {%- elif given is none -%}
        (select max(lake_batches.read_until) from {{ meta_table('lake_batches') }} as lake_batches)
    {%- else -%}
        {{ given_as_of(given) }}
    {%- endif -%}
{%- endmacro %}


{#- The instant that the var `as_of` gives. What calls `as_of()` is built anew as time goes on, and this is not. -#}
{% macro given_as_of(given) -%}
    {%- if (given | string | length) == 10 -%}
        {{ partition_boundary("cast('" ~ given ~ "' as date)") }}
    {%- else -%}
        cast('{{ given }}' as {{ engine_type('timestamp with time zone') }})
    {%- endif -%}
{%- endmacro %}


{#- The instant at which a day's partition begins, and the one before it ends. -#}
{% macro partition_boundary(day) -%}
    {{ adapter.dispatch('partition_boundary', 'gtm_dbt')(day) }}
{%- endmacro %}


{#- The day whose partition an instant lies in. -#}
{% macro partition_of(instant) -%}
    {{ adapter.dispatch('partition_of', 'gtm_dbt')(instant) }}
{%- endmacro %}
