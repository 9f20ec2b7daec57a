"""The live organisation as a run's resource: it knows what the run will ask for and begins with it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from gtm_assets import clock
from gtm_assets.partitions import Calendar, end_of
from gtm_assets.runtime.runs import range_of
from gtm_assets.settings import Settings
from gtm_assets.sources.raw_asset import asset_key, until
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.live.org import LiveOrg, Wanted


def live_org(settings: Settings, calendar: Calendar) -> dg.ConfigurableResource[LiveOrg]:
    """The organisation that the settings name, for one run."""

    class LiveOrganisation(dg.ConfigurableResource[LiveOrg]):
        """The live Salesforce organisation."""

        # The settings are no config of Dagster's: it would show and store the secrets among them.
        @contextmanager
        def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[LiveOrg]:
            # A step in a process of its own asks for its table alone.
            in_process = settings.executor == "in_process" and context.run is not None
            plan = wanted_by(context.run, calendar) if in_process else []
            log = context.log
            source = LiveOrg.of(settings, plan, log.info, log.warning) if log else LiveOrg.of(settings, plan)
            try:
                yield source
            finally:
                source.close()

    return LiveOrganisation()


def wanted_by(run: dg.DagsterRun, calendar: Calendar) -> list[Wanted]:
    """What the steps of a run will ask for, in the order of the steps."""
    ends = range_of(run.tags)
    if ends is None:
        return []
    ops = run.run_config.get("ops", {})
    selected = [
        table for table in OBJECTS if run.asset_selection is None or asset_key(table) in run.asset_selection
    ]
    now = until(run.tags)
    keys = calendar.between(*ends)
    if now is None:
        # Each step says for itself up to when it lands the partition that is still open.
        keys = [key for key in keys if end_of(key) <= clock.now()]
    return [
        Wanted(table, calendar.window(key, now), bool(_config(ops, table.name).get("full")))
        for table in selected
        for key in keys
    ]


def _config(ops: dict, table: str) -> dict:
    return ops.get(f"salesforce__{table}", {}).get("config", {})
