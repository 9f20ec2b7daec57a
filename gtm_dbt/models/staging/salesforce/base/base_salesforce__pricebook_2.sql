{{ base_table('salesforce', 'pricebook_2') }}
