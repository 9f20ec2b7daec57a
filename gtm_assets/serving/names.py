"""What the asset and its checks are called."""

import dagster as dg

ASSET_KEY = dg.AssetKey(["served", "postgres"])
GROUP = "served"
EQUAL_CHECK = "what_is_served_is_what_is_published"
ACCESS_CHECK = "access_is_what_the_file_says"
