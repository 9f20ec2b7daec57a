"""Checks that dbt can't make: what is unusual, what drifted, what is late, and what does not tie to its source."""
