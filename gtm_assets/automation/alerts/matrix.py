"""The matrix: which event of which severity is told to which channels, and what a check's result means.

``gtm_assets/automation/alerts.yml``, or the file that ``GTM_ALERT_MATRIX`` names. It is validated whole: every
mistake is named, with the words that may stand there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from gtm_assets.errors import GtmError

DEFAULT_MATRIX = Path(__file__).resolve().parent.parent / "alerts.yml"


class MatrixError(GtmError):
    """The matrix can't be read. The message names the file and each mistake in it."""


class Event(StrEnum):
    """What an alert is about. ``docs/runbook.md`` has a section for each."""

    RUN = "run"
    DURATION = "duration"
    CHECK = "check"
    FRESHNESS = "freshness"
    DRIFT = "drift"
    ANOMALY = "anomaly"
    QUARANTINE = "quarantine"
    RECONCILIATION = "reconciliation"
    PERMISSION = "permission"
    SERVICE_LEVEL = "service_level"
    ACCESS = "access"
    COST = "cost"


class Severity(StrEnum):
    """How bad it is. Only what is critical is told again, and of a notice nobody is told that it is over."""

    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


class Channel(StrEnum):
    """Where alerts go. Each has one URL: ``GTM_ALERT_<CHANNEL>_URL``."""

    CHAT = "chat"
    EMAIL = "email"
    PAGER = "pager"


Step = tuple[Channel, ...]
"""Channels that are told together."""


@dataclass(frozen=True)
class CheckRule:
    """What the results of the checks with this name mean. ``name`` may hold ``*``."""

    name: str
    event: Event = Event.CHECK
    warned: Severity = Severity.WARNING
    failed: Severity = Severity.CRITICAL


@dataclass(frozen=True)
class ChannelOptions:
    """What else a channel gets: the daily summary, from the local time ``at`` on."""

    daily_summary: bool
    at: time


@dataclass(frozen=True)
class Matrix:
    """The whole of ``alerts.yml``."""

    steps: Mapping[tuple[Event, Severity], tuple[Step, ...]]
    channels: Mapping[Channel, ChannelOptions]
    timezone: ZoneInfo
    rules: tuple[CheckRule, ...]

    def of_check(self, name: str, failed: bool, blocking: bool) -> tuple[Event, Severity]:
        """Event and severity of a check that warned (``failed`` is False) or failed."""
        rule = next((rule for rule in self.rules if fnmatchcase(name, rule.name)), CheckRule("*"))
        if failed and blocking:
            return rule.event, Severity.CRITICAL
        return rule.event, rule.failed if failed else rule.warned


def load_matrix(path: Path | None = None) -> Matrix:
    """The matrix of a file; without one, the platform's own.

    Raises:
        MatrixError: the file is missing, is not YAML, or names an event, severity, channel or option that is none.
    """
    path = path or DEFAULT_MATRIX
    try:
        given = yaml.safe_load(path.read_text())
    except OSError as error:
        raise MatrixError(f"{path} can't be read ({error.strerror}). GTM_ALERT_MATRIX names it.") from None
    except yaml.YAMLError as error:
        raise MatrixError(f"{path} is not YAML: {error}") from None
    reader = _Reader()
    matrix = reader.matrix(given)
    if reader.mistakes:
        raise MatrixError(f"{path}:\n" + "\n".join(reader.mistakes))
    return matrix


class _Reader:
    """Reads the parsed YAML and collects the mistakes."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def matrix(self, given: Any) -> Matrix:
        top = self._mapping(given, "the file", ("events", "channels", "timezone", "checks"))
        events = self._mapping(top.get("events"), "events", tuple(Event), "event", needed=tuple(Event))
        steps = {}
        for event in Event:
            where = f"events.{event}"
            needed = (Severity.WARNING, Severity.CRITICAL) if event in events else ()
            by_severity = self._mapping(events.get(event, {}), where, tuple(Severity), "severity", needed=needed)
            for severity in Severity:
                steps[event, severity] = self._steps(
                    by_severity.get(severity, []), f"{where}.{severity}", severity
                )
        channels = self._mapping(top.get("channels"), "channels", tuple(Channel), "channel", needed=tuple(Channel))
        return Matrix(
            steps=steps,
            channels={c: self._options(channels.get(c, {}), f"channels.{c}") for c in Channel},
            timezone=self._timezone(top.get("timezone")),
            rules=tuple(self._rules(top.get("checks"))),
        )

    def _mapping(
        self, given: Any, where: str, known: tuple[str, ...], kind: str = "key", *, needed: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        if not isinstance(given, dict):
            self.mistakes.append(f"{where}: {given!r} is not a mapping of {', '.join(known)}.")
            return {}
        for name in given:
            if name not in known:
                self.mistakes.append(f"{where}: {name!r} is not a {kind}. There are: {', '.join(known)}.")
        # An event that is left out would silently reach nobody. An empty list says that this is meant.
        for name in needed:
            if name not in given:
                self.mistakes.append(f"{where}: the {kind} {name} is missing.")
        return given

    def _steps(self, given: Any, where: str, severity: Severity) -> tuple[Step, ...]:
        if not isinstance(given, list):
            self.mistakes.append(f"{where}: {given!r} is not a list of channels.")
            return ()
        steps = []
        for step in given:
            names = step if isinstance(step, list) else [step]
            wrong = [name for name in names if name not in tuple(Channel)]
            for name in wrong:
                self.mistakes.append(f"{where}: {name!r} is not a channel. There are: {', '.join(Channel)}.")
            if not names:
                self.mistakes.append(f"{where}: a step has no channel.")
            elif not wrong:
                steps.append(tuple(Channel(name) for name in names))
        if severity != Severity.CRITICAL and len(given) > 1:
            self.mistakes.append(
                f"{where}: a {severity} is told once. Channels that are told together are a list: [{given}]."
            )
        return tuple(steps)

    def _options(self, given: Any, where: str) -> ChannelOptions:
        options = self._mapping(given, where, ("daily_summary", "at"), "option")
        summary, at = options.get("daily_summary", False), options.get("at", "08:00")
        if not isinstance(summary, bool):
            self.mistakes.append(f"{where}.daily_summary: {summary!r} is neither true nor false.")
        # YAML reads 18:30 without quotes as a number to the base of 60.
        at = f"{at // 60:02}:{at % 60:02}" if isinstance(at, int) and not isinstance(at, bool) else at
        try:
            return ChannelOptions(summary is True, time.fromisoformat(at))
        except (TypeError, ValueError):
            self.mistakes.append(f'{where}.at: {at!r} is not a time such as "08:00".')
            return ChannelOptions(False, time(8))

    def _timezone(self, given: Any) -> ZoneInfo:
        try:
            return ZoneInfo(given)
        except (TypeError, ValueError, OSError, ZoneInfoNotFoundError):
            self.mistakes.append(f"timezone: {given!r} is not a time zone such as America/Los_Angeles.")
            return ZoneInfo("UTC")

    def _rules(self, given: Any) -> list[CheckRule]:
        if not isinstance(given, list):
            self.mistakes.append(f"checks: {given!r} is not a list of checks.")
            return []
        rules = []
        for number, entry in enumerate(given, 1):
            where = f"checks, entry {number}"
            values = self._mapping(entry, where, ("name", "event", "warned", "failed"))
            if not isinstance(values.get("name"), str):
                self.mistakes.append(f"{where}: it has no name.")
                continue
            rules.append(
                CheckRule(
                    values["name"],
                    self._word(values.get("event", Event.CHECK), Event, "event", where),
                    self._word(values.get("warned", Severity.WARNING), Severity, "severity", where),
                    self._word(values.get("failed", Severity.CRITICAL), Severity, "severity", where),
                )
            )
        return rules

    def _word(self, given: Any, words: type[StrEnum], kind: str, where: str) -> Any:
        if given in tuple(words):
            return words(given)
        self.mistakes.append(f"{where}: {given!r} is not a {kind}. There are: {', '.join(words)}.")
        return next(iter(words))
