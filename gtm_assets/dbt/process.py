"""``dbt build`` in a process beside Dagster's.

dbt and Dagster both do much in Python around each node, and the threads of one process take turns at that. So a
build has a child process of its own, which ends with its parent, however that ends. As long as it lives it holds a
lock beside the warehouse, on which whoever opens the warehouse waits: a run that was killed leaves nobody writing.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock

from gtm_assets import clock
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.dbt import project
from gtm_assets.dbt.costs import BuildCosts
from gtm_assets.dbt.external import ExternalTable, external_tables, models_now
from gtm_assets.dbt.project import (
    TransformError,
    dbt_environment,
    manifest_path,
    parsed_manifest,
    project_variables,
    run_dbt,
)
from gtm_assets.dbt.sample import rows_of
from gtm_assets.dbt.state import (
    Code,
    Inputs,
    States,
    content_of_database,
    contents_of_lake,
    tell_what_models_are_made_of,
)
from gtm_assets.engines.engine import Connection, Engine, EngineError
from gtm_assets.engines.registry import engine_of
from gtm_assets.errors import GtmError, LakeError
from gtm_assets.lake.store import Lake
from gtm_assets.settings import EXTERNAL_SOURCES, Settings, load_settings

if TYPE_CHECKING:
    from gtm_assets.dbt.runners import Keeper


_WITHOUT_EFFECT = frozenset(
    {
        "GTM_HOME",
        "GTM_LAKE_URL",
        "GTM_LAKE_FILESYSTEMS",
        "GTM_DBT_THREADS",
        "GTM_MEMORY_LIMIT",
        "GTM_WAREHOUSE_FILE",
        "GTM_POSTGRES_HOST",
        "GTM_POSTGRES_PORT",
        "GTM_POSTGRES_USER",
        "DBT_ENV_SECRET_POSTGRES_PASSWORD",
        "GTM_SPARK_MASTER",
        "GTM_SPARK_MEMORY",
        "GTM_SPARK_PARTITIONS",
        "GTM_SPARK_JARS",
        "GTM_SPARK_CATALOG",
        "GTM_SPARK_CATALOG_USER",
        "DBT_ENV_SECRET_SPARK_CATALOG_PASSWORD",
        "GTM_SPARK_WAREHOUSE",
    }
)
"""What dbt is told that decides where and how it works, and not what models hold."""


@dataclass(frozen=True)
class NodeEnded:
    """What dbt said of a node as it ended, and what that lacks."""

    message: Mapping[str, Any]
    """dbt's structured log event."""
    row_count: int | None = None
    """Of a model or seed that was built."""
    failing_sql: str | None = None
    """Of a test: what finds the rows against it."""
    failing_rows: Sequence[Mapping[str, Any]] = ()
    """The first of them."""
    built_afresh_because: Sequence[str] = ()
    """Of an incremental model that was built before: why it was not built on what was there."""
    stands_from: str | None = None
    """Of a node that was left out, as nothing has changed of what it is made of: the run that built it."""


@dataclass(frozen=True)
class ExternalListed:
    """What dbt found in the external database, before it built the first node."""

    tables: Sequence[ExternalTable]


@dataclass(frozen=True)
class RebuildsDecided:
    """Which models dbt builds afresh, by the reason."""

    models: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class WrittenByOthers:
    """Tables that somebody else has written since the last build, before dbt builds them again."""

    tables: Sequence[str]


BuildEvent = NodeEnded | ExternalListed | RebuildsDecided | WrittenByOthers
"""What the process says while it builds."""


@dataclass(frozen=True)
class _Order:
    arguments: Sequence[str]
    settings: Settings
    warehouse: Path
    run_id: str
    force: bool
    tables: Sequence[RawTable]


@dataclass(frozen=True)
class _End:
    error: str | None


def builder_lock(warehouse: Path) -> FileLock:
    """The lock that a process which builds a warehouse file holds as long as it lives."""
    return FileLock(warehouse.with_suffix(".dbt.lock"))


_waiting: list[subprocess.Popen[bytes]] = []


def warm_up() -> None:
    """Start the process of the next build already: what it imports takes two seconds."""
    if not _waiting:
        _waiting.append(_started())


def _started() -> subprocess.Popen[bytes]:
    # The child ends without taking down its interpreter, and Python's resource tracker would warn of that.
    warnings = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]))
    return subprocess.Popen(
        # -P: what lies in the current folder is not imported.
        [sys.executable, "-P", "-c", "from gtm_assets.dbt.process import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": warnings},
        # Ctrl-C reaches the parent, which then lets go of the child.
        start_new_session=True,
    )


def build_beside(
    arguments: Sequence[str],
    settings: Settings,
    warehouse: Path,
    run_id: str = "",
    force: bool = False,
    tables: Sequence[RawTable] = (),
) -> Iterator[BuildEvent]:
    """Run ``dbt build`` on a warehouse file in a process of its own; yield its events as they happen.

    Nodes whose inputs have not changed since they were built are left out, unless ``force`` is set or a full
    refresh is asked for. ``run_id`` names the build in the states that it leaves, ``tables`` are the lake's. The
    caller holds the warehouse's lock.

    Raises:
        TransformError: a node failed, or the process ended before its time. What does not depend on a node that
            failed was built.
    """
    child = _waiting.pop() if _waiting else _started()
    if child.poll() is not None:
        child = _started()
    assert child.stdin and child.stdout
    try:
        try:
            pickle.dump(_Order(arguments, settings, warehouse, run_id, force, tables), child.stdin)
            child.stdin.flush()
            while not isinstance(event := pickle.load(child.stdout), _End):
                yield event
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise TransformError(
                f"dbt's process ended before its time (exit code {child.wait()}). If memory ran out, set "
                f"GTM_MEMORY_LIMIT to less, or GTM_DBT_THREADS=1. What was built stays; run again: gtm run"
            ) from error
    finally:
        # Closing this end tells the child to end, whatever it is doing.
        with suppress(BrokenPipeError):
            child.stdin.close()
        child.stdout.close()
        child.wait()
    if event.error is not None:
        raise TransformError(event.error)


def serve() -> None:
    """The child: take one order from standard input, write what happens to standard output, and end."""
    # Do what takes long before the order comes. What is wrong with the project is said to whoever gives one.
    importlib.import_module("gtm_assets.dbt.runners")
    with suppress(GtmError):
        project.warm_up(load_settings())
    try:
        order = pickle.load(sys.stdin.buffer)
    except EOFError:
        return  # There was nothing to build.
    # Whatever a library prints goes to stderr, so that it does not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with builder_lock(order.warehouse):
        end = _answer(order, answers)
    pickle.dump(end, answers)
    answers.flush()
    # Nothing is open any more, and taking down the interpreter takes half a second.
    os._exit(0)


def code_of(settings: Settings) -> Code:
    """The project's code, with the settings that decide what its nodes hold."""
    engine = engine_of(settings)
    environment = dbt_environment(settings, engine)
    told = {name: value for name, value in environment.items() if name not in _WITHOUT_EFFECT}
    manifest = json.loads(manifest_path(engine).read_text())
    return Code(manifest, project_variables(), told, settings.is_external, engine.libraries)


def inputs_of(settings: Settings, lake: Mapping[str, str], now: str, code: Code | None = None) -> Inputs:
    """What decides what the project's nodes hold: the project's code, the settings, and the raw tables.

    ``lake`` holds the content of each table that lies there, ``source.table``; ``now`` is the models' now;
    ``code`` is that of :func:`code_of` where the caller has it.
    """
    code = code or code_of(settings)
    contents = dict(lake)
    if settings.is_external and settings.external_database is not None:
        content = content_of_database(settings.external_database)
        contents |= {table: content for table in code.sources.values() if table.split(".")[0] in EXTERNAL_SOURCES}
    return Inputs(code, contents, now)


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def _answer(order: _Order, answers: IO[bytes]) -> _End:
    try:
        for event in _events(order):
            pickle.dump(event, answers)
            answers.flush()
    except (TransformError, EngineError, LakeError) as error:
        return _End(str(error))
    except Exception as error:
        traceback.print_exc()
        return _End(f"dbt broke off: {type(error).__name__}: {error}")
    return _End(None)


def _events(order: _Order) -> Iterator[BuildEvent]:
    # Imported here: dbt's modules take seconds, and the parent does without them.
    from gtm_assets.dbt.runners import Keeper, leave_out_unchanged

    settings, engine = order.settings, engine_of(order.settings, order.warehouse)
    engine.prepare()
    manifest = parsed_manifest(engine)
    compiled = order.settings.dbt_target_dir / "target" / "compiled"
    states = States(engine)
    states.begin()
    if states.written:
        yield WrittenByOthers(states.written)
    engine.bring_lake(Lake.of(settings), order.tables)

    def inputs() -> Inputs:
        with engine.connect() as connection:
            states.now = str(models_now(connection))
            return inputs_of(settings, contents_of_lake(connection), states.now, code)

    code = code_of(settings)
    tell_what_models_are_made_of(manifest, code, states)
    # What is no part of the project any more is forgotten.
    states.nodes = {name: state for name, state in states.nodes.items() if name in manifest.nodes}
    force = order.force or "--full-refresh" in order.arguments
    keeper = Keeper(states, order.run_id, force, inputs, engine)
    leave_out_unchanged(keeper)
    took: dict[str, float] = {}
    try:
        with closing(_Reader(engine, compiled, manifest, keeper)) as reader:
            for message in run_dbt(order.arguments, settings, engine, manifest):
                if not reader.is_open:
                    yield ExternalListed(external_tables(reader.connection))
                    if reader.rebuilds:
                        yield RebuildsDecided(reader.rebuilds)
                if model := _paid_by(message, manifest):
                    took[model] = took.get(model, 0) + float(message["data"].get("execution_time", 0))
                yield reader.completed(message)
    except TransformError:
        engine.end_build()
        states.keep()
        raise
    finally:
        BuildCosts(order.settings.costs_path).add(order.run_id, clock.now(), took.items())
    engine.end_build()
    states.keep()


def _paid_by(message: Mapping[str, Any], manifest: Any) -> str | None:
    """The model whose cost a node is: its own, or of a test the one that it proves."""
    node = manifest.nodes.get(message["data"]["node_info"]["unique_id"])
    if node is None or not message["data"].get("execution_time"):
        return None
    proven = manifest.nodes.get(getattr(node, "attached_node", None))
    if node.resource_type == "test" and proven is None:
        return str(node.name)
    return str((proven or node).name)


class _Reader:
    """Reads beside dbt, in its own process, what its events lack: row counts, and the rows that failed."""

    def __init__(self, engine: Engine, compiled: Path, manifest: Any, keeper: Keeper) -> None:
        self._engine, self._compiled, self._manifest, self._keeper = engine, compiled, manifest, keeper
        self._connection: Connection | None = None

    def completed(self, message: Mapping[str, Any]) -> NodeEnded:
        node_id = message["data"]["node_info"]["unique_id"]
        node = self._manifest.nodes.get(node_id)
        if node is None:
            return NodeEnded(message)  # A unit test: it leaves nothing in the warehouse.
        if left_out := self._keeper.left_out.get(node_id):
            return NodeEnded(message, row_count=left_out.row_count, stands_from=left_out.run_id)
        status = message["data"]["node_info"]["node_status"]
        if node.resource_type != "test" and status == "success":
            state = self._keeper.states.nodes.get(node_id)
            reasons = tuple(reason for reason, models in self.rebuilds.items() if node.name in models)
            rows = state.row_count if state else self._row_count(node)
            return NodeEnded(message, row_count=rows, built_afresh_because=reasons)
        if node.resource_type == "test" and message["data"].get("num_failures"):
            sql = self._compiled_sql(node)
            return NodeEnded(message, failing_sql=sql, failing_rows=rows_of(self.connection, sql))
        return NodeEnded(message)

    def _row_count(self, node: Any) -> int:
        """Of a node whose state is not kept, as somebody has built by hand what it is made of."""
        query = f"select count(*) as row_count from {node.relation_name}"
        ((rows,),) = self.connection.execute(query).fetchall()
        return int(rows)

    def _compiled_sql(self, node: Any) -> str:
        path = Path(node.original_file_path)
        place = path / node.path if path.suffix == ".yml" else path
        compiled: Path = self._compiled / node.package_name / place
        return compiled.read_text().strip()

    @cached_property
    def rebuilds(self) -> dict[str, list[str]]:
        """The models that are built afresh, by the reason, as dbt decided before the first model."""
        found: dict[str, list[str]] = {}
        query = "select reason, model from gtm_meta.rebuild_reasons order by reason, model"
        for reason, model in self.connection.execute(query).fetchall():
            found.setdefault(reason, []).append(model)
        return found

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
