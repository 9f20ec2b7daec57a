"""Shared fixtures. Tests marked `slow` start processes or whole builds and run last.

Property tests draw the same examples in each run. To look further, with others in each:
`HYPOTHESIS_PROFILE=explore pytest gtm_assets_tests/test_dbt_incremental.py`.
"""

import os
import shutil

import pytest
from filelock import FileLock
from hypothesis import settings

from gtm_assets_tests.browser import CHROMIUM, visitor
from gtm_assets_tests.gtm_process import FIRST_END, GtmHome

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


LONGEST = ("test_week", "test_gtm_run", "test_dbt_incremental", "test_dev")
"""Modules of several minutes: begun last, one of them would keep one worker busy while the others have ended."""
UNSHARED = ("test_gtm_run", "test_dbt_incremental")
"""Modules whose tests share no more than the built home."""


def pytest_collection_modifyitems(items):
    """Quick tests first, so that a fault shows early; of the slow ones the longest.

    With several workers (`make test`) a module's tests stay together, for they share what is dear to make.
    """

    def turn(item) -> int:
        if item.get_closest_marker("slow") is None:
            return 0
        return 1 + (LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))

    items.sort(key=turn)
    for item in items:
        if item.path.stem not in UNSHARED:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(autouse=True)
def environment_as_it_was():
    """What runs dbt in this process tells it by the environment where things are: the next test starts without."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def built_home(tmp_path_factory, worker_id) -> GtmHome:
    """A state folder after two undisturbed runs: of two partitions, then of the third.

    What the first one published is kept beside it. Not to be changed: workers share it.
    """
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        base = base.parent
    home = GtmHome(base / "built" / "gtm")
    with FileLock(base / "built.lock"):
        if not home.output_file.exists():
            home.path.parent.mkdir()
            of_two_days = GtmHome(home.path, (*home.settings, ("GTM_END_DATE", FIRST_END)))
            first = of_two_days.run().check().output
            shutil.copyfile(home.published, home.first_publication)
            second = home.run().check().output
            home.output_file.write_text(first + second)
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
