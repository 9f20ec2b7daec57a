"""The checks of a raw table, made by the op that lands it, over the partitions that it has just landed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg
import polars as pl

from gtm_assets.catalog.raw_table import Described, RawTable
from gtm_assets.checks import anomalies
from gtm_assets.checks.drift import schema_drift
from gtm_assets.finding import Finding
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake

QUARANTINE = "nothing_in_quarantine"
VANISHED = "table_has_not_vanished"
DRIFT = "schema_as_catalogued"
VOLUME = "volume_as_usual"
VALUES = "values_as_usual"

_DESCRIPTIONS = {
    QUARANTINE: "No record waits in quarantine. It blocks where so large a share of a partition waits that "
    "what is built without it would mislead.",
    DRIFT: "The source returns the columns and types of the catalogue.",
    VOLUME: "As many records as on the same weekday of the last four weeks.",
    VALUES: "Nulls, frequent values and ranges of numbers have the shares that they had in the last 28 days.",
}


def specs(asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks of a raw asset. Quarantine alone can block."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=text, blocking=name == QUARANTINE)
        for name, text in _DESCRIPTIONS.items()
    ]


@dataclass(frozen=True)
class Limits:
    """From where on a finding is one. Settings."""

    volume_tolerance: float
    """Share of the expected count."""
    quarantine_share: float
    """Share of a partition's records from which on quarantine blocks."""
    fiscal_year_start_month: int = 1


def findings(
    lake: Lake,
    table: RawTable,
    landings: Sequence[Landing],
    read: Collection[str],
    limits: Limits,
    first: str,
    described: Described | None = None,
) -> Iterator[tuple[str, Finding]]:
    """The finding of each check on what one run landed, by the check's name.

    ``first`` is the key of the calendar's first partition, which holds all history and is like no other day.
    ``read`` are the columns that models read, ``described`` what the source says of the table.
    """
    newest = landings[-1]
    over = [landing.partition for landing in landings if not landing.is_open]
    recent = _recent(lake, table, newest.partition, first)
    yield QUARANTINE, quarantine(lake, table, limits.quarantine_share)
    yield DRIFT, schema_drift(landings, _with_values(lake, table, recent, newest.partition), read, described)
    yield VOLUME, _volume(table, over, recent, limits, first) if over else _still_open(newest)
    yield VALUES, _still_open(newest) if newest.is_open else _values(table, newest, recent)


def _still_open(landing: Landing) -> Finding:
    return Finding(
        passed=True,
        sentence=f"Partition {landing.partition} is still open: it is compared when it is over.",
        severity=dg.AssetCheckSeverity.WARN,
    )


@dataclass(frozen=True)
class _Recent:
    """The versions landed in the newest partition and in the 28 days before it, the calendar's first aside."""

    records: pl.DataFrame
    counts: dict[str, int]
    """By partition key; 0 where a partition landed and held nothing."""


def _recent(lake: Lake, table: RawTable, partition: str, first: str) -> _Recent:
    since = (date.fromisoformat(partition) - timedelta(anomalies.DAYS)).isoformat()
    batches = [b for b in lake.batches(table) if max(since, first) <= b.partition <= partition]
    batches = [batch for batch in batches if batch.partition != first]
    counts = {batch.partition: 0 for batch in batches}
    if not batches:
        return _Recent(pl.DataFrame(), counts)
    records = lake.versions(batches, list(table.types)).rename({"_partition": anomalies.PARTITION})
    counts |= dict(records.group_by(anomalies.PARTITION).len().iter_rows())
    return _Recent(records, counts)


def _with_values(lake: Lake, table: RawTable, recent: _Recent, partition: str) -> set[str]:
    before = recent.records
    if not before.is_empty():
        before = before.filter(pl.col(anomalies.PARTITION) != partition)
    if before.is_empty():
        # A table that came whole in its first partition, or that rarely changes.
        before = lake.versions([b for b in lake.batches(table) if b.partition < partition], list(table.types))
    return {name for name in before.columns if before[name].null_count() < before.height}


def quarantine(lake: Lake, table: RawTable, limit: float) -> Finding:
    """What of a table waits in quarantine. An error where a partition lacks more than ``limit`` of its records."""
    waiting = lake.quarantined(table)
    if waiting.is_empty():
        return Finding(True, "No record waits.", dg.AssetCheckSeverity.WARN, {"records": 0})
    holed = [
        (partition, missing, landed)
        for partition, missing, landed in _holes(lake, table, waiting)
        if missing > limit * (missing + landed)
    ]
    sentence = f"{waiting.height:,} records of {table.qualified_name} wait in quarantine. "
    for partition, missing, landed in holed:
        sentence += f"In partition {partition} they are {missing:,} of {missing + landed:,}. "
    if holed:
        sentence += (
            f"Nothing is built while they are more than {limit:.0%} of a partition (GTM_QUARANTINE_LIMIT). "
        )
    return Finding(
        passed=False,
        sentence=f"{sentence}See them: gtm quarantine list {table.qualified_name}",
        severity=dg.AssetCheckSeverity.ERROR if holed else dg.AssetCheckSeverity.WARN,
        figures={"records": waiting.height, "partitions_blocked": [partition for partition, *_ in holed]},
        sample=waiting.head(10).select("partition", "record_id", "reason").to_dicts(),
    )


def still_there(lake: Lake, table: RawTable) -> Finding:
    """:func:`has_not_vanished`, as the newest partition that has landed says it."""
    return has_not_vanished(lake, table, lake.unreadable_reason(table))


def has_not_vanished(lake: Lake, table: RawTable, reason: str | None) -> Finding:
    """Whether a table that had records can still be read, or its owner has said that it is gone.

    ``reason`` is why the source does not let us read it; None where it does.
    """
    records = lake.alive(table) if reason else 0
    if not reason or not records:
        sentence = "It never had a record, and can't be read." if reason else "It can be read."
        return Finding(True, sentence, figures={"records_known": records})
    name, known = table.qualified_name, f"its {records:,} records stay as they were last known"
    since = lake.forgotten(table)
    if since:
        sentence = (
            f"{name} can't be read any more, and its owner has said so on {since:%Y-%m-%d %H:%M} UTC: {known}."
        )
        return Finding(True, sentence, figures={"records_known": records})
    return Finding(
        passed=False,
        sentence=(
            f"{name} had {records:,} records and can't be read any more: {reason.rstrip('.')}. Nothing is "
            f"published, and the file published before stays. Mend it: give the platform's user {table.api_name} "
            f"back, then run: gtm run. Or, if it is gone for good: gtm source forget {name}, then gtm run; {known}"
        ),
        figures={"records_known": records},
    )


def _holes(lake: Lake, table: RawTable, waiting: pl.DataFrame) -> Iterator[tuple[str, int, int]]:
    """Partition, records that are missing from it, and versions that landed in it.

    A record that landed in the partition or later, repaired at the source, is missing no more. Of a table that is
    taken whole each time there is one entry, the newest: what is missing and what there is of the whole.
    """
    landed = lake.versions(lake.batches(table), [table.id_column])
    if table.is_taken_whole:
        last = landed.group_by(table.id_column).agg(pl.col("_partition").max().alias("_last"))
        seen = waiting.join(last, left_on="record_id", right_on=table.id_column, how="left")
        missing = seen.filter((pl.col("_last") < pl.col("partition")).fill_null(True))
        yield waiting["partition"].max(), missing.height, last.height
        return
    for (partition,), records in waiting.group_by("partition", maintain_order=True):
        later = landed.filter(pl.col("_partition") >= partition)[table.id_column]
        missing = records.filter(~pl.col("record_id").is_in(later.implode()).fill_null(False))
        yield partition, missing.height, landed.filter(pl.col("_partition") == partition).height


def _volume(table: RawTable, partitions: Sequence[str], recent: _Recent, limits: Limits, first: str) -> Finding:
    judged = [
        anomalies.volume(recent.counts, partition, limits.volume_tolerance, limits.fiscal_year_start_month)
        for partition in partitions
        if partition in recent.counts
    ]
    unusual = [volume for volume in judged if volume.unusual]
    compared = [volume for volume in judged if volume.expected is not None]
    if unusual:
        worst = max(unusual, key=lambda volume: abs(volume.errors))
        sentence = (
            f"{table.qualified_name} {worst.partition}: {worst.records:,} records where {worst.expected:,.0f} "
            f"were to be expected. Look for an import, a filter or an extraction that broke off; land the "
            f"partition again with: gtm run --from {worst.partition} --to {worst.partition}"
        )
    elif compared:
        worst = compared[-1]
        sentence = f"{worst.records:,} records in {worst.partition}, {worst.expected:,.0f} were to be expected."
    else:
        worst, sentence = None, "Too few days or records to compare with."
    figures = {"partitions_compared": len(compared), "unusual_partitions": [v.partition for v in unusual]}
    if worst:
        figures |= {
            "records": worst.records,
            "expected": worst.expected,
            "standard_errors": round(worst.errors, 1),
        }
    return Finding(
        passed=not unusual,
        sentence=sentence,
        severity=dg.AssetCheckSeverity.WARN,
        figures=figures,
        sql=_partition_sql(table, worst.partition if worst else partitions[-1], f"order by {table.cursor}")
        if unusual
        else None,
    )


def _values(table: RawTable, landing: Landing, recent: _Recent) -> Finding:
    # A column that was not returned is drift.
    returned = set(recent.records.columns) - set(landing.missing_columns)
    types = {name: type_ for name, type_ in table.types.items() if name in returned}
    shares = None
    if not recent.records.is_empty():
        shares = anomalies.unusual_shares(recent.records, types, landing.partition)
    if not shares:
        return Finding(
            passed=True,
            sentence="Too few days or records to compare with."
            if shares is None
            else f"The shares of {len(types)} columns are what they were.",
            severity=dg.AssetCheckSeverity.WARN,
        )
    shares.sort(key=lambda share: -abs(share.errors))
    worst = shares[0]
    sentence = (
        f"{table.qualified_name} {landing.partition}: {worst.column} {worst.what} in {worst.share:.0%} of the "
        f"records, {worst.usual:.0%} in the 28 days before"
    )
    if len(shares) > 1:
        sentence += f"; {len(shares) - 1} more columns changed"
    condition = f"{worst.column} {worst.what}" if worst.what != "is a new value" else f"{worst.column} is not null"
    return Finding(
        passed=False,
        sentence=f"{sentence}. Ask who changed the form, the import or the integration that writes it.",
        severity=dg.AssetCheckSeverity.WARN,
        figures={"unusual_columns": [share.column for share in shares]},
        sql=_partition_sql(table, landing.partition, f"where {condition}"),
        sample=[
            {
                "column": share.column,
                "what": share.what,
                "share": f"{share.share:.1%}",
                "usual": f"{share.usual:.1%}",
                "standard errors": f"{share.errors:.1f}",
            }
            for share in shares
        ],
    )


def _partition_sql(table: RawTable, partition: str, rest: str) -> str:
    """A query that a person runs in DuckDB, in the state folder."""
    files = f"lake/{table.source}/{table.name}/partition={partition}/*.parquet"
    return f"select * from read_parquet('{files}', union_by_name = true)\n{rest}"
