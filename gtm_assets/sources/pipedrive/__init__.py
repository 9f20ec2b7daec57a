"""Pipedrive: a folder with an export of six CSV files, and a synthetic one."""
