{#- Band of a company's annual revenue; null where it is not known. -#}
{% macro annual_revenue_band(annual_revenue) -%}
    case
        when {{ annual_revenue }} < 1000000 then 'Under 1M'
        when {{ annual_revenue }} < 10000000 then '1M to 10M'
        when {{ annual_revenue }} < 50000000 then '10M to 50M'
        when {{ annual_revenue }} < 250000000 then '50M to 250M'
        when {{ annual_revenue }} < 1000000000 then '250M to 1B'
        when {{ annual_revenue }} >= 1000000000 then '1B and more'
    end
{%- endmacro %}
