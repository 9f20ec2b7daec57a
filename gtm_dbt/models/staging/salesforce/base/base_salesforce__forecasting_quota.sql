{{ base_table('salesforce', 'forecasting_quota') }}
