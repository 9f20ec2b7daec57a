{{ base_table('salesforce', 'email_message') }}
