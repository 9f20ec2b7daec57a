"""docs/testing.md names each nightly test, and twins that run at each change."""

import re
from collections import Counter
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

    nightly = {name for name, is_nightly in collected.items() if is_nightly}
    named = Counter(name for name, *_ in rows)
    times = {name: sum(named[row] for row in {name, without_parameters(name)}) for name in nightly}
    assert {name: count for name, count in times.items() if count != 1} == {}
    assert named.keys() <= nightly | {without_parameters(name) for name in nightly}
    of_each_change = collected.keys() - nightly
    of_each_change |= {part for name in of_each_change for part in (name.split("::")[0], without_parameters(name))}
    for name, _, twin in rows:
        twins = re.findall(r"`(test_[^`]+)`", twin)
        assert twins and set(twins) <= of_each_change, name


def without_parameters(name: str) -> str:
    return name.split("[")[0]
