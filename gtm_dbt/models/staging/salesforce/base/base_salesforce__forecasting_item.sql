{{ base_table('salesforce', 'forecasting_item') }}
