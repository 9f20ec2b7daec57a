{{ base_table('pipedrive', 'activity') }}
