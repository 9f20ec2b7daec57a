"""The search that proves an erasure finds what stands in a file however it is written, and nothing else."""

from __future__ import annotations

import gzip
import html
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gtm_assets.privacy.scrubbing import scrub
from gtm_assets.privacy.search import SearchError, Wanted, look_in

NAME, EMAIL, PHONE = "zoë o'brien", "zoe@acme.example", "+1 (292) 555-0154"
WANTED = Wanted([NAME, EMAIL, PHONE])


@pytest.mark.parametrize(
    "written",
    [
        "Zoë O'Brien",
        "ZOË O'BRIEN",
        json.dumps("Zoë O'Brien"),
        "insert into x values ('Zoë O''Brien')",
        html.escape("Zoë O'Brien"),
        f"mailto:{EMAIL}.",
        f'"{EMAIL.upper()}"',
        f"call {PHONE}!",
    ],
)
def test_it_is_found_however_it_is_written(tmp_path, written):
    path = tmp_path / "file.log"
    path.write_text(f"before {written} after")
    assert [hit.where for hit in look_in(path, WANTED)] == ["its bytes"]
    assert scrub([path], WANTED) == [path]
    assert look_in(path, WANTED) == []
    kept = path.read_bytes()
    assert (
        kept.startswith(b"before ")
        and kept.endswith(b" after")
        and len(kept) == len(f"before {written} after".encode())
    )


@pytest.mark.parametrize(
    "written",
    [
        "Zoë O'Briens",
        "Anna-Zoë O'Brien",
        f"mary.{EMAIL}",
        f"{EMAIL}.org",
        f"{EMAIL}x",
        f"{PHONE}9",
        "zoe @acme.example",
    ],
)
def test_what_only_holds_it_is_not_it(tmp_path, written):
    path = tmp_path / "file.log"
    path.write_text(f"before {written} after")
    assert look_in(path, WANTED) == [] and scrub([path], WANTED) == []
    assert path.read_text() == f"before {written} after"


def test_it_is_found_in_compressed_columns(tmp_path):
    texts = [f"{EMAIL}" if n % 1000 == 7 else f"row {n}" for n in range(20_000)]
    frame = pl.DataFrame({"n": range(20_000), "who": texts})
    frame.write_parquet(tmp_path / "a.parquet", compression="zstd", statistics=False)
    with duckdb.connect(str(tmp_path / "a.duckdb")) as db:
        db.register("frame", frame.to_arrow())
        db.execute("create table people as select * from frame")
        db.execute("create view seen as select upper(who) as who from people")
    assert "column who" in {hit.where for hit in look_in(tmp_path / "a.parquet", WANTED)}
    assert "main.people, column who" in {hit.where for hit in look_in(tmp_path / "a.duckdb", WANTED)}


def test_it_is_found_in_what_a_killed_process_has_only_logged(tmp_path):
    path = tmp_path / "a.duckdb"
    db = duckdb.connect(str(path))
    db.execute("create table people (who varchar)")
    db.execute("checkpoint")
    db.execute("pragma disable_checkpoint_on_shutdown")
    db.execute(f"insert into people values ('{EMAIL}')")
    db.close()
    assert (tmp_path / "a.duckdb.wal").exists()
    assert look_in(path, WANTED)


def test_it_is_found_and_overwritten_across_the_pages_of_a_database_and_in_its_free_pages(tmp_path):
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("create table events (id integer primary key, body text, pickle blob)")
        for length in range(4000, 4100, 3):
            db.execute(
                "insert into events (body, pickle) values (?, ?)", ("x " * (length // 2) + EMAIL, EMAIL.encode())
            )
        db.execute("insert into events (body) values ('row of nobody')")
        db.execute("delete from events where id < 10")
        db.commit()
    assert {"table events, column body", "table events, column pickle"} <= {h.where for h in look_in(path, WANTED)}
    assert scrub([path], WANTED) == [path]
    assert look_in(path, WANTED) == [] and scrub([path], WANTED) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from events where body = 'row of nobody'").fetchall() == [(1,)]
        assert db.execute("select count(*) from events").fetchall() == [(26,)]


def test_it_is_found_and_overwritten_in_what_is_zipped(tmp_path):
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(f"before {EMAIL} after".encode()))
    assert [hit.where for hit in look_in(path, WANTED)] == ["its text"]
    assert scrub([path], WANTED) == [path]
    assert gzip.decompress(path.read_bytes()).decode() == f"before {'*' * len(EMAIL)} after"


@pytest.mark.parametrize(
    "content", [b"PAR1 torn", b"\x1f\x8b torn", b"12345678DUCK torn", b"SQLite format 3\0 torn"]
)
def test_a_file_that_can_not_be_searched_proves_nothing_and_is_named(tmp_path, content):
    path = Path(tmp_path / "torn")
    path.write_bytes(content)
    with pytest.raises(SearchError, match=rf"{path} can't be searched .* it is not proven"):
        look_in(path, WANTED)


def test_an_empty_file_and_one_that_goes_meanwhile_hold_nothing(tmp_path):
    (tmp_path / "empty").touch()
    assert look_in(tmp_path / "empty", WANTED) == [] and look_in(tmp_path / "gone", WANTED) == []
    assert scrub([tmp_path / "empty", tmp_path / "gone"], WANTED) == []
