"""The newest version that the lake has of each record of a table, in an index that DuckDB holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property

import duckdb
import polars as pl
import pyarrow as pa

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.coerce import coerce
from gtm_assets.lake.columns import LOADER_COLUMNS, unhashed_columns
from gtm_assets.lake.files import by_file
from gtm_assets.lake.hashes import HASH, version_hash, with_hash
from gtm_assets.lake.reader import LakeReader, duckdb_cursor

_CHUNK_ROWS = 50_000
_INSTANT = pl.Datetime("us", "UTC")
_NEWEST = "max({'c': cursor, 'p': partition, 'd': deleted, 'h': hash})"
"""SQL: the newest of versions. Base breaks ties in the same order: by partition, then delete mark, then hash."""
COMPARED = ("newest_hash", "newest_cursor")
"""Columns that a record has while it is compared with its newest version."""


class NewestVersions:
    """The newest version of each record, which the models take too. The lake counts as it was at the first use.

    The index is read at the first use. DuckDB holds ids, cursors and hashes, and compares them; of the records
    themselves memory holds one page. The caller holds the table's lock, and closes the index.
    """

    def __init__(self, reader: LakeReader, table: RawTable) -> None:
        """The index of ``table``. Nothing is read yet."""
        self._reader, self._table = reader, table

    def __enter__(self) -> NewestVersions:
        """Use the index until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free what DuckDB holds."""
        if "_db" in self.__dict__:
            self._db.close()

    # -- the index -----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read the index now.

        Raises:
            LakeError: a file can't be read.
        """
        _ = self._db

    @cached_property
    def _db(self) -> duckdb.DuckDBPyConnection:
        """A connection with temporary tables of its own: newest (id, cursor, deleted, hash) and present (id)."""
        db = duckdb_cursor()
        kind = self._table.types[self._table.id_column].sql
        db.execute(f"create temp table newest (id {kind}, cursor timestamptz, deleted boolean, hash varchar)")
        db.execute(f"create temp table present (id {kind})")
        batches = self._reader.batches(self._table)
        files = by_file(batches)
        self._paths = [str(path) for path in files]
        if not files:
            return db
        ids = {"batch_id": [b.batch_id for b in batches], "partition": [b.partition for b in batches]}
        db.register("batches", pa.table(ids))
        query = f"""
            insert into newest
            with {self._versions_of("true")},
            ranked as (select id, {_NEWEST} as newest from versions group by id)
            select id, newest.c, newest.d, newest.h from ranked
            """
        with self._reader.reading(files):
            db.execute(query, {"paths": self._paths})
        return db

    def _versions_of(self, which: str) -> str:
        """SQL of the CTE ``versions``: each version of the records ``which`` once, with where it first came in."""
        return f"""
            landed as (
                select
                    {_quoted(self._table.id_column)} as id,
                    {_quoted(self._table.cursor)} as cursor,
                    coalesce({_quoted(self._table.deletes.value)}, false) as deleted,
                    _version_hash as hash,
                    batches.partition
                from read_parquet($paths, union_by_name = true, hive_partitioning = false) as raw
                inner join batches on raw._batch_id = batches.batch_id
                where {which}
            ),
            versions as (
                select
                    id, hash, min(partition) as partition, max(cursor) as cursor, bool_or(deleted) as deleted
                from landed group by id, hash
            )
            """

    # -- comparing records ---------------------------------------------------------------------------------------

    def beside(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The records with the cursor and hash of the lake's newest version: newest_cursor, newest_hash."""
        keys = frame.select(pl.col(self._table.id_column).alias("id")).with_row_index("row")
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
            pl.col(self._table.id_column).alias("id"),
            pl.col(self._table.cursor).alias("at"),
            pl.col(HASH).alias("own_hash"),
        ).with_row_index("row")
        self._db.register("keys", keys.to_arrow())
        which = f"raw.{_quoted(self._table.id_column)} in (select id from keys)"
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
        mark = self._table.deletes.value
        lacking = ({*missing, self._table.cursor} - {mark}) | unhashed_columns(self._table) | {HASH, *COMPARED}
        names = [name for name in frame.columns if name not in lacking]
        before = self._contents(frame["newest_hash"]).rename({HASH: "newest_hash"})
        absent = [pl.lit(None, frame.schema[name]).alias(name) for name in names if name not in before.columns]
        before = before.with_columns(absent)
        contents = [
            side.select(
                "newest_hash", version_hash(side.select(names).with_columns(pl.col(mark).fill_null(False)))
            )
            for side in (before, frame)
        ]
        is_same = contents[1].join(contents[0], on=contents[0].columns, how="left", coalesce=False)
        return frame.filter(is_same["hash_right"].is_null())

    def _contents(self, hashes: pl.Series) -> pl.DataFrame:
        """The landed versions with these hashes, each once, in the catalogue's types."""
        self._db.register("wanted", hashes.to_frame(HASH).to_arrow())
        landed: pl.DataFrame = self._db.sql(
            "select * from read_parquet($paths, union_by_name = true, hive_partitioning = false)"
            " where _version_hash in (select _version_hash from wanted)",
            params={"paths": self._paths},
        ).pl()
        self._db.unregister("wanted")
        landed = landed.unique(HASH, keep="first", maintain_order=True)
        own = landed.select(HASH)
        # A file may be of an older catalogue.
        records = landed.drop(set(LOADER_COLUMNS) - set(self._table.types))
        return pl.concat([coerce(self._table, records).frame, own], how="horizontal")

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
        kind = self._table.types[self._table.id_column].polars
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
        mark = pl.lit(True).alias(self._table.deletes.value)
        for low in range(0, gone.height, _CHUNK_ROWS):
            some = gone[low : low + _CHUNK_ROWS].select("hash", pl.col("gone_at").cast(_INSTANT))
            records = self._contents(some["hash"]).join(some, left_on=HASH, right_on="hash")
            records = records.with_columns(mark, pl.col("gone_at").alias(self._table.cursor))
            yield with_hash(self._table, records.drop("gone_at", HASH, *COMPARED, strict=False))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
