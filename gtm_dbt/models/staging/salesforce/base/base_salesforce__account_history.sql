{{ base_table('salesforce', 'account_history') }}
