"""How dbt's build leaves out the nodes whose inputs have not changed, and keeps the state of those that it builds.

dbt asks ``BuildTask.RUNNER_MAP`` which class runs a node of each kind. In the process that builds it names these.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from dbt.artifacts.resources.types import NodeType
from dbt.artifacts.schemas.results import NodeStatus
from dbt.artifacts.schemas.run import RunResult
from dbt.task.build import BuildTask
from dbt.task.compile import CompileRunner
from dbt.task.run import ModelRunner
from dbt.task.seed import SeedRunner
from dbt.task.test import TestResultData, TestRunner

from gtm_assets.dbt.state import LAKE_COLUMNS, Inputs, NodeState, States, digest_of
from gtm_assets.engines.engine import Engine

_KEPT = {NodeStatus.Success: "success", NodeStatus.Pass: "pass", NodeStatus.Warn: "warn"}
_LEFT_OUT = frozenset({"success", "pass"})
"""What warned is asked again, so that it shows its rows."""
DEFINED = "shows what its tables hold"
"""What dbt is told of a view that was not made again."""
_ANY_ROW = ("count(*)", "!= 0", "!= 0")
"""What dbt asks of a test unless its yml says otherwise."""


class Keeper:
    """Decides which nodes are left out, and keeps the states of those that are built. dbt's threads share it."""

    def __init__(
        self,
        states: States,
        run_id: str,
        force: bool,
        inputs: Callable[[], Inputs],
        engine: Engine,
    ) -> None:
        """``force`` leaves nothing out. ``inputs`` and ``engine`` are asked once dbt has listed the lake."""
        self.states, self._run_id, self._force = states, run_id, force
        self._make_inputs, self._engine = inputs, engine
        self._made: set[str] = set()
        """The nodes that this build makes, or has made."""
        self._inputs: Inputs | None = None
        self._contents = states.contents
        self._definitions = {node_id: state.definition for node_id, state in states.nodes.items()}
        self._lock = Lock()
        self.left_out: dict[str, NodeState] = {}
        """The nodes that were left out, with how they stand."""

    def standing(self, node: Any) -> NodeState | None:
        """The state of a node that need not be built; None where it has to be."""
        with self._lock:
            state, inputs = self.states.nodes.get(node.unique_id), self._of(node)
            is_gone = self._is_gone(node)
            if self._force or state is None or state.inputs != inputs or state.status not in _LEFT_OUT or is_gone:
                # Until it has been built again, nothing is known of it.
                self._forget(node.unique_id)
                self._made.add(node.unique_id)
                return None
            self.left_out[node.unique_id] = state
            return state

    def is_defined(self, node: Any) -> bool:
        """Whether a node is a view that need not be made again: it shows what its tables hold now."""
        if self._force or not self._engine.views_stand or not _is_view(node):
            return False
        with self._lock:
            if self._of(node) is None:
                return False
            assert self._inputs is not None
            definition = self._inputs.code.definition_of(node.unique_id)
            return bool(definition) and self._definitions.get(node.unique_id) == definition

    def ended(self, node: Any, status: NodeStatus) -> None:
        """Keep the state of a node that was built. One whose content can't be read is built again next time."""
        with self._lock:
            inputs = self._of(node)
        if inputs is None or status not in _KEPT:
            return
        assert self._inputs is not None
        code = self._inputs.code.of(node.unique_id)
        definition = self._inputs.code.definition_of(node.unique_id) if _is_view(node) else ""
        content, rows = "", None
        if node.resource_type != NodeType.Test:
            try:
                content, rows = self._content(node, inputs)
            except self._engine.errors:
                return
        with self._lock:
            self.states.nodes[node.unique_id] = NodeState(
                inputs, content, _KEPT[status], self._run_id, rows, code, definition
            )
            if content:
                self._contents[node.unique_id] = content

    def _of(self, node: Any) -> str | None:
        if self._inputs is None:
            self._inputs = self._make_inputs()
        return self._inputs.of(node.unique_id, self._contents)

    def _is_gone(self, node: Any) -> bool:
        """Whether a node is a view that went with a table, or a view, which this build has replaced."""
        if self._engine.views_stand or not _is_view(node):
            return False
        return not self._made.isdisjoint(node.depends_on_nodes)

    def _forget(self, node_id: str) -> None:
        self.states.nodes.pop(node_id, None)
        self._contents.pop(node_id, None)

    def _content(self, node: Any, inputs: str) -> tuple[str, int]:
        assert self._inputs is not None
        with self._engine.connect() as connection:
            if node.resource_type == NodeType.Seed or _is_view(node):
                query = f"select count(*) as row_count from {node.relation_name}"
                ((rows,),) = connection.execute(query).fetchall()
                return inputs, rows
            table = (connection, node.database, node.schema, node.alias)
            if not self._inputs.code.reads_the_lake(node.unique_id):
                whole = self._engine.content_of(*table)
                return digest_of(whole.columns, whole.row_count, whole.sums), whole.row_count
            of_lake = self._engine.content_of(*table, by=LAKE_COLUMNS)
            content = digest_of(of_lake.columns, of_lake.row_count, of_lake.sums)
            return digest_of(self._inputs.code.of(node.unique_id), content), of_lake.row_count


def _is_view(node: Any) -> bool:
    return bool(node.resource_type == NodeType.Model and node.config.materialized == "view")


class _Sparing(CompileRunner):
    """A runner that runs its node only where the keeper says so."""

    keeper: Keeper
    print_result_line: Callable[[Any], None]
    """Of the runner that this is combined with."""

    def run_with_hooks(self, manifest: Any) -> Any:
        """Run the node, or tell dbt how it stands."""
        has_no_state = self.skip or self.node.resource_type == NodeType.Unit
        if not has_no_state and (state := self.keeper.standing(self.node)):
            return self._not_run(state.status, "unchanged")
        if not has_no_state and self.keeper.is_defined(self.node):
            self.keeper.ended(self.node, NodeStatus.Success)
            return self._not_run("success", DEFINED)
        # dbt's own runners are not typed.
        runner: Any = super()
        return runner.run_with_hooks(manifest)

    def after_execute(self, result: Any) -> None:
        """Keep the node's state before dbt says that it has ended."""
        if self.node.resource_type != NodeType.Unit:
            self.keeper.ended(self.node, result.status)
        super().after_execute(result)

    def _not_run(self, kept: str, message: str) -> Any:
        status: Any = next(status for status, name in _KEPT.items() if name == kept)
        result: Any = RunResult.from_node(self.node, status, message)
        result.failures = 0 if self.node.resource_type == NodeType.Test else None
        ended = datetime.now(UTC).replace(tzinfo=None).isoformat()
        self.node.update_event_status(node_status=status, finished_at=ended)
        self.print_result_line(result)
        return result


class _Counting(TestRunner):
    """Counts the rows of a data test by its compiled SQL alone.

    For each test dbt renders a materialization, with a context of 1,400 macros, and opens a transaction. It still
    does where a test asks for more than whether there are rows: for a threshold, or for its rows to be stored.
    """

    def execute_data_test(self, data_test: Any, manifest: Any) -> TestResultData:
        """Execute a test, as dbt's own runner does."""
        config = data_test.config
        if config.limit or config.store_failures or _asked(config) != _ANY_ROW:
            asked: TestResultData = super().execute_data_test(data_test, manifest)
            return asked
        sql = f"select count(*) from (\n{data_test.compiled_code}\n) as failing"
        _, cursor = self.adapter.connections.add_query(sql, auto_begin=False)
        ((rows,),) = cursor.fetchall()
        return TestResultData(rows, rows > 0, rows > 0, {"_message": "OK"})


def _asked(config: Any) -> tuple[str, str, str]:
    return config.fail_calc, config.warn_if, config.error_if


def leave_out_unchanged(keeper: Keeper) -> None:
    """Let dbt's builds in this process leave out what the keeper says."""
    for kind, runner in ((NodeType.Model, ModelRunner), (NodeType.Seed, SeedRunner), (NodeType.Test, _Counting)):
        sparing: Any = type(f"Sparing{runner.__name__}", (_Sparing, runner), {"keeper": keeper})
        BuildTask.RUNNER_MAP[kind] = sparing
