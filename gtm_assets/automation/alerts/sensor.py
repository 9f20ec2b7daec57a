"""The sensor that looks every half minute. It starts nothing: without any URL set it writes to the log."""

from __future__ import annotations

import dagster as dg

from gtm_assets import clock
from gtm_assets.automation.alerts.incidents import Busy
from gtm_assets.automation.alerts.tick import tick
from gtm_assets.settings import Settings

INTERVAL_SECONDS = 30


def alerts_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor ``alerts`` for these settings."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells what is wrong, once, to the channels of the settings, and when it is well again.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            done = tick(context.instance, context.repository_def, settings, clock.now(), log=context.log)
        except Busy as busy:
            return dg.SkipReason(f"{busy}: it does the work.")
        return dg.SkipReason(
            f"{done.unresolved:,} incidents are open: {done.opened:,} new, {done.resolved:,} resolved just now. "
            f"{done.sent:,} messages sent, {done.waiting:,} wait."
        )

    return alerts
