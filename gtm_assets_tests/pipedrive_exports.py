"""Exports of Pipedrive as tests write and land them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import ExportInfo, Lake
from gtm_assets.partitions import Calendar
from gtm_assets.sources.pipedrive.catalog import TABLES
from gtm_assets.sources.pipedrive.export import ExportFolder

CALENDAR = Calendar(date(2026, 1, 1), date(2026, 3, 31))
BY_NAME = {table.name: table for table in TABLES}
HEADERS: dict[str, tuple[str, ...]] = {
    "activity": ("activity_id", "type", "assigned_to_user", "deal_id", "done", "due_to"),
    "activity_types": ("id", "name", "active", "type"),
    "deal_changes": ("deal_id", "change_time", "changed_field_key", "new_value"),
    "fields": ("ID", "FIELD_KEY", "NAME", "FIELD_VALUE_OPTIONS"),
    "stages": ("stage_id", "stage_name"),
    "users": ("id", "name", "email", "modified"),
}
SMALL_EXPORT: dict[str, Sequence[Sequence[object]]] = {
    "activity": [
        (1, "meeting", 7, 100, "True", "2024-07-24T06:47:10"),
        (1, "meeting", 7, 101, "False", "2024-07-25T06:47:10"),
        (2, "sc_2", 7, 900, "True", "2024-08-01T10:00:00"),
    ],
    "activity_types": [(1, "Sales Call 1", "Yes", "meeting"), (2, "Sales Call 2", "No", "sc_2")],
    "deal_changes": [
        (100, "2024-04-09 21:32:09", "add_time", "2024-04-09 21:32:09"),
        (100, "2024-04-09 21:32:09", "stage_id", "1"),
        (100, "2024-04-09 21:32:09", "stage_id", "1"),
        (100, "2024-05-01 08:00:00", "stage_id", "2"),
    ],
    "fields": [(1, "lost_reason", "Lost Reason", '[{"id": 1, "label": "Customer, Not\nReady"}]')],
    "stages": [(1, "Lead Generation"), (2, "Qualified Lead")],
    "users": [(7, "Ann Lee", "ann@acme.example", "2024-01-01T00:00:00")],
}
_EXPORTED = datetime(2025, 12, 1, tzinfo=UTC)


def write(folder: Path, name: str, rows: Iterable[Sequence[object]], hours: float = 0) -> Path:
    """Write one file of an export, exported so many hours after the tests' first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADERS[name], *rows])
    exported(path, hours)
    return path


def write_export(folder: Path, hours: float = 0, **changed: Sequence[Sequence[object]]) -> Path:
    """Write the small export, with other rows where they are given."""
    for name, rows in (SMALL_EXPORT | changed).items():
        write(folder, name, rows, hours)
    return folder


def exported(path: Path, hours: float) -> None:
    """Give a file the time at which it was exported."""
    instant = (_EXPORTED + timedelta(hours=hours)).timestamp()
    os.utime(path, (instant, instant))


def land(lake: Lake, folder: Path, name: str, day: int = 1, full: bool = False, limit: float = 0.2) -> Landing:
    """Land one file in a partition of January 2026, as the raw asset does."""
    table, window = BY_NAME[name], CALENDAR.window(f"2026-01-{day:02d}")
    export = ExportFolder(folder, lambda: window.end)
    found = export.extract(table, window)
    info = ExportInfo(found.exported_at, full, limit)
    return lake.land_export(table, window, [found.rows], export.known_at(window), info)


def newest(lake: Lake, name: str) -> list[Mapping[str, object]]:
    """The newest version of each record that is alive, by id, without what says how it came."""
    table = BY_NAME[name]
    versions = lake.versions(lake.batches(table), [*table.types, "_version_hash"])
    last = versions.sort(table.cursor, "_partition_key", "_fivetran_deleted", "_version_hash").unique(
        "id", keep="last"
    )
    made = {"exported_at", "_fivetran_deleted", "_version_hash", "_partition_key"}
    return last.filter(~pl.col("_fivetran_deleted")).sort("id").drop(made, strict=False).to_dicts()
