"""Runs: which partitions they land, how one is made in this process, and why one failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dagster as dg

from gtm_assets.errors import own_sentence
from gtm_assets.runtime.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    BulkActionsFilter,
    BulkActionStatus,
    ReconstructableRepository,
    SerializableErrorInfo,
    execute_run_iterator,
)
from gtm_assets.runtime.instance import MODULE, PROCESS_TAG, job_origin, process_tag
from gtm_assets.settings import PROJECT_DIR

INTRADAY_TAG = "gtm/intraday"
"""Of a run that the schedule of refreshes within the day asked for: its tick. It is not the run of a day."""


def range_tags(partitions: Sequence[str]) -> dict[str, str]:
    """The tags of a run that name its partitions: Dagster names a range by its ends."""
    if not partitions:
        return {}
    return {ASSET_PARTITION_RANGE_START_TAG: partitions[0], ASSET_PARTITION_RANGE_END_TAG: partitions[-1]}


def range_of(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """The first and the last partition of a run, by its tags; None where it has none."""
    one = tags.get(PARTITION_NAME_TAG)
    first, last = tags.get(ASSET_PARTITION_RANGE_START_TAG, one), tags.get(ASSET_PARTITION_RANGE_END_TAG, one)
    return None if first is None or last is None else (first, last)


def backfills_under_way(instance: dg.DagsterInstance) -> list[str]:
    """The ids of the backfills that have not ended."""
    under_way = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    return [backfill.backfill_id for backfill in instance.get_backfills(filters=under_way)]


def execute(
    instance: dg.DagsterInstance,
    job_name: str,
    *,
    partitions: Sequence[str] = (),
    assets: Sequence[dg.AssetKey] | None = None,
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[dg.DagsterEvent]:
    """Run a job of the code location in this process and yield its events as they happen.

    ``assets`` narrows the job's selection. The run is recorded like any other; the UI shows it.
    """
    repository = ReconstructableRepository.for_module(MODULE, "defs", working_directory=str(PROJECT_DIR))
    job = repository.get_reconstructable_job(job_name)
    if assets is not None:
        job = job.get_subset(asset_selection=frozenset(assets))
    definition = job.get_definition()
    tags = {PROCESS_TAG: process_tag(), **range_tags(partitions), **tags}
    run = instance.create_run_for_job(
        job_def=definition,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, **(run_config or {})},
        tags=tags,
        asset_selection=frozenset(assets) if assets is not None else None,
        job_code_origin=job.get_python_origin(),
        remote_job_origin=job_origin(job_name, PROJECT_DIR),
    )
    yield from execute_run_iterator(job, run, instance)


def cause_of(error: SerializableErrorInfo, traceback: bool = True) -> str:
    """The sentence of the platform's own error below Dagster's, the outermost where one was raised from another.

    Where there is none: the whole of it with its traceback, or only what the innermost says.
    """
    innermost = error
    while (sentence := own_sentence(innermost.message)) is None and innermost.cause is not None:
        innermost = innermost.cause
    if sentence is not None:
        return sentence
    if innermost.cls_name == "DagsterAssetCheckFailedError":
        return f"{innermost.message.split(': ', 1)[-1].strip()}\nWhat is downstream of it was not built."
    return error.to_string() if traceback else innermost.message.strip()
