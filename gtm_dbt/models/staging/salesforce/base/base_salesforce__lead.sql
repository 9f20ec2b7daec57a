{{ base_table('salesforce', 'lead') }}
