{{ base_table('pipedrive', 'activity_types') }}
