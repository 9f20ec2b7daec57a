"""Catalogues by REST or Glue: what is told of them table by table, where a database tells it of all at once.

No transaction of theirs spans tables, as PyIceberg knows them. What is published is the snapshot of each table
that has the tag ``published``. While the tags are set, one table after the other, readers may see some of an
earlier publication and some of this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    NoSuchViewError,
    RESTError,
    ServerError,
    ServiceUnavailableError,
)
from pyiceberg.table import Table as IcebergTable
from requests import RequestException

from gtm_assets.engines.engine import EngineError, Table
from gtm_assets.engines.iceberg_publishing import SAID, TAG, Publishing

try:
    from botocore.exceptions import BotoCoreError, ClientError

    _AWS: tuple[type[Exception], ...] = (BotoCoreError, ClientError)
except ImportError:  # It is needed for Glue alone.
    _AWS = ()

AWAY: tuple[type[Exception], ...] = (RequestException, ServerError, ServiceUnavailableError)
"""What is raised where a catalogue does not answer."""
REFUSED: tuple[type[Exception], ...] = (RESTError, *_AWS)
"""What is raised where it refuses what it was asked."""


def pointers(catalogue: Catalog, schemas: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    """Schema, name, kind and place of metadata, of each table and view of some schemas."""
    for schema in schemas:
        if not catalogue.namespace_exists(schema):
            continue
        for _, name in catalogue.list_tables(schema):
            try:
                yield schema, name, "TABLE", catalogue.load_table((schema, name)).metadata_location
            except NoSuchTableError:  # It went meanwhile.
                continue
        for _, name in catalogue.list_views(schema) if isinstance(catalogue, RestCatalog) else ():
            try:
                view = catalogue.load_view((schema, name)).metadata
                yield schema, name, "VIEW", f"{view.view_uuid} {view.current_version_id}"
            except NoSuchViewError:
                continue


class Tagging(Publishing):
    """One publication, by tags."""

    def __init__(self, catalogue: Catalog, prefix: str) -> None:
        """Of the tables of an environment, whose schemas begin with ``prefix``."""
        super().__init__(catalogue, prefix)
        self._tables: dict[str, IcebergTable] = {}

    def point(self) -> None:
        """Set the tags, and remove them where a table is published no more.

        Raises:
            EngineError: somebody has changed a table meanwhile.
        """
        for schema in (f"{self._prefix}{layer}" for layer in ("core", "mart", SAID)):
            for _, name in self._catalogue.list_tables(schema) if self._catalogue.namespace_exists(schema) else ():
                if f"{schema}.{name}" not in self._tables:
                    table = self._catalogue.load_table((schema, name))
                    if TAG in table.metadata.refs:
                        table.manage_snapshots().remove_tag(TAG).commit()
        for name, table in self._tables.items():
            try:
                self._keep(table)
            except CommitFailedException as error:
                raise EngineError(
                    f"{name}: somebody has changed it while it was published ({error}). Of some tables readers "
                    "see this publication, of others the one before. Run again: gtm run"
                ) from error

    def _prepare(self, layer: str, table: str, iceberg: IcebergTable, described: Table) -> None:
        """Nothing shows before all are prepared."""
        self._tables[f"{self._prefix}{SAID if layer == 'meta' else layer}.{table}"] = iceberg
