{#- Make the names and addresses of two systems comparable. They return null where nothing is left. -#}


{#- A text in lower case, without accents, with one blank between words. -#}
{% macro normalised_text(text) -%}
    {{ adapter.dispatch('normalised_text', 'gtm_dbt')(text) }}
{%- endmacro %}


{#- The name of a company, normalised in the same way and without its legal form: ACME, Inc. becomes acme. -#}
{% macro normalised_company(text) -%}
    regexp_replace(
        {{ normalised_text(text) }},
        '( (inc|incorporated|llc|llp|lp|ltd|limited|corp|corporation|co|company|plc|gmbh|ag|kg|sa|sas|sarl|srl|spa|bv|nv|ab|as|oy|pty))+$',
        ''
    )
{%- endmacro %}


{#- The domain of a web site or an email address; null for providers of addresses (var free_email_domains). -#}
{% macro company_domain(address) -%}
    {{ adapter.dispatch('company_domain', 'gtm_dbt')(address) }}
{%- endmacro %}
