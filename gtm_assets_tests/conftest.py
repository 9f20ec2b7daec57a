"""Shared fixtures. Tests marked `slow` start processes or whole builds and run last.

Property tests draw the same examples in each run. To look further, with others in each:
`HYPOTHESIS_PROFILE=explore pytest gtm_assets_tests/test_dbt_incremental.py`.
"""

import os

import pytest
from filelock import FileLock
from hypothesis import settings

from gtm_assets_tests.browser import CHROMIUM, visitor
from gtm_assets_tests.gtm_process import GtmHome

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_modifyitems(items):
    """Quick tests first, so that a fault shows early.

    With several workers (`make test`) a module's tests stay together, for they share what is dear to make; those
    of `test_gtm_run` share but the built home.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    for item in items:
        if item.path.stem != "test_gtm_run":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def built_home(tmp_path_factory, worker_id) -> GtmHome:
    """A state folder after one undisturbed `gtm run` of three partitions. Not to be changed: workers share it."""
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        base = base.parent
    home = GtmHome(base / "built" / "gtm")
    with FileLock(base / "built.lock"):
        if not home.output_file.exists():
            home.path.parent.mkdir()
            home.output_file.write_text(home.run().check().output)
    return home


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        reason = "no chromium: install it (Debian: apt-get install chromium)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with visitor(tmp_path_factory.mktemp("screenshots")) as browser:
        yield browser


@pytest.fixture
def page(browser):
    """A page for the UI. It may ask nobody but the server."""
    with browser.page() as page:
        yield page
    assert browser.foreign == []
