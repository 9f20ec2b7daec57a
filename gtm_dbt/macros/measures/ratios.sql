{#- A ratio as a double; null where the denominator is 0. -#}
{% macro safe_divide(numerator, denominator) -%}
    cast({{ numerator }} as {{ engine_type('double') }}) / nullif(cast({{ denominator }} as {{ engine_type('double') }}), 0)
{%- endmacro %}


{#-
    won / (won + lost), by count or by amount. It is 1 with wins and no losses, and null where nothing was decided or
    where credits make one of them negative, since that would not be a share.
-#}
{% macro win_rate(won, lost) -%}
    case
        when coalesce({{ won }}, 0) >= 0 and coalesce({{ lost }}, 0) >= 0
            then {{ safe_divide('coalesce(' ~ won ~ ', 0)', '(coalesce(' ~ won ~ ', 0) + coalesce(' ~ lost ~ ', 0))') }}
    end
{%- endmacro %}
