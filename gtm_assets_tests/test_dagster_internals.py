"""The contract with Dagster's private API: which of it is used, by whom, and what is asked of each symbol.

When this fails after an upgrade of Dagster, ``gtm_assets/runtime/dagster_internals.py`` is the place to mend.
"""

import ast
import enum
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click import Command

import gtm_assets
from gtm_assets.runtime import dagster_internals as internals
from gtm_assets.runtime.instance import StateFolderInstance, job_origin
from gtm_assets.settings import PROJECT_DIR

PACKAGE = Path(gtm_assets.__file__).parent
FENCE = PACKAGE / "runtime" / "dagster_internals.py"
PRIVATE = ("dagster._", "dagster_shared", "dagster_dbt._", "dagster_duckdb._", "dagster_webserver._")
TESTS_USE = {
    "dagster._core.definitions.asset_checks.asset_check_evaluation",
    "dagster._core.definitions.run_request",
    "dagster._core.execution.plan.objects",
    "dagster._core.remote_origin",
    "dagster._core.scheduler.instigation",
    "dagster._core.storage.event_log",
    "dagster._core.test_utils",
    "dagster._core.types.loadable_target_origin",
    "dagster._core.workspace.context",
    "dagster._core.workspace.load_target",
    "dagster._daemon.auto_run_reexecution.event_log_consumer",
    "dagster._daemon.sensor",
    "dagster._scheduler.scheduler",
    "dagster._utils.error",
    "dagster._utils.schedules",
}
"""What tests import on top: the daemon's loops and a clock that can be set, which nothing public offers."""


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield f"{node.module}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def private_imports(path: Path) -> set[str]:
    return {module for module in imports(path) if module.startswith(PRIVATE)}


def has(*names: str) -> Callable[[Any], bool]:
    return lambda symbol: all(hasattr(symbol, name) for name in names)


def has_members(*names: str) -> Callable[[type[enum.Enum]], bool]:
    return lambda symbol: set(names) <= set(symbol.__members__)


def takes(*names: str) -> Callable[[Any], bool]:
    return lambda symbol: set(names) <= set(inspect.signature(symbol).parameters)


def is_text(symbol: Any) -> bool:
    return isinstance(symbol, str) and symbol.startswith("dagster/")


def takes_events_one_by_one(storage: type) -> bool:
    """What ``KeptOpenEventLogStorage`` overrides, and what it calls."""
    return (
        has("_connect", "_initdb", "conn_string_for_shard", "index_connection", "dispose")(storage)
        and list(inspect.signature(storage._store_asset_event).parameters) == ["self", "conn", "event", "event_id"]
        and list(inspect.signature(storage._connect).parameters) == ["self", "shard"]
        and takes("event", "event_id")(storage._store_asset_check_evaluation_planned)
        and takes("event", "event_id")(storage.store_asset_check_event)
        and takes("conn", "events", "event_ids")(storage._store_asset_event_tags)
        and has("_event_to_row", "run_connection")(storage)
        and takes("events")(storage.store_event_batch)
        and takes("table_name")(storage.has_table)
        and takes("base_dir", "inst_data")(storage.__init__)
        and "_initialized_dbs" in inspect.getsource(storage)
    )


CONTRACT: Mapping[str, Callable[[Any], bool]] = {
    "ASSET_CHECK_EVENTS": lambda symbol: dg.DagsterEventType.ASSET_CHECK_EVALUATION in symbol,
    "ASSET_EVENTS": lambda symbol: dg.DagsterEventType.ASSET_MATERIALIZATION in symbol,
    "ASSET_PARTITION_RANGE_END_TAG": is_text,
    "ASSET_PARTITION_RANGE_START_TAG": is_text,
    "FINISHED_STATUSES": lambda symbol: dg.DagsterRunStatus.SUCCESS in symbol,
    "IMPLICIT_ASSET_JOB_NAME": lambda symbol: (
        dg.Definitions(assets=[dg.AssetSpec("a"), dg.asset(name="b")(lambda: None)])
        .resolve_implicit_global_asset_job_def()
        .name
        == symbol
    ),
    "MAX_RETRIES_TAG": is_text,
    "PARTITION_NAME_TAG": is_text,
    "AssetCheckExecutionRecord": takes("run_id", "status", "event"),
    "AssetCheckExecutionRecordStatus": has_members("PLANNED", "SUCCEEDED", "FAILED"),
    "AssetCheckExecutionsTable": lambda symbol: (
        {"run_id", "execution_status", "partition", "evaluation_event", "evaluation_event_timestamp"}
        <= set(symbol.c.keys())
    ),
    "BulkActionStatus": has_members("REQUESTED", "CANCELING"),
    "BulkActionsFilter": lambda symbol: symbol(statuses=[internals.BulkActionStatus.REQUESTED]).statuses,
    "ConfigurableClassData": inspect.isclass,
    "InstanceRef": lambda symbol: (
        takes("base_dir", "config_dir")(symbol.from_dir)
        and set(symbol.config_defaults(".")) == set(StateFolderInstance.KEPT)
        and set(StateFolderInstance.KEPT.values()) <= set(symbol._fields)
    ),
    "LoadableTargetOrigin": lambda symbol: symbol(module_name="m", working_directory="/").module_name == "m",
    "ManagedGrpcPythonEnvCodeLocationOrigin": takes("loadable_target_origin", "location_name"),
    "ReconstructableRepository": lambda symbol: (
        takes("module", "fn_name", "working_directory")(symbol.for_module)
        and has("get_reconstructable_job")(symbol)
    ),
    "RemoteJobOrigin": lambda symbol: isinstance(job_origin("refresh", PROJECT_DIR), symbol),
    "RemoteRepositoryOrigin": lambda symbol: isinstance(
        job_origin("refresh", PROJECT_DIR).repository_origin, symbol
    ),
    "RunStepKeyStatsSnapshot": takes("step_key", "status", "start_time", "end_time"),
    "SerializableErrorInfo": takes("message", "stack", "cls_name", "cause"),
    "SqlEventLogStorage": has("index_connection"),
    "SqlEventLogStorageTable": lambda symbol: {"id", "run_id", "event"} <= set(symbol.c.keys()),
    "SqliteEventLogStorage": takes_events_one_by_one,
    "StepEventStatus": has_members("SUCCESS", "FAILURE", "IN_PROGRESS"),
    "UnresolvedAssetJobDefinition": lambda symbol: (
        isinstance(dg.define_asset_job("job"), symbol) and dg.define_asset_job("job").name == "job"
    ),
    "execute_run_iterator": takes("job", "dagster_run", "instance"),
}
"""Of each symbol whether it is still what it is used as."""


def test_the_contract_names_each_private_symbol_that_is_used():
    imported = {
        alias.name
        for node in ast.parse(FENCE.read_text()).body
        if isinstance(node, ast.ImportFrom) and f"{node.module}".startswith(PRIVATE)
        for alias in node.names
    }
    assert imported == set(CONTRACT) == set(internals.__all__)


@pytest.mark.parametrize("name", CONTRACT)
def test_the_symbol_is_what_it_is_used_as(name):
    assert CONTRACT[name](getattr(internals, name))


def test_dagster_dev_is_a_command_that_takes_what_gtm_dev_hands_over():
    from dagster._cli.dev import dev_command

    assert isinstance(dev_command, Command)
    options = {option for parameter in dev_command.params for option in parameter.opts}
    assert {"--workspace", "--host", "--port"} <= options


def test_no_other_module_of_the_package_imports_it():
    elsewhere = {
        str(path.relative_to(PACKAGE)): found
        for path in PACKAGE.rglob("*.py")
        if path != FENCE and (found := private_imports(path))
    }
    assert elsewhere == {}


def test_tests_and_benchmarks_import_no_more_of_it_than_is_listed():
    listed = TESTS_USE | private_imports(FENCE)
    more = {
        str(path.relative_to(PROJECT_DIR)): found - listed
        for folder in ("gtm_assets_tests", "benchmarks")
        for path in (PROJECT_DIR / folder).rglob("*.py")
        if (found := private_imports(path)) - listed
    }
    assert more == {}
