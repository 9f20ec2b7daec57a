"""dbt itself: its project's manifest, parsed only when a file has changed, and commands run in this process."""

from __future__ import annotations

import hashlib
import json
import queue
import re
import tempfile
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import yaml
from filelock import FileLock

from gtm_assets.dbt.inspection import ExternalError, WantedTable, inspect
from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.engines.engine import Engine
from gtm_assets.engines.registry import engine_of
from gtm_assets.errors import GtmError
from gtm_assets.place import filesystems, told
from gtm_assets.settings import EXTERNAL_SOURCES, PROJECT_DIR, Settings, environment_with

DBT_DIR = PROJECT_DIR / "gtm_dbt"
TARGET_DIR = DBT_DIR / "target"
SYNTHETIC_TAG = "synthetic_org"
"""dbt's tag of tests that hold of the synthetic organisation alone: lists that each organisation sets itself."""
NAMED_FAILURES = 10
"""How many failed nodes an error names; the run's events hold all."""
_WITHOUT_SOURCES = frozenset({"follow_compaction"})
"""Operations that read no source."""
_OPERATION_EVENTS = {"RunningOperationCaughtError", "RunningOperationUncaughtError"}
_RESULT_EVENTS = {"LogSeedResult", "LogModelResult", "LogSnapshotResult", "LogTestResult"}


class TransformError(GtmError):
    """dbt could not parse or build the project. The message holds what dbt said of each node that failed."""


def manifest_path(engine: Engine | None = None) -> Path:
    """The project's manifest, parsed anew where a file of the project has changed, came or went.

    Dagster's is that of DuckDB. By an engine's own, which names the relations as they are called there, is built.

    Raises:
        TransformError: dbt can't parse the project.
    """
    folder, told = _target_dir(engine), engine.parsed_for if engine else {}
    manifest, stamp = folder / "manifest.json", folder / "manifest.stamp"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "manifest.lock"):
        state = project_state(DBT_DIR) + json.dumps(told)
        if not (manifest.exists() and stamp.exists() and stamp.read_text() == state):
            stamp.unlink(missing_ok=True)
            with environment_with({"GTM_ENGINE": DuckDB.name, **told}):
                _parse(folder)
            stamp.write_text(state)
    return manifest


def _target_dir(engine: Engine | None) -> Path:
    told = engine.parsed_for if engine else {}
    return TARGET_DIR / re.sub(r"\W", "_", "-".join(told.values())) if told else TARGET_DIR


def project_state(folder: Path) -> str:
    """A fingerprint of the project's files: their names, sizes and times of change."""
    ignored = {"target", "logs"}
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in ignored:
            stat = path.stat()
            digest.update(f"{path.relative_to(folder)}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def project_variables() -> dict[str, Any]:
    """The project's vars, as dbt_project.yml sets them."""
    variables: dict[str, Any] = yaml.safe_load((DBT_DIR / "dbt_project.yml").read_text())["vars"]
    return variables


def _parse(target_dir: Path) -> None:
    from dbt.cli.main import dbtRunner

    result = dbtRunner().invoke(["parse", *_flags(target_dir, DBT_DIR / "logs")])
    if not result.success:
        raise TransformError(f"dbt can't parse {DBT_DIR}: {result.exception or 'see gtm_dbt/logs/dbt.log'}")


def _flags(target_dir: Path, log_dir: Path) -> list[str]:
    places = {
        "--project-dir": DBT_DIR,
        "--profiles-dir": DBT_DIR,
        "--target-path": target_dir,
        "--log-path": log_dir,
    }
    return [*(str(part) for pair in places.items() for part in pair), "--log-level", "none", "--no-use-colors"]


def build_arguments(
    selection: Sequence[str] = (),
    full_refresh: bool = False,
    unit_tests: bool = False,
    as_of: datetime | None = None,
    of_synthetic_org: bool = True,
) -> list[str]:
    """The arguments of ``dbt build`` for exactly the nodes named; for all where none is.

    Unit tests prove the code, not the data: they run with the test suite, or where they are asked for. Where the
    records are not of the synthetic organisation, its lists of values are not asked for.
    """
    arguments = ["build"]
    if selection:
        arguments += ["--select", " ".join(selection), "--indirect-selection", "empty"]
    if not unit_tests:
        arguments += ["--exclude-resource-type", "unit_test"]
    if not of_synthetic_org:
        arguments += ["--exclude", f"tag:{SYNTHETIC_TAG}"]
    if full_refresh:
        arguments.append("--full-refresh")
    if as_of:
        arguments += ["--vars", json.dumps({"as_of": as_of.isoformat(sep=" ")})]
    return arguments


def run_dbt(
    arguments: Sequence[str],
    settings: Settings,
    engine: Engine,
    manifest: Any = None,
    folder: Path | None = None,
) -> Iterator[Mapping[str, Any]]:
    """Run a dbt command on a warehouse; yield what dbt says of each node as it ends.

    Messages are dbt's structured log events as dictionaries. The caller holds the warehouse's lock. ``manifest``
    is that of :func:`parsed_manifest` where the caller has it; ``folder`` takes what dbt compiles and logs, by
    default that of the state folder.

    Raises:
        TransformError: a node failed. What does not depend on it was built.
    """
    messages: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
    outcome: list[Any] = []
    engine.prepare()
    engine.ready_dbt()
    manifest = manifest or parsed_manifest(engine)
    folder = folder or settings.dbt_target_dir
    flags = _flags(folder / "target", folder / "logs")
    # How fresh sources are is read from dbt's own record. Nobody reads that of a build, which takes half a second.
    if arguments[0] != "source":
        flags.append("--no-write-json")
    if settings.is_external and arguments[-1] not in _WITHOUT_SOURCES:
        _inspect(settings, manifest)
    worker = threading.Thread(
        target=_invoke, args=([*arguments, *flags], manifest, messages, outcome), name="dbt", daemon=True
    )
    with environment_with(dbt_environment(settings, engine)):
        worker.start()
        try:
            while (message := messages.get()) is not None:
                yield message
        finally:
            worker.join()
    raise_on_failure(*outcome)


def _inspect(settings: Settings, manifest: Any) -> None:
    assert settings.external_database is not None
    try:
        found = inspect(
            settings.external_database, wanted_tables(manifest), project_variables()["pass_through_columns"]
        )
    except ExternalError as error:
        raise TransformError(str(error)) from error
    found.write(settings.dbt_target_dir / "external")


def wanted_tables(manifest: Any) -> list[WantedTable]:
    """The raw tables that an external database may hold, as the project's source files describe them."""
    return [
        WantedTable(
            source.source_name,
            source.name,
            source.config.meta["api_name"],
            {
                column.name: (column.config.meta.get("api_name", column.name), column.data_type)
                for column in source.columns.values()
            },
        )
        for source in manifest.sources.values()
        if source.source_name in EXTERNAL_SOURCES
    ]


def dbt_environment(settings: Settings, engine: Engine) -> dict[str, str]:
    """What the profile and the macros read of the environment: settings that they need, and ``TOLD_TO_DBT``."""
    return {
        "GTM_HOME": str(settings.home),
        "GTM_LAKE_URL": settings.lake_bucket or str(settings.lake_dir),
        "GTM_LAKE_FILESYSTEMS": repr(filesystems(settings)),
        "GTM_DBT_THREADS": str(settings.dbt_threads),
        "GTM_MEMORY_LIMIT": settings.memory_limit,
        **settings.sources_for_dbt,
        "GTM_EXTERNAL_DATABASE": str(settings.external_database or ""),
        **engine.dbt_environment(),
    }


def _invoke(
    arguments: list[str], manifest: Any, messages: queue.Queue[Mapping[str, Any] | None], outcome: list[Any]
) -> None:
    """Run dbt to its end, passing on what it says of nodes; then None."""
    from dbt.cli.main import dbtRunner
    from google.protobuf.json_format import MessageToDict

    failed: list[str] = []

    def pass_on(event: Any) -> None:
        if event.info.name in _RESULT_EVENTS:
            messages.put(MessageToDict(event, preserving_proto_field_name=True))
        elif event.info.name in _OPERATION_EVENTS:
            # The result of an operation does not say why it failed.
            failed.append(event.data.exc)

    try:
        ended = dbtRunner(manifest=manifest, callbacks=[pass_on]).invoke(arguments)
        outcome.extend([ended, failed])
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


def parsed_manifest(engine: Engine | None = None) -> Any:
    """The manifest as dbt's own object, from the cache that its parser left: saves parsing in every run.

    Raises:
        TransformError: dbt can't parse the project.
    """
    manifest_path(engine)
    return _unpacked((_target_dir(engine) / "partial_parse.msgpack").read_bytes())


@lru_cache(maxsize=1)
def _unpacked(parsed: bytes) -> Any:
    from dbt.contracts.graph.manifest import Manifest

    manifest = Manifest.from_msgpack(parsed)
    # What macros see as `graph`; dbt builds it while it parses.
    manifest.build_flat_graph()
    return manifest


def warm_up(settings: Settings) -> None:
    """Let dbt do once what it does at the beginning of each command, without opening a warehouse.

    Raises:
        TransformError: dbt can't parse the project.
        EngineError: what the engine needs is not there.
    """
    from dbt.cli.main import dbtRunner

    engine = engine_of(settings)
    nothing = ["list", "--select", f"tag:{SYNTHETIC_TAG}", "--resource-type", "model", "--log-level-file", "none"]
    with environment_with(dbt_environment(settings, engine)):
        dbtRunner(manifest=parsed_manifest(engine)).invoke([*nothing, *_flags(TARGET_DIR, DBT_DIR / "logs")])
    _let_go()


@contextmanager
def operated(operation: str, settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Run an operation of the project on a file of its own, which is there for reading until the block ends.

    Raises:
        TransformError: the operation refused what it found.
    """
    manifest_path()
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Path(folder) / "warehouse.duckdb"
        for _ in run_dbt(["run-operation", operation], settings, DuckDB(warehouse)):
            pass
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield connection


def raise_on_failure(outcome: Any, operation: Sequence[str] = ()) -> None:
    """Raise what dbt's outcome holds of failures, one sentence a node. ``operation``: what an operation failed of.

    Raises:
        TransformError: a node failed, or dbt did not get as far as building.
    """
    if isinstance(outcome, BaseException):
        raise TransformError(f"dbt broke off: {outcome}") from outcome
    if outcome.success:
        return
    if outcome.exception is not None:
        raise TransformError(_of_exception(outcome.exception)) from outcome.exception
    if operation:
        raise TransformError(_of_exception(operation[0]))
    results = outcome.result.results
    failed = [r for r in results if r.status in ("error", "fail", "runtime error")]
    lines = [_failed(r) for r in failed]
    more = [f"and {len(lines) - NAMED_FAILURES:,} more"] if len(lines) > NAMED_FAILURES else []
    raise TransformError(
        "\n".join(["dbt build failed:", *lines[:NAMED_FAILURES], *more, *_not_built(results, failed)])
    )


def _failed(result: Any) -> str:
    name = f"{result.node.resource_type} {result.node.name}"
    if result.status == "fail":
        # What it found is told where its check is.
        return f"{name} failed"
    message = (result.message or str(result.status)).strip()
    # Where the lake's bucket does not answer, DuckDB tells where in our code that came up, too.
    return f"{name}: {told(Exception(message)) or message}"


def _not_built(results: Sequence[Any], failed: Sequence[Any]) -> list[str]:
    """A sentence for each cause, or causes, for which models were left out: which ones, and because of what.

    dbt leaves out what is built from a model that failed, and what is built from all that a failed test looks at.
    """
    parents = {
        r.node.unique_id: list(r.node.depends_on_nodes) for r in results if r.node.resource_type != "operation"
    }
    waiting: dict[str, list[str]] = {}
    for result in results:
        if result.status != "skipped" or result.node.resource_type not in ("model", "seed"):
            continue
        above = _ancestors(result.node.unique_id, parents)
        causes = [
            f"{f.node.resource_type} {f.node.name}"
            for f in failed
            if f.node.unique_id in above
            or (f.node.resource_type == "test" and above.issuperset(f.node.depends_on_nodes))
        ]
        waiting.setdefault(" and ".join(causes) or "what it is built from", []).append(result.node.name)
    return [f"Not built because of {cause}: {', '.join(sorted(names))}." for cause, names in waiting.items()]


def _ancestors(node: str, parents: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [node]
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


_REFUSAL = re.compile(
    r"Compilation Error(?: in (?:operation|macro) [^\n]*)?\n(?P<refusal>.*?)"
    r"(?:\s*\n\s*> in macro [^\n]*(?:\n\s*> [^\n]*)*)?\s*",
    flags=re.DOTALL,
)


def _of_exception(error: object) -> str:
    """What dbt said as it broke off. A refusal that a macro made before the first model says it all itself."""
    refusal = _REFUSAL.fullmatch(str(error))
    return textwrap.dedent(refusal["refusal"]) if refusal else f"dbt broke off: {error}"
