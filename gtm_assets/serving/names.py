"""What the asset and its checks are called."""

import dagster as dg

GROUP = "served"
ASSET_KEY = dg.AssetKey([GROUP, "postgres"])
EQUAL_CHECK = "what_is_served_is_what_is_published"
ACCESS_CHECK = "access_is_what_the_file_says"
AUDIT_KEY = dg.AssetKey([GROUP, "audit"])
COSTS_KEY = dg.AssetKey([GROUP, "costs"])
WATCHED = (AUDIT_KEY, COSTS_KEY)
"""What is looked at each hour."""
AUDITED_CHECK = "reads_are_audited"
CREDENTIALS_CHECK = "credentials_are_rotated"
BUDGETS_CHECK = "budgets_are_kept"
SLOW_CHECK = "queries_are_quick"
WAITS_CHECK = "nobody_waits_long"
TELLS = "tells"
"""The metadata of a check's result that lists what is told of it, each by itself."""
