"""Whether a history (SCD type 2) is whole: no gap or overlap, one current version, unique keys, times in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from gtm_assets.dbt.sample import rows_of
from gtm_assets.finding import Finding

FAULTS = {
    "without_key": "_scd_id is null",
    "key_twice": "rows_of_key > 1",
    "out_of_order": "valid_to <= valid_from",
    "gap": "next_valid_from > valid_to",
    "overlap": "next_valid_from < valid_to or (valid_to is null and next_valid_from is not null)",
    "ended_without_successor": "valid_to is not null and next_valid_from is null",
    "not_one_current": "current_versions <> 1",
    "current_is_not_last": "is_current <> (valid_to is null)",
}
"""What can be wrong with a version, as a condition on it."""


def scd_integrity(
    warehouse: duckdb.DuckDBPyConnection, table: str, record_id: str, before: Mapping[str, Any] | None = None
) -> Finding:
    """Whether the history in ``table`` (``schema.name``) is whole.

    ``before`` are the figures of the finding before this one, where there was one.
    """
    versions = f"""
with versions as (
    select
        *,
        lead(valid_from) over (partition by {record_id} order by valid_from) as next_valid_from,
        count(*) filter (is_current) over (partition by {record_id}) as current_versions,
        count(*) over (partition by _scd_id) as rows_of_key
    from {table}
)
"""
    counts = ", ".join(f"count(*) filter ({condition})" for condition in FAULTS.values())
    # The unknown member is not a record of the source.
    own = f"from versions where {record_id} is distinct from 'unknown'"
    ((records, total, deleted, *faulty),) = warehouse.execute(
        f"{versions} select count(distinct {record_id}), count(*),"
        f" count(*) filter (is_current and is_deleted), {counts} {own}"
    ).fetchall()
    found = {name: count for name, count in zip(FAULTS, faulty, strict=True) if count}
    figures = {
        "records": records,
        "versions": total,
        "deleted_records": deleted,
        **dict.fromkeys(FAULTS, 0),
        **found,
    }
    figures |= _growth(figures, before)
    if not found:
        return Finding(True, f"{total:,} versions of {records:,} records: no gap, no overlap.", figures=figures)
    broken = " or ".join(f"({FAULTS[name]})" for name in found)
    sql = f"{versions} select * {own} and ({broken}) order by {record_id}, valid_from"
    what = ", ".join(f"{name.replace('_', ' ')} in {count:,}" for name, count in found.items())
    return Finding(
        passed=False,
        sentence=f"The history in {table} is broken: {what} of {total:,} versions. "
        f"Build it afresh: gtm run --full-refresh. If that does not mend it, the fault is in the model.",
        figures=figures,
        sql=sql,
        sample=rows_of(warehouse, sql),
    )


def _growth(figures: Mapping[str, int], before: Mapping[str, Any] | None) -> dict[str, int]:
    if not before:
        return {}
    new = figures["records"] - before["records"]
    return {
        "new_records": new,
        "changed_versions": figures["versions"] - before["versions"] - new,
        "newly_deleted": figures["deleted_records"] - before["deleted_records"],
    }
