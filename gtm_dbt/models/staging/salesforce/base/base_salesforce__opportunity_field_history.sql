{{ base_table('salesforce', 'opportunity_field_history') }}
