"""What the lake holds: its batches listed, their versions read, their files verified. Nothing here writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Self

import duckdb
import polars as pl
import pyarrow as pa

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.errors import LakeError
from gtm_assets.lake.erased import Ledger
from gtm_assets.lake.files import (
    MONTH_DIR,
    PARTITION_DIR,
    Batch,
    by_file,
    fault,
    is_merged,
    is_torn,
    list_of,
    partition_in,
    read_list,
    table_of,
)
from gtm_assets.lake.marks import Marks, is_early
from gtm_assets.lake.quarantine import Quarantine
from gtm_assets.partitions import end_of
from gtm_assets.place import Place
from gtm_assets.settings import Settings

if TYPE_CHECKING:
    from gtm_assets.bucket import Bucket


class LakeReader:
    """The lake under ``root``, to read."""

    def __init__(self, root: Place, workshop: Path | None = None, ledger: Ledger | None = None) -> None:
        """The lake under ``root``, which need not exist yet. ``ledger`` says who was erased from it.

        ``workshop`` is the folder of this machine for what a bucket can't hold: locks, and files that are being
        written. A lake in a folder is its own.
        """
        self.root = root
        if workshop is None:
            assert isinstance(root, Path)
            workshop = root
        self._workshop = workshop
        self.ledger = ledger or Ledger(root)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The lake that the settings name.

        Raises:
            LakeError: what a bucket needs is not installed.
        """
        root = place.place_of(settings)
        return cls(root, settings.lake_dir, Ledger(root, settings.erasures_path, settings.erasure_secret))

    # -- places --------------------------------------------------------------------------------------------------

    def table_workshop(self, table: RawTable) -> Path:
        """The folder of this machine for a table's lock and what is being written."""
        return self._workshop / table.source / table.name

    def table_dir(self, table: RawTable) -> Place:
        """Where a table's partitions and merged months lie."""
        return self.root / table.source / table.name

    def partition_dir(self, table: RawTable, partition: str) -> Place:
        """Where a partition's batches lie."""
        return self.table_dir(table) / PARTITION_DIR.format(partition)

    def marks(self, table: RawTable) -> Marks:
        """What is known of a table beside its batches."""
        return Marks(self.root, table)

    def quarantine(self, table: RawTable) -> Quarantine:
        """The records of a table that wait because they do not fit."""
        return Quarantine(self.root, table)

    # -- batches -------------------------------------------------------------------------------------------------

    def batches(self, table: RawTable | None = None) -> list[Batch]:
        """The batches of a table, or of all, by partition and batch id.

        Raises:
            LakeError: the list of a merged file is missing or can't be read.
        """
        folder = f"{table.source}/{table.name}" if table else "*/*"
        return self._listed(folder, PARTITION_DIR.format("*"), MONTH_DIR.format("*"))

    def batches_of(self, table: RawTable, partition: str) -> list[Batch]:
        """The batches of one partition. Only its month's lists are opened.

        Raises:
            LakeError: as in :meth:`batches`.
        """
        places = PARTITION_DIR.format(partition), MONTH_DIR.format(partition[:7])
        found = self._listed(f"{table.source}/{table.name}", *places)
        return [batch for batch in found if batch.partition == partition]

    def _listed(self, folder: str, partitions: str, months: str) -> list[Batch]:
        # List files of one batch first: a compaction removes them only once the merged file is there.
        paths = place.found(self.root, f"{folder}/{partitions}/*.parquet")
        found = [Batch(table_of(path), partition_in(path), path.stem, path) for path in paths]
        for path in place.found(self.root, f"{folder}/{months}/*.parquet"):
            try:
                listed = read_list(path)
            except FileNotFoundError as error:
                if not place.exists(path):
                    # A compaction has replaced it meanwhile.
                    return self._listed(folder, partitions, months)
                raise LakeError(
                    f"{table_of(path)}: the list of the batches in {path} is missing. "
                    f"Restore {list_of(path)} from a backup"
                ) from error
            found += [Batch(table_of(path), partition, id_, path) for id_, partition in listed.items()]
        # Of a batch that is there several times the last counts.
        batches = {(batch.table, batch.partition, batch.batch_id): batch for batch in found}
        return [batches[key] for key in sorted(batches)]

    # -- partitions ----------------------------------------------------------------------------------------------

    def partitions(self, table: RawTable) -> list[str]:
        """Keys of the partitions of a table that have landed, early or to their end, oldest first."""
        return sorted({batch.partition for batch in self.batches(table)})

    def landed_early(self, table: RawTable) -> dict[str, datetime]:
        """Partitions of a table that have landed early and not yet to their end, each with up to when, UTC."""
        return self.marks(table).landed_early()

    def has_landed(self, table: RawTable, partition: str) -> bool:
        """Whether a partition of a table has landed to its end."""
        return not self.marks(table).is_early(partition) and bool(self.batches_of(table, partition))

    def read_until(self, table: RawTable) -> datetime | None:
        """Up to when the newest partition of a table was read, UTC; None where nothing has landed."""
        partitions = self.partitions(table)
        return self.landed_early(table).get(partitions[-1], end_of(partitions[-1])) if partitions else None

    def unreadable_partitions(self, table: RawTable) -> list[str]:
        """Keys of the partitions that landed empty because the table could not be read, oldest first."""
        return self.marks(table).unreadable_partitions()

    def unreadable_reason(self, table: RawTable) -> str | None:
        """Why the newest partition of a table could not be read; None where it was, or where none has landed."""
        partitions = self.partitions(table)
        if not partitions or partitions[-1] not in self.unreadable_partitions(table):
            return None
        return self.marks(table).unreadable_reason(partitions[-1])

    def forgotten(self, table: RawTable) -> datetime | None:
        """When the table's owner said that it is gone, UTC; None where it was not said or could be read since."""
        return self.marks(table).forgotten()

    # -- records -------------------------------------------------------------------------------------------------

    def alive(self, table: RawTable) -> int:
        """How many records of a table are not deleted, by their newest versions."""
        columns = [table.id_column, table.cursor, table.deletes.value]
        versions = self.versions(self.batches(table), columns)
        if versions.is_empty():
            return 0
        newest = versions.sort(table.cursor, "_partition_key", pl.col(table.deletes.value).fill_null(False))
        newest = newest.unique(table.id_column, keep="last", maintain_order=True)
        return newest.filter(~pl.col(table.deletes.value).fill_null(False)).height

    def newest_cursors(self, table: RawTable) -> dict[str, datetime]:
        """The greatest cursor of each landed partition; those without one are left out."""
        versions = self.versions(self.batches(table), [table.cursor])
        if versions.is_empty():
            return {}
        newest = versions.group_by("_partition_key").agg(pl.col(table.cursor).max())
        return {key: cursor for key, cursor in newest.iter_rows() if cursor is not None}

    def known_since(self) -> datetime | None:
        """When the first records were seen, UTC; None where there are none.

        Raises:
            LakeError: a file can't be read.
        """
        tables: dict[str, list[Batch]] = defaultdict(list)
        for batch in self.batches():
            tables[batch.table].append(batch)
        seen = [self.versions(batches, ["_known_at"])["_known_at"].min() for batches in tables.values()]
        return min((at for at in seen if isinstance(at, datetime)), default=None)

    def quarantined(self, table: RawTable) -> pl.DataFrame:
        """The records of a table in quarantine: partition, record_id, reason, record (JSON), _known_at."""
        return self.quarantine(table).read()

    def read(self, table: RawTable) -> pl.LazyFrame:
        """All landed versions of a table, columns unknown to the catalogue included.

        Raises:
            LakeError: nothing has landed, or a file can't be read.
        """
        files = by_file(self.batches(table))
        if not files:
            raise LakeError(f"{table.qualified_name}: nothing has landed. Run: gtm run")
        for batches in files.values():
            self.verify(batches[0])
        return pl.concat([place.scanned(path) for path in files], how="diagonal_relaxed")

    def versions(
        self, batches: Iterable[Batch], columns: Sequence[str], of: Mapping[str, Sequence[str]] | None = None
    ) -> pl.DataFrame:
        """These columns of the versions in some batches of a table, and ``_partition_key``, which each came in.

        A column that none of them has is left out. ``of`` names a column and texts: only versions that have one of
        them there are given.

        Raises:
            LakeError: a file can't be read.
        """
        batches = list(batches)
        try:
            return self._versions(batches, columns, of)
        except LakeError:
            if all(place.exists(batch.path) for batch in batches):
                raise
            # A compaction has merged them meanwhile: they are in another file.
            there = {(batch.table, batch.batch_id): batch for batch in self.batches()}
            return self._versions([there.get((b.table, b.batch_id), b) for b in batches], columns, of)

    def _versions(
        self, batches: Sequence[Batch], columns: Sequence[str], of: Mapping[str, Sequence[str]] | None
    ) -> pl.DataFrame:
        # A file may be of an older catalogue: without a column, or with one of another type.
        query = """
            select columns(lambda name: list_contains($columns, name)), _partition_key
            from read_parquet($paths, union_by_name = true, hive_partitioning = false)
            inner join batches using (_batch_id)
            """
        ((column, texts),) = (of or {"": ()}).items()
        if column:
            query += f'where list_contains($texts, cast("{column}" as varchar))'
        if not batches:
            return pl.DataFrame(schema=[*columns, "_partition_key"])
        with self.cursor() as db:
            ids = {"_batch_id": [b.batch_id for b in batches], "_partition_key": [b.partition for b in batches]}
            db.register("batches", pa.table(ids))
            files = by_file(batches)
            with self.reading(files):
                given = {"columns": list(columns), "paths": [str(path) for path in files]}
                given |= {"texts": list(texts)} if column else {}
                found: pl.DataFrame = db.sql(query, params=given).pl()
                return found

    @contextmanager
    def reading(self, files: Mapping[Place, Sequence[Batch]]) -> Iterator[None]:
        """Where DuckDB fails to read files, say which of them can't be read.

        Raises:
            LakeError: in place of DuckDB's error, where one of the files is not whole Parquet.
        """
        try:
            yield
        except duckdb.Error as error:
            if said := place.told(error):
                raise said from error
            for batches in files.values():
                self.verify(batches[0])
            raise

    def verify(self, batch: Batch) -> None:
        """Raise where a batch's file can't be read.

        Raises:
            LakeError: the file is not whole Parquet.
        """
        error = fault(batch.path)
        if error is None:
            return
        if isinstance(error, FileNotFoundError):
            advice = "Somebody has removed it. Restore it (a bucket with versions keeps it), then run again"
        elif not is_torn(error):
            advice = "Check the disk and the folder's rights, then run again"
        elif is_merged(batch.path):
            month = batch.partition[:7]
            advice = (
                f"It holds the batches of {month}. Restore it from a backup. Without one, give it the ending "
                f".unreadable in place of .parquet, leave its list, and land the month's partitions again"
            )
        else:
            days = f"--from {batch.partition} --to {batch.partition}"
            command = "gtm run --now" if is_early(batch.path.parent) else f"gtm run {days}"
            advice = f"Restore it from a backup, or land the partition again, which puts the file aside: {command}"
        raise LakeError(
            f"{batch.table} {batch.partition}: the lake's file {batch.path} can't be read ({error}). {advice}"
        ) from error

    def verify_all(self, except_for: Set[str] = frozenset()) -> None:
        """Raise where a batch of the lake can't be read. Batches with the ids in ``except_for`` are not opened.

        Raises:
            LakeError: a file is not whole Parquet.
        """
        files = by_file(b for b in self.batches() if b.batch_id not in except_for)
        place.all_at_once(self.root, self.verify, [batches[0] for batches in files.values()])

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of the caller's own to a database in memory that reads the lake, in UTC."""
        cursor = _connection(place.bucket_of(self.root)).cursor()
        cursor.execute("set TimeZone = 'UTC'")
        return cursor


@cache
def _connection(bucket: Bucket | None) -> duckdb.DuckDBPyConnection:
    # Opening and closing a database takes longer than comparing a day's records.
    connection = duckdb.connect(config={"threads": 1, "temp_directory": gettempdir()})
    if bucket is not None:
        connection.register_filesystem(bucket)
    return connection
