{{ base_table('salesforce', 'record_type') }}
