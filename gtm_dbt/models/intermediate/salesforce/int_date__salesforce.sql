with

final as (
    {{
        dates_met([
            ('int_opportunity_field_changes', 'old_close_date'),
            ('int_opportunity_field_changes', 'new_close_date'),
            ('int_opportunity_versions', 'close_date'),
            ('int_opportunity_versions', 'created_at'),
            ('int_opportunity_versions', 'system_modstamp'),
            ('stg_salesforce__account', 'created_at'),
            ('stg_salesforce__campaign', 'start_date'),
            ('stg_salesforce__campaign', 'end_date'),
            ('stg_salesforce__campaign_influence', 'created_at'),
            ('stg_salesforce__campaign_member', 'created_at'),
            ('stg_salesforce__campaign_member', 'first_responded_date'),
            ('stg_salesforce__contact', 'created_at'),
            ('stg_salesforce__email_message', 'created_at'),
            ('stg_salesforce__email_message', 'message_at'),
            ('stg_salesforce__event', 'activity_date'),
            ('stg_salesforce__event', 'created_at'),
            ('stg_salesforce__event', 'started_at'),
            ('stg_salesforce__event', 'ended_at'),
            ('stg_salesforce__forecasting_quota', 'start_date'),
            ('stg_salesforce__lead', 'created_at'),
            ('stg_salesforce__lead', 'converted_date'),
            ('stg_salesforce__opportunity', 'created_at'),
            ('stg_salesforce__opportunity', 'close_date'),
            ('stg_salesforce__opportunity_contact_role', 'created_at'),
            ('stg_salesforce__opportunity_field_history', 'created_at'),
            ('stg_salesforce__opportunity_line_item', 'service_date'),
            ('stg_salesforce__period', 'start_date'),
            ('stg_salesforce__period', 'end_date'),
            ('stg_salesforce__task', 'created_at'),
            ('stg_salesforce__task', 'activity_date'),
            ('stg_salesforce__task', 'completed_at'),
        ])
    }}
)

select date_day from final
