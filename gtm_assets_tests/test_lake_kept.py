"""A run keeps a table's newest versions from one partition to the next, and lands what it would land without."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gtm_assets import place
from gtm_assets.errors import LakeError
from gtm_assets.lake.files import is_merged
from gtm_assets.lake.newest import NewestVersions
from gtm_assets.lake.reader import LakeReader
from gtm_assets.lake.store import ExportInfo, Lake
from gtm_assets_tests.lake_builders import deal, page
from gtm_assets_tests.properties import at_most
from gtm_assets_tests.test_lake_snapshots import EXPORTED, LONG, STAMPED

DAYS = ["2026-01-02", "2026-01-03", "2026-01-30", "2026-03-01", "2026-04-01", "2026-04-02"]
"""Those of January are merged by a compaction."""
TABLES = {"own cursor": EXPORTED, "stamped": STAMPED}


INSTANTS = [LONG.window(day).end - timedelta(hours=1) for day in DAYS[1::2]]
"""So few that versions of a record tie, whatever partition they land in."""


def records(drawn: list[tuple[int, str, int, bool]]) -> list[dict]:
    """Records as drawn: number, name and lines, instant, whether it is deleted."""
    return [
        deal(
            number,
            name=variant[0],
            lines=variant[1],
            is_deleted=str(deleted).lower(),
            system_modstamp=INSTANTS[instant].isoformat(),
        )
        for number, variant, instant, deleted in drawn
    ]


def breaking_off(pages: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    yield from pages
    raise ConnectionError("the source went away")


def do(lake: Lake, table, step: tuple) -> object:
    """One step, and what came of it."""
    what, day, drawn, hours, lacking = step
    window, pages = LONG.window(day), [page(*records(drawn)).drop("lines" if lacking else ())]
    info = ExportInfo(window.end - timedelta(hours=hours), "whole" in what, limit=1.0)
    try:
        match what:
            case "export" | "whole export":
                return lake.land_export(table, window, pages, window.end, info)
            case "export that breaks off":
                return lake.land_export(table, window, breaking_off(pages), window.end, info)
            case "full extraction":
                return lake.land_snapshot(table, window, pages, window.end, 1.0)
            case "window":
                return lake.land(table, window, pages, window.end)
            case "window with deletions":
                gone = {deal(number)["id"]: window.end for number, *_ in drawn[:1]}
                return lake.land(table, window, pages, window.end, gone)
            case "disk full":
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(place, "put_new", full_disk)
                    return lake.land_export(table, window, pages, window.end, info)
            case "another process":
                return Lake(lake.root).land_export(table, window, pages, window.end, info)
            case "compaction":
                compaction = lake.compact(table)
                return compaction.files_after, lake.remove_replaced(table)
            case "torn file" if (found := lake.batches_of(table, day)) and not is_merged(found[0].path):
                found[0].path.write_bytes(found[0].path.read_bytes()[:-20])
                return lake.land(table, window, pages, window.end)
    except (ConnectionError, LakeError) as error:
        return type(error)
    return None


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def shown(lake: Lake, table) -> dict[str, list]:
    """The rows of each batch, in their order."""
    columns = [*table.types, "_batch_id", "_known_at", "_version_hash"]
    return {b.batch_id: lake.versions([b], columns).rows() for b in lake.batches(table)}


RECORD = st.tuples(
    st.integers(1, 4),
    st.sampled_from(["a3", "a4", "b3"]),
    st.integers(0, len(INSTANTS) - 1),
    st.sampled_from([False, False, False, True]),
)
WHATS = [
    *["export", "whole export", "window"] * 3,
    "export that breaks off",
    "full extraction",
    "window with deletions",
    "disk full",
    "another process",
    "compaction",
    "torn file",
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(WHATS),
        st.sampled_from(DAYS),
        st.lists(RECORD, min_size=1, max_size=8),
        st.integers(1, 2),
        st.sampled_from([False, False, True]),
    ),
    min_size=6,
    max_size=20,
)


def index(newest: NewestVersions) -> list[tuple]:
    sql = "select id, cursor, deleted, hash from newest order by id"
    return newest._db.execute(sql).fetchall()


@settings(max_examples=at_most(27), deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.sampled_from(sorted(TABLES)), STEPS)
def test_with_and_without_keeping_the_lake_is_the_same(kind, steps):
    """Partitions in any order, repeated and late; landings that fail; others that write the lake in between."""
    table = TABLES[kind]
    with TemporaryDirectory() as folder:
        plain, other = Lake(Path(folder) / "plain"), Lake(Path(folder) / "kept")
        with other.keeping(table) as kept:
            for step in steps:
                without, within = do(plain, table, step), do(kept, table, step)
                if hasattr(without, "added"):
                    assert (within.batch_id, within.added, within.hard_deleted) == (
                        without.batch_id,
                        without.added,
                        without.hard_deleted,
                    )
                else:
                    assert within == without
            with kept._newest(table) as index_kept, plain._newest(table) as index_read:
                assert index(index_kept) == index(index_read)
        assert shown(other, table) == shown(plain, table)


def test_a_kept_index_reads_each_file_once(tmp_path, monkeypatch):
    lake, read = Lake(tmp_path), []
    reading = LakeReader.reading
    monkeypatch.setattr(LakeReader, "reading", lambda self, files: read.extend(files) or reading(self, files))

    with lake.keeping(STAMPED) as kept:
        for number, day in enumerate(DAYS):
            drawn = [(n, "a3" if n < number else "b3", 1, False) for n in range(20)]
            do(kept, STAMPED, ("whole export", day, drawn, 1, False))

    assert len(lake.batches(STAMPED)) == len(DAYS)
    assert len(read) == len(set(read)) == len(DAYS) - 1


def test_what_is_kept_is_one_row_for_each_record(tmp_path):
    lake = Lake(tmp_path)
    with lake.keeping(STAMPED) as kept:
        for number, day in enumerate(DAYS * 2):
            drawn = [(n, ["a3", "b3"][number % 2], 1, False) for n in range(30)]
            do(kept, STAMPED, ("whole export", day, drawn, 1 if number < len(DAYS) else 2, False))
        with kept._newest(STAMPED) as newest:
            counts = [
                newest._db.execute(f"select count(*) from {t}").fetchall()[0][0] for t in ("newest", "contents")
            ]

    assert counts[0] == 30
    assert counts[1] <= 30
