"""What is published, on a PostgreSQL server that a company shares."""

import dagster as dg

ASSET_KEY = dg.AssetKey(["served", "postgres"])
GROUP = "served"
CHECK = "what_is_served_is_what_is_published"
