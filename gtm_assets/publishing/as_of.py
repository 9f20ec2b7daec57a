"""``gtm run --as-of D``: everything as it was known at the end of day D, in a file of its own.

Built afresh from the lake: deletes and corrections that were seen later are undone. Neither the warehouse nor what
is published is touched.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from gtm_assets.dbt.project import build_arguments, manifest_path, run_dbt
from gtm_assets.dbt.tests import meaning
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.engines.registry import engine_of
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, PartitionError, boundary, day_named, parse_day, partition_of
from gtm_assets.publishing.publish import Publication, descriptions, publish
from gtm_assets.settings import EXTERNAL, Settings
from gtm_assets.sources.registry import raw_tables


@dataclass(frozen=True)
class AsOfBuild:
    """What was built."""

    path: Path
    instant: datetime
    rows: Mapping[str, int]
    """Rows by ``schema.table``."""
    checks: Counter[str]


def instant_of(day: str, calendar: Calendar, landed: list[str]) -> datetime:
    """The last partition boundary of a day, UTC. ``-1d`` is the day before that of the last one landed.

    Raises:
        PartitionError: it lies before the first boundary, or after what has landed.
    """
    if not landed:
        raise PartitionError("nothing has landed yet, so nothing was known. Run: gtm run")
    first = calendar.first + timedelta(days=1)
    last = date.fromisoformat(landed[-1]) + timedelta(days=1)
    wanted = parse_day(day_named(day, last))
    if wanted < first:
        raise PartitionError(f"nothing was known as of {day}: the first boundary is that of {first}")
    if wanted > last:
        raise PartitionError(f"the lake ends at the boundary of {last}: what is known as of {day} has not landed")
    return boundary(wanted)


def build_as_of(settings: Settings, day: str, say: Callable[[str], None]) -> AsOfBuild:
    """Build core and mart as they were known at the end of ``day`` into ``GTM_HOME/as_of/<instant>.duckdb``.

    Raises:
        PartitionError: nothing was known then, not all of it has landed, or external tables are read.
        TransformError: a model or an error-level test failed.
        LakeError: a batch can't be read.
        PublishError: the disk is full or the folder can't be written.
    """
    if settings.is_external:
        raise PartitionError(
            "--as-of needs the lake, which keeps when each version was seen. External tables do not "
            f"({EXTERNAL}): build what it holds now with gtm run"
        )
    lake = Lake.of(settings)
    tables = raw_tables(settings)
    landed = sorted(
        {key for table in tables for key in {*lake.partitions(table)} - lake.landed_early(table).keys()}
    )
    instant = instant_of(day, Calendar.of(settings), landed)
    retained = {table.qualified_name: since for table in tables if (since := lake.marks(table).retained_since())}
    if retained and instant < max(retained.values()):
        table, since = max(retained.items(), key=lambda one: one[1])
        raise PartitionError(
            f"what was known as of {day} can't be told: of {table}, versions that were superseded before "
            f"{since:%Y-%m-%d %H:%M} UTC are not kept (GTM_RETENTION_DAYS). Ask for a later day"
        )
    known_since = lake.known_since()
    if known_since is not None and instant < known_since:
        raise PartitionError(
            f"nothing was known as of {day}: what the lake holds was first read at the boundary of "
            f"{date.fromisoformat(partition_of(known_since))}"
        )
    target = settings.home / "as_of" / f"{instant:%Y-%m-%dT%H%MZ}.duckdb"
    workshop = target.with_name(f".{target.stem}")
    manifest = json.loads(manifest_path().read_text())
    engine = engine_of(settings).as_of(workshop)
    # The lock lies outside the folder that is removed.
    warehouse = Warehouse(engine.path, workshop.with_suffix(".lock"), engine)
    checks: Counter[str] = Counter()
    with warehouse.locked(f"as of {day}", say):
        engine.remove()
        workshop.mkdir()
        try:
            lake.verify_all()
            # SQL that was compiled as of that day must not be taken for that of a build of the warehouse.
            arguments = build_arguments(as_of=instant, of_synthetic_org=settings.is_synthetic)
            compiled = workshop / "dbt"
            engine.bring_lake(lake, tables)
            for message in run_dbt(arguments, settings, engine, folder=compiled):
                _tell(message, manifest, checks, say)
            publication = Publication(
                run_id=f"as of {day}",
                published_at=datetime.now(UTC),
                as_of=instant,
                checks_passed=checks["passed"],
                checks_warned=checks["warned"],
            )
            engine.end_build()
            with engine.reading({}, whole=True) as connection:
                rows = publish(connection, target, publication, descriptions(manifest))
        finally:
            engine.remove()
    return AsOfBuild(target, instant, rows, checks)


def _tell(
    message: Mapping[str, Any], manifest: Mapping[str, Any], checks: Counter[str], say: Callable[[str], None]
) -> None:
    node, status = message["data"]["node_info"], message["data"]["node_info"]["node_status"]
    if node["resource_type"] == "test":
        checks["passed" if status == "pass" else "warned"] += 1
        if status not in ("pass", "warn"):
            say(f"failed  {node['node_name']}. {meaning(manifest['nodes'][node['unique_id']])}")
    elif status == "success":
        say(f"built   {node['node_relation']['schema']}.{node['node_name']}")
