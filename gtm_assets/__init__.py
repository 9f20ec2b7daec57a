"""gtm_assets: CRM records in, a proven star schema out."""
