"""Whether anything has changed since what is published was built: where nothing has, a run has nothing to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb

from gtm_assets import place
from gtm_assets.dbt.process import inputs_of
from gtm_assets.dbt.project import SYNTHETIC_TAG, manifest_path, project_state
from gtm_assets.dbt.state import States, content_of_batches, digest_of
from gtm_assets.engines import address
from gtm_assets.engines.registry import engine_of
from gtm_assets.lake.store import Lake
from gtm_assets.settings import PROJECT_DIR, Settings
from gtm_assets.sources.registry import raw_tables

_NODES = frozenset({"model", "seed", "test"})


@dataclass(frozen=True)
class Standing:
    """What is published, where nothing has changed since it was built."""

    run_id: str
    """The run that published it."""
    published_at: datetime
    built_from: str
    """The digest of :func:`built_from` as it was then."""
    checks_passed: int
    checks_warned: int
    findings: Sequence[tuple[str, str, str, str]]
    """Asset, check, outcome and sentence of each check that did not pass."""
    rows: Mapping[str, int]
    """Rows of each table and view that dbt built, by its unique id."""


def built_from(settings: Settings) -> str:
    """A digest of what is built and how it is proven: the nodes' states, the lake's files, the settings, our code.

    It is empty where it is not known what the warehouse was built from.
    """
    nodes = States(engine_of(settings)).nodes
    if not nodes:
        return ""
    states = {name: [state.inputs, state.content, state.status] for name, state in nodes.items()}
    # A file of the lake that was damaged since is found by the checks that read it.
    root = place.place_of(settings)
    stamps = place.stamps(place.found(root, "*/*/*/*.parquet"))
    # A state folder that was copied is the same: the inodes do not count.
    files = [[str(path).removeprefix(str(root)), *stamp[-2:]] for path, stamp in stamps.items()]
    # A setting that is a secret is not in the dump.
    served_by = address.place_of(settings.serve_address) if settings.serves else ""
    return digest_of(
        states,
        files,
        settings.model_dump(exclude={"home"}),
        served_by,
        settings.certificates_path.read_text() if settings.certificates_path.exists() else "",
        project_state(PROJECT_DIR / "gtm_assets"),
    )


def standing(settings: Settings, lake: Lake, instance: dg.DagsterInstance, jobs: Iterable[str]) -> Standing | None:
    """What is published, where a run would land nothing, build nothing and prove nothing anew; else None.

    The newest run of ``jobs``, those that land or build, must be the one that published it: what a run since then
    did, or failed to do, is looked at by the next. Where another loader fills tables, each run asks how fresh they
    are. Pages and Parquet files that somebody removed are written again.
    """
    if settings.is_external or not settings.published_path.exists():
        return None
    beside = [settings.report_path] if settings.writes_report else []
    if not all(folder.exists() for folder in (*beside, *filter(None, [settings.parquet_path]))):
        return None
    states = States(engine_of(settings))
    published = _published(settings.published_path, states) if states.nodes else None
    if published is None or published.built_from != built_from(settings):
        return None
    newest = [record for job in jobs for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)]
    last = max(newest, key=lambda record: record.storage_id).dagster_run if newest else None
    if last is None or last.run_id != published.run_id or not last.is_success:
        return None
    return None if _stale(settings, lake, states) else published


def _published(path: Path, states: States) -> Standing | None:
    """What the published file says of itself; None where an older release made it."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            ((run_id, published_at, digest, passed, warned),) = connection.execute(
                "select run_id, published_at, built_from, checks_passed, checks_warned from gtm_meta.publication"
            ).fetchall()
            findings = connection.execute("from gtm_meta.findings order by all").fetchall()
    except duckdb.Error:
        return None
    rows = {name: state.row_count for name, state in states.nodes.items() if state.row_count is not None}
    return Standing(run_id, published_at.astimezone(UTC), digest, passed, warned, findings, rows)


def _stale(settings: Settings, lake: Lake, states: States) -> list[str]:
    """The nodes that a build would not leave out, by what has landed now."""
    tables = raw_tables(settings)
    landed = {
        table.qualified_name: content_of_batches((batch.partition, batch.batch_id) for batch in batches)
        for table in tables
        if (batches := lake.batches(table))
    }
    now = max(filter(None, map(lake.read_until, tables)), default=None)
    manifest = json.loads(manifest_path(engine_of(settings)).read_text())
    nodes = [
        name
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in _NODES and (settings.is_synthetic or SYNTHETIC_TAG not in node["tags"])
    ]
    return states.stale(inputs_of(settings, landed, str(now)), nodes)
