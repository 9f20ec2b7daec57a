"""From a number to the rows that it is made of, and from these to the records in the lake."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isclose
from typing import Any

from gtm_assets.catalog.origin import Origin
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.checks.reconciliation import SourceReconciliation
from gtm_assets.dbt.semantic_layer import Metric, Question, SemanticLayer
from gtm_assets.explaining.period import Period
from gtm_assets.explaining.published import Published
from gtm_assets.explaining.trails import TRAILS
from gtm_assets.lake.files import Batch
from gtm_assets.lake.reader import LakeReader

Value = Decimal | int | float | None
CENT = Decimal("0.01")
_AS_FAR_AS_THE_REPORT = (
    "{} of {} is computed from several records in shares or as they stood on a day: it is followed to the "
    "report's rows, and from there by lineage alone."
)


@dataclass(frozen=True)
class Version:
    """One version of a raw record, as a batch brought it."""

    table: str
    """``source.table``."""
    record_id: str
    partition: str
    batch_id: str
    file: str
    """Below the lake's root."""
    known_at: datetime
    """When it landed, UTC."""
    changed_at: datetime | None
    """The record's own time of the version, UTC."""
    is_deleted: bool
    is_newest: bool
    """Whether no other version of the record is newer: it is the one that counts."""
    values: Mapping[str, Any]
    """What it says of the number: columns of the raw table."""


@dataclass(frozen=True)
class Record:
    """A row of core that a number is made of."""

    id: str
    """What core calls it."""
    value: Value
    """What it adds."""
    versions: tuple[Version, ...] = ()
    """In the order in which they landed; none where they are not followed."""


@dataclass(frozen=True)
class Rows:
    """The rows of core that a simple metric's number is made of."""

    table: str
    """``schema.table``."""
    key: str
    """The column that names a row."""
    column: str
    """The column whose values are added up, or are counted."""
    records: Sequence[Record]
    adds_up: bool | None
    """Whether their values give the number: amounts and counts exactly. None: there is nothing to compare."""
    why_not: str = ""
    """Why the rows are not of core, or why they don't add up."""


def rows_of(
    layer: SemanticLayer, published: Published, leaf: Metric, period: Period, where: Sequence[str], total: Value
) -> Rows:
    """The rows of a simple metric's number, by the semantic layer's own filters and joins."""
    measure = leaf.measure
    assert measure is not None
    asked = Question([leaf.name], [measure.row], where, period.first, period.last)
    found = {row[measure.row]: row[leaf.name] for row in published.rows(layer.sql(asked))}
    if measure.aggregation == "count":
        found = {key: value for key, value in found.items() if value}
    elif measure.aggregation != "sum":
        found = {key: value for key, value in found.items() if value is not None}
    records = [Record(str(key), value) for key, value in found.items()]
    adds_up = _gives(measure.aggregation, [record.value for record in records], total)
    trail = TRAILS.get((measure.table, measure.expression))
    if trail is None:
        is_core = measure.schema == "gtm_core"
        return Rows(
            measure.qualified,
            measure.key,
            measure.expression,
            _ordered(records),
            adds_up,
            "" if is_core else _AS_FAR_AS_THE_REPORT.format(measure.expression, measure.qualified),
        )
    names = {"core": _schema(published, "gtm_core"), "mart": _schema(published, "gtm_mart")}
    below: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for row in published.rows(trail.select.format(**names)):
        if row["report_key"] in found:
            below[row["report_key"]].append((str(row["row_key"]), row["value"]))
    off = [key for key, value in found.items() if not _adds_up_to_the_cent(below[key], value)]
    values: dict[str, Value] = {}
    for pair in (pair for pairs in below.values() for pair in pairs):
        values[pair[0]] = _plus(values.get(pair[0]), pair[1])
    return Rows(
        f"gtm_core.{trail.core}",
        trail.key,
        trail.value,
        _ordered(Record(key, value) for key, value in values.items()),
        bool(adds_up) and not off,
        f"{len(off)} rows of {measure.qualified} are not the sum of their records: {off[0]}." if off else "",
    )


def _schema(published: Published, schema: str) -> str:
    return published.relation(schema, "_").rpartition(".")[0]


def _ordered(records: Iterable[Record]) -> list[Record]:
    """The largest first."""
    return sorted(records, key=lambda record: (-abs(Decimal(record.value or 0)), record.id))


def _plus(one: Any, two: Any) -> Any:
    return two if one is None else one if two is None else one + two


def _gives(aggregation: str, values: Sequence[Any], total: Value) -> bool | None:
    """Whether rows' values give a number: sums and counts exactly, means and medians to the twelfth digit."""
    if aggregation in ("sum", "count"):
        return sum(value or 0 for value in values) == (total or 0)
    if aggregation not in ("average", "median") or not values or total is None:
        return None
    given = [float(value) for value in values]
    found = statistics.fmean(given) if aggregation == "average" else statistics.median(given)
    return isclose(found, float(total), rel_tol=1e-9)


def _adds_up_to_the_cent(pairs: Sequence[tuple[str, Any]], value: Any) -> bool:
    return abs(sum((Decimal(pair[1] or 0) for pair in pairs), Decimal(0)) - Decimal(value or 0)) < CENT


# -- in the lake ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """What is known of one source's raw tables."""

    tables: Mapping[str, RawTable]
    origins: Sequence[Origin]
    reconciliations: Sequence[SourceReconciliation]


def followed(
    published: Published,
    lake: LakeReader,
    sources: Sequence[Source],
    landed: Mapping[str, Mapping[str, str]],
    rows: Rows,
    records: Sequence[Record],
) -> list[Record]:
    """Records of core with their versions in the lake, of the batches from which was published.

    Raises:
        LakeError: a file can't be read.
    """
    versions: dict[str, list[Version]] = defaultdict(list)
    core = rows.table.removeprefix("gtm_core.")
    for source in sources:
        for origin in (origin for origin in source.origins if origin.core == core):
            raw = source.tables[origin.raw]
            named = _named(published, origin, rows.key, records)
            batches = [
                batch for batch in lake.batches(raw) if batch.batch_id in landed.get(raw.qualified_name, {})
            ]
            shown = [
                column
                for rule in source.reconciliations
                if rule.core == core and rule.raw == origin.raw
                for measure, column in rule.measures.items()
                if measure in rows.column and column in {c.name for c in raw.columns}
            ]
            found = _versions(lake, raw, origin, batches, [*named], shown)
            for text, list_ in found.items():
                for id_ in named[text]:
                    versions[id_] += list_
    return [
        Record(
            record.id,
            record.value,
            tuple(sorted(versions[record.id], key=lambda v: (v.known_at, v.table, v.record_id, v.batch_id))),
        )
        for record in records
    ]


def _named(published: Published, origin: Origin, key: str, records: Sequence[Record]) -> dict[str, list[str]]:
    """What the raw table calls records of core, each with core's keys."""
    listed = ", ".join("'" + record.id.replace("'", "''") + "'" for record in records)
    if not listed:
        return {}
    named: dict[str, list[str]] = defaultdict(list)
    for row in published.rows(
        f"select {key} as row_key, {origin.column} as name from {published.relation('gtm_core', origin.core)}"
        f" where {key} in ({listed}) and {origin.rows} and {origin.column} is not null"
    ):
        named[str(row["name"]).removeprefix(origin.prefix)].append(str(row["row_key"]))
    return dict(named)


def _versions(
    lake: LakeReader,
    raw: RawTable,
    origin: Origin,
    batches: Sequence[Batch],
    texts: Sequence[str],
    shown: Sequence[str],
) -> dict[str, list[Version]]:
    """By the text that names them, the versions of a raw table's records."""
    if not texts or not batches:
        return {}
    deleted = raw.deletes.value
    columns = {raw.id_column, raw.cursor, deleted, origin.raw_column, "_batch_id", "_known_at", "_version_hash"}
    frame = lake.versions(batches, [*columns, *shown], {origin.raw_column: texts})
    files = {batch.batch_id: place_below(lake, batch) for batch in batches}
    rows = frame.rows(named=True)
    newest: dict[str, tuple[Any, ...]] = {}
    for row in rows:
        newest[row[raw.id_column]] = max(newest.get(row[raw.id_column], ()), _recency(raw, row))
    found: dict[str, list[Version]] = defaultdict(list)
    for row in rows:
        found[str(row[origin.raw_column])].append(
            Version(
                raw.qualified_name,
                str(row[raw.id_column]),
                row["_partition_key"],
                row["_batch_id"],
                files[row["_batch_id"]],
                row["_known_at"],
                row.get(raw.cursor),
                bool(row.get(deleted)),
                _recency(raw, row) == newest[row[raw.id_column]],
                {column: row.get(column) for column in shown},
            )
        )
    return found


def place_below(lake: LakeReader, batch: Batch) -> str:
    """A batch's file below the lake's root."""
    return str(batch.path).removeprefix(str(lake.root)).lstrip("/")


def _recency(raw: RawTable, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What orders the versions of a record."""
    at = row.get(raw.cursor)
    return at is not None, at or 0, row["_partition_key"], bool(row.get(raw.deletes.value)), row["_version_hash"]
