{{ base_table('pipedrive', 'deal_changes') }}
