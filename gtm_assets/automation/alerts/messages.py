"""What people read: plain text, short enough for a chat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import dagster as dg

from gtm_assets.automation.alerts.channels import Message
from gtm_assets.automation.alerts.conditions import Condition
from gtm_assets.automation.alerts.incidents import Incident
from gtm_assets.automation.alerts.matrix import Event, Severity
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.runtime.instance import ui_address
from gtm_assets.settings import Settings

NAMED_ASSETS = 5
NAMED_CHECKS = 10
LONGEST_DETAIL = 1500
RUNBOOK = {
    Event.RUN: "run-failure",
    Event.DURATION: "slow-extraction",
    Event.CHECK: "check-failure",
    Event.FRESHNESS: "freshness-miss",
    Event.DRIFT: "schema-drift",
    Event.ANOMALY: "anomaly",
    Event.QUARANTINE: "quarantine",
    Event.RECONCILIATION: "reconciliation",
    Event.PERMISSION: "permission",
    Event.SERVICE_LEVEL: "service-level",
    Event.ACCESS: "access",
    Event.COST: "cost",
}
"""The section of ``docs/runbook.md`` for each event."""


def opened(incident: Incident, settings: Settings) -> Message:
    """The first message of an incident."""
    return Message(
        f"[{incident.severity}] {incident.title}", _body(incident, settings), "opened", incident.severity
    )


def worsened(incident: Incident, settings: Settings) -> Message:
    """The message that an incident has become critical."""
    return Message(
        f"[now {incident.severity}] {incident.title}", _body(incident, settings), "worsened", incident.severity
    )


def repeated(incident: Incident, now: datetime, settings: Settings) -> Message:
    """The message to the next channel, while an incident is not resolved."""
    title = f"[{incident.severity}, not resolved for {_span(now - incident.opened_at)}] {incident.title}"
    return Message(title, _body(incident, settings), "repeated", incident.severity)


def resolved(incident: Incident, now: datetime, settings: Settings) -> Message:
    """The last message of an incident."""
    body = [
        f"Since: {incident.since:%Y-%m-%d %H:%M} UTC",
        f"Until: {now:%Y-%m-%d %H:%M} UTC, {_span(now - incident.since)}",
        f"Look: {ui_address(settings)}{incident.link}",
    ]
    return Message(f"[resolved] {incident.title}", "\n".join(body), "resolved", incident.severity)


def _body(incident: Incident, settings: Settings) -> str:
    lines = [
        f"What: {incident.detail or incident.title}",
        f"Since: {incident.since:%Y-%m-%d %H:%M} UTC",
        f"Blocks: {incident.blocks}",
        f"Look: {ui_address(settings)}{incident.link}",
        f"Mend: docs/runbook.md#{RUNBOOK[incident.event]}",
    ]
    return "\n".join(lines)


def blocks(assets: Iterable[dg.AssetKey], published_at: datetime | None) -> str:
    """What waits, named as far as there is room for it."""
    waiting = sorted(set(assets))
    if not waiting:
        return "nothing."
    others = [asset for asset in waiting if asset != PUBLISHED]
    sentences = []
    if others:
        more = f" and {len(others) - NAMED_ASSETS:,} more" if len(others) > NAMED_ASSETS else ""
        names = ", ".join(asset.to_user_string() for asset in others[:NAMED_ASSETS])
        sentences.append(f"{names}{more} {'wait' if len(others) > 1 else 'waits'}.")
    if PUBLISHED in waiting:
        sentences.append(
            f"The published file stays as of {published_at:%Y-%m-%d %H:%M} UTC."
            if published_at
            else "Nothing is published yet."
        )
    return " ".join(sentences)


def detail(condition: Condition, checks: Sequence[Condition] = ()) -> str:
    """What a condition says, after what the checks say that failed in its run and whose words it does not have."""
    named = [check for check in checks if not check.detail or check.detail not in condition.detail]
    return shortened("\n".join([*([check_lines(named)] if named else []), condition.detail]).strip())


def check_lines(checks: Sequence[Condition]) -> str:
    """A line for each of the first checks."""
    most = max(300, LONGEST_DETAIL // 2 // len(checks))
    lines = [shortened(f"- {check.title}. {check.detail}".strip(), most) for check in checks[:NAMED_CHECKS]]
    more = len(checks) - NAMED_CHECKS
    return "\n".join([*lines, *([f"and {more:,} more"] if more > 0 else [])])


def digest_title(checks: Sequence[Condition]) -> str:
    """How many checks failed, or warned."""
    return f"{len(checks):,} checks {'failed' if checks[0].failed else 'warned'}"


def shortened(text: str, most: int = LONGEST_DETAIL) -> str:
    """The text, cut where there is no room for more of it."""
    return text if len(text) <= most else f"{text[: most - 2].rstrip()} …"


def worst(conditions: Iterable[Condition]) -> Severity:
    """The highest severity among these."""
    return max((condition.severity for condition in conditions), key=[*Severity].index)


def _span(span: timedelta) -> str:
    minutes = max(0, int(span.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} minutes"
    hours = minutes // 60
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"
