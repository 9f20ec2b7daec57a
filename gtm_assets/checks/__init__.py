"""Checks that dbt can't make: what is unusual, what drifted, what is late, and what differs from its source."""
