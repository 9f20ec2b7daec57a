"""The live organisation as a run's resource: it knows what the run will ask for and begins with it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from gtm_assets import clock
from gtm_assets.partitions import Calendar, end_of
from gtm_assets.runtime.runs import INTRADAY_TAG, range_of
from gtm_assets.settings import Settings
from gtm_assets.sources.raw_asset import asset_key, until
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.live.org import REQUESTS_KEPT, LiveOrg, Wanted


def live_org(settings: Settings, calendar: Calendar) -> dg.ConfigurableResource[LiveOrg]:
    """The organisation that the settings name, for one run."""

    class LiveOrganisation(dg.ConfigurableResource[LiveOrg]):
        """The live Salesforce organisation."""

        # The settings are no config of Dagster's: it would show and store the secrets among them.
        @contextmanager
        def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[LiveOrg]:
            # A step in a process of its own asks for its table alone.
            run = context.run if settings.executor == "in_process" else None
            plan = wanted_by(run, calendar) if run is not None else []
            log = context.log
            is_intraday = context.run is not None and INTRADAY_TAG in context.run.tags
            told = {"say": log.info, "warn": log.warning} if log else {}
            source = LiveOrg.of(settings, plan, **told, kept=REQUESTS_KEPT if is_intraday else 0)
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
    selected = [
        table for table in OBJECTS if run.asset_selection is None or asset_key(table) in run.asset_selection
    ]
    now = until(run.tags)
    keys = calendar.between(*ends)
    if now is None:
        # Each step says for itself up to when it lands the partition that is still open.
        keys = [key for key in keys if end_of(key) <= clock.now()]
    return [
        Wanted(table, calendar.window(key, now), bool(_config(run, table.name).get("full")))
        for table in selected
        for key in keys
    ]


def _config(run: dg.DagsterRun, table: str) -> Mapping[str, object]:
    """The config of the op that lands a table; empty where the run gives none."""
    found: Mapping[str, object] = run.run_config
    for name in ("ops", f"salesforce__{table}", "config"):
        part = found.get(name)
        found = part if isinstance(part, Mapping) else {}
    return found
