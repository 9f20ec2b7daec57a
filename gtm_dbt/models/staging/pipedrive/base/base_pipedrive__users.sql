{{ base_table('pipedrive', 'users') }}
