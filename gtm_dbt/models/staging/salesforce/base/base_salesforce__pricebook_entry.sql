{{ base_table('salesforce', 'pricebook_entry') }}
