"""Salesforce: the catalogue of objects, the organisations they are read from, and their raw assets."""
