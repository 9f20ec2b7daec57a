"""Dashboards: Apache Superset on what is published, with users, rights and rows of the access file."""
