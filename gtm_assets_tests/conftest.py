"""Shared fixtures. Tests marked `slow` start processes or whole builds and run last.

Property tests draw the same examples in each run. To look further, with others in each:
`HYPOTHESIS_PROFILE=explore pytest gtm_assets_tests/test_dbt_incremental.py`.
"""

import os
import time

import pytest
from hypothesis import settings

from gtm_assets_tests.gtm_process import GtmHome

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_modifyitems(items):
    """Quick tests first, so that a fault shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def built_home(tmp_path_factory) -> GtmHome:
    """A state folder after one undisturbed `gtm run` of three partitions. Not to be changed."""
    home = GtmHome(tmp_path_factory.mktemp("built") / "gtm")
    began = time.monotonic()
    home.run().check()
    home.seconds_file.write_text(str(time.monotonic() - began))
    return home
