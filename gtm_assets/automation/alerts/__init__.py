"""Alerts: what is wrong is told once, to the right channel, and again when it is well.

A tick reads the present conditions from Dagster's records (``conditions.py``), compares them with the open
incidents (``incidents.py``), writes what is to be told by the matrix (``matrix.py``, ``alerts.yml``) and sends
what is due (``channels.py``). The sensor ticks every 30 seconds; ``gtm run``, which has no daemon, ticks at its
end.

The rules:

- **One incident is told once.** It opens when a condition appears that no open incident holds, and is resolved
  when all that it holds is gone. Its resolution goes to the channels that were told.
- **A run that a blocking check made fail is one incident**: blocking checks that failed in a failed run belong to
  the run's incident, and have none of their own. One that was open before stays by itself.
- **Many checks are one incident**: ``GTM_ALERT_FAILED_CHECKS`` or more that fail at a time, or warn of the same
  event, are told as one, the first ten by name. Failed ones are critical.
- **What gets worse is told again**, by the steps of its new severity. What gets better stays as it was told.
- **A critical incident is told again** every ``GTM_ALERT_ESCALATION_MINUTES``, to the next step of the matrix;
  after the last step no more. With one step only, that one is told twice.
- What the matrix tells to nobody is no incident.
- **A message is never lost**: it is written with the incident and sent afterwards. What does not arrive is tried
  again with growing pauses, from half a minute to an hour, for three days. A process that dies between sending
  and writing it down may repeat that one message.
- **Alerts never fail a run**, and hold up its end by less than a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gtm_assets import clock
from gtm_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

WAIT_SECONDS = 10.0


def tell_after_run(
    settings: Settings, code_location: Callable[[], dg.Definitions], say: Callable[[str], None]
) -> None:
    """Tick once, at the end of ``gtm run``, where a channel is set. What goes wrong is one sentence to ``say``."""
    from gtm_assets.automation.alerts.channels import channels_set

    if not channels_set(settings):
        return
    try:
        import dagster as dg

        from gtm_assets.automation.alerts.tick import tick

        with dg.DagsterInstance.get() as instance:
            repository = code_location().get_repository_def()
            done = tick(instance, repository, settings, clock.now(), wait_seconds=WAIT_SECONDS)
        if done.waiting:
            say(f"{done.waiting:,} alerts did not reach their channel and wait. Try the channels: gtm alerts test")
    # The run is over and its outcome stands, whatever becomes of the alerts.
    except Exception as error:
        say(f"Alerts were not told ({type(error).__name__}): {error}")
