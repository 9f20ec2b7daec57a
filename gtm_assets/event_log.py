"""Dagster's SQLite event log, with connections that stay open.

Dagster opens and closes a connection for each event. In SQLite's write-ahead mode the last one to close copies the
log back and removes it, with several flushes to disk: most of the time of a run that
lands many partitions went there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

BUSY_TIMEOUT_SECONDS = 60
KEPT_SHARDS = 8
"""Each run has a database of its own; so many are kept open, those used last."""


class KeptOpenEventLogStorage(SqliteEventLogStorage):
    """The event log that ``dagster.yaml`` names. Its files are those of Dagster's own."""

    @classmethod
    def from_config_value(cls, inst_data, config_value) -> KeptOpenEventLogStorage:
        """Made by Dagster from ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # The lock is what lets one connection serve all threads.
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        # Not made in __init__: Dagster's own connects before it returns.
        engines: OrderedDict[str, Engine] = self.__dict__.setdefault("_engines", OrderedDict())
        if shard not in engines:
            engines[shard] = _kept_open(self.conn_string_for_shard(shard))
            if len(engines) > KEPT_SHARDS:
                engines.popitem(last=False)[1].dispose()
        engines.move_to_end(shard)
        return engines[shard]

    def has_table(self, table_name: str) -> bool:
        """Whether the log has a table. One that is there stays, so it is looked for once, not at every event."""
        found: set[str] = self.__dict__.setdefault("_found_tables", set())
        if table_name not in found and super().has_table(table_name):
            found.add(table_name)
        return table_name in found

    def dispose(self) -> None:
        """Close the connections."""
        for engine in self.__dict__.pop("_engines", {}).values():
            engine.dispose()
        super().dispose()


def _kept_open(url: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=StaticPool,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _flush_at_checkpoints(connection, _):
        # In write-ahead mode this survives any crash of the process; a power cut may cost the last events.
        connection.execute("pragma synchronous = normal")

    return engine
