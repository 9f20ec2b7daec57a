"""What the tests of the lake build with: a small table, its records, pages and partitions, and who lands them."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from gtm_assets import place
from gtm_assets.catalog.raw_table import Column, ColumnType, Deletes, RawTable
from gtm_assets.errors import LakeError
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, Window
from gtm_assets.place import Place

CALENDAR = Calendar(date(2026, 1, 1), date(2026, 1, 31))
FIRST, DAY, NEXT = "2026-01-01", "2026-01-05", "2026-01-06"
"""The first partition, which holds all history; one in the middle; the one after it."""


def _columns(**types: ColumnType) -> tuple[Column, ...]:
    return tuple(Column(name, type_, f"Test column {name}.", name) for name, type_ in types.items())


DEALS = RawTable(
    source="salesforce",
    name="deal",
    api_name="Deal",
    description="Deals, with a column of each type.",
    columns=_columns(
        id=ColumnType.STRING,
        name=ColumnType.STRING,
        is_won=ColumnType.BOOLEAN,
        lines=ColumnType.INTEGER,
        probability=ColumnType.DOUBLE,
        amount=ColumnType.CURRENCY,
        close_date=ColumnType.DATE,
        system_modstamp=ColumnType.TIMESTAMP,
        is_deleted=ColumnType.BOOLEAN,
    ),
    cursor="system_modstamp",
    deletes=Deletes.SOFT,
)


def with_type(table: RawTable, column: str, type_: ColumnType) -> RawTable:
    """The table after its catalogue was mended: ``column`` has another type."""
    columns = tuple(dataclasses.replace(c, type=type_) if c.name == column else c for c in table.columns)
    return dataclasses.replace(table, columns=columns)


def deal(number: int, partition: str = DAY, **changes: str | None) -> dict[str, str | None]:
    """A record as CSV brings it, changed within ``partition``."""
    at = CALENDAR.window(partition).end - timedelta(hours=1)
    return {
        "id": f"006{number:015d}",
        "name": f"Deal {number}",
        "is_won": "true",
        "lines": "3",
        "probability": "62.5",
        "amount": f"{number}.25",
        "close_date": "2026-03-31",
        "system_modstamp": at.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "is_deleted": "false",
    } | changes


def page(*records: dict[str, str | None]) -> pl.DataFrame:
    """Records as a page of texts. A column that a record lacks is null there."""
    names = list(dict.fromkeys(name for record in records for name in record))
    return pl.DataFrame(
        {name: [record.get(name) for record in records] for name in names}, schema=dict.fromkeys(names, pl.String)
    )


def land(lake: Lake, *pages: pl.DataFrame, partition: str = DAY, table: RawTable = DEALS) -> Landing:
    """Land the pages as what an extraction of ``partition`` found."""
    window = CALENDAR.window(partition)
    return lake.land(table, window, pages, window.end)


def content(lake: Lake, table: RawTable = DEALS) -> Counter[tuple]:
    """All versions of the table with how often each is there: the source's columns and the version's hash."""
    frame = lake.read(table).collect()
    own = [name for name in LOADER_COLUMNS if name != "_version_hash"]
    frame = frame.select(sorted(set(frame.columns) - set(own)))
    return Counter(tuple(zip(frame.columns, row, strict=True)) for row in frame.iter_rows())


def leftovers(lake: Lake) -> list[Place]:
    """Files that are neither batches, nor quarantine, nor locks; of a bucket also what this machine has left."""
    there: list[Place] = [path for path in lake.table_workshop(DEALS).parent.parent.rglob("*") if path.is_file()]
    if not isinstance(lake.root, Path):
        there += place.found(lake.root, "*/*/*/*")
    return [path for path in there if path.suffix != ".parquet" and path.name not in (".lock", ".made")]


def wait_for(signal: Path) -> None:
    """Wait until another process has made the file ``signal``."""
    deadline = time.monotonic() + 30
    while not signal.exists():
        assert time.monotonic() < deadline, f"{signal} never came"
        time.sleep(0.001)


def drip(pages: Iterable[pl.DataFrame], begun: Path, pause: float) -> Iterator[pl.DataFrame]:
    """The pages one by one, as an extraction brings them; the file ``begun`` appears with the first."""
    for one in pages:
        begun.touch()
        time.sleep(pause)
        yield one


def land_in_a_process(
    root: Path, window: Window, pages: list[pl.DataFrame], begun: Path, go: Path, pause: float
) -> None:
    """The body of a process that lands the pages, slowly, once it may: ``go`` and ``begun`` are signal files."""
    wait_for(go)
    Lake(root).land(DEALS, window, drip(pages, begun, pause), datetime(2026, 1, 7, tzinfo=UTC))


def land_where_files_stay_small(root: Path, window: Window, pages: list[pl.DataFrame], limit: int, result) -> None:
    """The body of a process whose files can't grow beyond ``limit`` bytes: writing fails in mid-file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        Lake(root).land(DEALS, window, pages, datetime(2026, 1, 7, tzinfo=UTC))
        result.put("landed")
    except LakeError as error:
        result.put(str(error))


def merged(lake: Lake, table: RawTable) -> None:
    """Merge a table's batches of January: months are merged once all of their partitions are old."""
    window = dataclasses.replace(CALENDAR, last=date(2026, 3, 31)).window("2026-03-20")
    lake.land(table, window, [], window.end)
    assert lake.compact(table).files_after == 1
