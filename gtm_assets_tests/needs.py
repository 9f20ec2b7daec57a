"""What tests need beside Python: where it is missing they are skipped with a reason, but in CI they fail."""

from __future__ import annotations

import os

import pytest


def needs(lack: str | None) -> pytest.MarkDecorator:
    """Marks tests that need what is missing, said by ``lack``; None where it is there."""
    return pytest.mark.skipif(lack is not None and not os.environ.get("CI"), reason=lack or "")


def require(lack: str | None) -> None:
    """Skip the test that is under way where something is missing; in CI fail it."""
    if lack is None:
        return
    if os.environ.get("CI"):
        pytest.fail(lack)
    pytest.skip(lack)
