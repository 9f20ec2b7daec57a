{{ base_table('salesforce', 'opportunity') }}
