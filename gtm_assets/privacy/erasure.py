"""Erasing a person from all that the platform keeps, and proving it.

The steps, of which each may be done again; one that was ended goes on with the next ``gtm run`` or
``gtm erase --replay``:

1. The ledger of the lake gets the request, in keyed hashes: from here on the person lands no more.
2. Addresses, names and numbers to look for are kept in a file that only its owner reads, until the end.
3. The lake's files and quarantine are rewritten.
4. What was made of them goes: the warehouse, builds as of earlier days, what dbt compiled and logged. Logs and
   records of runs are overwritten where the person stands in them.
5. The warehouse is built anew, published in place of the file before, and served.
6. Everything is searched. Where something is found the command fails and says where; else it writes the
   certificate, and the file of step 2 goes.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from filelock import FileLock, Timeout

from gtm_assets import clock, place
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.dbt.project import DBT_DIR
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.engines.files import log_path, staging_path
from gtm_assets.errors import GtmError
from gtm_assets.lake import rewriting
from gtm_assets.lake.coerce import as_text
from gtm_assets.lake.erased import EMAIL, Erased, Ledger, hashed, normalised, person_kind
from gtm_assets.lake.rewriting import Rewriting
from gtm_assets.lake.store import Lake
from gtm_assets.privacy.certificate import (
    OUTSIDE_OF_A_BUCKET,
    OUTSIDE_OF_A_SERVER,
    Certificate,
    TableTouched,
)
from gtm_assets.privacy.person import Finder, Pages, Person, of_lake
from gtm_assets.privacy.scrubbing import scrub
from gtm_assets.privacy.search import Hit, Wanted, files_below, look_everywhere
from gtm_assets.settings import Settings
from gtm_assets.sources.registry import SOURCES

Say = Callable[[str], None]
Rebuild = Callable[[], Sequence[str]]
"""Builds, proves, publishes and serves from the lake; gives what went wrong, in sentences."""
_SHOWN = 20
_UNDER_WAY = "under-way.json"
_MARK = "erased.json"
_SERVER = "postgres"
"""Folder of the state folder with a PostgreSQL server of one's own."""


class ErasureError(GtmError):
    """A person could not be erased. The message says what is left and what to do."""


@dataclass(frozen=True)
class Asked:
    """Whom to erase."""

    email: str | None = None
    id: str | None = None


def all_tables() -> tuple[RawTable, ...]:
    """The tables of all sources, those that are off included: the lake may hold them."""
    return tuple(table for source in SOURCES for table in source.tables)


def refuse(settings: Settings) -> None:
    """Refuse where not all that holds a person is reached.

    Raises:
        ErasureError: says what is not.
    """
    if settings.is_external:
        raise ErasureError(
            "another loader fills the tables: erase the person in its database, then run gtm run --full-refresh. "
            "gtm erase rewrites the lake"
        )
    if settings.engine == "spark":
        raise ErasureError(
            "GTM_ENGINE=spark keeps the lake's files and older snapshots in Iceberg tables, which gtm erase does "
            "not reach yet. Drop the tables of its catalogue with their files, run gtm erase with "
            "GTM_ENGINE=duckdb, and build anew: gtm run --full-refresh"
        )
    if (settings.home / _SERVER / "postmaster.pid").exists():
        raise ErasureError(
            f"the server of gtm serve runs, and its folder {settings.home / _SERVER} has to go: stop it first"
        )


# -- whom ---------------------------------------------------------------------------------------------------------


def find(settings: Settings, asked: Asked) -> Person:
    """Whom an address or an id names.

    Raises:
        LakeError: the lake can't be read.
    """
    finder = Finder(of_lake(Lake.of(settings)), all_tables())
    return finder.find(
        [asked.email] if asked.email else [],
        [asked.id] if asked.id else [],
    )


def blocked(asked: Asked) -> Person:
    """A person of whom nothing has landed, so that nothing lands."""
    person = Person()
    if asked.email:
        person.add(EMAIL, normalised(asked.email))
        person.values.add(normalised(asked.email))
    if asked.id:
        for table in all_tables():
            if table.holds_people:
                person.add(person_kind(table.source, table.name), asked.id)
    return person


def preview(settings: Settings, person: Person) -> list[Rewriting]:
    """What erasing a person would rewrite in the lake, table by table.

    Raises:
        LakeError: the lake can't be read.
    """
    lake, key = Lake.of(settings), secrets.token_bytes(32)
    hashes = hashed(key, person.kinds)
    done: list[Rewriting] = []
    while True:
        before = sum(map(len, hashes.values()))
        done = [
            rewriting.rewrite(lake, table, Erased(table, hashes, key, lake.ledger), is_dry=True)
            for table in all_tables()
        ]
        if sum(map(len, hashes.values())) == before:
            return [one for one in done if one]


# -- erasing ------------------------------------------------------------------------------------------------------


def erase(settings: Settings, asked: Asked, person: Person, say: Say, rebuild: Rebuild) -> Path:
    """Erase a person; gives the certificate.

    Raises:
        ErasureError: something is left. The message says where, and what to do.
        LakeError: the lake can't be read or written.
        SearchError: a file can't be searched.
    """
    refuse(settings)
    with _alone(settings, say):
        ledger = Lake.of(settings).ledger
        ledger.synchronise()
        ledger.make_key()
        # The values come first: an entry without them could not be searched for after the lake was rewritten.
        name = ledger.hash("request", f"{normalised(asked.email or '')} {asked.id or ''}")[:16]
        _keep_values(settings, [name], person.values)
        ledger.write(name, person.kinds)
        return _carry_out(settings, say, rebuild, is_forced=True)


def pending(settings: Settings) -> bool:
    """Whether an erasure was cut short, or a lake or a state folder was restored that lacks some.

    It costs next to nothing where nobody was erased.
    """
    ledger = Lake.of(settings).ledger
    if (settings.erasures_path / _UNDER_WAY).exists() or ledger.unapplied():
        return True
    return bool(ledger.digests()) and _mark_of(settings) != ledger.digests()


def replay(settings: Settings, say: Say, rebuild: Rebuild, is_forced: bool) -> Path | None:
    """Apply the ledger again. Gives the certificate; None where nobody was erased, or nothing was left to do.

    With ``is_forced`` what was made of the lake goes and is made anew even where the lake held nothing.

    Raises:
        ErasureError: something is left. The message says where, and what to do.
        LakeError: the lake can't be read or written.
        SearchError: a file can't be searched.
    """
    ledger = Lake.of(settings).ledger
    ledger.synchronise()
    if not ledger.entries():
        return None
    refuse(settings)
    with _alone(settings, say):
        lake, warehouse = Lake.of(settings), Warehouse.of(settings)
        was_cut_short = (settings.erasures_path / _UNDER_WAY).exists()
        values = _values_left(ledger, of_lake(lake))
        with warehouse.locked("gtm erase", say):
            values |= _values_left(ledger, _of_warehouse(warehouse.path))
        _keep_values(settings, sorted(ledger.unapplied()), values)
        is_restored = _mark_of(settings) != ledger.digests() and _is_built(settings)
        return _carry_out(settings, say, rebuild, is_forced or is_restored or was_cut_short)


@contextmanager
def _alone(settings: Settings, say: Say) -> Iterator[None]:
    """One erasure of a state folder at a time."""
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "erasure.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("Another erasure is under way. Waiting until it has ended.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _carry_out(settings: Settings, say: Say, rebuild: Rebuild, is_forced: bool) -> Path:
    lake = Lake.of(settings)
    kept = _kept_values(settings)
    wanted = Wanted(kept["values"])
    done = Certificate(kept["requests"] or sorted(lake.ledger.entries()), datetime.fromisoformat(kept["began_at"]))
    warehouse = Warehouse.of(settings)
    with warehouse.locked("gtm erase", say):
        _outwait_builds_as_of(settings)
        done.cleaned = [str(path) for path in scrub(_records_of_runs(settings), wanted)]
        _rewrite_lake(lake, done, say)
        is_forced = is_forced or bool(done.tables)
        if is_forced:
            done.removed = [str(path) for path in _remove_what_was_made(settings, warehouse)]
            done.removed += warehouse.engine.forget()
    if is_forced and _has_landed(lake):
        say("The warehouse is built anew from the lake.")
        if errors := rebuild():
            raise ErasureError(
                "the lake is rewritten, but what was made of it could not be made anew, and the file published "
                f"before still names the person: {'; '.join(errors)}. Mend it and run: gtm erase --replay"
            )
        done.built_anew = [warehouse.engine.place, str(settings.published_path)]
    hits: list[Hit] = []
    if settings.serves or settings.engine == "postgres":
        # Imported here: the driver is an extra.
        from gtm_assets.privacy.served import servers_of, tidy_up_and_search

        for server in servers_of(settings):
            tables, there = tidy_up_and_search(server, settings.schema_prefix, wanted)
            hits += there
            done.built_anew.append(f"{server.place}: what people read, written anew without what was deleted")
            done.searched.append(f"{server.place}: all texts of {tables} tables")
        done.outside.append(OUTSIDE_OF_A_SERVER)
    if settings.lake_bucket:
        done.outside.append(OUTSIDE_OF_A_BUCKET)
    _prove(settings, lake, warehouse, wanted, done, hits, say)
    done.values_searched = len(wanted.values)
    done.ended_at = clock.now()
    certificate = done.write(settings.erasures_path)
    _write_mark(settings, lake.ledger)
    (settings.erasures_path / _UNDER_WAY).unlink()
    return certificate


def _rewrite_lake(lake: Lake, done: Certificate, say: Say) -> None:
    """Rewrite all tables. One record may tell that another is the same person: until none does any more."""
    records: dict[RawTable, set[str]] = {}
    while True:
        before = lake.ledger.digests()
        for table in all_tables():
            lake.remove_replaced(table)
            if one := lake.erase(table):
                say(
                    f"{table.qualified_name}: {one.versions:,} versions of {len(one.records):,} records, and "
                    f"{one.quarantined:,} records in quarantine, are rewritten in {len(one.files):,} files."
                )
                records.setdefault(table, set()).update(one.records)
                touched = done.tables.setdefault(table.qualified_name, TableTouched())
                touched.add(one, len(records[table]))
        if lake.ledger.digests() == before:
            break
    lake.ledger.mark_applied()


def _has_landed(lake: Lake) -> bool:
    return bool(lake.batches())


# -- what was made of the lake ----------------------------------------------------------------------------------


def _remove_what_was_made(settings: Settings, warehouse: Warehouse) -> list[Path]:
    """Remove what is made of the lake, and made anew. The published file stays until it is replaced."""
    path = warehouse.path
    gone = [
        path,
        log_path(path),
        staging_path(path),
        log_path(staging_path(path)),
        path.with_suffix(".state.json"),
    ]
    gone += sorted((settings.home / "as_of").glob("*.duckdb"))
    gone += [one for one in sorted((settings.home / "as_of").glob(".*")) if one.is_dir()]
    gone += [settings.dbt_target_dir, settings.home / _SERVER]
    if not settings.serves:
        gone.append(settings.served_path)
    # Older builds and publications that a killed process has left.
    gone += [*settings.home.glob(".*.tmp"), *settings.published_path.parent.glob(".*.tmp")]
    removed = []
    for one in gone:
        if one.is_dir():
            shutil.rmtree(one)
        elif one.exists():
            one.unlink()
        else:
            continue
        removed.append(one)
    return removed


def _outwait_builds_as_of(settings: Settings) -> None:
    for path in (settings.home / "as_of").glob(".*.lock"):
        with FileLock(path):
            pass


def _records_of_runs(settings: Settings) -> list[Path]:
    """Dagster's records and logs, dbt's logs beside the project, and what alerts remember."""
    folders = [settings.dagster_home, DBT_DIR / "logs", DBT_DIR / "target"]
    # A database's log goes with it.
    is_a_log = (".db-wal", ".db-shm", ".db-journal", "-wal", "-shm", "-journal")
    files = files_below(folders, lambda path: path.name.endswith(is_a_log))
    return [*files, *([settings.incidents_path] if settings.incidents_path.exists() else [])]


def _is_built(settings: Settings) -> bool:
    return settings.warehouse_path.exists() or settings.published_path.exists()


# -- proof --------------------------------------------------------------------------------------------------------


def _prove(
    settings: Settings,
    lake: Lake,
    warehouse: Warehouse,
    wanted: Wanted,
    done: Certificate,
    hits: Iterable[Hit],
    say: Say,
) -> None:
    """Search everything, by what is in the ledger and by what identifies the person.

    Raises:
        ErasureError: names where something was found.
    """
    say("Everything is searched.")
    found = [str(hit) for hit in hits]
    for table in all_tables():
        left = rewriting.rewrite(lake, table, lake.ledger.of(table), is_dry=True)
        found += [f"{path} ({table.qualified_name}, {', '.join(left.cells)})" for path in left.files]
    under_way = (settings.erasures_path / _UNDER_WAY).resolve()
    own = {under_way, (settings.erasures_path / "key").resolve()}
    with warehouse.locked("gtm erase, searching", say):
        folders = [settings.home, DBT_DIR / "logs", DBT_DIR / "target"]
        count, there = look_everywhere(folders, lake.root, wanted, lambda path: path.resolve() in own)
    found += [str(hit) for hit in there]
    done.searched += [
        f"{count:,} files below {settings.home}, {lake.root} and {DBT_DIR}, be they Parquet, DuckDB, SQLite, "
        "gzip or others"
    ]
    if found:
        more = f" and {len(found) - _SHOWN:,} more places" if len(found) > _SHOWN else ""
        raise ErasureError(
            f"not erased: the person still stands in {'; '.join(found[:_SHOWN])}{more}. If it is a file of yours, "
            "take the person out or remove it. Then run: gtm erase --replay"
        )


def _values_left(ledger: Ledger, pages: Pages) -> set[str]:
    """What identifies those in the ledger, where raw tables still say it."""
    ids: set[str] = set()
    emails: set[str] = set()
    for table in all_tables():
        erased = ledger.of(table)
        for page in pages(table):
            seen = erased.seen(page)
            if table.holds_people:
                ids |= set(as_text(page[table.id_column].filter(seen.concerned & seen.touched)).to_list())
        emails |= erased.addresses
    return Finder(pages, all_tables()).find(emails, ids).values if ids or emails else set()


def _of_warehouse(path: Path) -> Pages:
    """The newest versions as the warehouse has them: one that was restored, or another machine's with our lake."""

    def pages(table: RawTable) -> Iterator[pl.DataFrame]:
        if not staging_path(path).exists():
            return
        with duckdb.connect(str(staging_path(path)), read_only=True) as connection:
            built = connection.execute(
                "select schema_name, table_name from duckdb_tables() where table_name = ?",
                [f"base_{table.source}__{table.name}"],
            ).fetchall()
            for schema, name in built:
                page: pl.DataFrame = connection.sql(f'from "{schema}"."{name}"').pl()
                yield page

    return pages


# -- what is under way, and what has been done -------------------------------------------------------------------


def _keep_values(settings: Settings, requests: Sequence[str], values: Iterable[str]) -> None:
    """Keep what is looked for, beside what an erasure that was cut short has kept."""
    path = settings.erasures_path / _UNDER_WAY
    before: dict[str, Any] = {"requests": [], "values": [], "began_at": clock.now().isoformat()}
    with suppress(FileNotFoundError, ValueError):
        before = json.loads(path.read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    kept = {
        "requests": sorted({*before["requests"], *requests}),
        "values": sorted({*before["values"], *values}),
        "began_at": before["began_at"],
    }
    temporary = path.with_suffix(".tmp")
    temporary.touch(0o600)
    temporary.write_text(json.dumps(kept))
    temporary.replace(path)


def _kept_values(settings: Settings) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((settings.erasures_path / _UNDER_WAY).read_text())
    return kept


def _mark_of(settings: Settings) -> object:
    """By which entries what was made of the lake has been cleaned."""
    with suppress(FileNotFoundError, ValueError):
        return json.loads((settings.home / _MARK).read_text())
    return None


def _write_mark(settings: Settings, ledger: Ledger) -> None:
    place.replace(settings.home / _MARK, json.dumps(ledger.digests(), indent=1) + "\n")
