"""The clock: the one place where the platform's automation asks what time it is, so that a test can say."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """This instant, UTC."""
    return datetime.now(UTC)
