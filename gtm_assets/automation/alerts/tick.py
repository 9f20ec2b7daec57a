"""One look at what is wrong, and what is told because of it. The rules are in the package's docstring."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from gtm_assets.automation.alerts import messages
from gtm_assets.automation.alerts.channels import (
    LOG,
    Deliver,
    DeliveryError,
    Message,
    channels_set,
    deliver_by,
    logger,
)
from gtm_assets.automation.alerts.conditions import Condition, Observation, observe
from gtm_assets.automation.alerts.incidents import Incident, Incidents
from gtm_assets.automation.alerts.matrix import Event, Matrix, Severity, load_matrix
from gtm_assets.automation.alerts.summary import daily_summary, last_materialized
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.settings import Settings

SENDING_SECONDS = 20.0
"""One tick sends for at most this long; the next sends the rest. Dagster ends a sensor's tick after a minute."""


@dataclass(frozen=True)
class TickResult:
    """What one tick did."""

    opened: int = 0
    resolved: int = 0
    sent: int = 0
    waiting: int = 0
    """Messages that did not reach their channel yet."""
    unresolved: int = 0


def tick(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    settings: Settings,
    now: datetime,
    deliver: Deliver | None = None,
    *,
    wait_seconds: float = 0,
    log: logging.Logger = logger,
) -> TickResult:
    """Look, write what changed, send what is due.

    Raises:
        Busy: another process is at it, for longer than ``wait_seconds``.
        MatrixError: the matrix can't be read.
    """
    matrix = load_matrix(settings.alert_matrix)
    with closing(Incidents(settings.incidents_path)) as incidents, incidents.held(wait_seconds):
        before = incidents.unresolved()
        oldest = min((incident.since for incident in before), default=None)
        observation = observe(instance, repository, settings, matrix, now, oldest)
        updater = _IncidentUpdater(instance, repository, settings, matrix, incidents, now)
        with incidents.transaction():
            opened, resolved = updater.update(before, observation)
            updater.summarise()
            incidents.forget_old(now)
        sent = _send_due(incidents, deliver or deliver_by(settings, log), now, log)
        return TickResult(opened, resolved, sent, incidents.waiting(), len(incidents.unresolved()))


class _IncidentUpdater:
    """Compares the conditions with the open incidents, and writes what is to be told to whom."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        repository: dg.RepositoryDefinition,
        settings: Settings,
        matrix: Matrix,
        incidents: Incidents,
        now: datetime,
    ) -> None:
        self._instance, self._repository, self._settings = instance, repository, settings
        self._matrix, self._incidents, self._now = matrix, incidents, now

    def update(self, before: Sequence[Incident], observation: Observation) -> tuple[int, int]:
        """Bring the incidents up to date. Returns how many were opened and resolved."""
        notable = {
            key: condition
            for key, condition in observation.conditions.items()
            if self._matrix.steps[condition.event, condition.severity]
        }
        of_key = {key: incident for incident in before for key in incident.members}
        new = [condition for key, condition in notable.items() if key not in of_key]
        joined: dict[int, list[Condition]] = {}
        opened = []
        for members in _grouped(new, list(notable.values()), self._settings.alert_failed_checks):
            # Only a run's incident can be there already, when checks that failed in that run join it.
            known = next((of_key[c.key] for c in members if c.key in of_key), None)
            if known is not None:
                joined.setdefault(known.id, []).extend(c for c in members if c.key not in of_key)
            else:
                opened.append(members)
        resolved = 0
        for incident in before:
            more = joined.get(incident.id, [])
            self._incidents.join(incident.id, [c.key for c in more])
            present = [notable[key] for key in incident.members if key in notable] + more
            if not present and not any(map(observation.says_nothing_of, incident.members)):
                self._resolve(incident)
                resolved += 1
            else:
                self._carry_on(incident, present, more)
        for members in opened:
            self._open(members)
        return len(opened), resolved

    def _open(self, members: Sequence[Condition]) -> None:
        first = members[0]
        event, severity = first.event, messages.worst(members)
        title, detail, link = _message_of(members)
        if _is_digest(members):
            events = {condition.event for condition in members}
            event = events.pop() if len(events) == 1 else Event.CHECK
            severity = Severity.CRITICAL if first.failed else severity
        incident = Incident(
            event=event,
            severity=severity,
            title=title,
            detail=detail,
            blocks=messages.blocks(
                frozenset().union(*(c.assets for c in members)), last_materialized(self._instance, PUBLISHED)
            ),
            link=link,
            since=min(condition.since for condition in members),
            members=frozenset(condition.key for condition in members),
            opened_at=self._now,
        )
        incident_id = self._incidents.add(incident)
        self._tell(dataclasses.replace(incident, id=incident_id), messages.opened(incident, self._settings))

    def _carry_on(self, incident: Incident, present: Sequence[Condition], more: Sequence[Condition]) -> None:
        now_critical = sorted(
            (c for c in present if c.severity == Severity.CRITICAL), key=lambda c: (c.is_check, c.key)
        )
        if incident.severity == Severity.WARNING and now_critical:
            first, *others = now_critical
            title, detail, link = _message_of(
                [first, *(others if first.is_check else (c for c in more if c is not first))]
            )
            worse = dataclasses.replace(
                incident, severity=Severity.CRITICAL, title=title, detail=detail, link=link, tellings=0
            )
            self._incidents.worsen(incident.id, worse.severity, worse.title, worse.detail, worse.link)
            self._tell(worse, messages.worsened(worse, self._settings))
            return
        pause = timedelta(minutes=self._settings.alert_escalation_minutes)
        told_at = incident.told_at or incident.opened_at
        if incident.severity == Severity.CRITICAL and self._now - told_at >= pause:
            self._tell(incident, messages.repeated(incident, self._now, self._settings))

    def _resolve(self, incident: Incident) -> None:
        self._incidents.resolve(incident.id, self._now)
        if incident.severity == Severity.NOTICE:
            return
        message = messages.resolved(incident, self._now, self._settings)
        self._incidents.enqueue(self._incidents.channels_notified(incident.id), message, self._now, incident.id)

    def _tell(self, incident: Incident, message: Message) -> None:
        """Tell the next step, if there is one."""
        steps = self._steps(incident)
        if incident.tellings < len(steps):
            self._incidents.enqueue(steps[incident.tellings], message, self._now, incident.id)
            self._incidents.notified(incident.id, self._now)

    def _steps(self, incident: Incident) -> list[list[str]]:
        """Whom to tell, one after the other: what the matrix says, as far as it is set; else the log."""
        there = channels_set(self._settings)
        steps: list[list[str]] = [
            [channel for channel in step if channel in there]
            for step in self._matrix.steps[incident.event, incident.severity]
        ]
        steps = [step for step in steps if step]
        if not steps:
            return [[LOG]]
        # Where there is no next channel, the only one gets the alert once more.
        return steps * 2 if len(steps) == 1 else steps

    def summarise(self) -> None:
        """Write the daily summary for the channels that want it and have not had today's."""
        local = self._now.astimezone(self._matrix.timezone)
        wanting = [
            channel
            for channel in channels_set(self._settings)
            if self._matrix.channels[channel].daily_summary
            and local.time() >= self._matrix.channels[channel].at
            and self._incidents.first_summary(channel, local.date().isoformat())
        ]
        if wanting:
            message = daily_summary(
                self._instance,
                self._repository,
                self._incidents.unresolved(),
                self._settings,
                self._now,
                local.date(),
            )
            self._incidents.enqueue(wanting, message, self._now)


def _grouped(new: Sequence[Condition], all_: Sequence[Condition], many: int) -> list[list[Condition]]:
    """The conditions that are told as one, the one that names the incident first."""
    groups: list[list[Condition]] = []
    left = list(new)
    for run in (condition for condition in all_ if condition.event == Event.RUN):
        # A blocking check that fails makes its run fail. The two are one incident.
        caused = [c for c in left if c.is_check and c.failed and c.blocking and c.run_ids & run.run_ids]
        if run in left or caused:
            groups.append([run, *caused])
        left = [c for c in left if c is not run and c not in caused]
    checks = [c for c in left if c.is_check]
    groups += [[c] for c in left if not c.is_check]
    failed = [c for c in checks if c.failed]
    warned: dict[Event, list[Condition]] = {}
    for condition in checks:
        if not condition.failed:
            warned.setdefault(condition.event, []).append(condition)
    for alike in (failed, *warned.values()):
        groups += [alike] if len(alike) >= many else [[c] for c in alike]
    return groups


def _is_digest(members: Sequence[Condition]) -> bool:
    return members[0].is_check and len(members) > 1


def _message_of(members: Sequence[Condition]) -> tuple[str, str, str]:
    """Title, detail and link of conditions that are told as one."""
    first, rest = members[0], members[1:]
    if not _is_digest(members):
        return first.title, messages.detail(first, rest), first.link
    link = f"/runs/{next(iter(first.run_ids))}" if _one_run(members) else first.link
    return messages.digest_title(members), messages.check_lines(members), link


def _one_run(members: Iterable[Condition]) -> bool:
    runs = {condition.run_ids for condition in members}
    return len(runs) == 1 and len(next(iter(runs))) == 1


def _send_due(incidents: Incidents, deliver: Deliver, now: datetime, log: logging.Logger) -> int:
    """Send what is due. Returns how many messages arrived. Nothing that goes wrong with a channel is raised."""
    until = time.monotonic() + SENDING_SECONDS
    silent: set[str] = set()
    sent = 0
    while True:
        due = [pending for pending in incidents.due(now) if pending.channel not in silent]
        if not due:
            return sent
        for pending in due:
            if time.monotonic() > until:
                return sent
            if pending.channel in silent:
                continue
            try:
                deliver(pending.channel, pending.message)
            except Exception as error:
                # Only our own messages are known to hold no secret.
                reason = str(error) if isinstance(error, DeliveryError) else type(error).__name__
                # Other messages for this channel would fail too. The next tick tries them.
                silent.add(pending.channel)
                if incidents.failed(pending, now, reason):
                    log.warning("An alert waits: %s. It is tried again.", reason)
                else:
                    log.error("An alert was given up: %s. It said: %s", reason, pending.message.title)
            else:
                incidents.sent(pending.id, now)
                sent += 1
