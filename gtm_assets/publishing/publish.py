"""Publishing: the file of core and mart, proven, copied into one that appears by rename.

People and BI tools read ``GTM_HOME/published/gtm.duckdb``, at any time. A build under way never locks them out,
and a build that a check stopped leaves the file as it was.
"""

import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import duckdb

from gtm_assets import clock
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.dbt import exposures
from gtm_assets.dbt.assets import PUBLISHED_LAYERS, VIEWS_LAYER, layer_of
from gtm_assets.dbt.costs import DailyCost
from gtm_assets.dbt.external import external_tables, models_now
from gtm_assets.dbt.state import States
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.engines.engine import Engine, Table
from gtm_assets.engines.files import is_published_format, literal, log_path
from gtm_assets.errors import GtmError
from gtm_assets.finding import Finding
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import end_of, partition_of
from gtm_assets.publishing.certification import Badge, Certificates, badges, datasets, keep_their_badge
from gtm_assets.publishing.datasets import comments_on, query_of, views_of
from gtm_assets.publishing.parquet import PARQUET, copy_tables
from gtm_assets.publishing.said import META_TABLES
from gtm_assets.runtime.dagster_internals import AssetCheckExecutionRecord
from gtm_assets.runtime.dagster_internals import AssetCheckExecutionRecordStatus as CheckStatus
from gtm_assets.runtime.linked_folder import remove
from gtm_assets.runtime.retries import retried
from gtm_assets.settings import RETRY_SECONDS
from gtm_assets.sources.raw_asset import READABLE_CHECK
from gtm_assets.sources.registry import SOURCES

ASSET_KEY = dg.AssetKey(["published", "gtm"])
GROUP = "published"
BADGES_CHECK = "certified_datasets_keep_their_badge"
BATCHES = "batches"
"""The published file's metadata that holds a digest of its batches, without those of the open partition."""
SCHEMAS = [f"gtm_{layer}" for layer in PUBLISHED_LAYERS]
COPIED_AT_A_TIME = 2**24
"""So many bytes of the file are copied at a time."""


class PublishError(GtmError):
    """What was built must not be published. The message names the checks and says what to do."""


@dataclass(frozen=True)
class Verdict:
    """How one check stands for what is about to be published."""

    check: dg.AssetCheckKey
    blocking: bool
    outcome: str
    """``passed``, ``warned``, ``failed`` or ``missing`` (never run since the asset was last built)."""
    sentence: str = ""
    """What it found."""
    checked_at: datetime | None = None
    """When it last ran, UTC; None where it never did."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The numbers that it found, by name."""

    @property
    def forbids(self) -> bool:
        """True where nothing may be published: a blocking check failed or has not run."""
        return self.blocking and self.outcome in ("failed", "missing")


def verdicts(instance: dg.DagsterInstance, checks: CheckRegistry) -> list[Verdict]:
    """How each check stands."""
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    assets = {record.asset_entry.asset_key: record for record in instance.get_asset_records(_assets(checks))}
    found = []
    for key in checks:
        built = assets.get(key.asset_key)
        built_at = built.asset_entry.last_materialization_record if built else None
        record = records.get(key)
        evaluation = record.evaluation if record else None
        said = evaluation if isinstance(evaluation, dg.AssetCheckEvaluation) else None
        ran_at = datetime.fromtimestamp(record.event.timestamp, UTC) if record and record.event and said else None
        found.append(
            Verdict(
                key,
                key in checks.blocking,
                _outcome(record, built_at),
                (said.description if said else None) or "",
                ran_at,
                _figures(said) if said else {},
            )
        )
    return found


def _figures(evaluation: dg.AssetCheckEvaluation) -> dict[str, float]:
    values = {name: value.value for name, value in evaluation.metadata.items()}
    return {
        name: value
        for name, value in values.items()
        # Names of what Dagster itself and its dbt integration note have spaces or slashes.
        if name.isidentifier() and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _assets(checks: Iterable[dg.AssetCheckKey]) -> list[dg.AssetKey]:
    return sorted({check.asset_key for check in checks})


def _outcome(record: AssetCheckExecutionRecord | None, materialization: dg.EventLogRecord | None) -> str:
    # It was planned in a run that was killed before the check's turn, or that has not come to it.
    if record is None or record.event is None or record.status == CheckStatus.PLANNED:
        return "missing"
    # The run decides and not the time: within one step the results of tests and models come in any order.
    same_run = materialization is not None and record.run_id == materialization.run_id
    if materialization is not None and not same_run and record.event.timestamp < materialization.timestamp:
        return "missing"
    if record.status == CheckStatus.SUCCEEDED:
        return "passed"
    evaluation = record.evaluation
    if evaluation is not None and evaluation.severity == dg.AssetCheckSeverity.WARN:
        return "warned"
    return "failed"


def refuse(found: Sequence[Verdict]) -> None:
    """Raise where a blocking check failed or is missing.

    Raises:
        PublishError: names each such check.
    """
    bad = [verdict for verdict in found if verdict.forbids]
    if not bad:
        return
    lines = [f"{v.check.asset_key.to_user_string()}: {v.check.name} {v.outcome}" for v in bad]
    raise PublishError(
        f"not published: {len(bad)} blocking checks failed or did not run for this build. "
        "The file published before stays.\n" + "\n".join(lines) + "\n"
        "Mend the data or the model, then run: gtm run. A check that is missing may be new: "
        "in the UI press Reload definitions first."
    )


def refuse_unerased(lake: Lake) -> None:
    """Raise where the lake holds people who were erased: it was restored, or their erasure was cut short.

    Raises:
        PublishError: says what to do.
    """
    if lake.ledger.unapplied(asked_for=True):
        raise PublishError(
            "not published: the lake holds people who were erased, as it was restored or their erasure was cut "
            "short. The file published before stays. Erase them: gtm erase --replay"
        )


def refuse_vanished(warehouse: duckdb.DuckDBPyConnection, published: Path, lake: Lake) -> None:
    """Raise where the published file was built from an external table that is not there any more.

    Its owner may say that it is gone: ``gtm source forget``. That is undone once it is back.

    Raises:
        PublishError: names each such table.
    """
    there = {(table.source, table.name) for table in external_tables(warehouse) if table.external_name is not None}
    tables = {(table.source, table.name): table for source in SOURCES for table in source.tables}
    for key in there & tables.keys():
        lake.remember(tables[key])
    gone = {key: rows for key, rows in _published_rows(warehouse, published).items() if key not in there}
    gone = {key: rows for key, rows in gone.items() if there and rows and not lake.forgotten(tables[key])}
    if not gone:
        return
    lines = [
        f"{source}.{name} had {rows:,} rows in the external database and is not there any more. Let the loader "
        f"load it again, then run: gtm run. Or, if it is gone for good: gtm source forget {source}.{name}, "
        "then gtm run"
        for (source, name), rows in sorted(gone.items())
    ]
    raise PublishError("not published: the file published before stays.\n" + "\n".join(lines))


def _published_rows(warehouse: duckdb.DuckDBPyConnection, published: Path) -> dict[tuple[str, str], int]:
    """Rows that the external tables had when the published file was made; none where it can't be read."""
    if not published.exists():
        return {}
    try:
        warehouse.execute(f"attach {literal(published)} as published_before (read_only)")
    except duckdb.Error:
        return {}
    try:
        # An older release published them under another name.
        is_older = not warehouse.execute(
            "select 1 from duckdb_tables()"
            " where database_name = 'published_before' and table_name = 'external_tables'"
        ).fetchall()
        table, column = ("landed_tables", "landed_name") if is_older else ("external_tables", "external_name")
        rows = warehouse.execute(
            f"select source_name, table_name, row_count from published_before.gtm_meta.{table}"
            f" where {column} is not null"
        ).fetchall()
    except duckdb.CatalogException:
        return {}
    finally:
        warehouse.execute("detach published_before")
    return {(source, name): count for source, name, count in rows}


@dataclass(frozen=True)
class Publication:
    """What the published file says of itself."""

    run_id: str
    published_at: datetime
    checks_passed: int
    checks_warned: int
    as_of: datetime
    """The instant that the models took for now, UTC."""
    unreadable: Sequence[tuple[str, str, str]] = ()
    """Source, table and reason of each table that the source doesn't let us read: it may lack records."""
    findings: Sequence[tuple[str, str, str, str]] = ()
    """Asset, check, outcome and sentence of each check that warned, or failed and does not block publishing."""
    checks: Sequence[Verdict] = ()
    """How each check stands."""
    badges: Sequence[Badge] = ()
    """How the certified datasets stand."""
    built_from: str = ""
    """A digest of what the warehouse was built from, by which a later run sees whether anything has changed."""
    costs: Sequence[DailyCost] = ()
    """What building each model took, by day."""
    waiting: Sequence[tuple[str, str, int]] = ()
    """Source, table and number of the records that wait in quarantine, of each table that has some."""


@dataclass(frozen=True)
class Made:
    """How the warehouse was built, asked when it is published."""

    built_from: Callable[[], str] = str
    """From what: :func:`~gtm_assets.publishing.standing.built_from`."""
    costs: Callable[[], Sequence[DailyCost]] = tuple
    """What that took."""
    waiting: Callable[[], Sequence[tuple[str, str, int]]] = tuple
    """What could not be built: :func:`waiting_records`."""
    parquet: Path | None = None
    """The folder that holds the published tables as Parquet too."""


def publish(
    source: duckdb.DuckDBPyConnection,
    target: Path,
    publication: Publication,
    comments: Mapping[str, Table],
    before: Callable[[Path], None] = lambda _: None,
    schemas: Sequence[str] = SCHEMAS,
) -> dict[str, int]:
    """Copy the warehouse's file to ``target`` with core and mart alone. It appears whole, by rename.

    ``source`` reads the warehouse, and its lock is held. ``comments`` holds the descriptions of tables and columns
    by ``schema.table``. ``before`` is called with the file before it appears. Of ``schemas`` tables are copied.
    Returns rows per table.

    Raises:
        PublishError: the disk is full, the folder can't be written, or an older release has made the warehouse's
            file. ``target`` is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    leftovers = (temporary, log_path(temporary))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    ((warehouse, path),) = source.execute(
        "select database_name, path from duckdb_databases() where database_name = current_database()"
    ).fetchall()
    if not is_published_format(source, warehouse):
        raise PublishError(
            f"{target} was not replaced: readers can't open the format of {path}, which a build writes anew. "
            "Build it: gtm run"
        )
    try:
        with _copied(Path(path), temporary):
            rows = _finish(source, warehouse, temporary, publication, comments, schemas)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            before(temporary)
            temporary.replace(target)
    except (OSError, duckdb.IOException) as error:
        raise PublishError(
            f"{target} was not replaced: {error}. Free space, or let the folder be written, and run: gtm run"
        ) from error
    finally:
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
    return rows


@contextmanager
def _copied(path: Path, to: Path) -> Iterator[None]:
    """A database file copied, with its log of what DuckDB has not written to it yet: opening the copy does so.

    The file stays open until the block ends. Closing it would let go of the lock by which DuckDB keeps writers
    out: a process that closes a file loses all its locks on it.
    """
    with path.open("rb") as file:
        with to.open("wb") as copy:
            shutil.copyfileobj(file, copy, COPIED_AT_A_TIME)
        if log_path(path).exists():
            shutil.copyfile(log_path(path), log_path(to))
        yield


def _finish(
    source: duckdb.DuckDBPyConnection,
    warehouse: str,
    path: Path,
    publication: Publication,
    comments: Mapping[str, Table],
    schemas: Sequence[str],
) -> dict[str, int]:
    """Make the copy of the warehouse what is published: core and mart, described, and whence they come."""
    source.execute(f"attach {literal(path)} as published (read_write)")
    try:
        with _transaction(source):
            _drop_the_rest(source, schemas)
            tables = _tables(source, warehouse)
            for table in tables:
                for column in comments[table].never_null if table in comments else ():
                    source.execute(f'alter table published.{table} alter column "{column}" set not null')
            for statement in views_of(comments, {*tables}, "published."):
                source.execute(statement)
            _say_whence(source, warehouse, publication)
            _say_keys(source, {table: comments[table] for table in tables if table in comments})
            _describe(source, {**comments, **META_TABLES})
        rows = {}
        for table in tables:
            ((rows[table],),) = source.execute(f"select count(*) from published.{table}").fetchall()
    finally:
        source.execute("detach published")
    return rows


def _describe(source: duckdb.DuckDBPyConnection, comments: Mapping[str, Table]) -> None:
    """Write the descriptions of tables and of the columns that they have: an older build may lack some."""
    tables = source.execute(
        "select tables.schema_name || '.' || tables.table_name, list(columns.column_name)"
        " from duckdb_tables() as tables"
        " inner join duckdb_columns() as columns using (database_oid, schema_oid, table_oid)"
        " where tables.database_name = 'published' group by 1"
    ).fetchall()
    for table, columns in tables:
        if table in comments:
            described = {name: text for name, text in comments[table].columns.items() if name in columns}
            for statement in comments_on(
                "table", f"published.{table}", replace(comments[table], columns=described)
            ):
                source.execute(statement)


def _drop_the_rest(source: duckdb.DuckDBPyConnection, published: Sequence[str]) -> None:
    """Drop the ledger and whatever else lies in the warehouse beside the schemas that are published."""
    schemas = source.execute(
        "select schema_name from duckdb_schemas() where database_name = 'published' and not internal"
        " and not list_contains(?, schema_name)",
        [["main", *published]],
    ).fetchall()
    for (schema,) in schemas:
        source.execute(f'drop schema published."{schema}" cascade')
    # A process that was killed leaves a table under the name that dbt gives it while it makes or replaces it.
    left = source.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = 'published'"
        " and (table_name like '%@_@_dbt@_tmp' escape '@' or table_name like '%@_@_dbt@_backup' escape '@')"
    ).fetchall()
    for schema, table in left:
        source.execute(f'drop table published."{schema}"."{table}"')


def _tables(source: duckdb.DuckDBPyConnection, warehouse: str) -> list[str]:
    """The tables of the copy. A view becomes one: its SQL names the warehouse, which readers do not have."""
    views = source.execute(
        "select schema_name || '.' || view_name from duckdb_views()"
        " where database_name = 'published' and not internal"
    ).fetchall()
    for (view,) in views:
        source.execute(f"drop view published.{view}")
        source.execute(f"create table published.{view} as from {warehouse}.{view}")
    tables = source.execute(
        "select schema_name || '.' || table_name from duckdb_tables() where database_name = 'published' order by 1"
    ).fetchall()
    return [table for (table,) in tables]


def _say_whence(source: duckdb.DuckDBPyConnection, warehouse: str, publication: Publication) -> None:
    """What the published file says of itself, in its schema gtm_meta."""
    source.execute("create schema published.gtm_meta")
    source.execute(
        "create table published.gtm_meta.published_partitions as"
        " select source_name, table_name, partition_key, batch_id, read_until"
        f" from {warehouse}.gtm_meta.lake_batches where read_until <= ? order by all",
        [publication.as_of],
    )
    source.execute(
        "create table published.gtm_meta.external_tables as"
        f" from {warehouse}.gtm_meta.external_tables order by all"
    )
    source.execute(
        "create table published.gtm_meta.tables_not_read as"
        f" from {warehouse}.gtm_meta.tables_not_read order by all"
    )
    source.execute(
        "create table published.gtm_meta.unreadable_tables"
        " (source_name varchar, table_name varchar, reason varchar)"
    )
    for row in publication.unreadable:
        source.execute("insert into published.gtm_meta.unreadable_tables values (?, ?, ?)", row)
    source.execute(
        "create table published.gtm_meta.findings"
        " (asset varchar, check_name varchar, outcome varchar, sentence varchar)"
    )
    for finding in publication.findings:
        source.execute("insert into published.gtm_meta.findings values (?, ?, ?, ?)", finding)
    source.execute(
        "create table published.gtm_meta.checks (asset varchar, check_name varchar, is_blocking boolean,"
        " outcome varchar, checked_at timestamptz, sentence varchar, figures varchar)"
    )
    rows = [
        (
            v.check.asset_key.to_user_string(),
            v.check.name,
            v.blocking,
            v.outcome,
            v.checked_at,
            v.sentence,
            figures,
        )
        for v in publication.checks
        for figures in [json.dumps(v.figures)]
    ]
    source.execute(
        f"insert into published.gtm_meta.checks select {', '.join(['unnest(?)'] * 7)}",
        [[row[column] for row in rows] for column in range(7)],
    )
    source.execute(
        "create table published.gtm_meta.certified_datasets (dataset varchar, owner varchar,"
        " service_level varchar, certified_by varchar, certified_at timestamptz, is_certified boolean,"
        " reason varchar)"
    )
    for badge in publication.badges:
        source.execute(
            "insert into published.gtm_meta.certified_datasets values (?, ?, ?, ?, ?, ?, ?)", [*astuple(badge)]
        )
    source.execute(
        "create table published.gtm_meta.quarantine (source_name varchar, table_name varchar, record_count bigint)"
    )
    for waiting in publication.waiting:
        source.execute("insert into published.gtm_meta.quarantine values (?, ?, ?)", waiting)
    source.execute(
        "create table published.gtm_meta.cost_daily (day date, model varchar, builds bigint, seconds double)"
    )
    columns = [[getattr(cost, field.name) for cost in publication.costs] for field in fields(DailyCost)]
    source.execute(
        "insert into published.gtm_meta.cost_daily select unnest(?), unnest(?), unnest(?), unnest(?)", columns
    )
    source.execute(
        "create table published.gtm_meta.publication as select"
        " ?::varchar as run_id, ?::timestamptz as published_at, ?::timestamptz as as_of,"
        " ?::varchar as built_from,"
        " case when exists (from published.gtm_meta.external_tables) then 'external' else 'lake' end"
        " as read_from,"
        " ?::bigint as checks_passed,"
        " ?::bigint as checks_warned,"
        " min(partition_key) as first_partition, max(partition_key) as last_partition,"
        " max(partition_key) filter (partition_key = ? and read_until = ?) as open_partition,"
        " count(distinct partition_key) as partition_count, count(*) as batch_count"
        " from published.gtm_meta.published_partitions",
        [
            publication.run_id,
            publication.published_at,
            publication.as_of,
            publication.built_from,
            publication.checks_passed,
            publication.checks_warned,
            partition_of(publication.as_of),
            publication.as_of,
        ],
    )


def _say_keys(source: duckdb.DuckDBPyConnection, tables: Mapping[str, Table]) -> None:
    """By which columns tables are joined. Declared, foreign keys would keep DuckDB from changing their tables."""
    source.execute(
        "create table published.gtm_meta.keys (table_name varchar, column_name varchar, key_type varchar,"
        " refers_to_table varchar, refers_to_column varchar)"
    )
    for name, table in sorted(tables.items()):
        keys: list[tuple[Any, ...]] = [(name, table.key, "primary", None, None)] if table.key else []
        keys += [(name, column, "foreign", *place) for column, place in sorted(table.foreign_keys.items())]
        for key in keys:
            source.execute("insert into published.gtm_meta.keys values (?, ?, ?, ?, ?)", key)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _failing_of_datasets(found: Iterable[Verdict]) -> dict[str, list[str]]:
    """What the tests of datasets found that did not pass, by dataset."""
    failing = defaultdict(list)
    for verdict in found:
        if verdict.check.asset_key.path[0] == f"gtm_{VIEWS_LAYER}" and verdict.outcome != "passed":
            failing[verdict.check.asset_key.path[-1]].append(
                f"{verdict.check.name} {verdict.outcome}{f': {verdict.sentence}' if verdict.sentence else ''}"
            )
    return failing


def _bring(engine: Engine, described: Mapping[str, Table], parquet: Path | None, file: Path) -> None:
    """Bring a file that is about to appear to where people read it beside: the engine's own place, and Parquet."""
    engine.publish(file, described)
    if parquet is not None:
        copy_tables(file, parquet)
    else:
        # Without the setting, files of an earlier publication would stay as they were for ever.
        remove(file.with_name(PARQUET))


def batches_digest(batches: Iterable[tuple[str, str]]) -> str:
    """A digest of batches, each given by ``source.table`` and its id, whatever their order."""
    return hashlib.md5("\n".join(sorted(f"{table} {batch}" for table, batch in batches)).encode()).hexdigest()


def unreadable_tables(
    instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]
) -> list[tuple[str, str, str]]:
    """Source, table and reason of each table whose latest check says that it can't be read."""
    keys = [key for key in checks if key.name == READABLE_CHECK]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    evaluations = [
        record.evaluation for record in latest.values() if isinstance(record.evaluation, dg.AssetCheckEvaluation)
    ]
    return sorted(
        (evaluation.asset_key.path[0], evaluation.asset_key.path[1], str(evaluation.metadata["reason"].value))
        for evaluation in evaluations
        if not evaluation.passed
    )


def waiting_records(lake: Lake, tables: Iterable[RawTable]) -> list[tuple[str, str, int]]:
    """Source, table and number of the records that wait in quarantine, of each table that has some."""
    found = [(table.source, table.name, lake.quarantined(table).height) for table in tables]
    return [waiting for waiting in found if waiting[-1]]


def known_as_of(warehouse: duckdb.DuckDBPyConnection) -> datetime:
    """The models' now, UTC: the end of the lake that they were built from, or an external database's last load.

    Raises:
        PublishError: nothing says it.
    """
    now = models_now(warehouse)
    if now is None:
        raise PublishError(
            "not published: no row of the external database says when it was loaded (_fivetran_synced), so that "
            "there is no day up to which its tables count. Let the loader load rows with it, then run: gtm run"
        )
    return now


def descriptions(manifest: Mapping[str, Any]) -> dict[str, Table]:
    """What the dbt project says of its tables, by ``schema.table``."""
    nodes = manifest["nodes"]
    names = {unique_id: f"{node['schema']}.{node['alias']}" for unique_id, node in nodes.items()}
    keys: set[tuple[str, str]] = set()
    never_null: dict[str, set[str]] = defaultdict(set)
    foreign: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for node in nodes.values():
        match node.get("test_metadata"):
            case {"name": "primary_key"}:
                keys.add((node["attached_node"], node["column_name"]))
                never_null[node["attached_node"]].add(node["column_name"])
            case {"name": "never_null", "kwargs": {"columns": columns}}:
                never_null[node["attached_node"]].update(columns)
            case {"name": "foreign_keys", "kwargs": {"keys": referred}}:
                parents = {nodes[parent]["name"]: names[parent] for parent in node["depends_on"]["nodes"]}
                for column, key in referred.items():
                    table = next(place for name, place in parents.items() if f"'{name}'" in key["to"])
                    foreign[node["attached_node"]][column] = (table, key["field"])
    return {
        names[unique_id]: Table(
            node.get("description", ""),
            {c["name"]: c.get("description", "") for c in node["columns"].values()},
            next((c["name"] for c in node["columns"].values() if (unique_id, c["name"]) in keys), None),
            foreign[unique_id],
            {c["name"]: c["meta"]["pii"] for c in node["columns"].values() if "pii" in c["meta"]},
            node["config"]["meta"].get("row_rule", ""),
            query_of(node, names) if layer_of(node) == VIEWS_LAYER else "",
            sorted(never_null[unique_id]),
        )
        for unique_id, node in nodes.items()
        if node["resource_type"] == "model"
    }


def published_asset(
    built: dg.AssetsDefinition,
    checks: CheckRegistry,
    manifest: Mapping[str, Any],
    retry_seconds: float = RETRY_SECONDS,
    standing: Mapping[dg.AssetCheckKey, Callable[[], Finding]] = MappingProxyType({}),
    lake: Lake | None = None,
    made: Made = Made(),
) -> dg.AssetsDefinition:
    """The published file. ``checks`` are all checks upstream.

    ``standing`` are those that can be made at any time. A run that was killed between landing a table and checking
    it leaves the check missing, and the table will not land again. ``lake`` keeps which tables are forgotten.
    ``made`` says how the warehouse was built.
    """
    upstream = [spec.key for spec in built.specs if spec.tags.get("layer") in (*PUBLISHED_LAYERS, VIEWS_LAYER)]
    exposure = exposures.exposure_of(manifest, ASSET_KEY)

    @dg.asset(
        key=ASSET_KEY,
        deps=upstream,
        group_name=GROUP,
        kinds={"duckdb"},
        owners=exposures.owners(exposure),
        tags={"layer": "published"},
        description=exposure["description"],
        metadata=exposures.metadata(exposure),
        check_specs=[
            dg.AssetCheckSpec(
                BADGES_CHECK,
                asset=ASSET_KEY,
                description="Each dataset that somebody certified is as it was certified, and its tests pass.",
            )
        ],
    )
    def published(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        published_path: dg.ResourceParam[Path],
        certificates: dg.ResourceParam[Certificates],
    ) -> dg.MaterializeResult:
        exports = warehouse.engine.exports
        with (
            retried(context, retry_seconds),
            warehouse.open(f"publishing, run {context.run_id[:8]}", whole=exports) as connection,
        ):
            # Under the lock: another run may have built anew while this one waited for it.
            found = verdicts(context.instance, checks)
            missing = [v.check for v in found if v.outcome == "missing" and v.check in standing]
            for check in missing:
                context.instance.report_runless_asset_event(standing[check]().evaluation(check))
            refuse(found := verdicts(context.instance, checks) if missing else found)
            if lake is not None:
                refuse_unerased(lake)
                refuse_vanished(connection, published_path, lake)
            listed = connection.execute(
                "select source_name || '.' || table_name, batch_id, partition_key, read_until"
                " from gtm_meta.lake_batches"
            ).fetchall()
            over = [(table, batch) for table, batch, key, until in listed if until == end_of(key)]
            publication = Publication(
                run_id=context.run_id,
                published_at=clock.now(),
                as_of=known_as_of(connection),
                checks_passed=sum(v.outcome == "passed" for v in found),
                checks_warned=sum(v.outcome in ("warned", "failed") for v in found),
                unreadable=unreadable_tables(context.instance, checks),
                findings=[
                    (v.check.asset_key.to_user_string(), v.check.name, v.outcome, v.sentence)
                    for v in found
                    if v.outcome in ("warned", "failed")
                ],
                checks=found,
                badges=badges(datasets(manifest), certificates.latest(), _failing_of_datasets(found)),
                built_from=made.built_from(),
                costs=made.costs(),
                waiting=made.waiting(),
            )
            described = descriptions(manifest)
            states = States(warehouse.engine)
            rows = publish(
                connection,
                published_path,
                publication,
                described,
                partial(_bring, warehouse.engine, described, made.parquet),
                SCHEMAS if exports else (),
            )
            # An engine may have marked its tables as published: that is no change by somebody else.
            if states.nodes:
                states.keep()
        kept = keep_their_badge(publication.badges)
        return dg.MaterializeResult(
            check_results=[kept.result(dg.AssetCheckKey(ASSET_KEY, BADGES_CHECK))],
            metadata={
                "path": dg.MetadataValue.path(str(published_path)),
                "built_on": warehouse.engine.place,
                "as_of": dg.MetadataValue.timestamp(publication.as_of),
                "rows": dg.MetadataValue.json(rows),
                "bytes": published_path.stat().st_size,
                "checks_passed": publication.checks_passed,
                "checks_warned": publication.checks_warned,
                BATCHES: batches_digest(over),
            },
        )

    return published
