{#-
    Columns of Salesforce's objects by our names, said once for the staging view and for the versions of an object.
    Its key stands in the models.
-#}

{% macro salesforce_account_columns() -%}
    parent_id as parent_account_id,
    owner_id as owner_user_id,
    record_type_id,
    created_by_id as created_by_user_id,
    last_modified_by_id as last_modified_by_user_id,
    -- what it is
    name as account_name,
    type as account_type,
    industry,
    segment_c,
    rating,
    account_source,
    website,
    phone,
    billing_street,
    billing_city,
    billing_state,
    billing_postal_code,
    billing_country,
    description,
    currency_iso_code,
    -- measures
    annual_revenue,
    number_of_employees,
    -- dates
    last_activity_date,
    created_date as created_at,
    last_modified_date as last_modified_at,
    system_modstamp
{%- endmacro %}

{% macro salesforce_contact_columns() -%}
    account_id,
    owner_id as owner_user_id,
    reports_to_id as reports_to_contact_id,
    created_by_id as created_by_user_id,
    last_modified_by_id as last_modified_by_user_id,
    -- what it is
    first_name,
    last_name,
    name as contact_name,
    email,
    phone,
    mobile_phone,
    title,
    department,
    lead_source,
    mailing_city,
    mailing_state,
    mailing_country,
    has_opted_out_of_email,
    -- dates
    last_activity_date,
    created_date as created_at,
    last_modified_date as last_modified_at,
    system_modstamp
{%- endmacro %}

{% macro salesforce_opportunity_columns() -%}
    account_id,
    owner_id as owner_user_id,
    contact_id,
    campaign_id,
    pricebook_2_id as pricebook_id,
    record_type_id,
    created_by_id as created_by_user_id,
    last_modified_by_id as last_modified_by_user_id,
    -- what it is
    name as opportunity_name,
    type as opportunity_type,
    lead_source,
    stage_name,
    forecast_category,
    forecast_category_name,
    is_closed,
    is_won,
    next_step,
    loss_reason_c,
    currency_iso_code,
    -- measures
    probability,
    amount,
    expected_revenue,
    total_opportunity_quantity,
    arr_c,
    arr_churn_c,
    -- dates
    close_date,
    last_activity_date,
    last_stage_change_date as last_stage_changed_at,
    created_date as created_at,
    last_modified_date as last_modified_at,
    system_modstamp
{%- endmacro %}

{% macro salesforce_user_columns() -%}
    manager_id as manager_user_id,
    user_role_id,
    created_by_id as created_by_user_id,
    last_modified_by_id as last_modified_by_user_id,
    -- what it is
    username,
    first_name,
    last_name,
    name as user_name,
    email,
    title,
    department,
    division,
    audit_phase_c,
    user_type,
    is_active,
    time_zone_sid_key,
    default_currency_iso_code,
    -- dates
    last_login_date as last_login_at,
    created_date as created_at,
    last_modified_date as last_modified_at,
    system_modstamp
{%- endmacro %}

{#- What a change of a field is, in any of the field histories. -#}
{% macro salesforce_field_change_columns() -%}
    created_by_id as created_by_user_id,
    -- what it is
    field as field_name,
    data_type as field_data_type,
    old_value,
    new_value,
    -- dates
    created_date as created_at
{%- endmacro %}
