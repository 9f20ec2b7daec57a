{{ base_table('salesforce', 'opportunity_line_item') }}
