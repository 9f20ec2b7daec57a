"""The sensor that looks every half minute. It starts nothing: without any URL set it writes to the log."""

from __future__ import annotations

from contextlib import closing

import dagster as dg

from gtm_assets import clock
from gtm_assets.automation.alerts.incidents import Busy, Incidents
from gtm_assets.automation.alerts.tick import TickResult, tick
from gtm_assets.finding import sample_table
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.settings import Settings

INTERVAL_SECONDS = 30
ASSET_KEY = dg.AssetKey(["operations", "alerts"])
SPEC = dg.AssetSpec(
    ASSET_KEY,
    deps=[PUBLISHED],
    description="What the platform tells people is wrong. Each time when that changes, an observation lists the "
    "incidents that are open, and how many messages were sent.",
    group_name="operations",
    owners=["team:revops"],
    kinds={"dagster"},
    tags={"layer": "operations"},
)


def alerts_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor ``alerts`` for these settings."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells what is wrong, once, to the channels of the settings, and when it is well again. It "
        "starts no run, so Dagster lists each of its looks as skipped; operations/alerts shows what it did.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        # The daemon and the UI always give it.
        repository = context.repository_def
        assert repository is not None
        try:
            done = tick(context.instance, repository, settings, clock.now(), log=context.log)
        except Busy as busy:
            return dg.SensorResult(skip_reason=f"{busy}: it does the work.")
        return dg.SensorResult(
            skip_reason=f"{done.unresolved:,} incidents are open: {done.opened:,} new, {done.resolved:,} resolved "
            f"just now. {done.sent:,} messages sent, {done.waiting:,} wait.",
            asset_events=[_observation(settings, done)] if done.opened or done.resolved or done.sent else [],
        )

    return alerts


def _observation(settings: Settings, done: TickResult) -> dg.AssetObservation:
    with closing(Incidents(settings.incidents_path)) as incidents:
        rows = [
            {
                "since": f"{incident.since:%Y-%m-%d %H:%M} UTC",
                "severity": str(incident.severity),
                "what": incident.title,
                "blocks": incident.blocks,
            }
            for incident in incidents.unresolved()
        ]
    return dg.AssetObservation(
        ASSET_KEY,
        metadata={
            "open": done.unresolved,
            "new": done.opened,
            "resolved": done.resolved,
            "messages_sent": done.sent,
            "messages_waiting": done.waiting,
            "incidents": sample_table(rows),
        },
    )
