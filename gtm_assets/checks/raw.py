"""The checks of a raw table, made by the op that lands it.

They look at one summary of what the op has landed, and ask neither the lake nor the source.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dagster as dg

from gtm_assets.catalog.raw_table import Described, RawTable
from gtm_assets.checks import anomalies
from gtm_assets.checks.drift import schema_drift
from gtm_assets.finding import Finding
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.reader import LakeReader
from gtm_assets.lake.summary import Access, LandingSummary, Waiting, access, waiting

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
    """The limits beyond which a check warns or fails. Settings."""

    volume_tolerance: float
    """Share of the expected count."""
    quarantine_share: float
    """Share of a partition's records from which on quarantine blocks."""
    fiscal_year_start_month: int = 1


def findings(
    summary: LandingSummary, read: Collection[str], limits: Limits, described: Described | None = None
) -> dict[str, Finding]:
    """The finding of each check of every raw table on what one run landed, by the check's name.

    ``read`` are the columns that models read, ``described`` what the source says of the table.
    """
    newest = summary.newest
    over = [landing.partition for landing in summary.landings if not landing.is_open]
    return {
        QUARANTINE: nothing_in_quarantine(summary.waiting, limits.quarantine_share),
        DRIFT: schema_drift(summary.landings, summary.columns_with_values, read, described),
        VOLUME: _volume(summary, over, limits) if over else _still_open(newest),
        VALUES: _still_open(newest) if newest.is_open else _values(summary),
    }


def _still_open(landing: Landing) -> Finding:
    return Finding(
        passed=True,
        sentence=f"Partition {landing.partition} is still open: it is compared when it is over.",
        severity=dg.AssetCheckSeverity.WARN,
    )


def nothing_in_quarantine(waiting: Waiting, limit: float) -> Finding:
    """Whether records wait. An error where a partition lacks more than ``limit`` of its records because of it."""
    if not waiting.records:
        return Finding(True, "No record waits.", dg.AssetCheckSeverity.WARN, {"records": 0})
    name = waiting.table.qualified_name
    blocked = [hole for hole in waiting.holes if hole.missing > limit * (hole.missing + hole.landed)]
    sentence = f"{waiting.records:,} records of {name} wait in quarantine. "
    for hole in blocked:
        sentence += f"In partition {hole.partition} they are {hole.missing:,} of {hole.missing + hole.landed:,}. "
    if blocked:
        sentence += (
            f"Nothing is built while they are more than {limit:.0%} of a partition (GTM_QUARANTINE_LIMIT). "
        )
    return Finding(
        passed=False,
        sentence=f"{sentence}See them: gtm quarantine list {name}",
        severity=dg.AssetCheckSeverity.ERROR if blocked else dg.AssetCheckSeverity.WARN,
        figures={"records": waiting.records, "partitions_blocked": [hole.partition for hole in blocked]},
        sample=waiting.sample,
    )


def has_not_vanished(access: Access) -> Finding:
    """Whether a table that had records can still be read, or its owner has said that it is gone."""
    if not access.refusal or not access.alive:
        sentence = "It never had a record, and can't be read." if access.refusal else "It can be read."
        return Finding(True, sentence, figures={"records_known": access.alive})
    table, name = access.table, access.table.qualified_name
    known = f"its {access.alive:,} records stay as they were last known"
    since = access.forgotten_at
    if since:
        sentence = (
            f"{name} can't be read any more, and its owner has said so on {since:%Y-%m-%d %H:%M} UTC: {known}."
        )
        return Finding(True, sentence, figures={"records_known": access.alive})
    return Finding(
        passed=False,
        sentence=(
            f"{name} had {access.alive:,} records and can't be read any more: {access.refusal.rstrip('.')}. "
            f"Nothing is published, and the file published before stays. Mend it: give the platform's user "
            f"{table.api_name} back, then run: gtm run. Or, if it is gone for good: gtm source forget {name}, "
            f"then gtm run; {known}"
        ),
        figures={"records_known": access.alive},
    )


# -- the checks that the lake answers at any time ------------------------------------------------------------


def quarantine(lake: LakeReader, table: RawTable, limit: float) -> Finding:
    """:func:`nothing_in_quarantine`, as the lake says it now."""
    return nothing_in_quarantine(waiting(lake, table), limit)


def still_there(lake: LakeReader, table: RawTable) -> Finding:
    """:func:`has_not_vanished`, as the newest partition that has landed says it."""
    return has_not_vanished(access(lake, table, lake.unreadable_reason(table)))


# -- volume and values ---------------------------------------------------------------------------------------


def _volume(summary: LandingSummary, partitions: Sequence[str], limits: Limits) -> Finding:
    table, counts = summary.table, summary.recent_counts
    judged = [
        anomalies.volume(counts, partition, limits.volume_tolerance, limits.fiscal_year_start_month)
        for partition in partitions
        if partition in counts
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


def _values(summary: LandingSummary) -> Finding:
    table, partition = summary.table, summary.newest.partition
    profile = summary.profile
    shares = anomalies.unusual_shares(profile) if profile else None
    if not shares:
        return Finding(
            passed=True,
            sentence="Too few days or records to compare with."
            if profile is None or shares is None
            else f"The shares of {len(profile.columns)} columns are what they were.",
            severity=dg.AssetCheckSeverity.WARN,
        )
    shares.sort(key=lambda share: -abs(share.errors))
    worst = shares[0]
    sentence = (
        f"{table.qualified_name} {partition}: {worst.column} {worst.what} in {worst.share:.0%} of the "
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
        sql=_partition_sql(table, partition, f"where {condition}"),
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
