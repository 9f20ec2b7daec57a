{{ base_table('salesforce', 'campaign') }}
