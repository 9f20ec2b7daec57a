{{ base_table('salesforce', 'period') }}
