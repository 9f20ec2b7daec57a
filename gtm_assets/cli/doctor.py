"""``gtm doctor``: what the settings name is tried, and each finding is one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from gtm_assets.errors import LakeError
from gtm_assets.settings import Settings, SettingsError

ENOUGH_DISK = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was tried. ``sentence`` says what is wrong and how to mend it, or that it is well."""

    ok: bool
    sentence: str


def examine(load: Callable[[], Settings], now: datetime) -> list[Finding]:
    """All findings, in the order in which one would mend them."""
    from gtm_assets.partitions import Calendar

    try:
        settings = load()
        Calendar.of(settings)
    except (SettingsError, LakeError) as error:
        return [Finding(False, str(error))]
    return [
        Finding(True, f"The settings are read: {_modes(settings)}, state in {settings.home}."),
        *_refreshes(settings),
        *_home(settings),
        *_sources(settings),
        *(_external(settings) if settings.is_external else (*_partitions(settings, now), *_lake(settings))),
        *_alerts(settings),
        *_project(settings),
        *_warehouse(settings),
        *_published(settings),
        *_served(settings),
    ]


def _home(settings: Settings) -> Iterator[Finding]:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        probe = settings.home / ".probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        yield Finding(
            False, f"{settings.home} can't be written ({error}). Set GTM_HOME to a folder of yours, or mend it."
        )
        return
    free = shutil.disk_usage(settings.home).free
    if free < ENOUGH_DISK:
        yield Finding(False, f"Only {free >> 20:,} MiB are free in {settings.home}. Free at least 1 GiB.")
    else:
        yield Finding(True, f"{settings.home} can be written and has {free >> 30:,} GiB free.")


def _modes(settings: Settings) -> str:
    from gtm_assets.sources.registry import SOURCES

    modes = {source.name: source.mode(settings) for source in SOURCES}
    return ", ".join(f"{name} {mode or 'off'}" for name, mode in modes.items())


def _refreshes(settings: Settings) -> Iterator[Finding]:
    from gtm_assets.sources.registry import refreshes

    if said := ", ".join(f"{name} {refresh}" for name, refresh in refreshes(settings).items()):
        yield Finding(True, f"The sources are refreshed: {said}.")


def _sources(settings: Settings) -> Iterator[Finding]:
    from gtm_assets.sources.registry import SOURCES

    for source in SOURCES:
        yield from (Finding(ok, sentence) for ok, sentence in source.examine(settings))


def _partitions(settings: Settings, now: datetime) -> Iterator[Finding]:
    from gtm_assets.partitions import Calendar, PartitionError

    try:
        keys = Calendar.of(settings).range(None, None, now)
    except PartitionError as error:
        yield Finding(False, f"{error}. Wait for it, or take a state folder (GTM_HOME) that begins earlier.")
        return
    yield Finding(True, f"{len(keys):,} partitions are over, from {keys[0]} to {keys[-1]}.")


def _lake(settings: Settings) -> Iterator[Finding]:
    from gtm_assets.lake.store import Lake
    from gtm_assets.sources.registry import raw_tables

    lake = Lake.of(settings)
    try:
        batches = lake.batches()
    except LakeError as error:
        yield Finding(False, str(error))
        return
    unreadable = 0
    for batch in {batch.path: batch for batch in batches}.values():
        try:
            lake.verify(batch)
        except LakeError as error:
            unreadable += 1
            yield Finding(False, str(error))
    if not batches:
        yield Finding(True, "The lake is empty yet: gtm run lands, builds and publishes.")
    elif not unreadable:
        yield Finding(True, f"The lake holds {len(batches):,} batches, all readable.")
    for table in raw_tables(settings):
        waiting = lake.quarantined(table).height
        if waiting:
            name = table.qualified_name
            yield Finding(
                False,
                f"{waiting:,} records of {name} wait in quarantine. See why: gtm quarantine list {name}. "
                f"Once the catalogue is mended: gtm quarantine retry {name}",
            )


def _external(settings: Settings) -> Iterator[Finding]:
    from gtm_assets.dbt.external import examine_external
    from gtm_assets.dbt.inspection import ExternalError
    from gtm_assets.dbt.project import TransformError

    try:
        tables, unread = examine_external(settings)
    except (ExternalError, TransformError) as error:
        yield Finding(False, str(error))
        return
    there = [table for table in tables if table.external_name is not None]
    newest = max((table.newest_synced_at for table in there if table.newest_synced_at), default=None)
    yield Finding(
        True,
        f"The external database {settings.external_database} holds {len(there)} of the {len(tables)} tables, "
        f"loaded until {_moment(newest)}.",
    )
    if newest is None:
        yield Finding(
            False,
            "No row of the external database says when it was loaded (_fivetran_synced), and nothing is "
            "published before one does. Let the loader load rows with it.",
        )
    if len(there) < len(tables):
        names = ", ".join(table.name for table in tables if table.external_name is None)
        yield Finding(True, f"Not in the external database, and counted as empty: {names}.")
    if unread:
        yield Finding(
            True, f"In the external database and not read, as not in the catalogue: {', '.join(unread)}."
        )
    for table in there:
        lacks = f"lacks {', '.join(table.missing_columns)}" if table.missing_columns else "lacks nothing"
        extra = f"; {len(table.unknown_columns)} more columns are left out" if table.unknown_columns else ""
        loaded = _moment(table.newest_synced_at)
        yield Finding(True, f"{table.name}: {table.row_count:,} rows, loaded until {loaded}; {lacks}{extra}.")
        for trouble in (*table.misfits, *table.flaws):
            yield Finding(False, trouble)


def _moment(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant else "an unknown time"


def _alerts(settings: Settings) -> Iterator[Finding]:
    from gtm_assets.automation.alerts.matrix import MatrixError, load_matrix

    if settings.alert_matrix is None:
        return
    try:
        load_matrix(settings.alert_matrix)
    except MatrixError as error:
        yield Finding(False, str(error))
        return
    yield Finding(True, f"The matrix of alerts {settings.alert_matrix} is read.")


def _project(settings: Settings) -> Iterator[Finding]:
    from gtm_assets.dbt.project import TransformError, manifest_path, operated, project_variables

    try:
        manifest_path()
    except TransformError as error:
        yield Finding(False, str(error))
        return
    yield Finding(True, "The dbt project is parsed.")
    # In external mode they have been examined together with the database.
    if project_variables().get("pass_through_columns") and not settings.is_external:
        try:
            with operated("examine_pass_through", settings):
                pass
        except TransformError as error:
            yield Finding(False, str(error))
            return
        yield Finding(True, "The columns that are passed through are there.")


def _warehouse(settings: Settings) -> Iterator[Finding]:
    from gtm_assets.dbt.warehouse import Warehouse, WarehouseError
    from gtm_assets.engines.engine import EngineError

    try:
        warehouse = Warehouse.of(settings)
        warehouse.engine.examine()
        if not warehouse.engine.exists():
            yield Finding(True, f"There is no warehouse at {warehouse.engine.place} yet: gtm run builds it.")
            return
    except EngineError as error:
        yield Finding(False, f"{error}.")
        return
    holder = warehouse.holder()
    if holder:
        yield Finding(True, f"The warehouse is in use by {holder}; runs wait for it.")
        return
    try:
        with warehouse.open("gtm doctor") as connection:
            connection.execute("select 1").fetchall()
    except (WarehouseError, EngineError) as error:
        yield Finding(False, f"{error}.")
        return
    yield Finding(True, f"The warehouse {warehouse.engine.place} can be opened.")


def _served(settings: Settings) -> Iterator[Finding]:
    if not settings.is_shared:
        return
    from gtm_assets.engines.engine import EngineError
    from gtm_assets.serving.access_file import AccessError, file_at

    try:
        from gtm_assets.engines.postgres_server import Server
    except ImportError as error:
        yield Finding(
            False, f"GTM_SERVE_URL needs what is not installed ({error}). Install it: make setup-postgres."
        )
        return
    try:
        server = Server(settings.serve_address, "GTM_SERVE_URL" if settings.serves else "GTM_WAREHOUSE_URL")
        server.examine()
        access = file_at(settings.access_path)
    except (SettingsError, EngineError, AccessError) as error:
        yield Finding(False, f"{error}.")
        return
    if settings.serves:
        yield Finding(True, f"{server.place} can be served.")
    yield Finding(True, f"The access file {settings.access_path} names {len(access.people):,} logins.")


def _published(settings: Settings) -> Iterator[Finding]:
    import duckdb

    if not settings.published_path.exists():
        yield Finding(True, "Nothing is published yet: gtm run publishes.")
        return
    try:
        with duckdb.connect(str(settings.published_path), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            ((published_at, last, as_of),) = connection.execute(
                "select published_at, last_partition, as_of from gtm_meta.publication"
            ).fetchall()
    except duckdb.Error as error:
        yield Finding(
            False, f"{settings.published_path} can't be read ({error}). Close it where it is open for writing."
        )
        return
    of = f"up to partition {last}," if last else "of external tables"
    reach = f"{of} as of {as_of:%Y-%m-%d %H:%M} UTC"
    yield Finding(True, f"Published {published_at:%Y-%m-%d %H:%M} UTC, {reach}.")
