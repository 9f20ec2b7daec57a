"""Shared fixtures. Tests marked `slow` start processes or whole builds and run last."""

import time

import pytest

from gtm_assets_tests.gtm_process import GtmHome


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
