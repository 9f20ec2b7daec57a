{{ base_table('salesforce', 'product_2') }}
