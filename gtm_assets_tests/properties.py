"""How many examples property tests draw: fewer in `make test` than in `make test-all`."""

import os

from hypothesis import settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "gate")
SHARE = {"gate": 0.3, "all": 1, "explore": 10}
"""Of the examples that a test asks for. Those of `gate` and `all` are the same in each run."""


def register() -> None:
    """Make hypothesis' profiles; what a test does not say itself is taken from the one that is chosen."""
    for profile in SHARE:
        repeatable = {"derandomize": True, "database": None} if profile != "explore" else {}
        settings.register_profile(profile, deadline=None, max_examples=at_most(100, profile), **repeatable)
    settings.load_profile(PROFILE)


def at_most(examples: int, profile: str = PROFILE) -> int:
    """The number of examples for a test that draws so many in `make test-all`."""
    return max(round(examples * SHARE[profile]), 3)
