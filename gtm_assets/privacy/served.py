"""What people read on a PostgreSQL server: rows that were changed leave their old versions, which go here."""

from __future__ import annotations

from contextlib import closing

from gtm_assets.engines.engine import EngineError
from gtm_assets.engines.files import literal
from gtm_assets.engines.postgres_server import Server, in_one_line
from gtm_assets.privacy.search import Hit, Wanted
from gtm_assets.settings import Settings

_MANY = 2000


def tidy_up_and_search(settings: Settings, wanted: Wanted) -> tuple[int, list[Hit]]:
    """Write the served tables anew without dead rows, and search them. Gives how many they are, and what is left.

    Raises:
        EngineError: the server is away, or refuses.
    """
    from adbc_driver_postgresql import dbapi

    server = Server(settings.serve_address, "GTM_SERVE_URL")
    prefix = f"{settings.schema_prefix}published_"
    hits = []
    try:
        with closing(server.open(name="gtm: erasing")) as connection, connection.cursor() as cursor:
            cursor.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables"
                f" where starts_with(schemaname, {literal(prefix)}) order by 1"
            )
            tables = [table for (table,) in cursor.fetchall()]
            for table in tables:
                cursor.execute(f"vacuum (full, analyze) {table}")
            for table in tables:
                cursor.execute(
                    "select quote_ident(attname) from pg_attribute"
                    f" where attrelid = {literal(table)}::regclass and attnum > 0 and not attisdropped"
                    " and atttypid in ('text'::regtype, 'varchar'::regtype)"
                )
                for (column,) in cursor.fetchall():
                    cursor.execute(f"select distinct {column} from {table} where {column} is not null")
                    while rows := cursor.fetchmany(_MANY):
                        if any(wanted.in_text(text) for (text,) in rows):
                            hits.append(Hit(server.place, f"{table}, column {column}"))
                            break
    except dbapi.Error as error:
        raise EngineError(
            f"{server.place} refused to write its tables anew or to be searched ({in_one_line(error)}). Mend it "
            "and run: gtm erase --replay"
        ) from error
    return len(tables), hits
