"""How much of its monthly budget of query time each role has used, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gtm_assets.serving.access_file import Access

TOLD_AT = (50, 75, 80, 90, 95, 100)
"""Percent of a budget from which on something is told."""
WARNED_FROM, CRITICAL_FROM = 80, 95


@dataclass(frozen=True)
class Used:
    """What a role has used of its budget in a month."""

    role: str
    seconds: float
    budget_seconds: float | None

    @property
    def percent(self) -> float:
        """Of the budget; 0 where there is none."""
        return 100 * self.seconds / self.budget_seconds if self.budget_seconds else 0.0

    @property
    def sentence(self) -> str:
        """In words."""
        hours = f"{self.seconds / 3600:,.1f}"
        if self.budget_seconds is None:
            return f"{self.role} used {hours} hours"
        return f"{self.role} used {hours} of {self.budget_seconds / 3600:,.1f} hours ({int(self.percent)} %)"


def used(access: Access, prefix: str, seconds_by_login: Mapping[str, float]) -> list[Used]:
    """What each role of the access file has used. A login's queries count for each of its roles."""
    return [
        Used(
            name,
            # Who has set a role is counted as that role.
            sum(seconds_by_login.get(one, 0.0) for one in (*access.who_has(name), f"{prefix}{name}")),
            role.budget_hours and role.budget_hours * 3600,
        )
        for name, role in access.roles.items()
    ]


def told(roles: list[Used], now: datetime) -> list[dict[str, str]]:
    """What is told: a line for each mark that a role has passed in this month."""
    return [
        {
            "key": f"{one.role} {now:%Y-%m} {mark}",
            "severity": "critical" if mark >= CRITICAL_FROM else "warning" if mark >= WARNED_FROM else "notice",
            "title": f"{one.role} has used {mark} % of its query time of {now:%Y-%m}",
            "detail": f"{one.sentence} in {now:%Y-%m}, which ends with the month (UTC). What costs most: gtm "
            "cost.",
        }
        for one in roles
        for mark in TOLD_AT
        if one.percent >= mark
    ]


def used_up(access: Access, roles: list[Used]) -> list[str]:
    """The roles that are to be refused. Those by which data are loaded and built never are."""
    return [one.role for one in roles if access.roles[one.role].ad_hoc and one.percent >= 100]
