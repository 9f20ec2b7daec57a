"""The newest version that the lake has of each record of a table, in an index that DuckDB holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import duckdb
import polars as pl
import pyarrow as pa

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.coerce import coerce
from gtm_assets.lake.columns import LOADER_COLUMNS, unhashed_columns
from gtm_assets.lake.files import Batch, by_file
from gtm_assets.lake.hashes import HASH, version_hash, with_hash
from gtm_assets.lake.reader import LakeReader
from gtm_assets.place import Place

_CHUNK_ROWS = 50_000
_INSTANT = pl.Datetime("us", "UTC")
_NEWEST = "max({'c': cursor, 'p': partition, 'd': deleted, 'h': hash, 'f': file})"
"""SQL: the newest of versions. Base breaks ties in the same order: by partition, then delete mark, then hash."""
COMPARED = ("newest_hash", "newest_cursor")
"""Columns that a record has while it is compared with its newest version."""

_FileState = tuple[tuple[object, ...], tuple[tuple[str, str], ...]]
"""What tells a file from another of the same name: its stamp; its batches' ids and keys."""


class NewestVersions:
    """The newest version of each record, which the models take too. In one landing the lake counts as it was then.

    The index is read at the first use. It may serve the landings of many partitions, one after the other: each
    takes only the files that came since, whoever wrote them, and where a file was replaced or is gone all is read
    anew. So nothing is kept but what stands in the lake's files. The caller holds the table's lock while a landing
    uses the index, and closes it.

    DuckDB holds about 75 bytes for each record of the table (id, cursor, hash), and 70 more where contents were
    compared; of the records themselves memory holds one page.
    """

    def __init__(self, reader: LakeReader, table: RawTable) -> None:
        """The index of ``table``. Nothing is read yet."""
        self._reader, self.table = reader, table
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._read: dict[Place, _FileState] = {}
        """The files that the index holds. Their order gives their numbers."""
        self._is_current = False
        self._compared: frozenset[str] = frozenset()
        """The columns over which ``contents`` holds hashes."""

    def __enter__(self) -> NewestVersions:
        """Use the index until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free what DuckDB holds."""
        self._forget()

    @contextmanager
    def in_one_landing(self) -> Iterator[NewestVersions]:
        """The index in one landing. The lake may have changed since the last one."""
        self._is_current = False
        try:
            yield self
        finally:
            self._is_current = False

    # -- the index -----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read what of the lake the index does not hold yet.

        Raises:
            LakeError: a file can't be read.
        """
        _ = self._db

    @property
    def _db(self) -> duckdb.DuckDBPyConnection:
        """A connection with temporary tables of its own, up to date with the lake.

        | table | holds |
        |---|---|
        | newest | the newest version of each record: id, cursor, deleted, hash, number of a file that holds it |
        | batches | the batches read: batch_id, partition, number of the file |
        | present | ids that this landing found |
        | contents | hash of a version, hash of its content without the cursor |
        """
        if self._connection is None or not self._is_current:
            try:
                connection = self._catch_up()
            except BaseException:
                self._forget()
                raise
            self._connection, self._is_current = connection, True
        return self._connection

    @property
    def _paths(self) -> list[str]:
        return [str(path) for path in self._read]

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._is_current = None, False
        self._read.clear()

    def _catch_up(self) -> duckdb.DuckDBPyConnection:
        files = by_file(self._reader.batches(self.table))
        there = {path: (stamp, _held(files[path])) for path, stamp in place.stamps(files).items()}
        if any(there.get(path) != state for path, state in self._read.items()):
            self._forget()
        if self._connection is None:
            self._connection = self._begin()
        self._connection.execute("delete from present")
        fresh = {path: files[path] for path in there if path not in self._read}
        if fresh:
            self._take(self._connection, fresh)
            self._read |= {path: there[path] for path in fresh}
        return self._connection

    def _begin(self) -> duckdb.DuckDBPyConnection:
        db = self._reader.cursor()
        kind = self.table.types[self.table.id_column].sql
        for table in (
            f"newest (id {kind}, cursor timestamptz, deleted boolean, hash varchar, file integer)",
            "batches (batch_id varchar, partition varchar, file integer)",
            f"present (id {kind})",
            "contents (hash varchar, content varchar)",
        ):
            db.execute(f"create temp table {table}")
        return db

    def _take(self, db: duckdb.DuckDBPyConnection, fresh: Mapping[Place, Sequence[Batch]]) -> None:
        """Take the versions of files that are not in the index."""
        numbered = [(b, n) for n, held in enumerate(fresh.values(), len(self._read)) for b in held]
        columns = {
            "batch_id": [batch.batch_id for batch, _ in numbered],
            "partition": [batch.partition for batch, _ in numbered],
            "file": [number for _, number in numbered],
        }
        db.register("fresh_batches", pa.table(columns))
        db.execute("insert into batches select * from fresh_batches")
        db.unregister("fresh_batches")
        with self._reader.reading(fresh):
            db.execute(
                f"create or replace temp table fresh as {self._newest_of('true')}",
                {"paths": [str(path) for path in fresh]},
            )
        if not self._read:
            db.execute("insert into newest select * from fresh")
            return
        # A version that is later than all that were there wins. One that is not may have landed before, and its
        # first partition decides a tie: all versions of such records are looked at.
        db.execute(
            """
            create or replace temp table changed as
            select fresh.*, newest.id is null or fresh.cursor > newest.cursor as wins
            from fresh left join newest using (id)
            where newest.id is null or not coalesce(fresh.cursor < newest.cursor, false);
            delete from contents where hash in (select hash from newest where id in (select id from changed));
            delete from newest where id in (select id from changed);
            insert into newest select * exclude (wins) from changed where wins
            """
        )
        ((ties,),) = db.execute("select count(*) from changed where not wins").fetchall()
        if ties:
            which = f"raw.{_quoted(self.table.id_column)} in (select id from changed where not wins)"
            paths = [*self._paths, *(str(path) for path in fresh)]
            with self._reader.reading(by_file(self._reader.batches(self.table))):
                db.execute(f"insert into newest {self._newest_of(which)}", {"paths": paths})

    def _newest_of(self, which: str) -> str:
        """SQL: the newest of the versions of the records ``which``, as the table ``newest`` has them."""
        return f"""
            with {self._versions_of(which)},
            ranked as (select id, {_NEWEST} as newest from versions group by id)
            select id, newest.c as cursor, newest.d as deleted, newest.h as hash, newest.f as file from ranked
            """

    def _versions_of(self, which: str) -> str:
        """SQL of the CTE ``versions``: each version of the records ``which`` once, with where it first came in."""
        return f"""
            landed as (
                select
                    {_quoted(self.table.id_column)} as id,
                    {_quoted(self.table.cursor)} as cursor,
                    coalesce({_quoted(self.table.deletes.value)}, false) as deleted,
                    _version_hash as hash,
                    batches.partition,
                    batches.file
                from read_parquet($paths, union_by_name = true, hive_partitioning = false) as raw
                inner join batches on raw._batch_id = batches.batch_id
                where {which}
            ),
            versions as (
                select
                    id,
                    hash,
                    min(partition) as partition,
                    max(cursor) as cursor,
                    bool_or(deleted) as deleted,
                    min(file) as file
                from landed group by id, hash
            )
            """

    # -- comparing records ---------------------------------------------------------------------------------------

    def beside(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The records with the cursor and hash of the lake's newest version: newest_cursor, newest_hash."""
        keys = frame.select(pl.col(self.table.id_column).alias("id")).with_row_index("row")
        self._db.register("keys", keys.to_arrow())
        newest: pl.DataFrame = self._db.sql(
            "select row, newest.cursor as newest_cursor, newest.hash as newest_hash"
            " from keys left join newest using (id) order by row"
        ).pl()
        self._db.unregister("keys")
        return frame.with_columns(newest["newest_cursor"].cast(_INSTANT), newest["newest_hash"])

    def beside_in_force(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The records, each with the hash of the version that was in force at its own cursor: newest_hash.

        ``is_known`` says whether the lake has this very version, of which another of the same time has won.
        """
        if frame.is_empty():
            return frame.with_columns(pl.lit(False).alias("is_known"))
        keys = frame.select(
            pl.col(self.table.id_column).alias("id"),
            pl.col(self.table.cursor).alias("at"),
            pl.col(HASH).alias("own_hash"),
        ).with_row_index("row")
        self._db.register("keys", keys.to_arrow())
        which = f"raw.{_quoted(self.table.id_column)} in (select id from keys)"
        in_force: pl.DataFrame = self._db.sql(
            f"""
            with {self._versions_of(which)}
            select
                keys.row,
                {_NEWEST}.h as hash,
                coalesce(bool_or(versions.hash = keys.own_hash), false) as is_known
            from keys
            left join versions on versions.id = keys.id and versions.cursor <= keys.at
            group by keys.row
            order by keys.row
            """,
            params={"paths": self._paths},
        ).pl()
        self._db.unregister("keys")
        return frame.with_columns(in_force["hash"].alias("newest_hash"), in_force["is_known"])

    def differing(self, frame: pl.DataFrame, missing: tuple[str, ...]) -> pl.DataFrame:
        """Those of the records whose content, the cursor aside, is not that of the version ``newest_hash``.

        ``missing`` are the columns that the page did not have: they tell no versions apart.
        """
        if frame.is_empty():
            return frame
        # A page without the delete mark shows records that are alive.
        mark = self.table.deletes.value
        lacking = ({*missing, self.table.cursor} - {mark}) | unhashed_columns(self.table) | {HASH, *COMPARED}
        names = frozenset(frame.columns) - lacking
        own = frame.select(pl.col("newest_hash").alias("hash"), self._content(frame, names))
        is_same = own.join(self._contents_of(own["hash"], names), on=own.columns, how="left", coalesce=False)
        return frame.filter(is_same["hash_right"].is_null())

    def _content(self, records: pl.DataFrame, names: frozenset[str]) -> pl.Series:
        """One hash of each record's content: of these columns. A null delete mark says that a record is alive."""
        mark = self.table.deletes.value
        content = records.select(sorted(names & set(records.columns))).with_columns(pl.col(mark).fill_null(False))
        return version_hash(content).alias("content")

    def _contents_of(self, hashes: pl.Series, names: frozenset[str]) -> pl.DataFrame:
        """The landed versions with these hashes, each once: hash, content."""
        db = self._db
        if self._compared != names:
            db.execute("delete from contents")
            self._compared = names
        db.register("asked", hashes.unique().to_frame("hash").to_arrow())
        unknown: pl.DataFrame = db.sql("select hash from asked anti join contents using (hash)").pl()
        if not unknown.is_empty():
            before = self._contents(unknown["hash"])
            db.register(
                "found", before.select(pl.col(HASH).alias("hash"), self._content(before, names)).to_arrow()
            )
            db.execute("insert into contents select * from found")
            db.unregister("found")
        known: pl.DataFrame = db.sql("select * from contents semi join asked using (hash)").pl()
        db.unregister("asked")
        return known

    def _contents(self, hashes: pl.Series) -> pl.DataFrame:
        """The landed versions with these hashes, each once, in the catalogue's types."""
        self._db.register("wanted", hashes.to_frame(HASH).to_arrow())
        found = self._db.sql(
            "select distinct file from wanted left join newest on newest.hash = wanted._version_hash"
        ).fetchall()
        numbers = {number for (number,) in found}
        # The file of a version that is not the newest is not known.
        paths = [path for n, path in enumerate(self._paths) if n in numbers or None in numbers]
        landed: pl.DataFrame = self._db.sql(
            "select * from read_parquet($paths, union_by_name = true, hive_partitioning = false)"
            " where _version_hash in (select _version_hash from wanted)",
            params={"paths": paths},
        ).pl()
        self._db.unregister("wanted")
        landed = landed.unique(HASH, keep="first", maintain_order=True)
        own = landed.select(HASH)
        # A file may be of an older catalogue.
        records = landed.drop(set(LOADER_COLUMNS) - set(self.table.types))
        return pl.concat([coerce(self.table, records).frame, own], how="horizontal")

    # -- records that are gone -----------------------------------------------------------------------------------

    def note_present(self, ids: pl.Series) -> None:
        """Take the ids of records that the landing found."""
        self._db.register("ids", ids.to_frame("id").to_arrow())
        self._db.execute("insert into present select * from ids")
        self._db.unregister("ids")

    def are_present(self, ids: pl.Series) -> pl.Series:
        """Of each id whether :meth:`note_present` had it; false where it is null."""
        self._db.register("asked", ids.to_frame("id").with_row_index("row").to_arrow())
        found: pl.DataFrame = self._db.sql(
            "select id in (select id from present where id is not null) as is_present from asked order by row"
        ).pl()
        self._db.unregister("asked")
        return found["is_present"].fill_null(False)

    def alive_before(self, instant: datetime) -> int:
        """How many records are not deleted and older than ``instant``."""
        sql = "select count(*) from newest where not deleted and cursor < $instant"
        ((count,),) = self._db.execute(sql, {"instant": instant}).fetchall()
        return int(count)

    def absent_at(self, instant: datetime) -> pl.DataFrame:
        """The records of :meth:`alive_before` that are not present: hash of the newest version, gone_at."""
        gone: pl.DataFrame = self._db.sql(
            "select hash, $instant as gone_at from newest anti join present using (id)"
            " where not deleted and cursor < $instant order by id",
            params={"instant": instant},
        ).pl()
        return gone

    def deleted(self, deletions: Mapping[str, datetime]) -> pl.DataFrame:
        """The records among ``deletions`` (id to when) that are alive before then, as in :meth:`absent_at`."""
        kind = self.table.types[self.table.id_column].polars
        reported = pl.DataFrame(
            {"id": list(deletions), "gone_at": list(deletions.values())}, schema={"id": kind, "gone_at": _INSTANT}
        )
        self._db.register("reported", reported.to_arrow())
        gone: pl.DataFrame = self._db.sql(
            "select hash, gone_at from newest join reported using (id)"
            " where not deleted and cursor < gone_at order by id"
        ).pl()
        return gone

    def tombstones(self, gone: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Versions that say that records are gone: the content of the version ``hash``, as of ``gone_at``."""
        mark = pl.lit(True).alias(self.table.deletes.value)
        for low in range(0, gone.height, _CHUNK_ROWS):
            some = gone[low : low + _CHUNK_ROWS].select("hash", pl.col("gone_at").cast(_INSTANT))
            contents = self._contents(some["hash"])
            records = some.join(contents, left_on="hash", right_on=HASH, maintain_order="left")
            records = records.with_columns(mark, pl.col("gone_at").alias(self.table.cursor))
            yield with_hash(self.table, records.select(name for name in contents.columns if name != HASH))


def _held(batches: Sequence[Batch]) -> tuple[tuple[str, str], ...]:
    return tuple((batch.batch_id, batch.partition) for batch in batches)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
