"""Quarantine: the records of a table that do not fit its types, whole and as text, with the reason.

They wait in ``lake/quarantine/<source>/<table>/partition=<day>``. Only a retry takes them out, or a whole export
that no longer has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

import polars as pl

from gtm_assets import place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.coerce import CoercedPage, Reject, as_text
from gtm_assets.lake.files import PARTITION_DIR, partition_in
from gtm_assets.lake.hashes import md5
from gtm_assets.lake.landing import Problem
from gtm_assets.place import Place

RECORD_HASH = "_record_hash"
"""Identifies a record by its content."""
_SCHEMA = pl.Schema(
    {
        "record_id": pl.String(),
        "reason": pl.String(),
        "record": pl.String(),
        "_batch_id": pl.String(),
        "_known_at": pl.Datetime("us", "UTC"),
        RECORD_HASH: pl.String(),
    }
)
_NONE = pl.DataFrame(schema=_SCHEMA)


class Quarantine:
    """The records of one table that wait. Whoever changes it holds the table's lock."""

    def __init__(self, root: Place, table: RawTable) -> None:
        """The quarantine of ``table`` in the lake under ``root``."""
        self._folder = root / "quarantine" / table.source / table.name

    def partition_dir(self, partition: str) -> Place:
        """Where the records wait that came in a partition."""
        return self._folder / PARTITION_DIR.format(partition)

    def files(self, partition: str = "*") -> list[Place]:
        """The files of a partition, or of all."""
        return place.found(self._folder, f"{PARTITION_DIR.format(partition)}/*.parquet")

    def read(self) -> pl.DataFrame:
        """The records: partition, record_id, reason, record (JSON), _known_at."""
        frames = [
            pl.read_parquet(place.opened(path)).with_columns(pl.lit(partition_in(path)).alias("partition"))
            for path in self.files()
        ]
        empty = pl.DataFrame(schema={**_SCHEMA, "partition": pl.String()})
        return pl.concat([empty, *frames]).select("partition", "record_id", "reason", "record", "_known_at")

    def add(self, rejects: pl.DataFrame, partition: str, batch_id: str, waiting_in: str) -> int:
        """Keep records that came in a partition, and give how many of them did not wait already.

        ``waiting_in`` is the partition in which a record of the same content counts as one that waits already;
        ``*`` for all.
        """
        if rejects.is_empty():
            return 0
        for path in self.files(waiting_in):
            rejects = rejects.join(pl.read_parquet(place.opened(path)), on=RECORD_HASH, how="anti")
        if rejects.is_empty():
            return 0
        folder = self.partition_dir(partition)
        place.make_folder(folder)
        # A run that quarantines every record writes no batch, so its id may be given again: number the file.
        name, again = batch_id, 0
        while place.exists(folder / f"{name}.parquet"):
            again += 1
            name = f"{batch_id}.{again}"
        place.replace_frame(folder / f"{name}.parquet", rejects)
        return rejects.height

    def remove(self, path: Place, leaves: Callable[[pl.DataFrame], pl.Series]) -> int:
        """Take records out of one file and give their number. ``leaves`` marks them, true or false each."""
        waiting = pl.read_parquet(place.opened(path))
        leaving = leaves(waiting)
        if leaving.any():
            place.replace_frame(path, waiting.filter(~leaving))
        return int(leaving.sum())


class Rejects:
    """What one landing brought that does not fit: the records, and a summary of the problems by column."""

    def __init__(self, table: RawTable, known_at: datetime, ignored: frozenset[str]) -> None:
        """No rejects yet.

        ``ignored`` are columns of a page that say how a record came and not what it is: a record that comes twice
        is one record in quarantine.
        """
        self._table, self._known_at, self._ignored = table, known_at, ignored
        self._pages: list[pl.DataFrame] = []
        self._problems: dict[tuple[str, str], Problem] = {}
        self._rounded: dict[tuple[str, str], Problem] = {}

    def take(self, page: pl.DataFrame, coerced: CoercedPage, batch_id: str) -> None:
        """Take what of a page, here as it came and as it was coerced, does not fit or was rounded."""
        ids = None
        if (coerced.rejects or coerced.rounded) and self._table.id_column in page.columns:
            ids = as_text(page[self._table.id_column])
        for cut in coerced.rounded:
            _count(self._rounded, cut, ids)
        if not coerced.rejects:
            return
        reasons: dict[int, list[str]] = {}
        for reject in coerced.rejects:
            for row in reject.rows.arg_true():
                reasons.setdefault(row, []).append(f"{reject.column} {reject.problem}: {reject.values[row]!r}")
            _count(self._problems, reject, ids)
        rows = sorted(reasons)
        contents = to_json(page[rows].drop(self._ignored, strict=False))
        self._pages.append(
            pl.DataFrame(
                {
                    "record_id": [None if ids is None else ids[row] for row in rows],
                    "reason": ["; ".join(reasons[row]) for row in rows],
                    "record": to_json(page[rows]),
                    "_batch_id": [batch_id] * len(rows),
                    "_known_at": [self._known_at] * len(rows),
                    RECORD_HASH: md5(content.encode() for content in contents),
                },
                schema=_SCHEMA,
            )
        )

    @property
    def records(self) -> pl.DataFrame:
        """The rejected records, each content once."""
        if not self._pages:
            return _NONE
        found = pl.concat(self._pages)
        return found.unique(RECORD_HASH, keep="first", maintain_order=True)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why records were rejected."""
        return tuple(self._problems.values())

    @property
    def rounded(self) -> tuple[Problem, ...]:
        """The amounts that landed with fewer decimals than the source gave them."""
        return tuple(self._rounded.values())


def _count(problems: dict[tuple[str, str], Problem], reject: Reject, ids: pl.Series | None) -> None:
    """Add a problem of one page's column to that of the pages before."""
    key, first = (reject.column, reject.problem), int(reject.rows.arg_true()[0])
    before = problems.get(key)
    problems[key] = Problem(
        *key,
        records=int(reject.rows.sum()) + (before.records if before else 0),
        example_id=before.example_id if before else (ids[first] if ids is not None else None),
        example_value=before.example_value if before else reject.values[first],
    )


def to_json(page: pl.DataFrame) -> list[str]:
    """Each record as a JSON object of texts and nulls, which ``coerce`` reads back without loss."""
    texts = pl.DataFrame([as_text(page[name]) for name in page.columns])
    return [json.dumps(record, ensure_ascii=False, sort_keys=True) for record in texts.iter_rows(named=True)]


def from_json(records: pl.Series) -> pl.DataFrame:
    """The records of :func:`to_json` as a page of texts."""
    rows = [json.loads(record) for record in records]
    names = sorted({name for row in rows for name in row})
    return pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in names}, schema=dict.fromkeys(names, pl.String)
    )
