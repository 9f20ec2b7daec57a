"""An explanation as people read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from gtm_assets.explaining.explanation import Explanation, Part
from gtm_assets.explaining.published import Check
from gtm_assets.explaining.records import Record

RECONCILIATIONS = 3
"""So many of the comparisons are printed; JSON has all."""


def figure(value: Any) -> str:
    """A number with its thousands marked: decimals to the cent or to what they have, shares to four digits.

    >>> figure(Decimal("234402.050000"))
    '234,402.05'
    >>> figure(0.123456)
    '0.1235'
    """
    if value is None:
        return "none"
    if isinstance(value, Decimal):
        least = max(2, -int(value.normalize().as_tuple().exponent))
        return f"{value:,.{least}f}" if value != int(value) else f"{value:,.2f}"
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"


def lines(explanation: Explanation) -> Iterator[str]:
    """The explanation, line by line."""
    e = explanation
    where = f", where {' and '.join(e.where)}" if e.where else ""
    yield f"{e.label} in {e.period}{where}: {figure(e.value)}"
    yield e.description
    yield f"  computed as   {e.definition}"
    published, until = (f"{at:%Y-%m-%d %H:%M} UTC" for at in (e.published_at, e.as_of))
    yield f"  published     {published} in {e.place}, of records up to {until}"
    yield f"  made of       {', '.join(e.lineage.models[:8])}{_and_more(e.lineage.models, 8)}"
    yield f"  records from  {', '.join(e.lineage.raw_tables)}"
    yield from _trust(e)
    for part in e.parts:
        yield ""
        yield from _part(part)
    for sentence in e.not_followed:
        yield f"Not followed further. {sentence}"


def _and_more(names: Sequence[str], shown: int) -> str:
    return f" and {len(names) - shown:,} more" if len(names) > shown else ""


def _trust(e: Explanation) -> Iterator[str]:
    if e.checks is not None:
        counts = Counter(check.outcome for check in e.checks)
        said = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in sorted(counts, key=_gravity))
        yield f"  checks        {said or 'none'}"
    for check in sorted(e.troubled, key=lambda check: _gravity(check.outcome)):
        yield f"    {check.outcome}: {check.asset} {check.name}{_when(check)}. {check.sentence}"
    for check in e.reconciled[:RECONCILIATIONS]:
        verdict = f"{check.name} {check.outcome}{_when(check)}"
        yield f"  reconciled    {check.asset} {verdict}: {figures(check.figures)}"
    for lack in e.lacks:
        since = f", since {lack.since}" if lack.since else ""
        yield f"  missing       {lack.table}{since}: {lack.what}"
    if not e.lacks:
        yield "  missing       nothing that is known of"


def _gravity(outcome: str) -> int:
    return ("failed", "missing", "warned", "passed").index(outcome)


def _when(check: Check) -> str:
    since = ", since the publication" if check.since_publication else ""
    return f" at {check.checked_at:%Y-%m-%d %H:%M} UTC{since}" if check.checked_at else since


def figures(found: Mapping[str, float]) -> str:
    """What a check found, in a line."""
    return ", ".join(f"{name} {value:,}" for name, value in found.items()) or "no figures"


def _part(part: Part) -> Iterator[str]:
    proof = {True: "they add up to it", False: "THEY DO NOT ADD UP TO IT", None: "there is nothing to add up"}
    rows = f"{part.record_count:,} rows of {part.table}"
    yield f"{part.metric}: {figure(part.value)}, from {rows}; {proof[part.adds_up]}"
    yield f"  {part.definition}"
    for record in part.records:
        yield from _record(record)
    if len(part.records) < part.record_count:
        yield f"  and {part.record_count - len(part.records):,} more: --records all"


def _record(record: Record) -> Iterator[str]:
    yield f"  {record.id}  {figure(record.value)}"
    for version in record.versions:
        values = ", ".join(f"{name} {figure(value)}" for name, value in version.values.items())
        which = "deleted" if version.is_deleted else "counts" if version.is_newest else "superseded"
        yield (
            f"    {version.table} {version.record_id} {which}{', ' if values else ''}{values}: partition "
            f"{version.partition}, landed {version.known_at:%Y-%m-%d %H:%M} UTC in {version.file}"
        )
