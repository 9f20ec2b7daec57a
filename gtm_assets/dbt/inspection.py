"""What the external database holds, found by plain queries before dbt reads it: its tables and columns against the
catalogue, its newest load, and its values that can't be read or are cut to the catalogue's type.

What was found is written into the state folder, a Parquet file a kind, where the dbt project reads it
(``macros/external``). The external database is opened read-only and never written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl

from gtm_assets.catalog.raw_table import fivetran_name
from gtm_assets.errors import GtmError

SCHEMA = "gtm_raw"
_INSTANT = "timestamp with time zone"
_LOADERS = {
    "is_deleted": "isdeleted",
    "_fivetran_deleted": "_fivetran_deleted",
    "_fivetran_active": "_fivetran_active",
    "_fivetran_start": "_fivetran_start",
    "_fivetran_end": "_fivetran_end",
}
"""Columns that a loader may give any table, and what the source's API calls them, in lower case."""
_LOADERS_TYPES = {"_fivetran_active": "boolean", "_fivetran_start": _INSTANT, "_fivetran_end": _INSTANT}
_BOOKKEEPING = frozenset({"_fivetran_synced", "_batch_id", "_known_at", "_version_hash"})
"""The catalogue's columns that the lake's writer fills; of these an external table has the first."""


_TYPES = {
    "str": pl.String(),
    "str | None": pl.String(),
    "int": pl.Int64(),
    "bool": pl.Boolean(),
    "datetime | None": pl.Datetime("us", "UTC"),
}
"""The types of the files' columns, by those of the classes' fields."""


class ExternalError(GtmError):
    """The external database can't be read. The message names the file and says what to do."""


@dataclass(frozen=True)
class WantedTable:
    """A raw table as the dbt project's source file describes it."""

    source: str
    name: str
    api_name: str
    columns: Mapping[str, tuple[str, str]]
    """Name to the source's own name and the type, in the catalogue's order."""


@dataclass(frozen=True)
class FoundTable:
    """What the external database has of a raw table."""

    source_name: str
    table_name: str
    external_name: str | None
    """Its name there; None where it is missing and counts as empty."""
    has_history: bool
    row_count: int
    newest_synced_at: datetime | None
    missing_columns: str | None
    unknown_columns: str | None


@dataclass(frozen=True)
class FoundColumn:
    """A column of an external table, by a name that it stands for."""

    source_name: str
    table_name: str
    external_name: str
    column_name: str
    external_column: str
    data_type: str
    is_wanted: bool
    """Whether the catalogue or the loader knows the name: of others the models read what is passed through."""


@dataclass(frozen=True)
class Misfits:
    """A column with values that are cut to the catalogue's type: of their time of day, or of decimals."""

    source_name: str
    table_name: str
    column_name: str
    data_type: str
    record_count: int
    example_id: str
    example_value: str


@dataclass(frozen=True)
class UnreadTable:
    """A table that lies there and is not in the catalogue."""

    table_name: str
    loaded_until: datetime | None


@dataclass(frozen=True)
class InspectedFile:
    """The database as it was inspected, by which dbt sees that it is still that one."""

    size: int
    last_modified: str


@dataclass(frozen=True)
class Inspection:
    """All that was found."""

    tables: Sequence[FoundTable]
    columns: Sequence[FoundColumn]
    misfits: Sequence[Misfits]
    unread: Sequence[UnreadTable]
    file: InspectedFile

    def write(self, folder: Path) -> None:
        """Write it into a folder: a Parquet file of tables, columns, misfits, unread and file each."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind, name, rows in (
            (FoundTable, "tables", self.tables),
            (FoundColumn, "columns", self.columns),
            (Misfits, "misfits", self.misfits),
            (UnreadTable, "unread", self.unread),
            (InspectedFile, "file", [self.file]),
        ):
            columns = {
                field.name: pl.Series(
                    field.name, [getattr(row, field.name) for row in rows], _TYPES[str(field.type)]
                )
                for field in fields(kind)
            }
            # Whole or absent, as somebody may be reading.
            written = folder / f".{name}.parquet"
            pl.DataFrame(columns).write_parquet(written)
            written.replace(folder / f"{name}.parquet")


def check_readable(database: Path | None) -> None:
    """See whether the external database can be read.

    Raises:
        ExternalError: there is no such file, it is open for writing elsewhere, or it has no schema ``gtm_raw``.
    """
    if database is None or not database.is_file():
        raise ExternalError(
            f"there is no external database at {database}. Set GTM_EXTERNAL_DATABASE to the DuckDB file of your "
            "loader"
        )
    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            schemas = {row[0] for row in connection.execute("select schema_name from duckdb_schemas()").fetchall()}
    except duckdb.Error as error:
        raise ExternalError(
            f"the external database {database} can't be read: {error}. If the loader is writing it, run again "
            "when it has ended"
        ) from error
    if SCHEMA not in {schema.lower() for schema in schemas}:
        others = ", ".join(sorted(schemas - {"information_schema", "pg_catalog"}))
        raise ExternalError(
            f"the external database {database} has no schema {SCHEMA} (it has {others}). Let the loader fill "
            f"{SCHEMA}, or make it there with views on its tables"
        )


def inspect(
    database: Path, wanted: Sequence[WantedTable], passed_through: Mapping[str, Iterable[str]] | None = None
) -> Inspection:
    """Look at the whole external database.

    ``passed_through`` names columns by table that the models read beside the catalogue's: they are not unknown.
    The dbt project looks at their values itself.

    Raises:
        ExternalError: it can't be read, a table has no id, no table says when its rows were loaded, or a value
            can't be read as what the catalogue says that it is: as null it would be lost.
    """
    check_readable(database)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"attach '{_quoted(str(database))}' as external_database (read_only)")
        try:
            return _Inspector(connection, database, passed_through or {}).look(wanted)
        except duckdb.Error as error:
            raise ExternalError(f"the external database {database} can't be read: {error}") from error


class _Inspector:
    def __init__(
        self, connection: duckdb.DuckDBPyConnection, database: Path, passed_through: Mapping[str, Iterable[str]]
    ) -> None:
        self._connection, self._database, self._passed_through = connection, database, passed_through
        self._types: dict[str, dict[str, str]] = {}
        self._unreadable: list[str] = []
        rows = connection.execute(
            "select table_name, column_name, lower(data_type) from information_schema.columns"
            " where table_catalog = 'external_database' and lower(table_schema) = ?"
            " order by table_name, ordinal_position",
            [SCHEMA],
        )
        for table, column, type_ in rows.fetchall():
            self._types.setdefault(table, {})[column] = type_

    def look(self, wanted: Sequence[WantedTable]) -> Inspection:
        names = names_by_what_they_stand_for(self._types)
        found = [
            (table, own, self._columns(table, own) if own else {})
            for table in wanted
            for own in [names.get(table.name) or names.get(table.api_name.lower())]
        ]
        if not any("_fivetran_synced" in columns for _, _, columns in found):
            raise ExternalError(
                "the external database has none of the tables of the catalogue with a column _fivetran_synced in "
                f"schema {SCHEMA}: without it nothing says as of when the records are known. Is "
                "GTM_EXTERNAL_DATABASE the right one?"
            )
        misfits = [
            found_misfits
            for table, own, columns in found
            if own
            for found_misfits in self._misfits(table, own, columns)
        ]
        if self._unreadable:
            raise ExternalError(
                "the external database holds values that can not be read, and as nulls they would be lost. "
                "Nothing was built. Mend them in the external database, or the column in the catalogue:\n"
                + "\n".join(self._unreadable)
            )
        read = {own for _, own, _ in found}
        return Inspection(
            tables=[self._table(*entry) for entry in found],
            columns=[column for entry in found for column in self._found_columns(*entry)],
            misfits=misfits,
            unread=[
                UnreadTable(name, self._loaded_until(name)) for name in sorted(self._types) if name not in read
            ],
            file=self._file(),
        )

    def _file(self) -> InspectedFile:
        (found,) = self._connection.execute(
            "select size, cast(last_modified as varchar) from read_blob(?)", [str(self._database)]
        ).fetchall()
        return InspectedFile(*found)

    def _columns(self, table: WantedTable, own: str) -> dict[str, tuple[str, str]]:
        """The external columns that stand for the catalogue's and the loader's: name and type, by that name."""
        types = self._types[own]
        names = names_by_what_they_stand_for(types)
        sought = {"_fivetran_synced": "_fivetran_synced", **_LOADERS}
        sought |= {name: api.lower() for name, (api, _) in table.columns.items() if name not in _BOOKKEEPING}
        columns = {
            name: (column, types[column])
            for name, api in sought.items()
            if (column := names.get(name) or names.get(api)) is not None
        }
        if "id" not in columns:
            raise ExternalError(
                f"the external table {own} has no column id or Id: its records can not be told apart. Let the "
                "loader fill it, or take the table away: a table that is missing counts as empty"
            )
        return columns

    def _found_columns(
        self, table: WantedTable, own: str | None, columns: Mapping[str, tuple[str, str]]
    ) -> Iterator[FoundColumn]:
        if own is None:
            return
        for name, (column, type_) in columns.items():
            yield FoundColumn(table.source, table.name, own, name, column, type_, is_wanted=True)
        for name, column in names_by_what_they_stand_for(self._types[own]).items():
            if name not in columns:
                type_ = self._types[own][column]
                yield FoundColumn(table.source, table.name, own, name, column, type_, is_wanted=False)

    def _table(self, table: WantedTable, own: str | None, columns: Mapping[str, tuple[str, str]]) -> FoundTable:
        if own is None:
            return FoundTable(table.source, table.name, None, False, 0, None, None, None)
        ((count,),) = self._connection.execute(f"select count(*) from {_relation(own)}").fetchall()
        wanted = ["_fivetran_synced", *(name for name in table.columns if name not in _BOOKKEEPING)]
        names = names_by_what_they_stand_for(self._types[own])
        used = {column for column, _ in columns.values()}
        used |= {names[name] for name in self._passed_through.get(table.name, ()) if name in names}
        return FoundTable(
            source_name=table.source,
            table_name=table.name,
            external_name=own,
            has_history="_fivetran_active" in columns and "_fivetran_start" in columns,
            row_count=count,
            newest_synced_at=self._loaded_until(own),
            missing_columns=", ".join(sorted(n for n in wanted if n not in columns and n not in _LOADERS)),
            unknown_columns=", ".join(sorted((n for n in self._types[own] if n not in used), key=str.lower)),
        )

    def _loaded_until(self, own: str) -> datetime | None:
        """The newest time that a table says a row was loaded at; what is none says nothing."""
        for column, type_ in self._types[own].items():
            if column.lower() == "_fivetran_synced":
                value = f"try_cast({_trimmed(_identifier(column), type_)} as {_INSTANT})"
                until: datetime | None
                ((until,),) = self._connection.execute(f"select max({value}) from {_relation(own)}").fetchall()
                return until
        return None

    def _misfits(self, table: WantedTable, own: str, columns: Mapping[str, tuple[str, str]]) -> Iterator[Misfits]:
        types = {name: type_ for name, (_, type_) in table.columns.items()} | _LOADERS_TYPES
        checked = [
            (name, type_, conditions, columns[name][0])
            for name, type_ in types.items()
            if name in columns
            if (conditions := misfit_conditions(_identifier(columns[name][0]), columns[name][1], type_))
        ]
        if not checked:
            return
        counts = ", ".join(
            f"count(*) filter ({condition})" for _, _, conditions, _ in checked for condition in conditions
        )
        counted = iter(self._connection.execute(f"select {counts} from {_relation(own)}").fetchall()[0])
        id_ = f"cast({_identifier(columns['id'][0])} as varchar)"
        for name, type_, conditions, column in checked:
            unreadable, inexact = next(counted), next(counted)
            if unreadable or inexact:
                ((example, value),) = self._connection.execute(
                    f"select min({id_}), min_by(cast({_identifier(column)} as varchar), {id_})"
                    f" from {_relation(own)} where {conditions[0] if unreadable else conditions[1]}"
                ).fetchall()
                if unreadable:
                    self._unreadable.append(
                        f"{table.source}.{table.name}.{name}: {unreadable} values are not a {type_}, such as "
                        f"{value} of {example}"
                    )
                else:
                    yield Misfits(table.source, table.name, name, type_, inexact, str(example), str(value))


def names_by_what_they_stand_for(names: Iterable[str]) -> dict[str, str]:
    """Names of external tables or columns, by each name that they may stand for.

    That is the name in lower case, by which names in an API's style are looked up, and the name that Fivetran
    would give. A name that is there as it is goes before one that is made.

    >>> names_by_what_they_stand_for(["StageName", "stage_name"])["stage_name"]
    'stage_name'
    """
    names = list(names)
    return {fivetran_name(name): name for name in names} | {name.lower(): name for name in names}


def misfit_conditions(value: str, external_type: str, data_type: str) -> tuple[str, str] | None:
    """SQL conditions under which a value is not one of the catalogue's type: unreadable, and inexact.

    None where all values of the external type fit. A double or a date of the same type may still be infinite, or
    not a number, which nothing can be added to. ``macros/external/external_types.sql`` says the same for columns
    that are passed through.
    """
    holds_all = external_type == data_type and data_type not in ("double", "date")
    if holds_all or _is_text(data_type) or _holds_decimals(data_type, external_type):
        return None
    value = _trimmed(value, external_type)
    inexact = "false"
    if data_type == "boolean":
        read = f"case when lower(cast({value} as varchar)) in ('true', 'false') then true end"
    elif data_type == "date":
        read = _finite(f"try_cast({value} as {_INSTANT})")
        inexact = f"{read} <> date_trunc('day', {read})"
    elif data_type.startswith("timestamp"):
        read = f"try_cast({value} as {_INSTANT})"
    elif data_type == "bigint" or _is_decimal(data_type):
        number = f"try_cast({value} as decimal(38, 10))"
        if _is_decimal(data_type):
            # Room for the eighteen digits that an amount may have before its decimals, and for more of these.
            number = f"try_cast({_as_written(value, external_type)} as decimal(38, 20))"
        read = f"try_cast({number} as {data_type})"
        inexact = f"{read} <> {number}"
    else:
        read = _finite(f"try_cast({value} as {data_type})")
    return f"{value} is not null and {read} is null", inexact


def _is_text(data_type: str) -> bool:
    return data_type.lower().startswith(("varchar", "char", "text", "string"))


def _is_decimal(data_type: str) -> bool:
    return data_type.lower().startswith(("decimal", "numeric"))


_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\((\d+)\s*,\s*(\d+)\)", flags=re.IGNORECASE)


def _holds_decimals(data_type: str, other_type: str) -> bool:
    """Whether a decimal type holds all values of another: as many digits before the point, and after it."""
    own, other = _DECIMAL.fullmatch(data_type), _DECIMAL.fullmatch(other_type)
    if not own or not other:
        return False
    (own_digits, own_scale), (digits, scale) = map(int, own.groups()), map(int, other.groups())
    return own_scale >= scale and own_digits - own_scale >= digits - scale


def _as_written(value: str, external_type: str) -> str:
    """A number; a floating point one by its shortest text, as the lake reads it: 0.045 has three decimals."""
    return f"cast({value} as varchar)" if external_type in ("double", "float", "real") else value


def _trimmed(value: str, external_type: str) -> str:
    """A value of which an empty text is null."""
    return f"nullif(trim({value}), '')" if _is_text(external_type) else value


def _finite(value: str) -> str:
    return f"case when isfinite({value}) then {value} end"


def _relation(name: str) -> str:
    return f"external_database.{SCHEMA}.{_identifier(name)}"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return text.replace("'", "''")
