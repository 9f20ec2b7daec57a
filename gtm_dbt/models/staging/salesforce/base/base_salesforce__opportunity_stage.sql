{{ base_table('salesforce', 'opportunity_stage') }}
