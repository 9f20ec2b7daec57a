"""The dbt project as Dagster runs it: the project, its process, its assets and the warehouse that it writes."""
