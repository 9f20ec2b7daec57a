"""Which partitions of which tables are still to be landed, and in which runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import batches


@dataclass(frozen=True)
class Extraction:
    """Tables and partitions that one run lands."""

    tables: tuple[RawTable, ...]
    partitions: tuple[str, ...]


def extractions(wanted: Mapping[RawTable, Sequence[str]]) -> list[Extraction]:
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
        early, unreadable = lake.landed_early(table), set(lake.unreadable_partitions(table))
        landed = [key for key in lake.partitions(table) if key not in early]
        there = set(landed)
        absent = [key for key in keys if key not in there]
        due = [key for key in keys if key in unreadable & there]
        if due and landed[-1] in unreadable:
            due = [key for key in due if key == landed[-1] and not absent]
        wanted[table] = sorted([*absent, *due])
    return wanted
