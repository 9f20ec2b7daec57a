"""The lake as Iceberg tables: one of gtm_raw for each raw table, and gtm_meta.lake_batches, their list.

The lake's own files are the tables' files: nothing is copied. Files that have come are added, and those that are
gone, because a compaction has merged them or somebody was erased, leave in the same commit. A file whose columns
are not of the catalogue's types, because it was mended since, is written again in these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import parquet_files_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table, TableProperties
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from gtm_assets import place
from gtm_assets.catalog.raw_table import ColumnType, RawTable
from gtm_assets.engines.engine import EngineError
from gtm_assets.engines.iceberg_catalog import Warehouse
from gtm_assets.engines.spark import CATALOGUE
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.lake.files import Batch, by_file
from gtm_assets.lake.reader import LakeReader
from gtm_assets.partitions import end_of
from gtm_assets.place import Place

BATCHES = "gtm.batch_ids"
"""Property of a snapshot: the batches that its files brought."""
_TYPES: Mapping[ColumnType, IcebergType] = {
    ColumnType.STRING: StringType(),
    ColumnType.BOOLEAN: BooleanType(),
    ColumnType.INTEGER: LongType(),
    ColumnType.DOUBLE: DoubleType(),
    ColumnType.CURRENCY: DecimalType(24, 6),
    ColumnType.DATE: DateType(),
    ColumnType.TIMESTAMP: TimestamptzType(),
}
_PROPERTIES = {
    # The files are the lake's: Iceberg never removes one.
    "gc.enabled": "false",
    TableProperties.MANIFEST_MERGE_ENABLED: "true",
    TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
}
_LISTED = Schema(
    *(
        NestedField(number, name, type_, required=True)
        for number, (name, type_) in enumerate(
            {
                "source_name": StringType(),
                "table_name": StringType(),
                "partition_key": StringType(),
                "batch_id": StringType(),
                "file_path": StringType(),
                "read_until": TimestamptzType(),
            }.items(),
            start=1,
        )
    )
)


class IcebergError(EngineError):
    """An Iceberg table could not take what the lake holds. The message names the raw table and what to do."""


@dataclass(frozen=True)
class Added:
    """What was done for a raw table."""

    table: str
    files: int
    """That have come."""
    rewritten: int
    """Of these, those that are written again in the catalogue's types."""
    removed: int
    """Files that are gone from the lake, or were merged into others."""


def table_name(table: RawTable, prefix: str) -> str:
    """The table of gtm_raw that holds a raw table's batches."""
    return f"{prefix}raw.{table.source}__{table.name}"


def catalogue_of(warehouse: Warehouse, session: str = "gtm") -> Catalog:
    """The catalogue that Spark has too; made where it is not there yet.

    ``session`` is what its sessions say that they are, where its database lists them. What else PyIceberg has to
    know of one by REST or Glue, its own settings say.
    """
    if warehouse.kind != "jdbc":
        return load_catalog(CATALOGUE, **warehouse.told)
    address = warehouse.python_address
    if address.startswith("sqlite:///"):
        Path(address.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    else:
        address += f"{'&' if '?' in address else '?'}application_name={quote(session[:63])}"
    return SqlCatalog(CATALOGUE, uri=address, warehouse=warehouse.files, schema_version="v1")


def add_lake(
    catalogue: Catalog, lake: LakeReader, tables: Sequence[RawTable], prefix: str = "gtm_"
) -> list[Added]:
    """Bring the tables of gtm_raw to the files that the lake has of these, then list their batches.

    Each table is one commit. What is listed is there: a call that is killed is made good by the next. A column
    that the catalogue does not have is text.

    Raises:
        LakeError: a file of the lake can't be read.
        IcebergError: a value can't be one of the type that the catalogue says.
    """
    for layer in ("raw", "meta"):
        catalogue.create_namespace_if_not_exists(f"{prefix}{layer}")
    batches = {table: lake.batches(table) for table in tables}
    done = [_add(catalogue, prefix, lake, table, by_file(held)) for table, held in batches.items()]
    _list(catalogue, prefix, lake, batches)
    return [one for one in done if one.files or one.removed]


# -- a table -----------------------------------------------------------------------------------------------------


def _add(
    catalogue: Catalog, prefix: str, lake: LakeReader, table: RawTable, files: Mapping[Place, Sequence[Batch]]
) -> Added:
    wanted = _wanted(table)
    iceberg = _loaded(catalogue, prefix, table)
    found = {field.name: field.field_type for field in iceberg.schema().fields} if iceberg else {}
    if any(found.get(name, type_) != type_ for name, type_ in wanted.items()):
        # It is made anew, once its files are there in the new types.
        iceberg, found = None, {}
    held = _held(iceberg) if iceberg else {}
    rewritten = {path: str(_rewritten(catalogue, prefix, table, path)) for path in files}
    come = [path for path, name in rewritten.items() if str(path) not in held and name not in held]
    stay = {*map(str, files), *rewritten.values()}
    gone = [file for name, file in held.items() if name not in stay]
    for path in come:
        lake.verify(files[path][0])
    types = wanted | found
    types |= {
        name: StringType()
        for path in come
        for name in pq.read_schema(place.opened(path)).names
        if name not in types
    }
    names = [
        str(path) if _fits(path, types) else _rewrite(lake, table, path, types, rewritten[path]) for path in come
    ]
    if iceberg is None or found.keys() != types.keys():
        iceberg = _extended(iceberg, types) if iceberg else _made(catalogue, prefix, table, types)
    if come or gone:
        ids = ",".join(batch.batch_id for path in come for batch in files[path])
        _commit(iceberg, names, gone, {BATCHES: ids})
    count = sum(name == rewritten[path] for name, path in zip(names, come, strict=True))
    return Added(table.qualified_name, len(come), count, len(gone))


def _wanted(table: RawTable) -> dict[str, IcebergType]:
    types = {column.name: column.type for column in table.columns} | LOADER_COLUMNS
    return {name: _TYPES[type_] for name, type_ in types.items()}


def _loaded(catalogue: Catalog, prefix: str, table: RawTable) -> Table | None:
    try:
        return catalogue.load_table(table_name(table, prefix))
    except NoSuchTableError:
        return None


def _made(catalogue: Catalog, prefix: str, table: RawTable, columns: Mapping[str, IcebergType]) -> Table:
    if catalogue.table_exists(table_name(table, prefix)):
        catalogue.drop_table(table_name(table, prefix))
    fields = [NestedField(n, name, type_, required=False) for n, (name, type_) in enumerate(columns.items(), 1)]
    schema = Schema(*fields)
    # The lake's files know no numbers of columns: they are found by their names.
    mapping = {TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json()}
    return catalogue.create_table(table_name(table, prefix), schema, properties=_PROPERTIES | mapping)


def _extended(iceberg: Table, columns: Mapping[str, IcebergType]) -> Table:
    """The table with columns that it lacked, which are null in the files so far."""
    there = set(iceberg.schema().column_names)
    with iceberg.update_schema() as update:
        for name, type_ in columns.items():
            if name not in there:
                update.add_column(name, type_)
    return iceberg


def _held(iceberg: Table) -> dict[str, DataFile]:
    """The files of the table, by their paths; those without a row too, which a scan would leave out."""
    snapshot = iceberg.current_snapshot()
    manifests = snapshot.manifests(iceberg.io) if snapshot else []
    entries = (entry for manifest in manifests for entry in manifest.fetch_manifest_entry(iceberg.io))
    return {entry.data_file.file_path: entry.data_file for entry in entries}


def _commit(iceberg: Table, names: list[str], gone: Sequence[DataFile], properties: dict[str, str]) -> None:
    """Add files, and let others go, in one commit."""
    with iceberg.transaction() as transaction:
        if not gone:
            # Which are there already is known.
            transaction.add_files(names, snapshot_properties=properties, check_duplicate_files=False)
            return
        with transaction.update_snapshot(snapshot_properties=properties).overwrite() as update:
            for file in gone:
                update.delete_data_file(file)
            for file in parquet_files_to_data_files(iceberg.io, iceberg.metadata, iter(names)):
                update.append_data_file(file)


# -- files of other types ----------------------------------------------------------------------------------------


def _rewritten(catalogue: Catalog, prefix: str, table: RawTable, path: Place) -> Path:
    """Where a file is written again, should its columns be of other types than the catalogue says now."""
    said = "|".join(f"{name} {type_}" for name, type_ in _wanted(table).items())
    types = hashlib.sha256(said.encode()).hexdigest()[:12]
    folder = Path(urlsplit(catalogue.properties["warehouse"]).path, "rewritten", table_name(table, prefix), types)
    return folder / f"{path.parent.name}_{path.name}"


def _columns(path: Place) -> pa.Schema:
    return pq.read_schema(place.opened(path))


def _fits(path: Place, types: Mapping[str, IcebergType]) -> bool:
    """Whether a file's columns are of the table's types."""
    wanted = schema_to_pyarrow(Schema(*(NestedField(n, c, t) for n, (c, t) in enumerate(types.items(), 1))))
    return all(
        _plain(wanted.field(field.name).type) == _plain(field.type) for field in pq.read_schema(place.opened(path))
    )


def _rewrite(lake: LakeReader, table: RawTable, path: Place, types: Mapping[str, IcebergType], name: str) -> str:
    """Write a file again in the table's types.

    Raises:
        IcebergError: a value is none of its column's type.
    """
    names = {type_: ours for ours, type_ in _TYPES.items()}
    cast = ", ".join(
        f'cast("{c}" as {names[types[c]].sql}) as "{c}"' for c in pq.read_schema(place.opened(path)).names
    )
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        with lake.cursor() as db:
            db.sql(f"select {cast} from read_parquet($path)", params={"path": str(path)}).write_parquet(name)
    except duckdb.Error as error:
        raise IcebergError(
            f"{table.qualified_name}: a value in {path} is not of the type that the catalogue says ({error}). "
            f"Mend the catalogue and run again; the Iceberg table holds what it did"
        ) from error
    return name


def _plain(type_: pa.DataType) -> pa.DataType:
    """A type without how it is kept in memory."""
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        return pa.timestamp(type_.unit, "UTC")
    return type_


# -- the list ----------------------------------------------------------------------------------------------------


def _list(catalogue: Catalog, prefix: str, lake: LakeReader, tables: Mapping[RawTable, Sequence[Batch]]) -> None:
    """List all batches, with up to when each partition was read; a source that is off has none."""
    rows = [
        (table.source, table.name, batch.partition, batch.batch_id, str(batch.path), until)
        for table, batches in tables.items()
        for early in [lake.landed_early(table)]
        for batch in batches
        for until in [early.get(batch.partition, end_of(batch.partition))]
    ]
    schema = schema_to_pyarrow(_LISTED, include_field_ids=False)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    given = pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
    iceberg = catalogue.create_table_if_not_exists(f"{prefix}meta.lake_batches", _LISTED)
    held = iceberg.scan().to_arrow().select(given.column_names).cast(schema)
    order = [(name, "ascending") for name in ("source_name", "table_name", "partition_key", "batch_id")]
    if not held.num_rows:
        iceberg.append(given)
    elif not held.sort_by(order).equals(given.sort_by(order)):
        iceberg.overwrite(given)


def follow_compaction(
    catalogue: Catalog, lake: LakeReader, tables: Sequence[RawTable], prefix: str = "gtm_"
) -> None:
    """List the batches by the files in which the lake has them now. No batch comes or goes."""
    paths = {batch.batch_id: str(batch.path) for table in tables for batch in lake.batches(table)}
    iceberg = catalogue.load_table(f"{prefix}meta.lake_batches")
    rows = iceberg.scan().to_arrow()
    now = [
        paths.get(batch_id, path)
        for batch_id, path in zip(rows["batch_id"].to_pylist(), rows["file_path"].to_pylist(), strict=True)
    ]
    place = rows.schema.get_field_index("file_path")
    listed = rows.set_column(place, rows.schema.field(place), pa.array(now, rows.schema.field(place).type))
    if not listed.equals(rows):
        iceberg.overwrite(listed)
