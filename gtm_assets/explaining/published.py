"""What is published, to read: the file, or one that holds what a person may see of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

import duckdb

from gtm_assets.dbt.semantic_layer import in_its_schema
from gtm_assets.dbt.warehouse import WarehouseError
from gtm_assets.engines.files import literal

Row = Mapping[str, Any]


class Published(Protocol):
    """Where what is published is read, by whoever asks."""

    engine: str
    """Whose SQL it takes: ``DuckDB`` or ``Postgres``."""
    place: str
    """How people call it."""
    is_whole: bool
    """False where it shows what one person may see: then nothing beside it may be read either."""

    def relation(self, schema: str, table: str) -> str:
        """How a table of the dbt project is called there."""

    def rows(self, sql: str) -> list[Row]:
        """What a query gives.

        Raises:
            WarehouseError: it can't be asked. The message says why.
        """


class PublishedFile:
    """A published file, or one that ``gtm share`` wrote. Nobody who publishes is kept waiting."""

    engine = "DuckDB"

    def __init__(self, connection: duckdb.DuckDBPyConnection, place: str) -> None:
        """The file that ``connection`` reads."""
        self._connection, self.place = connection, place
        self.is_whole = not self._has("gtm_meta", "shared_with")

    @classmethod
    def at(cls, path: Path) -> Self:
        """Open the file at a path.

        Raises:
            WarehouseError: there is no such file, or it can't be read.
        """
        if not path.exists():
            raise WarehouseError(f"nothing is published at {path} yet. Build it: gtm run")
        try:
            # In a database of our own: those of one process that open the same file share its configuration.
            connection = duckdb.connect()
            connection.execute(f"attach {literal(path)} as published (read_only)")
            # Whoever asks with conditions of their own reads no file beside it.
            connection.execute(
                "use published; set TimeZone = 'UTC'; set enable_external_access = false;"
                " set lock_configuration = true"
            )
        except duckdb.Error as error:
            raise WarehouseError(f"{path} can't be read: {error}. Publish it anew: gtm run --force") from error
        return cls(connection, str(path))

    def _has(self, schema: str, table: str) -> bool:
        query = "select 1 from duckdb_tables() where schema_name = ? and table_name = ?"
        return bool(self._connection.execute(query, [schema, table]).fetchall())

    def relation(self, schema: str, table: str) -> str:
        """As the dbt project calls it."""
        return in_its_schema(schema, table)

    def rows(self, sql: str) -> list[Row]:
        """What a query gives."""
        try:
            result = self._connection.execute(sql)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        except duckdb.Error as error:
            raise WarehouseError(f"{self.place} can't be asked: {error}") from error

    def close(self) -> None:
        """Close it."""
        self._connection.close()


# -- what it says of itself -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """How a check of an asset stands."""

    asset: str
    """``schema/table``."""
    name: str
    blocks_publishing: bool
    outcome: str
    """``passed``, ``warned``, ``failed`` or ``missing``: it has not run since its asset was built."""
    checked_at: datetime | None
    """UTC."""
    sentence: str
    figures: Mapping[str, float]
    """The numbers that it found."""
    since_publication: bool = False
    """Whether it ran, or its asset was built, after what is published."""

    @property
    def reconciles(self) -> bool:
        """Whether it compares with the records or with another table, and not with a rule."""
        return self.name.startswith(("reconciles_with_", "adds_up_to"))


def publication(published: Published) -> Row:
    """Which publication it is: ``published_at``, ``as_of`` and more of ``gtm_meta.publication``."""
    (row,) = published.rows(f"select * from {published.relation('gtm_meta', 'publication')}")
    return {name: _utc(value) for name, value in row.items()}


def checks(published: Published, assets: Sequence[str]) -> list[Check] | None:
    """How the checks of these assets stood at the publication; None where the reader is not told."""
    try:
        rows = published.rows(f"select * from {published.relation('gtm_meta', 'checks')}")
    except WarehouseError:
        return None
    return sorted(
        (
            Check(
                row["asset"],
                row["check_name"],
                row["is_blocking"],
                row["outcome"],
                _utc(row["checked_at"]),
                row["sentence"],
                json.loads(row["figures"]),
            )
            for row in rows
            if row["asset"] in assets
        ),
        key=lambda check: (check.asset, check.name),
    )


def landed(published: Published) -> dict[str, dict[str, str]] | None:
    """By ``source.table`` the batches that it was built from, each with its partition; None: not told."""
    try:
        rows = published.rows(
            "select source_name || '.' || table_name as name, batch_id, partition_key"
            f" from {published.relation('gtm_meta', 'published_partitions')}"
        )
    except WarehouseError:
        return None
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["name"], {})[row["batch_id"]] = row["partition_key"]
    return found


def unreadable(published: Published) -> dict[str, str]:
    """The tables that the source does not let us read, by ``source.table``, each with the reason."""
    try:
        rows = published.rows(f"select * from {published.relation('gtm_meta', 'unreadable_tables')}")
    except WarehouseError:
        return {}
    return {f"{row['source_name']}.{row['table_name']}": row["reason"] for row in rows}


def waiting(published: Published) -> dict[str, int]:
    """How many records of each ``source.table`` waited in quarantine at the publication."""
    try:
        rows = published.rows(f"select * from {published.relation('gtm_meta', 'quarantine')}")
    except WarehouseError:
        return {}
    return {f"{row['source_name']}.{row['table_name']}": row["record_count"] for row in rows}


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value
