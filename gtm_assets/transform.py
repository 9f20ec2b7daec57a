"""The dbt project in Dagster: its manifest, how its nodes become assets, and how they are built.

dbt runs inside the step's own process (``dbtRunner``): there is no child that could outlive a killed run and go on
writing, nothing is imported twice, and the project is parsed only when one of its files has changed.
"""

import hashlib
import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from dagster_dbt.asset_utils import get_subset_selection_for_context
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage
from filelock import FileLock

from gtm_assets.lake import Lake
from gtm_assets.settings import PROJECT_DIR, Settings
from gtm_assets.warehouse import Warehouse

DBT_DIR = PROJECT_DIR / "gtm_dbt"
TARGET_DIR = DBT_DIR / "target"
LAYERS = ("seeds", "staging", "intermediate", "core", "mart")
"""The groups of the dbt assets, upstream first: the folders of the project."""
PUBLISHED_LAYERS = ("core", "mart")
OWNER = "team:revops"
BUILD_OP = "build_models"
NAMED_FAILURES = 10
"""How many failed nodes an error names; the run's events hold all."""


class TransformError(RuntimeError):
    """dbt could not parse or build the project. The message holds what dbt said of each node that failed."""


# -- the manifest ---------------------------------------------------------------------------------------------


def manifest_path() -> Path:
    """The project's manifest, parsed anew where a file of the project has changed, came or went.

    Raises:
        TransformError: dbt can't parse the project.
    """
    manifest, stamp = TARGET_DIR / "manifest.json", TARGET_DIR / "manifest.stamp"
    TARGET_DIR.mkdir(parents=True, exist_ok=True)
    with FileLock(TARGET_DIR / "manifest.lock"):
        state = project_state(DBT_DIR)
        if not (manifest.exists() and stamp.exists() and stamp.read_text() == state):
            stamp.unlink(missing_ok=True)
            _parse()
            stamp.write_text(state)
    return manifest


def project_state(folder: Path) -> str:
    """A fingerprint of the project's files: their names, sizes and times of change."""
    ignored = {"target", "logs"}
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in ignored:
            stat = path.stat()
            digest.update(f"{path.relative_to(folder)}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _parse() -> None:
    from dbt.cli.main import dbtRunner

    result = dbtRunner().invoke(["parse", *_dbt_flags(TARGET_DIR, DBT_DIR / "logs")])
    if not result.success:
        raise TransformError(f"dbt can't parse {DBT_DIR}: {result.exception or 'see gtm_dbt/logs/dbt.log'}")


def _dbt_flags(target_dir: Path, log_dir: Path) -> list[str]:
    places = {
        "--project-dir": DBT_DIR,
        "--profiles-dir": DBT_DIR,
        "--target-path": target_dir,
        "--log-path": log_dir,
    }
    return [*(str(part) for pair in places.items() for part in pair), "--log-level", "none", "--no-use-colors"]


# -- nodes as assets ------------------------------------------------------------------------------------------


class Translator(DagsterDbtTranslator):
    """How a dbt node looks in Dagster. One method per attribute; keys are schema and name, dbt's default."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The layer: the first folder below ``models``, or ``seeds``."""
        if dbt_resource_props["resource_type"] == "source":
            return f"{dbt_resource_props['source_name']}_raw"
        return layer_of(dbt_resource_props)

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        """dbt's tags, and the layer."""
        return {**super().get_tags(dbt_resource_props), "layer": layer_of(dbt_resource_props)}

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str]:
        """The owners in the node's meta, else the team."""
        return super().get_owners(dbt_resource_props) or [OWNER]

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The description alone: the SQL is one click away in the code and would bury it."""
        return dbt_resource_props.get("description") or ""


def layer_of(dbt_resource_props: Mapping[str, Any]) -> str:
    """The layer of a node: raw, seeds, staging, intermediate, core or mart."""
    kind = dbt_resource_props["resource_type"]
    if kind == "source":
        return "raw"
    return "seeds" if kind == "seed" else dbt_resource_props["fqn"][1]


# -- building -------------------------------------------------------------------------------------------------


class DbtBuild:
    """Builds dbt nodes in this process, under the warehouse's lock, and tells Dagster of each as it ends."""

    def __init__(self, settings: Settings, warehouse: Warehouse, lake: Lake) -> None:
        """Nothing is opened before :meth:`run`."""
        self._settings, self._warehouse, self._lake = settings, warehouse, lake

    def run(
        self, context: dg.AssetExecutionContext, manifest: Mapping[str, Any], full_refresh: bool
    ) -> Iterator[Any]:
        """Build what the context selects; yield an ``Output`` per model and an ``AssetCheckResult`` per test.

        Raises:
            TransformError: a node failed. What does not depend on it was built.
            LakeError: a batch that is new to the warehouse can't be read.
        """
        selection, indirect = get_subset_selection_for_context(
            context=context,
            manifest=manifest,
            select="fqn:*",
            exclude=None,
            selector=None,
            dagster_dbt_translator=Translator(),
            current_dbt_indirect_selection_env=None,
        )
        arguments = build_arguments(selection, indirect, full_refresh)
        flags = _dbt_flags(self._settings.dbt_target_dir / "target", self._settings.dbt_target_dir / "logs")
        with self._warehouse.locked(f"run {context.run_id[:8]}", context.log.info):
            self._verify_new_batches(full_refresh)
            yield from self._events(context, manifest, [*arguments, *flags])

    def _verify_new_batches(self, full_refresh: bool) -> None:
        """Find an unreadable batch before dbt stumbles over it. Only batches not yet consumed are opened."""
        consumed = set() if full_refresh else self._consumed()
        for batch in self._lake.batches():
            if batch.batch_id not in consumed:
                self._lake.verify(batch.path)

    def _consumed(self) -> set[str]:
        if not self._warehouse.path.exists():
            return set()
        with duckdb.connect(str(self._warehouse.path), read_only=True) as connection:
            try:
                rows = connection.execute("select batch_id from gtm_meta.consumed_batches").fetchall()
            except duckdb.CatalogException:
                return set()
        return {row[0] for row in rows}

    def _events(
        self, context: dg.AssetExecutionContext, manifest: Mapping[str, Any], arguments: list[str]
    ) -> Iterator[Any]:
        messages: queue.Queue[dict | None] = queue.Queue()
        outcome: list[Any] = []
        worker = threading.Thread(
            target=_invoke, args=(arguments, self._settings, messages, outcome), name="dbt", daemon=True
        )
        worker.start()
        rows = _RowCounts(self._warehouse.path)
        try:
            while (message := messages.get()) is not None:
                event = DbtCoreCliEventMessage(raw_event=message, event_history_metadata={})
                for result in event.to_default_asset_events(manifest, Translator(), context=context):
                    yield rows.added_to(result, manifest, message)
        finally:
            rows.close()
            worker.join()
        raise_on_failure(outcome[0])


def build_arguments(selection: Sequence[str], indirect: str | None, full_refresh: bool) -> list[str]:
    """The arguments of ``dbt build``. Unit tests prove the code, not the data: they run with the test suite."""
    arguments = ["build", *selection, "--exclude-resource-type", "unit_test"]
    if indirect:
        arguments += ["--indirect-selection", indirect]
    if full_refresh:
        arguments.append("--full-refresh")
    return arguments


def _invoke(arguments: list[str], settings: Settings, messages: queue.Queue, outcome: list[Any]) -> None:
    """Run dbt to its end, passing on what it says of nodes; then None."""
    from dbt.cli.main import dbtRunner
    from google.protobuf.json_format import MessageToDict

    def pass_on(event: Any) -> None:
        if event.info.name in _RESULT_EVENTS:
            messages.put(MessageToDict(event, preserving_proto_field_name=True))

    # How the profile and the macros find this state folder.
    os.environ["GTM_HOME"] = str(settings.home)
    os.environ["GTM_DBT_THREADS"] = str(settings.dbt_threads)
    try:
        outcome.append(dbtRunner(manifest=_parsed_manifest(), callbacks=[pass_on]).invoke(arguments))
    except BaseException as error:
        outcome.append(error)
    finally:
        _let_go()
        messages.put(None)


def _let_go() -> None:
    """Close the warehouse, which dbt-duckdb would keep open for the life of the process."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import cleanup_connections, reset_adapters

    cleanup_connections()
    environment = DuckDBConnectionManager._ENV
    if environment is not None:
        environment.close()
    DuckDBConnectionManager.close_all_connections()
    reset_adapters()


_RESULT_EVENTS = {"LogSeedResult", "LogModelResult", "LogSnapshotResult", "LogTestResult"}


def _parsed_manifest() -> Any:
    """The manifest as dbt's own object, from the cache that its parser left: saves parsing in every run."""
    from dbt.contracts.graph.manifest import Manifest

    manifest_path()
    manifest = Manifest.from_msgpack((TARGET_DIR / "partial_parse.msgpack").read_bytes())
    # What macros see as `graph`; dbt builds it while it parses.
    manifest.build_flat_graph()
    return manifest


def raise_on_failure(outcome: Any) -> None:
    """Raise what dbt's outcome holds of failures, one sentence a node.

    Raises:
        TransformError: a node failed, or dbt did not get as far as building.
    """
    if isinstance(outcome, BaseException):
        raise TransformError(f"dbt broke off: {outcome}") from outcome
    if outcome.success:
        return
    if outcome.exception is not None:
        raise TransformError(f"dbt broke off: {outcome.exception}") from outcome.exception
    failed = [r for r in outcome.result.results if r.status in ("error", "fail", "runtime error")]
    lines = [f"{r.node.resource_type} {r.node.name}: {(r.message or str(r.status)).strip()}" for r in failed]
    more = [f"and {len(lines) - NAMED_FAILURES:,} more"] if len(lines) > NAMED_FAILURES else []
    raise TransformError("dbt build failed:\n" + "\n".join([*lines[:NAMED_FAILURES], *more]))


class _RowCounts:
    """Row counts of tables just built, read beside dbt in its own process: a count on a table costs nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: duckdb.DuckDBPyConnection | None = None

    def added_to(self, result: Any, manifest: Mapping[str, Any], message: Mapping[str, Any]) -> Any:
        if not isinstance(result, dg.Output):
            return result
        node = manifest["nodes"][message["data"]["node_info"]["unique_id"]]
        if self._connection is None:
            self._connection = duckdb.connect(str(self._path))
        count = self._connection.execute(f"select count(*) from {node['schema']}.{node['alias']}").fetchone()
        return result.with_metadata({**result.metadata, "dagster/row_count": dg.MetadataValue.int(count[0])})

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class TransformConfig(dg.Config):
    """How to build."""

    full_refresh: bool = False
    """Rebuild incremental models from the whole lake."""


def transform_assets(manifest: Mapping[str, Any]) -> dg.AssetsDefinition:
    """All models, seeds and tests of the dbt project, built by one op."""

    @dbt_assets(manifest=manifest, dagster_dbt_translator=Translator(), name=BUILD_OP)
    def transform(
        context: dg.AssetExecutionContext, config: TransformConfig, dbt_build: dg.ResourceParam[DbtBuild]
    ):
        yield from dbt_build.run(context, manifest, config.full_refresh)

    return transform
