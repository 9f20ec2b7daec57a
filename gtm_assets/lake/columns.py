"""The columns that the lake adds to the catalogue's, and the type in which each column lands."""

from __future__ import annotations

import pyarrow as pa

from gtm_assets.catalog.raw_table import ColumnType, RawTable

SYNCED = "_fivetran_synced"
"""When a record was loaded. The lake stamps it; a table that another loader fills brings its own."""

LOADER_COLUMNS: dict[str, ColumnType] = {
    SYNCED: ColumnType.TIMESTAMP,
    "_batch_id": ColumnType.STRING,
    "_known_at": ColumnType.TIMESTAMP,
    "_version_hash": ColumnType.STRING,
}
"""What the lake adds to each record."""


def unhashed_columns(table: RawTable) -> frozenset[str]:
    """The columns of a page that do not distinguish versions.

    The time of loading counts as content only where the catalogue lists it, as the table's cursor.
    """
    return frozenset() if SYNCED in table.types else frozenset({SYNCED})


def type_of(table: RawTable, column: str) -> pa.DataType:
    """The Arrow type in which a column lands: the loader's, the catalogue's, or text where neither knows it."""
    return (LOADER_COLUMNS.get(column) or table.types.get(column) or ColumnType.STRING).arrow
