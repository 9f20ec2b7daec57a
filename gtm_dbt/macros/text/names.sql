{#- What makes names and addresses of two systems comparable. Null where nothing is left. -#}


{#- A text in lower case, without accents, its words parted by one blank. -#}
{% macro normalised_text(text) -%}
    {{ adapter.dispatch('normalised_text', 'gtm_dbt')(text) }}
{%- endmacro %}

{% macro default__normalised_text(text) %}
    {{ not_supported('normalised_text') }}
{% endmacro %}

{% macro duckdb__normalised_text(text) -%}
    nullif(
        trim(regexp_replace(
            regexp_replace(replace(lower(strip_accents({{ text }})), '&', ' and '), '[.''’]', '', 'g'),
            '[^\p{L}\p{N}]+', ' ', 'g'
        )),
        ''
    )
{%- endmacro %}


{#- The same of a company's name, without its legal form: ACME, Inc. is acme. -#}
{% macro normalised_company(text) -%}
    {{ adapter.dispatch('normalised_company', 'gtm_dbt')(text) }}
{%- endmacro %}

{% macro default__normalised_company(text) %}
    {{ not_supported('normalised_company') }}
{% endmacro %}

{% macro duckdb__normalised_company(text) -%}
    regexp_replace(
        {{ normalised_text(text) }},
        '( (inc|incorporated|llc|llp|lp|ltd|limited|corp|corporation|co|company|plc|gmbh|ag|kg|sa|sas|sarl|srl|spa|bv|nv|ab|as|oy|pty))+$',
        ''
    )
{%- endmacro %}


{#- The domain of a company's web site or of an email address; null for those that give addresses to anybody. -#}
{% macro company_domain(address) -%}
    {{ adapter.dispatch('company_domain', 'gtm_dbt')(address) }}
{%- endmacro %}

{% macro default__company_domain(address) %}
    {{ not_supported('company_domain') }}
{% endmacro %}

{% macro duckdb__company_domain(address) -%}
    nullif(
        regexp_replace(
            regexp_extract(
                lower(trim({{ address }})), '^(?:[a-z]+://)?(?:[^@/]*@)?(?:www[.])?([^/:?#\s]+[.][^/:?#\s]+)', 1
            ),
            '^({{ var("free_email_domains") | join("|") | replace(".", "[.]") }})$',
            ''
        ),
        ''
    )
{%- endmacro %}
