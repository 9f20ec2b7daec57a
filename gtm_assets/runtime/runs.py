"""What ``gtm run`` does: which partitions are to be landed, in which runs, and the runs' events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import execute_run_iterator
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from dagster_shared.error import SerializableErrorInfo

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.errors import own_sentence
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import batches
from gtm_assets.runtime.instance import MODULE, PROCESS_TAG, job_origin, process_tag
from gtm_assets.settings import PROJECT_DIR


@dataclass(frozen=True)
class Extraction:
    """Tables and partitions that one run lands."""

    tables: tuple[RawTable, ...]
    partitions: tuple[str, ...]


def extractions(wanted: dict[RawTable, Sequence[str]]) -> list[Extraction]:
    """The runs that land the wanted partitions of each table.

    Tables that want the same partitions share runs. A run holds at most 31 partitions, without a gap (Dagster
    names a range by its ends). Oldest first.
    """
    tables_by_keys: dict[tuple[str, ...], list[RawTable]] = {}
    for table, keys in wanted.items():
        if keys:
            tables_by_keys.setdefault(tuple(sorted(keys)), []).append(table)
    return [
        Extraction(tuple(tables), tuple(batch))
        for keys, tables in sorted(tables_by_keys.items())
        for stretch in _without_gaps(keys)
        for batch in batches(stretch)
    ]


def _without_gaps(keys: Sequence[str]) -> list[list[str]]:
    stretches: list[list[str]] = []
    for key in keys:
        if stretches and date.fromisoformat(stretches[-1][-1]) + timedelta(days=1) == date.fromisoformat(key):
            stretches[-1].append(key)
        else:
            stretches.append([key])
    return stretches


def missing(lake: Lake, tables: Sequence[RawTable], keys: Sequence[str]) -> dict[RawTable, list[str]]:
    """The partitions among ``keys`` that each table has not landed to their end, or could not read.

    Of a table that could not be read at its newest partition that one alone is asked for, which shows whether that
    still holds: else a table that an org does not have would be asked for all its days each day.
    """
    wanted = {}
    for table in tables:
        early, owed = lake.landed_early(table), set(lake.owed(table))
        landed = [key for key in lake.partitions(table) if key not in early]
        there = set(landed)
        absent = [key for key in keys if key not in there]
        due = [key for key in keys if key in owed & there]
        if due and landed[-1] in owed:
            due = [key for key in due if key == landed[-1] and not absent]
        wanted[table] = sorted([*absent, *due])
    return wanted


def range_tags(partitions: Sequence[str]) -> dict[str, str]:
    """The tags of a run that name its partitions: Dagster names a range by its ends."""
    if not partitions:
        return {}
    return {ASSET_PARTITION_RANGE_START_TAG: partitions[0], ASSET_PARTITION_RANGE_END_TAG: partitions[-1]}


def execute(
    instance: dg.DagsterInstance,
    job_name: str,
    *,
    partitions: Sequence[str] = (),
    assets: Sequence[dg.AssetKey] | None = None,
    run_config: Mapping | None = None,
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
