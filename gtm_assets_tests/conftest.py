"""Shared fixtures. Tests marked `slow` start processes or whole builds and run last.

Those marked `nightly` are left out by `make test` and run by `make test-all`; docs/testing.md names them.

Property tests draw the same examples in each run. To look further, with others in each:
`HYPOTHESIS_PROFILE=explore pytest gtm_assets_tests/test_dbt_incremental.py`.
"""

import os
import shutil
from functools import cached_property
from itertools import groupby
from pathlib import Path

import pytest
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from gtm_assets_tests import properties
from gtm_assets_tests.browser import CHROMIUM, visitor
from gtm_assets_tests.gtm_process import FIRST_END, GtmHome

properties.register()


LONGEST = (
    "test_week",
    "test_dev",
    "test_dbt_incremental",
    "test_daemon",
    "test_pipedrive_run",
    "test_gtm_external",
    "test_ui",
    "test_documented_commands",
    "test_gtm_run",
    "test_salesforce_live",
    "test_dbt_external",
    "test_report_pages",
    "test_metrics",
)
"""Modules of half a minute or more, begun first: one begun last would keep one worker busy with the other done.

Those that need no built home stand before those that do, so that only one worker waits for it.
"""
UNSHARED = ("test_gtm_run", "test_dbt_incremental", "test_salesforce_live", "test_published_versions")
"""Modules whose tests share nothing that takes long to make but the built home."""


COLLECTED = pytest.StashKey[dict[str, bool]]()
"""Whether it is nightly, by each test of the modules that were named, before `-m` and `-k` choose."""


def pytest_collection_modifyitems(config, items):
    """Quick tests first, so that a fault shows early; of the slow ones the longest. Nightly ones are slow too."""
    config.stash[COLLECTED] = {f"{i.path.name}::{i.name}": any(i.iter_markers("nightly")) for i in items}
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.slow)

    def turn(item) -> int:
        if item.get_closest_marker("slow") is None:
            return 0
        return 1 + (LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))

    items.sort(key=turn)


class ModulesTogether(LoadScopeScheduling):
    """Gives the tests of a module that follow on each other to one worker: they share what takes long to make.

    xdist's own `loadgroup` would do it by marks, but it writes them into a field that pytest 9 no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        return self._scopes[nodeid]

    @cached_property
    def _scopes(self) -> dict[str, str]:
        """Each test's unit: a module's quick tests, or its slow ones; of an unshared module the test alone."""
        scopes = {}
        for number, (module, tests) in enumerate(groupby(self.collection, lambda nodeid: nodeid.split("::")[0])):
            unshared = Path(module).stem in UNSHARED
            scopes |= {nodeid: nodeid if unshared else f"{number} {module}" for nodeid in tests}
        return scopes


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ModulesTogether(config, log) if config.getoption("dist") == "loadscope" else None


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
