"""What is published on a server, read by a person's own login: their rows, masked as for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from gtm_assets.dbt.semantic_layer import in_its_schema
from gtm_assets.dbt.warehouse import WarehouseError
from gtm_assets.engines.postgres_server import Server, in_one_line
from gtm_assets.explaining.published import Row
from gtm_assets.serving.row_rules import CERTIFIED, READ_BY_PEOPLE
from gtm_assets.serving.securing import Names

SETTING = "GTM_MCP_URL"


class ServedViews:
    """The views of a server, as :mod:`gtm_assets.serving.securing` makes them. Each query is read-only."""

    engine = "Postgres"
    is_whole = False

    def __init__(self, address: str, prefix: str) -> None:
        """``address`` is that of the person's own login; ``prefix`` begins the names of the environment."""
        self._server, self._names = Server(address, SETTING), Names(prefix)
        self.place = self._server.place

    def relation(self, schema: str, table: str) -> str:
        """The view of a table; of what is said of the publication the table itself."""
        layer = schema.removeprefix("gtm_")
        is_read = layer in (*READ_BY_PEOPLE, CERTIFIED)
        return in_its_schema(self._names.reader(layer) if is_read else self._names.published(layer), table)

    def rows(self, sql: str) -> list[Row]:
        """What a query gives.

        Raises:
            WarehouseError: the login may not read it, or the query is wrong.
            EngineAway: the server does not answer, or does not let the login in.
        """
        with closing(self._server.open(name="gtm mcp")) as connection, connection.cursor() as cursor:
            try:
                cursor.execute("set default_transaction_read_only = on")
                cursor.execute(sql)
                found: pa.Table = cursor.fetch_arrow_table()
            except dbapi.Error as error:
                raise WarehouseError(f"{self.place} can't be asked: {in_one_line(error)}") from error
        columns = {field.name: [*_values(field, found[field.name])] for field in found.schema}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _values(field: pa.Field, column: pa.ChunkedArray) -> Iterator[Any]:
    """A column's values. The driver gives PostgreSQL's numeric as text."""
    is_numeric = isinstance(field.type, pa.OpaqueType) and field.type.type_name == "numeric"
    for value in column.to_pylist():
        yield Decimal(value) if is_numeric and value is not None else value
