"""A PostgreSQL database: how it is reached and named, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from adbc_driver_postgresql import dbapi

from gtm_assets.engines.address import place_of
from gtm_assets.engines.engine import EngineAway, EngineError
from gtm_assets.engines.files import literal

OLDEST = 15
"""The oldest major version whose counts of written rows say at once what a session has written that has ended."""


class Server:
    """A database at an address, which a setting names."""

    def __init__(self, address: str, setting: str) -> None:
        """``setting`` is where a person finds the address."""
        self.address, self._setting = address, setting

    @property
    def place(self) -> str:
        """Where it is, for people. Without user and password."""
        return f"PostgreSQL at {place_of(self.address)}"

    def open(self, autocommit: bool = True, name: str = "gtm") -> dbapi.Connection:
        """A connection, whose session is called ``name`` and is in UTC.

        Raises:
            EngineAway: the server does not answer, or does not let us in.
        """
        try:
            connection = dbapi.connect(self.address, autocommit=autocommit)
        except dbapi.Error as error:
            raise EngineAway(
                f"{self.place} can't be reached ({in_one_line(error)}). Start it, or mend {self._setting}"
            ) from error
        with connection.cursor() as cursor:
            cursor.execute("set timezone = 'UTC'")
            cursor.execute(f"set application_name = {literal(name[:63])}")
        if not autocommit:
            connection.commit()
        return connection

    @contextmanager
    def transaction(self, name: str = "gtm") -> Iterator[dbapi.Cursor]:
        """A cursor whose statements are committed where the block ends well.

        Raises:
            EngineAway: the server does not answer, or does not let us in.
        """
        with closing(self.open(autocommit=False, name=name)) as connection, connection.cursor() as cursor:
            try:
                yield cursor
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def examine(self) -> None:
        """Ask whether the server answers, is new enough, has the letters of UTF-8, and can be written.

        Raises:
            EngineError: it can't be used.
        """
        with self.open() as connection, connection.cursor() as cursor:
            cursor.execute(
                "select current_setting('server_version_num'), current_setting('server_encoding'),"
                " pg_is_in_recovery() or current_setting('transaction_read_only') = 'on',"
                " has_database_privilege(current_database(), 'create'), current_user"
            )
            [(version, encoding, is_read_only, may_create, user)] = cursor.fetchall()
        if int(version) < OLDEST * 10_000:
            raise EngineError(f"{self.place} is of version {int(version) // 10_000}: take {OLDEST} or later")
        if encoding != "UTF8":
            raise EngineError(
                f"{self.place} is encoded in {encoding}, which lacks letters that names have: make the database "
                "with encoding 'UTF8'"
            )
        if is_read_only:
            raise EngineError(
                f"{self.place} can only be read: name the primary server of a replica in {self._setting}, or "
                "take away default_transaction_read_only"
            )
        if not may_create:
            raise EngineError(
                f"{self.place}: {user} may not create schemas there. Let an administrator run: grant create on "
                f'database {place_of(self.address).rpartition("/")[2]} to "{user}"'
            )


def in_one_line(error: Exception) -> str:
    """What the driver said."""
    return " ".join(str(error).split())
