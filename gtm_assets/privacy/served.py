"""What lies on PostgreSQL servers: rows that were changed leave their old versions, which go here.

What the audit keeps tells what happened, and stays: asterisks stand in place of what identifies the person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from gtm_assets.engines.engine import EngineError
from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_server import Server, in_one_line
from gtm_assets.privacy.search import Hit, Wanted
from gtm_assets.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi

_MANY = 2000


def servers_of(settings: Settings) -> list[Server]:
    """The servers that tables lie on: which people read, and which models are built on."""
    servers = []
    if settings.engine == "postgres":
        servers.append(Server(settings.warehouse_address, "GTM_WAREHOUSE_URL"))
    if settings.serves:
        servers.append(Server(settings.serve_address, "GTM_SERVE_URL"))
    return servers


def tidy_up_and_search(server: Server, prefix: str, wanted: Wanted) -> tuple[int, list[Hit]]:
    """Write tables anew without dead rows, and search them. Gives how many they are, and what is left.

    ``prefix`` begins the schemas. What was dropped and built since holds no dead rows of before.

    Raises:
        EngineError: the server is away, or refuses.
    """
    from adbc_driver_postgresql import dbapi

    hits = []
    try:
        with closing(server.open(name="gtm: erasing")) as connection, connection.cursor() as cursor:
            cursor.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables"
                f" where starts_with(schemaname, {literal(prefix)}) order by 1"
            )
            tables = [table for (table,) in cursor.fetchall()]
            for table in tables:
                is_audit = table.startswith(f"{prefix}audit.")
                if is_audit:
                    _mask(cursor, table, wanted)
                if is_audit or table.startswith(f"{prefix}published_"):
                    cursor.execute(f"vacuum (full, analyze) {table}")
            for table in tables:
                for column in _columns(cursor, table):
                    if next(_found(cursor, table, column, wanted), None) is not None:
                        hits.append(Hit(server.place, f"{table}, column {column}"))
    except dbapi.Error as error:
        raise EngineError(
            f"{server.place} refused to write its tables anew or to be searched ({in_one_line(error)}). Mend it "
            "and run: gtm erase --replay"
        ) from error
    return len(tables), hits


def _columns(cursor: dbapi.Cursor, table: str) -> list[str]:
    """The columns of a table that hold texts."""
    cursor.execute(
        "select quote_ident(attname) from pg_attribute"
        f" where attrelid = {literal(table)}::regclass and attnum > 0 and not attisdropped"
        " and atttypid in ('text'::regtype, 'varchar'::regtype)"
    )
    return [column for (column,) in cursor.fetchall()]


def _found(cursor: dbapi.Cursor, table: str, column: str, wanted: Wanted) -> Iterator[str]:
    """The texts of a column in which it stands."""
    cursor.execute(f"select distinct {column} from {table} where {column} is not null")
    while rows := cursor.fetchmany(_MANY):
        yield from (text for (text,) in rows if wanted.in_text(text))


def _mask(cursor: dbapi.Cursor, table: str, wanted: Wanted) -> None:
    for column in _columns(cursor, table):
        for text in list(_found(cursor, table, column, wanted)):
            cursor.execute(
                f"update {table} set {column} = {literal(wanted.masked(text))} where {column} = {literal(text)}"
            )
