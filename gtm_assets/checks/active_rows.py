"""Whether core shows the rows of external tables that are active: record for record, value for value.

It asks the external tables and not base, with SQL of its own: a model that takes the wrong version of a record is
wrong in base already, and every total of it agrees with core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from gtm_assets.catalog.raw_table import ColumnType, RawTable, fivetran_name
from gtm_assets.dbt.inspection import SCHEMA
from gtm_assets.dbt.sample import rows_of
from gtm_assets.finding import Finding

DATABASE = "gtm_external"


@dataclass(frozen=True)
class RecordReconciliation:
    """A table of core, a row of which is a record of a raw table."""

    core: str
    raw: str
    id_column: str
    """Core's column with the record's id."""
    values: Mapping[str, str]
    """Core's columns that show a value of the record as it is, each with its raw column."""


def reconcile_with_active_rows(
    warehouse: duckdb.DuckDBPyConnection, rule: RecordReconciliation, table: RawTable, database: Path
) -> Finding:
    """Whether each record of an external table that is there now is in core with its values, and no other record.

    In history mode the active row of a record says what it is, elsewhere its one row. Left out, and counted, are
    records with a row that begins after the models' now, and those loaded since the build looked: another
    loader fills the external database.
    """
    place = str(database).replace("'", "''")
    try:
        warehouse.execute(f"attach if not exists '{place}' as {DATABASE} (read_only)")
        return _compared(warehouse, rule, table, database)
    except duckdb.Error as error:
        # The file is open elsewhere, or its loader has taken a table or a column away since the build.
        return Finding(
            False,
            f"The external database {database} can't be read, so that nothing proves gtm_core.{rule.core}: "
            f"{error}. When its loader has ended, run again: gtm run",
        )


def _compared(
    warehouse: duckdb.DuckDBPyConnection, rule: RecordReconciliation, table: RawTable, database: Path
) -> Finding:
    ((external_name, has_history, loaded_until),) = warehouse.execute(
        "select external_name, has_history, newest_synced_at from gtm_meta.external_tables"
        " where source_name = ? and table_name = ?",
        [table.source, table.name],
    ).fetchall()
    ((now,),) = warehouse.execute("select max(now_at) from gtm_meta.external_now").fetchall()
    rows = _external_rows(warehouse, table, external_name)
    begins = "coalesce(_start, _cursor)" if has_history else "least(created, _cursor)"
    differs = ",\n        ".join(
        f"case when core.{name} is distinct from expected.\"{raw}\" then  '{name}' end"
        for name, raw in rule.values.items()
    )
    sql = f"""
with external as ({rows}),
left_out as (
    select
        id,
        coalesce(max(_synced) > {_instant(loaded_until)}, false) as is_newer
    from external
    group by id
    having
        max(_synced) > {_instant(loaded_until)}
        or max({begins}) > {_instant(now)}
        or max(created) > {_instant(now)}
),
active as (
    select
        *,
        rank() over (
            partition by id
            order by {"coalesce(_start, _cursor)" if has_history else "_cursor"} desc nulls last, _is_gone desc
        ) as rank_in_record
    from external
    where _is_active and id not in (select id from left_out where id is not null)
),
expected as (
    select * from active where rank_in_record = 1 and not _is_gone
),
core as (
    select *
    from gtm_core.{rule.core}
    where
        source_system = '{table.source}'
        and {rule.id_column} not in (select id from left_out where id is not null)
),
compared as (
    select
        coalesce(core.{rule.id_column}, expected.id) as {rule.id_column},
        case
            when core.{rule.id_column} is null then 'missing in core'
            when expected.id is null then 'not active in the external database'
            else concat_ws(', ',
        {differs})
        end as difference
    from core
    full join expected on core.{rule.id_column} = expected.id
)
"""
    # Of several active rows of one time it is not ours to say which counts: core shows one of them.
    per_record = f"select {rule.id_column}, min(difference) as difference from compared group by all"
    ((records, missing, surplus, different),) = warehouse.execute(
        f"{sql} select count(*), count(*) filter (difference = 'missing in core'),"
        " count(*) filter (difference = 'not active in the external database'),"
        " count(*) filter (difference not in ('', 'missing in core', 'not active in the external database'))"
        f" from ({per_record})"
    ).fetchall()
    ((newer, ahead),) = warehouse.execute(
        f"{sql} select count(*) filter (is_newer), count(*) filter (not is_newer) from left_out"
    ).fetchall()
    figures = {
        "records_compared": records,
        "records_missing_in_core": missing,
        "records_not_active": surplus,
        "records_that_differ": different,
        "records_loaded_since": newer,
        "records_ahead_of_now": ahead,
    }
    subject = f"gtm_core.{rule.core} and the active rows of {table.qualified_name}"
    if not missing and not surplus and not different:
        return Finding(
            True, f"{subject} agree: {records:,} records in {len(rule.values)} columns.", figures=figures
        )
    rows = (
        f"-- attach '{database}' as {DATABASE} (read_only);\n{sql}"
        f" select * from ({per_record}) where difference <> ''"
    )
    return Finding(
        passed=False,
        sentence=f"{subject} do not agree: of {records:,} records {missing:,} are missing in core, "
        f"{surplus:,} are not active in the external database, and {different:,} have other values. Look at "
        f"the rows; then build again: gtm run",
        figures=figures,
        sql=rows,
        sample=rows_of(warehouse, rows),
    )


def _instant(value: object) -> str:
    return "null::timestamptz" if value is None else f"timestamptz '{value}'"


def _external_rows(warehouse: duckdb.DuckDBPyConnection, table: RawTable, external_name: str | None) -> str:
    """Select of an external table's rows: the catalogue's columns in its types, and the loader's word on each."""
    found: dict[str, tuple[str, str]] = {}
    if external_name is not None:
        rows = warehouse.execute(
            "select column_name, data_type from information_schema.columns where table_catalog = ?"
            " and lower(table_schema) = ? and table_name = ?",
            [DATABASE, SCHEMA, external_name],
        ).fetchall()
        for name, type_ in rows:
            found[fivetran_name(name)] = (name, type_.lower())
        for name, type_ in rows:
            found[name.lower()] = (name, type_.lower())

    def value(name: str, type_: ColumnType, api_name: str = "") -> str:
        own = found.get(name, found.get(api_name.lower())) if api_name else found.get(name)
        return f"null::{type_.sql}" if own is None else _typed(*own, type_)

    types = {column.name: column for column in table.columns}
    raw = {name: value(name, column.type, column.api_name) for name, column in types.items()}
    marks = [
        value(name, ColumnType.BOOLEAN, api_name)
        for name, api_name in (("is_deleted", "IsDeleted"), ("_fivetran_deleted", ""))
    ]
    instant, boolean = ColumnType.TIMESTAMP, ColumnType.BOOLEAN
    modified = [value(name, instant, api) for name, api in (("last_modified_date", "LastModifiedDate"),)]
    synced = value("_fivetran_synced", instant)
    of_loader = {
        "created": raw.get("created_date", f"null::{instant.sql}"),
        "_cursor": f"coalesce({', '.join([raw[table.cursor], *modified, synced])})",
        "_start": value("_fivetran_start", instant),
        "_is_active": f"coalesce({value('_fivetran_active', boolean)}, true)",
        "_is_gone": " or ".join(f"coalesce({mark}, false)" for mark in marks),
        "_synced": synced,
    }
    columns = ",\n    ".join(f'{value} as "{name}"' for name, value in (raw | of_loader).items())
    relation = f'from {DATABASE}.{SCHEMA}."{external_name}"' if external_name is not None else "where false"
    return f"\n    select\n    {columns}\n    {relation}\n"


def _typed(name: str, external_type: str, type_: ColumnType) -> str:
    """An external column as a value of a type. An empty text is null in any other type than text."""
    column = f'"{name}"'
    is_text = external_type == "varchar"
    if is_text and type_ is not ColumnType.STRING:
        column = f"nullif(trim({column}), '')"
    if type_ is ColumnType.DATE:
        return f"{column}::timestamptz::date"
    if type_ is ColumnType.INTEGER and is_text:
        return f"{column}::decimal(38, 10)::bigint"
    if type_ is ColumnType.CURRENCY and external_type in ("double", "float"):
        # By its shortest text, as it was written: 0.045 and not the binary number nearest to it.
        column = f"{column}::varchar"
    return f"{column}::{type_.sql}"
