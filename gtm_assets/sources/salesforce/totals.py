"""Equal to the source: what Salesforce counts and adds up itself, against the newest versions in the lake.

It tells and stops nothing: what is missing is missing from yesterday's published file too.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import dagster as dg
import duckdb

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.finding import Finding
from gtm_assets.lake.store import Lake
from gtm_assets.sources.salesforce.org import Totals

CHECK = "reconciles_with_salesforce"
DESCRIPTION = (
    "After a full extraction the newest versions in the lake, which staging shows, are as many as Salesforce "
    "counts, and their amounts add up to its sums. Records that changed meanwhile are left out on both sides."
)
_DIGITS = Decimal("1e-14")
"""Salesforce answers a sum as a floating point number: of a large one the last cents are not told."""
_CENT = Decimal("0.005")


def equals_source(lake: Lake, table: RawTable, totals: Totals, detected_at: datetime) -> Finding:
    """Whether the lake holds what the source counts and adds up.

    A record that is deleted in the source is deleted in the lake; the lake keeps those that the source has purged.
    ``detected_at`` is the end of the newest partition: the cursor of the versions that a full extraction found
    changed where the source's own time of change had not moved (a formula, a field that is shown again).
    """
    sql = newest_totals(table, totals, detected_at)
    waiting = lake.quarantined(table).height
    with duckdb.connect(config={"threads": 1, "temp_directory": gettempdir()}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("create table changed (id varchar)")
        if totals.changed:
            connection.execute("insert into changed select unnest(?)", [sorted(totals.changed)])
        place.let_read(connection, lake.root)
        found = connection.sql(sql.format(lake=str(lake.root).replace("'", "''")))
        landed = dict(zip(found.columns, found.fetchall()[0], strict=True))
    figures: dict[str, Any] = {"changed_meanwhile": len(totals.changed), "compared": True}
    different = []

    def compare(name: str, ours: Decimal | int, theirs: Decimal | int, is_equal: bool) -> None:
        figures[f"{name}_in_lake"], figures[f"{name}_in_salesforce"] = _figure(ours), _figure(theirs)
        if not is_equal:
            different.append(f"{name} are {ours:,} here and {theirs:,} in Salesforce")

    records = landed["records"]
    compare("records", records, totals.records, records == totals.records)
    if totals.deleted is not None:
        deleted = landed["deleted_records"]
        compare("deleted_records", deleted, totals.deleted, deleted >= totals.deleted)
    for column, theirs in totals.sums.items():
        ours = landed[column] or Decimal(0)
        allowed = max(_CENT, _DIGITS * max(abs(ours), abs(theirs)))
        compare(column, ours, theirs, abs(ours - theirs) <= allowed)
    if totals.currency:
        figures["currency_of_sums"] = totals.currency
    if totals.queries:
        figures["soql"] = dg.MetadataValue.md("```sql\n" + ";\n".join(totals.queries) + "\n```")
    name = table.qualified_name
    held = f" {waiting:,} records wait in quarantine." if waiting else ""
    sentence = (
        f"{name} is not what Salesforce holds: {'; '.join(different)}.{held} Take all records again: "
        f"gtm run --full-extraction. If that does not mend it, look for records that our user can't see"
        if different
        else f"{records:,} records and {len(totals.sums)} sums are those of Salesforce."
    )
    return Finding(not different, sentence, figures=figures, sql=_for_people(sql, totals, lake))


def not_compared(table: RawTable, reason: str, is_known: bool = False) -> Finding:
    """That the source could not be asked. ``is_known``: another check tells why."""
    return Finding(
        passed=is_known,
        sentence=f"{table.qualified_name} was not compared: {reason.rstrip('.')}.",
        severity=dg.AssetCheckSeverity.WARN,
        figures={"compared": False},
    )


def newest_totals(table: RawTable, totals: Totals, detected_at: datetime) -> str:
    """SQL of the lake's side; ``{lake}`` stands for its folder, table ``changed`` holds ids to leave out.

    Which version is the newest is base's rule: the cursor, the partition it first came in, the delete mark, the
    hash.
    """
    mark, begins = table.deletes.value, len(table.name) + 2
    own = f" and currency_iso_code = '{totals.currency}'" if totals.currency else ""
    sums = "".join(f",\n    sum({c}) filter (not is_gone{own}) as {c}" for c in totals.sums)
    needed = "".join(f", {column}" for column in totals.sums)
    needed += ", currency_iso_code" if totals.currency else ""
    files = f"{{lake}}/{table.source}/{table.name}/*/*.parquet"
    return f"""
with sightings as (
    select
        {table.id_column} as id, {table.cursor} as cursor_at, coalesce({mark}, false) as is_gone,
        _version_hash{needed},
        min(substr(_batch_id, {begins}, 10)) over (partition by _version_hash) as first_partition
    from read_parquet('{files}', union_by_name = true, hive_partitioning = false)
),
newest as (
    select * from sightings
    qualify row_number() over (
        partition by id order by cursor_at desc, first_partition desc, is_gone desc, _version_hash desc
    ) = 1
)
select
    count(*) filter (not is_gone) as records,
    count(*) filter (is_gone) as deleted_records{sums}
from newest
where
    (
        cursor_at < timestamptz '{totals.before.isoformat()}'
        or (cursor_at = timestamptz '{detected_at.isoformat()}' and not is_gone)
    )
    and id not in (select id from changed)
"""


def _for_people(sql: str, totals: Totals, lake: Lake) -> str:
    """The SQL as a person runs it in DuckDB, in the state folder."""
    sql = sql.format(lake="lake" if isinstance(lake.root, Path) and lake.root.name == "lake" else lake.root)
    listed = ", ".join(f"('{id_}')" for id_ in sorted(totals.changed)[:1000])
    changed = f"(values {listed}) as changed (id)" if listed else "(select null as id where false) as changed"
    return sql.replace("select id from changed", f"select id from {changed}")


def _figure(value: Decimal | int) -> int | float:
    return value if isinstance(value, int) else float(value)
