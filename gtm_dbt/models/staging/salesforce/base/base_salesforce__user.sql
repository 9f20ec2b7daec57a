{{ base_table('salesforce', 'user') }}
