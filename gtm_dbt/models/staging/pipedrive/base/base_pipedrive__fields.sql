{{ base_table('pipedrive', 'fields') }}
