"""What each node of the dbt project was last built from: a build leaves out a node whose inputs have not changed.

A node's *inputs* are a digest of all that its result depends on: its code with the macros that it uses, the
project's vars, the settings that dbt is told, the models' now where its code asks for it, and the contents of its
parents. Its *content* is a digest of what it holds. What was built and came out equal has the content that it had,
so that what is built from it is left out in turn:

| node | content |
|---|---|
| table of the lake | the batches that have landed |
| external table | the external database's file |
| seed, view | its inputs: they alone decide what it holds |
| table that is read from the lake | its code, and which versions of which batches it holds |
| any other table | its columns, with their types, and its rows, whatever their order |
| test | none; it has a verdict, which stands where its inputs have not changed |

The states lie in a file of the state folder. They hold as long as the warehouse is as the last build left it:
where anybody else has written it, and after a build that did not come to its end, nothing is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gtm_assets.engines.duckdb import DuckDB, headers_of
from gtm_assets.engines.engine import Connection, Engine
from gtm_assets.engines.files import log_path

PACKAGE = "gtm_dbt"
NOW = f"macro.{PACKAGE}.as_of"
"""The macro by which a model asks for now."""
EXTERNAL_MACROS = "macros/external/"
"""Macros that only external tables need."""
LAKE_COLUMNS = ("_batch_id", "_partition_key", "_version_hash")
"""Of a row that is read from the lake: they and the code decide what the row holds."""
_NOTHING = "nothing"
"""The content of a raw table of which nothing has landed."""
_STANDING = frozenset({"success", "pass", "warn"})
_CODE = ("resource_type", "checksum", "raw_code", "test_metadata", "schema", "alias", "contract", "constraints")
_NOT_IN_CODE = frozenset({"meta", "tags", "docs", "group", "description"})
"""Parts of a node's config that tell people about it."""


@dataclass(frozen=True)
class NodeState:
    """How a node stands since it was last built."""

    inputs: str
    """The digest of its inputs."""
    content: str
    """The digest of its content; empty of a test."""
    status: str
    """``success`` of a model or seed, ``pass`` or ``warn`` of a test."""
    run_id: str
    """The run that built it."""
    row_count: int | None = None
    """Of a table."""
    code: str = ""
    """The digest of its code."""
    definition: str = ""
    """Of a view: the digest of its code and of the code of all that it is made of."""


def digest_of(*parts: Any) -> str:
    """A digest of values that JSON can hold; objects by their sorted keys."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class MadeOf:
    """What an incremental model is made of, so that dbt can tell whether it may go on building on its table."""

    code: str
    """The digest of its code and of the views between it and the tables that it reads."""
    views: tuple[str, ...]
    """Those views, by their unique ids."""
    parents: tuple[str, ...]
    """The nearest incremental models upstream, by name."""
    ancestors: tuple[str, ...]
    """All incremental models upstream, by name."""


class Code:
    """Digests of the code of the project's nodes, with the settings that decide what they hold."""

    def __init__(
        self,
        manifest: Mapping[str, Any],
        variables: Mapping[str, Any],
        environment: Mapping[str, str],
        is_external: bool,
        libraries: Sequence[str] = DuckDB.libraries,
    ) -> None:
        """``environment`` holds the settings, ``is_external`` says whether another loader fills raw tables.

        ``libraries`` are the distributions that decide what the engine's SQL means.
        """
        self._nodes = manifest["nodes"]
        self._macros = manifest["macros"]
        self.sources: dict[str, str] = {
            unique_id: f"{source['source_name']}.{source['name']}"
            for unique_id, source in manifest["sources"].items()
        }
        """The raw tables: unique id to ``source.table``."""
        self.is_external = is_external
        self._used: dict[str, frozenset[str]] = {}
        self._common = digest_of(
            variables,
            environment,
            {name: version(name) for name in ("dbt-core", *libraries)},
            # Macros read the columns of raw tables whether or not they read the table.
            [self._columns(source) for source in manifest["sources"].values()],
            self._macros_that_dbt_calls(),
        )
        self._code: dict[str, str] = {}

    def of(self, node_id: str) -> str:
        """The digest of a node's code."""
        if node_id not in self._code:
            node = self._nodes[node_id]
            self._code[node_id] = digest_of(
                {key: node.get(key) for key in _CODE},
                {key: value for key, value in node["config"].items() if key not in _NOT_IN_CODE},
                self._columns(node),
                self._sql_of(self._macros_of(node_id, with_external=True)),
                self._common,
            )
        return self._code[node_id]

    def definition_of(self, node_id: str) -> str:
        """The digest of a node's code and of the code of all that it is made of, on which their columns depend.

        Empty where an external database has a say in these too.
        """
        if self.is_external:
            return ""
        upstream = self._upstream(node_id, lambda _: True)
        return digest_of(self.of(node_id), [[one, self.of(one)] for one in upstream])

    def parents_of(self, node_id: str) -> Sequence[str]:
        """What a node is made of, by unique ids. A seed's entry does not say that it is made of nothing."""
        parents: Sequence[str] = self._nodes[node_id]["depends_on"].get("nodes", ())
        return parents

    def reads_the_lake(self, node_id: str) -> bool:
        """Whether a node is made of batches of the lake."""
        return not self.is_external and any(parent in self.sources for parent in self.parents_of(node_id))

    def asks_for_now(self, node_id: str) -> bool:
        """Whether a node's code asks for the models' now. In external mode more of it does."""
        return NOW in self._macros_of(node_id, with_external=self.is_external)

    def incremental_models(self) -> dict[str, MadeOf]:
        """What each incremental model is made of, by its unique id."""
        return {
            node_id: MadeOf(
                digest_of(self.of(node_id), [[view, self.of(view)] for view in views]),
                tuple(views),
                tuple(self._names_of_incremental(node_id, through=views)),
                tuple(self._names_of_incremental(node_id, through=None)),
            )
            for node_id in self._nodes
            if self._materialized(node_id) == "incremental"
            for views in [self._upstream(node_id, lambda parent: self._materialized(parent) == "view")]
        }

    def _names_of_incremental(self, node_id: str, through: Collection[str] | None) -> list[str]:
        """The incremental models that a node is made of: by way of these nodes alone, or of all."""
        found = self._upstream(node_id, lambda parent: through is None or parent in through, with_last=True)
        return sorted(self._nodes[one]["name"] for one in found if self._materialized(one) == "incremental")

    def _upstream(self, node_id: str, is_passed: Callable[[str], bool], with_last: bool = False) -> list[str]:
        """The nodes that a node is made of, as far as each on the way is passed; also the last, if asked for."""
        found: set[str] = set()
        waiting = [node_id]
        while waiting:
            for parent in self.parents_of(waiting.pop()):
                if parent in found or parent in self.sources:
                    continue
                if is_passed(parent):
                    waiting.append(parent)
                if with_last or is_passed(parent):
                    found.add(parent)
        return sorted(found)

    def _materialized(self, node_id: str) -> str | None:
        """``incremental``, ``view`` or ``table`` of a model."""
        materialized: str | None = self._nodes[node_id]["config"].get("materialized")
        return materialized

    @staticmethod
    def _columns(node: Mapping[str, Any]) -> list[Any]:
        """The columns that the yml names; of a raw table also what it says to the macros."""
        meta = [node["meta"], node["config"].get("meta")] if node["resource_type"] == "source" else None
        return [
            node["unique_id"],
            meta,
            [
                [column["name"], column["data_type"], column.get("constraints"), column["meta"] if meta else None]
                for column in node["columns"].values()
            ],
        ]

    def _macros_of(self, node_id: str, with_external: bool) -> frozenset[str]:
        return self._closure(self._nodes[node_id]["depends_on"]["macros"], with_external)

    def _closure(self, names: Iterable[str], with_external: bool = True) -> frozenset[str]:
        """The project's macros that are called, directly or by others, when these are."""
        found: set[str] = set()
        waiting = [*names]
        while waiting:
            macro = self._macros.get(name := waiting.pop())
            if name in found or macro is None or macro["package_name"] != PACKAGE:
                continue
            if not with_external and macro["original_file_path"].startswith(EXTERNAL_MACROS):
                continue
            found.add(name)
            waiting += macro["depends_on"]["macros"]
        return frozenset(found)

    def _sql_of(self, names: Iterable[str]) -> list[list[str]]:
        return [[name, self._macros[name]["macro_sql"]] for name in sorted(names)]

    def _macros_that_dbt_calls(self) -> list[list[str]]:
        """The project's macros that no node calls: materializations, hooks and what stands in for dbt's own."""
        own = {name for name, macro in self._macros.items() if macro["package_name"] == PACKAGE}
        called: set[str] = set()
        for node in self._nodes.values():
            if node["resource_type"] != "operation":
                called |= self._closure(node["depends_on"]["macros"])
        return self._sql_of(own - called)


class Inputs:
    """Digests of the inputs of the project's nodes, for one build."""

    def __init__(self, code: Code, sources: Mapping[str, str], now: str) -> None:
        """``sources`` holds the content of each raw table that has landed; ``now`` is the models' now."""
        self.code = code
        self._sources = {unique_id: sources.get(table, _NOTHING) for unique_id, table in code.sources.items()}
        self._now = now

    def of(self, node_id: str, contents: Mapping[str, str]) -> str | None:
        """The digest of a node's inputs; None where the content of a parent is not known."""
        parents = []
        for parent in sorted(self.code.parents_of(node_id)):
            content = self._sources.get(parent) or contents.get(parent)
            if not content:
                return None
            parents.append([parent, content])
        now = self._now if self.code.asks_for_now(node_id) else None
        return digest_of(self.code.of(node_id), parents, now)


def tell_what_models_are_made_of(manifest: Any, code: Code, states: States) -> None:
    """Write into the entries of incremental models, which dbt's macros read, what each is made of now.

    Of the views only those are named that are not known to stand with their present code: unless the build makes
    them, nothing tells with which code the model is built.
    """
    for node_id, made_of in code.incremental_models().items():
        built = {view: state.code for view in made_of.views if (state := states.nodes.get(view))}
        views = [view for view in made_of.views if built.get(view) != code.of(view)]
        name = node_id.split(".")[-1]
        is_written = any(table.endswith(f".{name}") for table in states.written)
        told = {**asdict(made_of), "views": views, "is_written_by_others": is_written}
        # A model sees itself in its own entry, and others in dbt's graph.
        manifest.nodes[node_id].config.meta["made_of"] = told
        manifest.flat_graph["nodes"][node_id]["config"]["meta"]["made_of"] = told


def content_of_batches(batches: Iterable[tuple[str, str]]) -> str:
    """The content of a table of the lake: its batches, each given by its partition and its id."""
    return digest_of(sorted([partition, batch] for partition, batch in batches))


def contents_of_lake(connection: Connection) -> dict[str, str]:
    """The content of each table of the lake, ``source.table``, as it is listed for this build."""
    found: dict[str, list[tuple[str, str]]] = {}
    listed = connection.execute(
        "select source_name || '.' || table_name, partition_key, batch_id from gtm_meta.lake_batches"
    )
    for table, partition, batch in listed.fetchall():
        found.setdefault(table, []).append((partition, batch))
    return {table: content_of_batches(batches) for table, batches in found.items()}


def content_of_database(path: Path) -> str:
    """The content of an external database: the same as long as nobody writes the file."""
    stats = [file.stat() for file in (path, log_path(path)) if file.exists()]
    return digest_of([[stat.st_size, stat.st_mtime_ns] for stat in stats], headers_of(path))


class States:
    """The states of all nodes, in a file of the state folder."""

    def __init__(self, engine: Engine) -> None:
        """Those of a warehouse; none where it is not as the last build left it.

        Raises:
            EngineError: the engine can't be asked.
        """
        self._engine = engine
        self._path = engine.path.with_suffix(".state.json")
        self.now = ""
        """The models' now of the last build."""
        self.nodes: dict[str, NodeState] = {}
        self.written: list[str] = []
        """Tables and views, ``gtm_<layer>.name``, that somebody else has written, where the engine says which."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            kept, stamp = json.loads(self._path.read_text()), engine.stamp()
            if kept["warehouse"] == stamp:
                self.nodes = {name: NodeState(**state) for name, state in kept["nodes"].items()}
                self.now = kept["now"]
            elif isinstance(stamp, dict):
                before = kept["warehouse"]
                self.written = sorted(n for n in before.keys() | stamp.keys() if before.get(n) != stamp.get(n))

    @property
    def contents(self) -> dict[str, str]:
        """The contents of all nodes."""
        return {name: state.content for name, state in self.nodes.items() if state.content}

    @property
    def contents_of_tables(self) -> dict[str, str]:
        """The contents of models and seeds by their names, which are those of their tables and views."""
        named = ((name.split("."), content) for name, content in self.contents.items())
        return {name: content for (kind, _, name, *_), content in named if kind != "test"}

    def begin(self) -> None:
        """Say that a build is under way: until :meth:`keep`, no state holds."""
        self._path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Write the states, once the warehouse is closed. What is not there any more has none."""
        if (there := self._engine.relations()) is not None:
            tables = {table for _, table in there}
            self.nodes = {
                name: state
                for name, state in self.nodes.items()
                if name.startswith("test.") or name.split(".")[2] in tables
            }
        stamp = self._engine.stamp()
        if stamp is None:
            return
        nodes = {name: asdict(state) for name, state in sorted(self.nodes.items())}
        kept = {"warehouse": stamp, "now": self.now, "nodes": nodes}
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        temporary.write_text(json.dumps(kept))
        temporary.replace(self._path)

    def stale(self, inputs: Inputs, nodes: Sequence[str]) -> list[str]:
        """Those of the nodes, upstream first, that a build would not leave out."""
        contents = self.contents
        return [
            node
            for node in nodes
            if (state := self.nodes.get(node)) is None
            or state.status not in _STANDING
            or state.inputs != inputs.of(node, contents)
        ]
