"""Runs under way, and which raw tables they land."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus, RunsFilter

from gtm_assets.automation.jobs import LANDING
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.sources.raw_asset import asset_key

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def unfinished(instance: dg.DagsterInstance) -> Sequence[DagsterRun]:
    """The runs that have not ended, those that wait for their turn too."""
    return instance.get_runs(RunsFilter(statuses=_UNFINISHED))


def landed_by(run: DagsterRun, tables: Sequence[RawTable]) -> Collection[RawTable]:
    """Those of the raw tables that a run lands."""
    if run.asset_selection is None:
        return tables if run.job_name in LANDING else ()
    return [table for table in tables if asset_key(table) in run.asset_selection]


def landings(instance: dg.DagsterInstance, tables: Sequence[RawTable]) -> list[DagsterRun]:
    """The runs under way that land one of these tables."""
    return [run for run in unfinished(instance) if landed_by(run, tables)]


def some(names: Sequence[str], count: int = 5) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
