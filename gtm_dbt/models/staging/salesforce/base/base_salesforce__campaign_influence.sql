{{ base_table('salesforce', 'campaign_influence') }}
