"""What is published, on a PostgreSQL server that a company shares."""
