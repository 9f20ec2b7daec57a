"""Expiring snapshots of Iceberg tables, and removing the files that no table needs any more.

PyIceberg lets go of snapshots, which removes no file. Then all files that any table of the catalogue's database
needs are listed, whoever's and published ones too, and those that lie among a warehouse's tables beside these go
once they are old. What lies elsewhere is never looked at, so that none of the lake's own files can go.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from pyarrow.fs import FileSelector, FileType
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import ValidationError
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import StaticTable
from sqlalchemy import text

from gtm_assets.engines.engine import EngineError, Expired
from gtm_assets.engines.iceberg_publishing import LAYERS, SAID
from gtm_assets.engines.spark import CATALOGUE

OWNER = "catalogue.id"
"""File of the warehouse's folder, and property of a schema, that tell whether the folder is the catalogue's."""
_WRITTEN = ("raw", "staging", "intermediate", "core", "mart", "certified", "meta", SAID)
"""The layers whose tables take commits."""
_REWRITTEN = "rewritten"
"""The folder of files of the lake that were written again in other types."""


@dataclass(frozen=True)
class _Pointer:
    schema: str
    table: str
    location: str
    is_view: bool


def claim(catalogue: SqlCatalog, prefix: str) -> None:
    """Enter the catalogue as the owner of its warehouse's folder, unless another is."""
    schema = f"{prefix}raw"
    if OWNER not in catalogue.load_namespace_properties(schema):
        catalogue.update_namespace_properties(schema, updates={OWNER: str(uuid.uuid4())})
    file, io = f"{catalogue.properties['warehouse']}/{OWNER}", _io(catalogue)
    if not io.new_input(file).exists():
        with io.new_output(file).create() as stream:
            stream.write(_ids(catalogue)[schema].encode())


def expire(catalogue: SqlCatalog, prefix: str, before: datetime) -> Expired:
    """Let go of the snapshots from before an instant, and remove files that old which no table needs.

    Each table's current snapshot stays, and those that are tagged. The caller keeps others from building.

    Raises:
        EngineError: another catalogue's tables lie in the folder, or a table's files can't be listed. No file was
            removed.
    """
    file, io = f"{catalogue.properties['warehouse']}/{OWNER}", _io(catalogue)
    if io.new_input(file).exists():
        with io.new_input(file).open() as stream:
            owner = stream.read().decode()
        if owner not in _ids(catalogue).values():
            raise EngineError(
                f"{catalogue.properties['warehouse']} holds the tables of another catalogue, whose files would be "
                "taken for files that no table needs: nothing was removed. Give each catalogue a folder of its "
                f"own, GTM_SPARK_WAREHOUSE; where the other one is gone for good, remove {file}"
            )
    snapshots = sum(
        _let_go(catalogue, pointer, before)
        for pointer in _pointers(catalogue, CATALOGUE)
        if not pointer.is_view and pointer.schema in {f"{prefix}{layer}" for layer in _WRITTEN}
    )
    needed = {_place(path) for path in _needed(_pointers(catalogue))}
    sizes = {
        path: size for path, size in _old_files(catalogue, prefix, before).items() if _place(path) not in needed
    }
    for path in sizes:
        io.delete(path)
    return Expired(snapshots, len(sizes), sum(sizes.values()))


def let_go(catalogue: Catalog, prefix: str, before: datetime) -> Expired:
    """Let go of the snapshots from before an instant, and remove no file."""
    schemas = [f"{prefix}{layer}" for layer in _WRITTEN]
    tables = [
        name for schema in schemas if catalogue.namespace_exists(schema) for name in catalogue.list_tables(schema)
    ]
    pointers = [_Pointer(schema, table, "", is_view=False) for schema, table in tables]
    return Expired(sum(_let_go(catalogue, pointer, before) for pointer in pointers), 0, 0)


def _io(catalogue: SqlCatalog) -> PyArrowFileIO:
    return PyArrowFileIO(catalogue.properties)


def _ids(catalogue: SqlCatalog) -> Mapping[str, str]:
    """By schema the id of the catalogue, of each environment that has built in it."""
    with catalogue.engine.connect() as connection:
        rows: Any = connection.execute(
            text(
                "select namespace, property_value from iceberg_namespace_properties"
                " where catalog_name = :name and property_key = :key"
            ),
            {"name": CATALOGUE, "key": OWNER},
        )
        return dict(rows.all())


def _pointers(catalogue: SqlCatalog, name: str | None = None) -> Sequence[_Pointer]:
    """Of a catalogue, or of all in its database."""
    with catalogue.engine.connect() as connection:
        rows: Any = connection.execute(
            text(
                "select catalog_name, table_namespace, table_name, metadata_location, iceberg_type"
                " from iceberg_tables order by 1, 2, 3"
            )
        ).all()
    return [
        _Pointer(schema, table, location, is_view=kind == "VIEW")
        for owner, schema, table, location, kind in rows
        if name in (None, owner)
    ]


def _let_go(catalogue: Catalog, pointer: _Pointer, before: datetime) -> int:
    """How many snapshots of a table expired."""
    with _told_which(pointer):
        iceberg = catalogue.load_table((pointer.schema, pointer.table))
    kept = {ref.snapshot_id for ref in iceberg.metadata.refs.values()}
    old = [s for s in iceberg.snapshots() if s.timestamp_ms < before.timestamp() * 1000]
    count = len([s for s in old if s.snapshot_id not in kept])
    if count:
        iceberg.maintenance.expire_snapshots().older_than(before).commit()
    return count


def _needed(pointers: Sequence[_Pointer]) -> Iterator[str]:
    """The files that tables need, of all their snapshots."""
    seen: set[str] = set()
    for pointer in pointers:
        yield pointer.location
        if not pointer.is_view:
            with _told_which(pointer):
                yield from list(_files_of(StaticTable.from_metadata(pointer.location), seen))


@contextmanager
def _told_which(pointer: _Pointer) -> Iterator[None]:
    """Say which table it is whose files can't be listed."""
    try:
        yield
    except (OSError, ValueError, ValidationError) as error:
        said = str(error).splitlines()[0]
        raise EngineError(
            f"{pointer.schema}.{pointer.table}: its files can't be listed ({said}), so no file was removed. Drop "
            "it in the catalogue; if it is a model, then build it anew: gtm run --full-refresh"
        ) from error


def _files_of(table: StaticTable, seen: set[str]) -> Iterator[str]:
    """Its metadata, and the manifests and data of its snapshots; ``seen`` holds manifests that were read."""
    metadata = table.metadata
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (file.statistics_path for file in [*metadata.statistics, *metadata.partition_statistics])
    for snapshot in metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            yield manifest.manifest_path
            yield from (entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))


def _old_files(catalogue: SqlCatalog, prefix: str, before: datetime) -> dict[str, int]:
    """The sizes of the files among a warehouse's tables that were last written before an instant."""
    root = str(catalogue.properties["warehouse"]).rstrip("/")
    parts = urlsplit(root)
    files = _io(catalogue).fs_by_scheme(parts.scheme or "file", parts.netloc)
    folders = [
        *(f"{root}/{prefix}{layer}" for layer in _WRITTEN),
        *(f"{root}/{prefix}published_{layer}" for layer in LAYERS),
    ]
    rewritten = FileSelector(_place(f"{root}/{_REWRITTEN}"), allow_not_found=True)
    names = [info.base_name for info in files.get_file_info(rewritten)]
    folders += [f"{root}/{_REWRITTEN}/{name}" for name in names if name.startswith(f"{prefix}raw.")]
    found: dict[str, int] = {}
    for folder in folders:
        for info in files.get_file_info(FileSelector(_place(folder), allow_not_found=True, recursive=True)):
            if info.type == FileType.File and info.mtime < before:
                found[folder + info.path.removeprefix(_place(folder))] = info.size
    return found


def _place(location: str) -> str:
    """A location without its scheme, of which there are several for one place: file:/ and file:///, s3 and s3a."""
    parts = urlsplit(location)
    return f"{parts.netloc}{parts.path}"
