{{ base_table('salesforce', 'user_role') }}
