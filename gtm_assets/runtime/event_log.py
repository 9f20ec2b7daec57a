"""Dagster's SQLite event log, with connections that stay open.

Dagster opens and closes a connection for each event. In SQLite's write-ahead mode the last one to close copies the
log back and removes it, with several flushes to disk: most of the time of a run that lands many partitions went
there. What Dagster hands over as a batch (a run's plan, a step's partitions) it stores event by event; here it is
one transaction.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import dagster as dg
from dagster import EventLogEntry
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from gtm_assets.runtime.dagster_internals import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    AssetCheckExecutionsTable,
    ConfigurableClassData,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)
from gtm_assets.runtime.dagster_internals import AssetCheckExecutionRecordStatus as CheckStatus

BUSY_TIMEOUT_SECONDS = 60
KEPT_SHARDS = 8
"""Each run has a database of its own; so many are kept open, those used last."""
_INDEXED = ASSET_EVENTS | ASSET_CHECK_EVENTS
"""Types of events that the index over all runs holds too."""


@dataclass
class _Batch:
    """Events under way into one transaction of each database."""

    transactions: ExitStack
    connections: dict[str, Connection] = field(default_factory=dict)
    newest: dict[tuple[str | None, str], tuple[EventLogEntry, int]] = field(default_factory=dict)
    """By asset and type of event."""


class KeptOpenEventLogStorage(SqliteEventLogStorage):
    """The event log that ``dagster.yaml`` names. Its files are those of Dagster's own."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """The log in the folder ``base_dir``."""
        # Set before Dagster's own __init__, which connects.
        self._lock = RLock()
        self._batch: _Batch | None = None
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._found_tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> KeptOpenEventLogStorage:
        """Made by Dagster from ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # The lock is what lets one connection serve all threads.
        with self._lock:
            batch = self._batch
            if batch is None:
                with self._transaction(shard) as connection:
                    yield connection
                return
            if shard not in batch.connections:
                batch.connections[shard] = batch.transactions.enter_context(self._transaction(shard))
            yield batch.connections[shard]

    @contextmanager
    def _transaction(self, shard: str) -> Iterator[Connection]:
        engine = self._engine(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        with engine.connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            self._engines[shard] = _kept_open(self.conn_string_for_shard(shard))
            if len(self._engines) > KEPT_SHARDS:
                self._engines.popitem(last=False)[1].dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the events in one transaction of each database: where one can't be stored, none is."""
        with self._lock, ExitStack() as transactions:
            self._batch = _Batch(transactions)
            try:
                if all(event.dagster_event_type in _INDEXED for event in events):
                    self._store_indexed(events)
                else:
                    super().store_event_batch(events)
                with self.index_connection() as connection:
                    for event, event_id in self._batch.newest.values():
                        super()._store_asset_event(connection, event, event_id)
            finally:
                self._batch = None

    def _store_indexed(self, events: Sequence[EventLogEntry]) -> None:
        """Store events that the runs' databases and the index hold, in one statement each."""
        rows = [self._event_to_row(event) for event in events]
        of_runs: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            of_runs.setdefault(row["run_id"], []).append(row)
        insert, number = SqlEventLogStorageTable.insert(), SqlEventLogStorageTable.c.id
        for run_id, own in of_runs.items():
            with self.run_connection(run_id) as connection:
                connection.execute(insert, own)
        with self.index_connection() as connection:
            numbered = insert.returning(number, sort_by_parameter_order=True)
            event_ids: list[int] = list(connection.execute(numbered, rows).scalars())
            for event, event_id in zip(events, event_ids, strict=True):
                if event.dagster_event_type in ASSET_CHECK_EVENTS:
                    self.store_asset_check_event(event, event_id)
                else:
                    self._store_asset_event_tags(connection, [event], [event_id])
                    self._store_asset_event(connection, event, event_id)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        # Dagster writes the event anew for each partition, and makes a statement for each number of them.
        assert event.dagster_event is not None
        planned: Any = event.dagster_event.event_specific_data
        subset, stored = planned.partitions_subset, self._event_to_row(event)
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": CheckStatus.PLANNED.value,
            "evaluation_event": stored["event"],
            "evaluation_event_timestamp": stored["timestamp"],
            "evaluation_event_storage_id": event_id,
        }
        keys = subset.get_partition_keys() if subset else [None]
        with self.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.insert(), [row | {"partition": key} for key in keys])

    def _store_asset_event(self, conn: Connection, event: EventLogEntry, event_id: int) -> None:
        # An asset's row tells of its newest event of each type: a batch's others would be overwritten at once.
        if self._batch is None:
            super()._store_asset_event(conn, event, event_id)
        elif event.dagster_event and event.dagster_event.asset_key:
            key = event.dagster_event.asset_key.to_string(), event.dagster_event.event_type_value
            self._batch.newest[key] = event, event_id

    def has_table(self, table_name: str) -> bool:
        """Whether the log has a table. One that is there stays, so it is looked for once, not at every event."""
        if table_name not in self._found_tables and super().has_table(table_name):
            self._found_tables.add(table_name)
        return table_name in self._found_tables

    def dispose(self) -> None:
        """Close the connections."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()


def forget_planned_checks(instance: dg.DagsterInstance, run_id: str) -> None:
    """Take back that a run was to make the checks that it has not made.

    Dagster shows such a check as one whose execution failed. So it keeps the verdict that it had, which does not
    count for publishing where its table was built since.
    """
    storage, checks = instance.event_log_storage, AssetCheckExecutionsTable.c
    assert isinstance(storage, SqlEventLogStorage)
    with storage.index_connection() as connection:
        connection.execute(
            AssetCheckExecutionsTable.delete().where(
                checks.run_id == run_id, checks.execution_status == CheckStatus.PLANNED.value
            )
        )


def _kept_open(url: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=StaticPool,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _flush_at_checkpoints(connection: Any, _: Any) -> None:
        # In write-ahead mode this survives any crash of the process; a power cut may cost the last events.
        connection.execute("pragma synchronous = normal")

    return engine
