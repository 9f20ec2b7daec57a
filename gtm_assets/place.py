"""Where the lake lies, a folder or a bucket, and everything that is done there: the rest of the lake asks this.

A folder is given by a :class:`~pathlib.Path`, a bucket's prefix by a :class:`~upath.UPath`, which joins and splits
names as a path does. What a folder has and a bucket lacks is made up for here:

| in a folder | in a bucket |
|---|---|
| a file is written beside its place, synced and renamed | one PUT, which is whole or absent |
| one process at a time has a table's lock | a new name is put with `If-None-Match`: the second is refused |
| folders are made, and removed when empty | there are none: a prefix is there with its first key |
| a folder of marks is renamed into place | the key ``.made`` is put after the marks |
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from gtm_assets.errors import BucketAway, BucketError, LakeError
from gtm_assets.settings import Settings

if TYPE_CHECKING:
    import duckdb
    import polars as pl
    from upath import UPath

    from gtm_assets.bucket import Bucket

Place: TypeAlias = "Path | UPath"
"""A file or folder of the lake, or a key or prefix."""
_MADE = ".made"
_AT_ONCE = 16
"""Requests to a bucket at a time, where many files are asked for the same."""
_TOLD = re.compile(r"\b(?P<kind>BucketAway|BucketError): (?P<sentence>s3://[^\n]*)")
_T = TypeVar("_T")
_R = TypeVar("_R")


def place_of(settings: Settings) -> Place:
    """Where the settings say that the lake lies.

    Raises:
        LakeError: what a bucket needs is not installed.
    """
    if settings.lake_bucket is None:
        return settings.lake_dir
    try:
        # Imported here: it is an extra, and takes a second.
        from upath import UPath

        from gtm_assets.bucket import options
    except ImportError as error:
        raise LakeError(
            f"GTM_LAKE_URL={settings.lake_bucket} needs what is not installed ({error}). Install it: make setup-s3"
        ) from error
    bucket: UPath = UPath(settings.lake_bucket, **options(settings))
    return bucket


def filesystems(settings: Settings) -> list[dict[str, Any]]:
    """The file systems that dbt's connection to DuckDB needs to read the lake, as its profile names them."""
    if settings.lake_bucket is None:
        return []
    from gtm_assets.bucket import options

    return [{"fs": "s3", **options(settings)}]


def bucket_of(place: Place) -> Bucket | None:
    """The file system of a bucket, which DuckDB and Arrow read by; None of a folder."""
    return None if isinstance(place, Path) else cast("Bucket", place.fs)


def let_read(connection: duckdb.DuckDBPyConnection, place: Place) -> None:
    """Let a connection of DuckDB read what lies in a place."""
    bucket = bucket_of(place)
    # Connections of one process to one file share what is registered.
    if bucket is not None and not connection.filesystem_is_registered(bucket.protocol[0]):
        connection.register_filesystem(bucket)


def told(error: Exception) -> BucketError | None:
    """What a bucket said, of an error in which DuckDB has written it out with where it came up."""
    found = _TOLD.search(str(error))
    if found is None:
        return None
    kind = BucketAway if found["kind"] == BucketAway.__name__ else BucketError
    return kind(found["sentence"].strip())


def all_at_once(place: Place, ask: Callable[[_T], _R], of: Iterable[_T]) -> list[_R]:
    """What ``ask`` says of each. A bucket is asked for many at a time: most of a request is waiting."""
    if isinstance(place, Path):
        return [ask(one) for one in of]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, of))


# -- looking ----------------------------------------------------------------------------------------------------


def found(folder: Place, pattern: str) -> list[Place]:
    """The files below a folder whose names match a pattern, sorted. A part with ``*`` stands for one level."""
    if isinstance(folder, Path):
        return sorted(folder.glob(pattern))
    return sorted(_listed(folder, pattern), key=str)


def folders(folder: Place, pattern: str) -> set[Place]:
    """The folders below a folder that match a pattern; of a bucket, those that hold a key."""
    if isinstance(folder, Path):
        return set(folder.glob(pattern))
    return {place.parent for place in _listed(folder, f"{pattern}/*")}


def stamps(places: Iterable[Place]) -> dict[Place, tuple[object, ...]]:
    """What tells each file from another of the same name: inode, size and time of change, or the entity tag.

    Raises:
        FileNotFoundError: one is not there.
    """
    stamped: dict[Place, tuple[object, ...]] = {}
    listed: dict[UPath, dict[UPath, str]] = {}
    for place in places:
        if isinstance(place, Path):
            status = place.stat()
            stamped[place] = (status.st_ino, status.st_size, status.st_mtime_ns)
            continue
        table = place.parent.parent
        if table not in listed:
            listed[table] = _listed(table, "*/*")
        if place not in listed[table]:
            raise FileNotFoundError(f"{place} is not there any more")
        stamped[place] = (listed[table][place],)
    return stamped


def exists(place: Place) -> bool:
    """Whether a file is there."""
    return place.exists()


def text_of(place: Place) -> str:
    """A small file's text.

    Raises:
        FileNotFoundError: it is not there.
    """
    if isinstance(place, Path):
        return place.read_text()
    return cast(bytes, place.fs.cat_file(place.path)).decode()


def opened(place: Place) -> Path | IO[bytes]:
    """A file as Arrow and Polars read it: of a bucket those parts alone that they ask for."""
    return place if isinstance(place, Path) else place.fs.open(place.path, "rb")


def scanned(place: Place) -> pl.LazyFrame:
    """A Parquet file, to be read where it is asked for; of a bucket it is read whole."""
    import polars as pl

    source = place if isinstance(place, Path) else BytesIO(place.fs.cat_file(place.path))
    return pl.scan_parquet(source, hive_partitioning=False)


def _listed(folder: UPath, pattern: str) -> dict[UPath, str]:
    """The keys below a prefix that match a pattern, each with its entity tag."""
    parts = pattern.split("/")
    literal = next(number for number, part in enumerate([*parts, "*"]) if any(c in part for c in "*?["))
    begin = "/".join([folder.path, *parts[:literal], ""])
    if literal < len(parts):
        begin += parts[literal].split("*")[0].split("?")[0].split("[")[0]
    matching = {}
    for key, tag in cast("Bucket", folder.fs).keys_below(begin).items():
        names = key.removeprefix(f"{folder.path}/").split("/")
        if len(names) == len(parts) and all(map(fnmatchcase, names, parts)):
            matching[folder.joinpath(*names)] = tag
    return matching


# -- writing ----------------------------------------------------------------------------------------------------


def make_folder(folder: Place) -> None:
    """Make a folder where it is not there yet."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)


def remove_folder_if_empty(folder: Place) -> None:
    """Remove a folder that holds nothing any more."""
    if isinstance(folder, Path):
        with suppress(OSError):
            folder.rmdir()


def write(place: Place, text: str) -> None:
    """Write a small file. One that a crash cut short is whole again with the next landing."""
    if isinstance(place, Path):
        place.write_text(text)
    else:
        place.fs.pipe_file(place.path, text.encode())


def replace(place: Place, text: str) -> None:
    """Write a small file durably, in place of an older one; whole or absent."""
    if not isinstance(place, Path):
        return write(place, text)
    temporary = place.with_name(f".{place.name}.tmp")
    try:
        temporary.write_text(text)
        _into_folder(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def replace_frame(place: Place, frame: pl.DataFrame) -> None:
    """Write a Parquet file whole in place of an older one, or remove it where the frame is empty."""
    if frame.is_empty():
        return remove(place)
    if not isinstance(place, Path):
        buffer = BytesIO()
        frame.write_parquet(buffer)
        place.fs.pipe_file(place.path, buffer.getvalue())
        return
    temporary = place.with_name(f".{place.stem}.tmp")
    try:
        frame.write_parquet(temporary)
        _into_folder(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def put_new(temporary: Path, place: Place) -> None:
    """Give a finished file its name, which nothing has yet, durably. The caller holds the table's lock.

    Raises:
        BucketAway: another machine, whose locks are not ours, has given the name meanwhile.
    """
    if isinstance(place, Path):
        return _into_folder(temporary, place)
    try:
        place.fs.put_file(str(temporary), place.path, mode="create")
    except FileExistsError:
        # The answer to our own first try may have been lost.
        if place.fs.cat_file(place.path) != temporary.read_bytes():
            raise BucketAway(
                f"Another machine has written {place} meanwhile. Nothing of ours was landed; run again, and let "
                f"one machine at a time land a table"
            ) from None
    temporary.unlink()


def put_over(temporary: Path, place: Place) -> None:
    """Put a finished file in place of one of the same name, durably. The caller holds the table's lock."""
    if isinstance(place, Path):
        return _into_folder(temporary, place)
    place.fs.put_file(str(temporary), place.path)
    temporary.unlink()


def remove(place: Place) -> None:
    """Remove a file, which need not be there."""
    if isinstance(place, Path):
        place.unlink(missing_ok=True)
    else:
        place.fs.rm_file(place.path)


def rename(place: Place, name: Place) -> None:
    """Give a file another name. In a bucket it is copied first: a crash leaves both."""
    if isinstance(place, Path):
        place.rename(str(name))
    else:
        place.fs.cp_file(str(place), str(name))
        remove(place)


def made(folder: Place) -> list[Place] | None:
    """The files of a folder that :func:`make_whole` made; None where it has not."""
    if isinstance(folder, Path):
        return list(folder.glob("[!.]*")) if folder.is_dir() else None
    files = list(_listed(folder, "*"))
    return [file for file in files if file.name != _MADE] if folder / _MADE in files else None


def make_whole(folder: Place, texts: Mapping[str, str]) -> None:
    """Make a folder of small files that is there with all of them, or not at all."""
    if not isinstance(folder, Path):
        for name, text in [*texts.items(), (_MADE, "")]:
            write(folder / name, text)
        return
    beside = folder.with_name(f".{folder.name}.tmp")
    rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for name, text in texts.items():
        (beside / name).write_text(text)
    beside.rename(folder)


def _into_folder(temporary: Path, final: Path) -> None:
    _sync(temporary)
    temporary.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
