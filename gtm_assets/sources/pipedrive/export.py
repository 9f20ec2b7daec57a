"""Reading a Pipedrive export: six CSV files, each the whole of its table at the time of the export.

Rows have no key of their own, so each gets an ``id`` that depends on its content alone, not on its place, on the
file that it came in or on how often it came:

- a change of a deal: a hash of its four columns. Exact repeats are one.
- an activity: ``<activity_id>-<deal_id>-<type>-<n>``. ``n`` counts, in the order of their content, the rows of one
  export that share these three; exact repeats are one. A later export that has it as done, or for another day, has
  a new version of it.
- a stage: its ``stage_id``. The other tables have an ``id``; of rows with one id that of the latest ``modified``
  counts, then the one with the greatest content. A note names the ids that came several times.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal, Protocol

import polars as pl
import tenacity

from gtm_assets import clock, place
from gtm_assets.catalog.raw_table import ColumnType, RawTable, fivetran_name
from gtm_assets.errors import GtmError, SourceUnavailable
from gtm_assets.lake.coerce import coerce
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Window, boundary, partition_of
from gtm_assets.sources.pipedrive import csv_file
from gtm_assets.sources.pipedrive.catalog import SOURCE, TABLES

NEEDED: dict[str, tuple[str, ...]] = {
    "activity": ("activity_id", "deal_id", "type"),
    "activity_types": ("id",),
    "deal_changes": ("deal_id", "change_time", "changed_field_key", "new_value"),
    "fields": ("id",),
    "stages": ("stage_id",),
    "users": ("id",),
}
"""Columns by which the rows of a table are told apart: without one the file can't be read."""
_KEYS: dict[str, tuple[str, ...]] = NEEDED | {
    "activity": ("activity_id",),
    "deal_changes": ("deal_id", "change_time", "changed_field_key"),
}
"""Columns that must have a value: a row without one has no id, and waits in quarantine."""
_LOOK_SECONDS = 1
"""A file that ends with a newline counts as whole when it has not changed for so many seconds."""
_REST_SECONDS = 5
"""The same for a file that does not end with one."""
_PATIENCE_SECONDS = 60
"""How long we wait for a file that is being written."""
_DAY_FIRST_OR_LAST = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b.*|\d{4}[./]\d{1,2}[./]\d{1,2}\b.*")
_NAMED_MONTH = re.compile(r"(?=.*\d)(?=.*[^\W\d_]{3}).*")
_DAY_NUMBER = re.compile(r"\d{5}([.,]\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d[\d.\u00a0 ]*,\d+")
_GROUPED = r"^[+-]?\d{1,3}(?:[.,'’\s]\d{3})+$"
_YES_NO = {"ja", "nein", "nee", "oui", "non", "si", "sí", "sì", "sim", "não", "nao", "tak", "nie", "да", "нет"}
_YES_NO |= {"wahr", "falsch", "vrai", "faux", "verdadero", "falso", "vero", "waar", "onwaar"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORIGIN = ".origin"
_EXTRACTED = ".extracted"


class ExportError(GtmError):
    """An export can't be read. The message names the file, the folder and what to do."""


class FileMissing(ExportError):
    """The export lacks one of its files."""


@dataclass(frozen=True)
class Extract:
    """The rows of one file, with an ``id`` each, as text."""

    rows: pl.DataFrame
    exported_at: datetime
    fingerprint: str
    """Tells one content of the file from another."""
    notes: tuple[str, ...]
    """What is odd about the rows, a sentence each."""
    read_as: str = ""
    """How the file was read, where not as commas in UTF-8: a sentence, else empty."""


class Export(Protocol):
    """Something that Pipedrive's records can be extracted from. The raw assets know no more of it."""

    origin: Literal["export", "synthetic"]
    """Records of one origin must not mix with those of the other in one lake."""

    def extract(self, table: RawTable, window: Window) -> Extract:
        """All rows of a table.

        Raises:
            FileMissing: there is no such file.
            ExportError: it can't be read.
            SourceUnavailable: it is being written, and was waited for.
        """
        ...

    def known_at(self, window: Window) -> datetime:
        """When what an extraction of the window finds counts as seen, UTC."""
        ...


class ExportFolder:
    """A folder with the files of an export. A newer export takes its place in the same folder."""

    origin: Literal["export"] = "export"

    def __init__(self, folder: Path, now: Callable[[], datetime] = clock.now) -> None:
        """The folder is read when something is asked for."""
        self.folder, self._now = folder, now

    def extract(self, table: RawTable, window: Window) -> Extract:
        """All rows of the table's file, whatever their time; exported when the file was last changed."""
        path = self.path(table)
        try:
            self._wait(table, path)
            before = self.fingerprint(table)
            content, changed = path.read_bytes(), path.stat().st_mtime_ns
        except OSError as error:
            raise ExportError(
                f"{table.qualified_name}: {path.name} in {self.folder} can't be read ({error.strerror}). Let the "
                f"platform's user read it, and run again"
            ) from error
        if before != self.fingerprint(table):
            raise SourceUnavailable(f"{table.qualified_name}: {path} is being written")
        exported_at = datetime.fromtimestamp(changed // 1000 / 1_000_000, UTC)
        return extract(table, content, exported_at, before, str(path))

    def _wait(self, table: RawTable, path: Path) -> None:
        """Wait until the file is whole: its size and its time of change stay, and it ends with a newline.

        One that has no newline at its end counts as whole when it has not changed for longer.
        """
        before, since, begun = None, time.monotonic(), time.monotonic()

        def is_written() -> bool:
            nonlocal before, since
            status = path.stat()
            with path.open("rb") as file:
                file.seek(max(status.st_size - 2, 0))
                has_newline = not {*b"\r\n"}.isdisjoint(file.read())
            seen = status.st_mtime_ns, status.st_size
            if seen != before:
                before, since = seen, time.monotonic()
            unmoved = max(time.monotonic() - since, clock.now().timestamp() - status.st_mtime)
            return unmoved < (_LOOK_SECONDS if has_newline else _REST_SECONDS)

        try:
            tenacity.Retrying(
                retry=tenacity.retry_if_result(bool),
                wait=tenacity.wait_fixed(_LOOK_SECONDS),
                stop=tenacity.stop_after_delay(_PATIENCE_SECONDS),
            )(is_written)
        except tenacity.RetryError:
            raise SourceUnavailable(
                f"{table.qualified_name}: {path} is still being written: it has moved for "
                f"{time.monotonic() - begun:.0f} seconds. Run again when it is whole"
            ) from None

    def known_at(self, window: Window) -> datetime:
        """The partition boundary that was last passed; at the earliest the window's end."""
        return max(window.end, boundary(date.fromisoformat(partition_of(self._now()))))

    def path(self, table: RawTable) -> Path:
        """The table's file, in whatever case its name is written.

        Raises:
            ExportError: the folder or the file is not there.
        """
        if not self.folder.is_dir():
            raise ExportError(
                f"{table.qualified_name}: the folder {self.folder} is not there. Set GTM_PIPEDRIVE_DIR to the "
                f"folder that holds the CSV files of the export"
            )
        found = sorted(path for path in self.folder.iterdir() if path.name.lower() == table.api_name)
        if len(found) > 1:
            raise ExportError(
                f"{table.qualified_name}: {self.folder} has {' and '.join(path.name for path in found)}, and "
                f"which of them counts can't be told. Leave one of them there, and run again"
            )
        if not found:
            names = ", ".join(t.api_name for t in TABLES)
            raise FileMissing(
                f"{table.qualified_name}: {table.api_name} is not in {self.folder} (GTM_PIPEDRIVE_DIR). An export "
                f"has the files {names}. Put the file there, and run again. If there is none any more: "
                f"gtm source forget {table.qualified_name}"
            )
        if not found[0].is_file():
            what = (
                "a folder" if found[0].is_dir() else "no file that can be read, such as a link to one that is gone"
            )
            raise ExportError(
                f"{table.qualified_name}: {found[0].name} in {self.folder} is {what}. Put the CSV file there, and "
                f"run again"
            )
        return found[0]

    def has_file(self, table: RawTable) -> bool:
        """Whether the table's file is there.

        Raises:
            ExportError: the folder is not.
        """
        try:
            self.path(table)
        except FileMissing:
            return False
        return True

    def fingerprint(self, table: RawTable) -> str:
        """Tells one content of the table's file from another, without reading it."""
        status = self.path(table).stat()
        return f"{status.st_mtime_ns} {status.st_size}"

    def has_news(self, table: RawTable, lake: Lake) -> bool:
        """Whether the file is not the one that was extracted last. A missing one is none where it is forgotten."""
        if lake.forgotten(table) and not self.has_file(table):
            return False
        extracted = lake.root / SOURCE / table.name / _EXTRACTED
        return not place.exists(extracted) or place.text_of(extracted) != self.fingerprint(table)


def extracted(lake: Lake, table: RawTable, extract: Extract) -> None:
    """Keep what was extracted last."""
    place.write(lake.root / SOURCE / table.name / _EXTRACTED, extract.fingerprint)


def claim_origin(lake: Lake, origin: str) -> None:
    """Say of which origin the lake's records are, before the first lands.

    Raises:
        ExportError: as in :func:`check_origin`.
    """
    check_origin(lake, origin)
    mark = lake.root / SOURCE / _ORIGIN
    if not place.exists(mark) or not place.text_of(mark):
        place.make_folder(mark.parent)
        place.replace(mark, origin)


def check_origin(lake: Lake, origin: str) -> None:
    """Refuse records of one origin beside those of another.

    Raises:
        ExportError: the lake holds Pipedrive's records of the other origin.
    """
    mark = lake.root / SOURCE / _ORIGIN
    # A mark that a full disk cut short is empty.
    before = (place.text_of(mark) if place.exists(mark) else "") or origin
    if before != origin:
        what = {"synthetic": "the synthetic export", "export": "an export of GTM_PIPEDRIVE_DIR"}
        raise ExportError(
            f"{SOURCE}: the lake {lake.root} holds the deals of {what[before]}, and those of {what[origin]} must "
            f"not mix with them. Set GTM_HOME to another folder; or remove {lake.root / SOURCE} and "
            f"{lake.root / 'quarantine' / SOURCE}, and run: gtm run --full-refresh"
        )


def extract(table: RawTable, content: bytes, exported_at: datetime, fingerprint: str, name: str) -> Extract:
    """The rows of a file's content. ``name`` is the file's in messages.

    Raises:
        ExportError: it is no CSV that can be read without a doubt, or lacks a column by which rows are told apart.
    """
    rows, read_as, odd = _read(table, content, name)
    rows = rows.unique(maintain_order=True)
    rows, notes = _IDENTIFY.get(table.name, _by_own_id)(table, rows)
    added = [pl.lit(False).alias("_fivetran_deleted")]
    if table.cursor == "exported_at":
        added.append(pl.lit(exported_at, pl.Datetime("us", "UTC")).alias("exported_at"))
    # Sort the rows, so that the same export gives the same file.
    rows = rows.sort("id", *rows.columns).with_columns(added)
    return Extract(rows, exported_at, fingerprint, (*odd, *notes), read_as)


def _read(table: RawTable, content: bytes, name: str) -> tuple[pl.DataFrame, str, tuple[str, ...]]:
    """The rows as text, columns by the catalogue's names; how they were read, and what is odd about the file.

    Blank texts are null; Yes and No are true and false.
    """

    def refused(why: str) -> ExportError:
        return ExportError(f"{table.qualified_name}: {name} {why}, and run again")

    def lacking(headers: Collection[str]) -> list[str]:
        own = {_own_name(table, header) for header in headers}
        return [column for column in NEEDED[table.name] if column not in own]

    try:
        file = csv_file.read(content, lacking)
    except csv_file.NotCsv as error:
        raise refused(str(error)) from error
    names: dict[str, str] = {}
    for header in file.rows.columns:
        own = _own_name(table, header)
        if own in names.values():
            raise refused(f"has two columns {header!r}. Rename or remove one of them")
        names[header] = own
    frame = file.rows.rename(names)
    odd: tuple[str, ...] = ()
    if file.headers_again:
        odd = (
            f"{table.qualified_name}: {name} has {file.headers_again} rows that are its header again, as where "
            f"files were put one after the other. They are left out.",
        )
    if not file.ends_with_newline:
        if table.is_append_only:
            raise refused(
                "has no newline at its end, so that its last row may be cut, and what has landed of this table "
                "stays for ever. Put the whole file there or, if it is whole, add a newline"
            )
        odd += (f"{table.qualified_name}: {name} has no newline at its end. If it was cut, so is its last row.",)
    text = pl.col(pl.String).str.strip_chars()
    frame = frame.with_columns(pl.when(text != "").then(text))
    flags = [n for n, kind in table.types.items() if kind is ColumnType.BOOLEAN and n in frame.columns]
    words = dict.fromkeys(("true", "t", "yes", "y", "1"), "true")
    words |= dict.fromkeys(("false", "f", "no", "n", "0"), "false")
    frame = frame.with_columns(
        pl.col(flag).str.to_lowercase().replace_strict(words, default=pl.col(flag), return_dtype=pl.String)
        for flag in flags
    )
    for column, row, what in _in_another_notation(table, frame):
        header = next(header for header, own in names.items() if own == column)
        value, line = frame[column][row], file.line_of(row)
        raise refused(f"has {value!r} for {header} in line {line}, which is {what}")
    read_as = f"{table.qualified_name}: {name} is read as {file.how}." if file.how else ""
    return frame, read_as, odd


def _own_name(table: RawTable, header: str) -> str:
    """The column's name for a header of the file."""
    own = fivetran_name(header.strip().lower())
    made = {column.name for column in table.columns if not column.api_name}
    return f"{own}_of_export" if own in made else own


def _in_another_notation(table: RawTable, rows: pl.DataFrame) -> Iterator[tuple[str, int, str]]:
    """Columns with values as another country writes them: column, first such row, what it is and what to do.

    They are seen where none of a column's values can be read, or where one could be read as another number.
    """
    advice = "Give numbers without separators, as 1234"
    for name in (n for n, kind in table.types.items() if kind is ColumnType.INTEGER and n in rows.columns):
        grouped = rows[name].str.contains(_GROUPED).fill_null(False)
        if grouped.any() and (first := grouped.arg_max()) is not None:
            yield name, first, f"a number with a separator, of decimals or of thousands. {advice}"
    for reject in coerce(table, rows).rejects:
        if reject.column not in rows.columns or reject.rows.sum() < rows[reject.column].count():
            continue
        first = reject.rows.arg_max()
        if first is None:
            continue
        what = _notation(table.types[reject.column], rows[reject.column][first])
        if what:
            yield reject.column, first, what


def _notation(kind: ColumnType, value: str | None) -> str | None:
    """What a value is that is written as another country writes it, and what to do; None for any other."""
    if value is None:
        return None
    if kind in (ColumnType.TIMESTAMP, ColumnType.DATE):
        advice = "Write dates as year-month-day: 2026-04-03 or 2026-04-03 06:30:00"
        if _DAY_FIRST_OR_LAST.fullmatch(value):
            return f"a date in another order, of which day and month can't be told apart. {advice}"
        if _DAY_NUMBER.fullmatch(value):
            return f"a spreadsheet's number of a day. {advice}"
        return f"a date in words. {advice}" if _NAMED_MONTH.fullmatch(value) else None
    if kind is ColumnType.BOOLEAN:
        is_word = value.lower() in _YES_NO
        return "neither Yes nor No, True nor False. Export it in English" if is_word else None
    if kind in (ColumnType.INTEGER, ColumnType.DOUBLE, ColumnType.CURRENCY) and _DECIMAL_COMMA.fullmatch(value):
        return "a number with a decimal comma. Write numbers with a point"
    return None


def _in_one_spelling(table: RawTable, rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The columns as text, a value that fits its type in one spelling, null as an empty text."""
    typed = coerce(table, rows).frame
    return pl.DataFrame(
        [
            typed[name].cast(pl.String).fill_null(rows[name]).fill_null("").alias(name)
            if name in rows.columns
            else pl.Series(name, [""] * rows.height, dtype=pl.String)
            for name in columns
        ]
    )


def _without_key(table: RawTable, rows: pl.DataFrame) -> pl.Expr:
    return pl.any_horizontal(pl.col(name).is_null() for name in _KEYS[table.name])


def _hash(texts: pl.DataFrame) -> pl.Series:
    """A hash of each row's texts: the length of each, then the text, so that no two rows share one by chance."""
    lines = texts.select(
        pl.concat_str(
            part for name in texts.columns for part in (pl.col(name).str.len_bytes(), pl.lit(":"), pl.col(name))
        )
    ).to_series()
    return pl.Series([hashlib.md5(line.encode()).hexdigest() for line in lines], dtype=pl.String)


def _changes(table: RawTable, rows: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    ids = _hash(_in_one_spelling(table, rows, NEEDED["deal_changes"]))
    rows = rows.with_columns(pl.when(~_without_key(table, rows)).then(ids).alias("id"))
    # The same change in two spellings is one change.
    has_id = pl.col("id").is_not_null()
    rows = pl.concat([rows.filter(has_id).sort(rows.columns).unique("id", keep="first"), rows.filter(~has_id)])
    return rows, ()


def _activities(table: RawTable, rows: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    own = [column.name for column in table.columns if column.api_name]
    texts = _in_one_spelling(table, rows, own)
    parts = ("activity_id", "deal_id", "type")
    rows = rows.with_columns(
        pl.concat_str([texts[name] for name in parts], separator="-").alias("_shared"),
        _hash(texts).alias("_content"),
    )
    # Extra columns are content too, and decide last.
    rows = rows.sort([*(texts[name] for name in own), *sorted(set(rows.columns) - {"_shared"})])
    rows = rows.unique("_content", keep="first", maintain_order=True)
    number = pl.int_range(1, pl.len() + 1).over("_shared").cast(pl.String)
    made = pl.concat_str(pl.col("_shared"), number, separator="-")
    rows = rows.with_columns(pl.when(~_without_key(table, rows)).then(made).alias("id"))
    return rows.drop("_shared", "_content"), ()


def _stages(table: RawTable, rows: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    ids = _in_one_spelling(table, rows, ["stage_id"]).to_series()
    rows = rows.with_columns(pl.when(pl.col("stage_id").is_not_null()).then(ids).alias("id"))
    return _by_own_id(table, rows)


def _by_own_id(table: RawTable, rows: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    page = coerce(table, rows.with_columns(pl.lit(_EPOCH).alias(table.cursor)))
    # Rows that don't fit wait in quarantine, so they don't compete with the others.
    rejects, rows, typed = rows.filter(~page.fits), rows.filter(page.fits), page.frame.filter(page.fits)
    repeated = rows.filter(pl.col("id").is_duplicated())["id"].unique().sort()
    latest = [typed["modified"]] if "modified" in rows.columns else []
    rows = rows.sort([*latest, *sorted(rows.columns)], nulls_last=False).unique("id", keep="last")
    notes: tuple[str, ...] = ()
    if len(repeated):
        first = ", ".join(repeated.head(5).to_list())
        notes = (
            f"{table.qualified_name}: {len(repeated)} ids come several times with different values ({first}). Of "
            f"each the row changed last counts, else the one with the greatest values.",
        )
    return pl.concat([rows, rejects]), notes


_IDENTIFY = {"deal_changes": _changes, "activity": _activities, "stages": _stages}
