{{ base_table('pipedrive', 'stages') }}
