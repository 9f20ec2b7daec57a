"""Publishing Iceberg tables: nothing of theirs is copied but what says which files they are made of.

A published table has metadata of its own, with the one snapshot that is published and with descriptions. So what a
build, or an expiry of snapshots, does to the table that it was published from changes nothing for readers. The
snapshot is tagged there too, which keeps it where somebody else expires snapshots of that table.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import MAIN_BRANCH
from sqlalchemy import text

from gtm_assets.engines.engine import Table
from gtm_assets.engines.files import table_of
from gtm_assets.engines.spark import CATALOGUE

LAYERS = ("core", "mart", "meta")
"""What people read, ``<prefix>published_<layer>``."""
SAID = "said"
"""The schema, ``<prefix>said``, of the tables by which a publication says of itself what it is."""
TAG = "published"


class Publishing:
    """One publication."""

    def __init__(self, catalogue: Catalog, prefix: str) -> None:
        """Of the tables of an environment, whose schemas begin with ``prefix``."""
        self._catalogue, self._prefix = catalogue, prefix
        self._pointers: list[dict[str, str]] = []

    def add(self, layer: str, table: str, described: Table) -> None:
        """Prepare a table of a layer."""
        iceberg = self._catalogue.load_table((f"{self._prefix}{layer}", table))
        self._prepare(layer, table, iceberg, described)

    def say(self, said: Path) -> None:
        """Prepare the tables of the file's gtm_meta, which say of the publication what it is."""
        self._catalogue.create_namespace_if_not_exists(f"{self._prefix}{SAID}")
        with duckdb.connect(str(said), read_only=True) as file:
            file.execute("set TimeZone = 'UTC'")
            names = file.execute(
                "select table_name from duckdb_tables() where schema_name = 'gtm_meta' order by table_name"
            ).fetchall()
            for (name,) in names:
                rows = file.sql(f'select * from gtm_meta."{name}"').to_arrow_table()
                place = f"{self._prefix}{SAID}.{name}"
                if (
                    self._catalogue.table_exists(place)
                    and self._catalogue.load_table(place).schema().column_names != rows.column_names
                ):
                    self._catalogue.drop_table(place)
                iceberg = self._catalogue.create_table_if_not_exists(place, rows.schema)
                (iceberg.overwrite if iceberg.current_snapshot() else iceberg.append)(rows)
                self._prepare("meta", name, iceberg, table_of(file, "gtm_meta", name))

    def point(self) -> None:
        """Set all pointers of the published schemas in one transaction of the catalogue's database."""
        assert isinstance(self._catalogue, SqlCatalog)
        schemas = [f"{self._prefix}published_{layer}" for layer in LAYERS]
        for schema in schemas:
            self._catalogue.create_namespace_if_not_exists(schema)
        listed = ", ".join(f"'{schema}'" for schema in schemas)
        with self._catalogue.engine.begin() as connection:
            connection.execute(
                text(f"delete from iceberg_tables where catalog_name = :name and table_namespace in ({listed})"),
                {"name": CATALOGUE},
            )
            connection.execute(
                text(
                    "insert into iceberg_tables"
                    " (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)"
                    " values (:name, :schema, :table, :location, 'TABLE')"
                ),
                self._pointers,
            )

    def _keep(self, iceberg: IcebergTable) -> None:
        """Tag the current snapshot of a table."""
        snapshot, tagged = iceberg.current_snapshot(), iceberg.metadata.refs.get(TAG)
        if snapshot is not None and (tagged is None or tagged.snapshot_id != snapshot.snapshot_id):
            iceberg.manage_snapshots().create_tag(snapshot.snapshot_id, TAG).commit()

    def _prepare(self, layer: str, table: str, iceberg: IcebergTable, described: Table) -> None:
        """Write the metadata that readers of the table are pointed at."""
        self._keep(iceberg)
        schema = f"{self._prefix}published_{layer}"
        folder = f"{self._catalogue.properties['warehouse']}/{schema}/{table}/metadata"
        location = f"{folder}/00000-{uuid.uuid4()}.metadata.json"
        ToOutputFile.table_metadata(_frozen(iceberg.metadata, described), iceberg.io.new_output(location))
        self._pointers.append({"name": CATALOGUE, "schema": schema, "table": table, "location": location})


def _frozen(metadata: Any, described: Table) -> Any:
    """A table's metadata as of its current snapshot alone, with descriptions."""
    current = metadata.current_snapshot_id
    fields = [
        field.model_copy(update={"doc": described.columns.get(field.name) or None})
        for field in metadata.schema().fields
    ]
    ids = {"schema_id": metadata.current_schema_id, "identifier_field_ids": metadata.schema().identifier_field_ids}
    others: Sequence[Schema] = [s for s in metadata.schemas if s.schema_id != metadata.current_schema_id]
    # Whoever drops a published table drops a pointer: the files are those of the table that it was published from.
    properties: Mapping[str, str] = {**metadata.properties, "gc.enabled": "false"}
    return metadata.model_copy(
        update={
            "schemas": [*others, Schema(*fields, **ids)],
            "properties": {**properties, **({"comment": described.description} if described.description else {})},
            "snapshots": [one for one in metadata.snapshots if one.snapshot_id == current],
            "snapshot_log": [entry for entry in metadata.snapshot_log if entry.snapshot_id == current][-1:],
            "refs": {name: ref for name, ref in metadata.refs.items() if name in (MAIN_BRANCH, TAG)},
            "metadata_log": [],
            "statistics": [],
            "partition_statistics": [],
        }
    )
