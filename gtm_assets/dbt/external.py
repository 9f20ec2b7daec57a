"""External tables: raw tables that another loader, such as Fivetran, fills in schema ``gtm_raw`` of a DuckDB file.

In external mode the models read them in place of the lake, and nothing here writes them. What they are is found
before dbt runs (:mod:`gtm_assets.dbt.inspection`); the dbt project (``macros/external``) reads them by that, and
leaves what was found in ``gtm_meta`` of the warehouse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.dbt.inspection import check_readable
from gtm_assets.dbt.project import operated
from gtm_assets.engines.engine import Connection
from gtm_assets.settings import Settings


@dataclass(frozen=True)
class ExternalTable:
    """What the external database has of one raw table."""

    source: str
    name: str
    external_name: str | None
    """Its name there; None where it is missing and counts as empty."""
    has_history: bool
    """Whether it is in history mode: all versions of a record."""
    row_count: int
    newest_synced_at: datetime | None
    """The last ``_fivetran_synced``, UTC."""
    missing_columns: tuple[str, ...]
    """Columns of the catalogue that it lacks: null."""
    unknown_columns: tuple[str, ...]
    """Its columns that are not in the catalogue: left out."""
    misfits: tuple[str, ...]
    """Columns with values that are cut to the catalogue's type, a sentence each."""
    flaws: tuple[str, ...] = ()
    """Records ahead of now, and intervals of history mode that contradict each other, a sentence each."""


FLAWS = {
    "created_ahead": "were created after the newest load, {now}: they count once it has come so far",
    "modified_ahead": "have a version that begins after the newest load, {now}: it counts once that has come so "
    "far, until then the one before",
    "ahead_without_history": "were modified after the newest load, {now}: no earlier version is known, so they "
    "count as they are, but for those without created_date, which wait until it has come so far",
    "several_active": "have several active versions: the one that started last counts as the current one",
    "after_active": "have versions that are not active and start after the active one: these have no place",
    "one_start": "have several versions with one start: the active one counts, else the one that ended last",
    "overlap": "have versions that end after the next one starts: each counts until the next one starts",
    "before_creation": "have versions that had been replaced when the record was created: these do not count",
    "without_start": "have versions without _fivetran_start: they count from when they were modified, else loaded",
    "end_not_believed": "have versions that are not active and have no end, one before their start or one to "
    "come: each lasts until the next one starts, the last one until it was loaded",
    "active_ended": "have an active version that has ended: it counts as the current one",
}
"""What can be odd about a record of an external table, as gtm_meta.external_flaws names it, and how it counts."""


def external_tables(warehouse: Connection) -> list[ExternalTable]:
    """What the last build found in the external database: one entry per raw table, none for the lake."""
    flaws = _flaws(warehouse)
    misfits: dict[tuple[str, str], list[str]] = {}
    for source, name, column, type_, count, record, value in warehouse.execute(
        "select * from gtm_meta.external_misfits order by 1, 2, 3, 4, 5, 6, 7"
    ).fetchall():
        what = f"are more than a {type_} and are cut to one"
        if type_ == ColumnType.CURRENCY.sql:
            what = "have more than six decimals and are rounded to six"
        misfits.setdefault((source, name), []).append(
            f"{source}.{name}.{column}: {count:,} values {what}, such as {value} of {record}"
        )
    rows = warehouse.execute(
        "select source_name, table_name, external_name, has_history, row_count, newest_synced_at,"
        " missing_columns, unknown_columns from gtm_meta.external_tables order by source_name, table_name"
    ).fetchall()
    return [
        ExternalTable(
            source,
            name,
            external_name,
            has_history,
            row_count,
            newest_synced_at,
            _names(missing),
            _names(unknown),
            tuple(misfits.get((source, name), ())),
            tuple(flaws.get((source, name), ())),
        )
        for source, name, external_name, has_history, row_count, newest_synced_at, missing, unknown in rows
    ]


def tables_not_read(database: Connection) -> list[str]:
    """Tables that lie in the external database and are not in the catalogue, by what the last build found."""
    rows = database.execute("select table_name from gtm_meta.tables_not_read order by table_name").fetchall()
    return [row[0] for row in rows]


def external_now(warehouse: Connection) -> datetime | None:
    """The models' now in external mode, UTC: the newest time that any table was loaded. None for the lake."""
    now: datetime | None
    ((now,),) = warehouse.execute("select max(now_at) from gtm_meta.external_now").fetchall()
    return now


def models_now(warehouse: Connection) -> datetime | None:
    """The models' now, UTC: the end of the lake that they are built from, or an external database's last load.

    None where nothing says it.
    """
    ((read_until,),) = warehouse.execute("select max(read_until) from gtm_meta.lake_batches").fetchall()
    now: datetime | None = external_now(warehouse) or read_until
    return now and now.astimezone(UTC)


def _flaws(warehouse: Connection) -> dict[tuple[str, str], list[str]]:
    now = external_now(warehouse)
    found: dict[tuple[str, str], list[str]] = {}
    for source, name, flaw, records, example in warehouse.execute(
        "select source_name, table_name, flaw, count(*), min(record_id)"
        " from gtm_meta.external_flaws group by source_name, table_name, flaw"
        " order by source_name, table_name, flaw"
    ).fetchall():
        what = FLAWS[flaw].format(now=f"{now:%Y-%m-%d %H:%M:%S} UTC" if now else "")
        found.setdefault((source, name), []).append(
            f"{source}.{name}: {records:,} records, such as {example}, {what}"
        )
    return found


def _names(joined: str | None) -> tuple[str, ...]:
    return tuple(joined.split(", ")) if joined else ()


def examine_external(settings: Settings) -> tuple[list[ExternalTable], list[str]]:
    """What the external database holds now, and its tables that are not read. The warehouse is not opened.

    Raises:
        ExternalError: it can't be read.
        TransformError: it holds values that can't be read, or no table.
    """
    check_readable(settings.external_database)
    with operated("examine_external", settings) as connection:
        return external_tables(connection), tables_not_read(connection)
