"""docs/testing.md names each nightly test, and twins that run at each change."""

import re
from pathlib import Path

import pytest

from gtm_assets.settings import PROJECT_DIR
from gtm_assets_tests.conftest import COLLECTED

TESTS = Path(__file__).parent


@pytest.fixture
def collected(request) -> dict[str, bool]:
    """Whether it is nightly, by each test of the whole folder."""
    found = request.config.stash[COLLECTED]
    if {name.split("::")[0] for name in found} != {path.name for path in TESTS.glob("test_*.py")}:
        pytest.skip("it compares all modules' tests: run it without naming a module, as `pytest -k testing`")
    return found


def test_each_nightly_test_is_named_with_its_twin(collected):
    text = (PROJECT_DIR / "docs" / "testing.md").read_text()
    rows = re.findall(r"^\| `(test_\w+\.py::[^`]+)` \| (.+) \| (.+) \|$", text, re.M)

    assert sorted(name for name, *_ in rows) == sorted(name for name, nightly in collected.items() if nightly)
    of_each_change = {name for name, nightly in collected.items() if not nightly}
    of_each_change |= {part for name in of_each_change for part in (name.split("::")[0], name.split("[")[0])}
    for name, _, twin in rows:
        named = re.findall(r"`(test_[^`]+)`", twin)
        assert named, name
        assert set(named) <= of_each_change, name
