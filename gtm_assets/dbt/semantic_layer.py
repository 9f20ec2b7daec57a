"""The semantic layer as SQL: what metrics are defined, and MetricFlow's SQL for a question to them.

``gtm metrics`` runs MetricFlow's own commands (:mod:`gtm_assets.dbt.metrics`). Here its SQL alone is asked for, so
that whoever asks runs it where they may read: on a file, or on a server as themselves. Amounts stay decimals.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gtm_assets.errors import GtmError

if TYPE_CHECKING:
    from metricflow.engine.metricflow_engine import MetricFlowEngine

_ROW = "row_key"
"""A dimension that each semantic model is given: which row it is."""
Relation = Callable[[str, str], str]
"""How a table is called in SQL, by its schema and name in the dbt project."""


class MetricError(GtmError):
    """A question that the semantic layer can't answer. The message says what may be asked."""


def in_its_schema(schema: str, name: str) -> str:
    """A table of the published file."""
    return f'"{schema}"."{name}"'


@dataclass(frozen=True)
class Measure:
    """What a simple metric adds up."""

    name: str
    description: str
    aggregation: str
    """``sum``, ``count``, ``average`` or ``median``."""
    expression: str
    """SQL on a row of the table."""
    model: str
    """Unique id of the dbt model that it is measured on."""
    schema: str
    table: str
    row: str
    """By what MetricFlow groups to give one row per row of the table."""
    key: str
    """The table's column that it is."""
    time: str
    """Column of the day that counts."""

    @property
    def qualified(self) -> str:
        """The table, with its schema."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Metric:
    """A metric as it is defined."""

    name: str
    label: str
    description: str
    type: str
    """``simple``, ``ratio`` or ``derived``."""
    expression: str
    """How it is made of its inputs; of a simple one, of its measure."""
    inputs: tuple[str, ...]
    """Metrics that it is made of."""
    filters: tuple[str, ...]
    """Conditions in MetricFlow's words, such as ``{{ Dimension('opportunity__is_won') }} = true``."""
    measure: Measure | None
    """Of a simple one."""

    @property
    def definition(self) -> str:
        """What is computed, in a line."""
        if self.measure is None:
            return self.expression
        where = f" where {' and '.join(map(_in_columns, self.filters))}" if self.filters else ""
        return (
            f"{self.measure.aggregation} of {self.measure.expression} in {self.measure.qualified}{where}, "
            f"by {self.measure.time}"
        )


@dataclass(frozen=True)
class Question:
    """What is asked of metrics, in MetricFlow's words."""

    metrics: Sequence[str]
    group_by: Sequence[str] = ()
    """Names such as ``account__segment``, ``owner__user_name`` or ``metric_time__month``."""
    where: Sequence[str] = ()
    first: date | None = None
    last: date | None = None
    order_by: Sequence[str] = ()
    limit: int | None = None


class SemanticLayer:
    """The metrics of the dbt project."""

    def __init__(self, manifest: Path, relation: Relation = in_its_schema, engine: str = "DuckDB") -> None:
        """``manifest`` is dbt's; its semantic manifest lies beside it. ``engine``: ``DuckDB`` or ``Postgres``."""
        self._path, self._relation, self._engine_name = manifest, relation, engine

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """dbt's manifest."""
        read: Mapping[str, Any] = json.loads(self._path.read_text())
        return read

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """All metrics, by name."""
        return {
            node["name"]: self._metric(node)
            for node in sorted(self.manifest["metrics"].values(), key=lambda node: node["name"])
        }

    def metric(self, name: str) -> Metric:
        """A metric.

        Raises:
            MetricError: there is none of that name; names those that are alike.
        """
        if name in self.metrics:
            return self.metrics[name]
        alike = difflib.get_close_matches(name, self.metrics, cutoff=0.5)
        raise MetricError(
            f"{name} is not a metric. "
            + (f"Did you mean {' or '.join(alike)}? " if alike else "")
            + f"The metrics are: {', '.join(self.metrics)}"
        )

    def leaves(self, name: str) -> list[Metric]:
        """The simple metrics that a metric is made of, each once."""
        metric = self.metric(name)
        if metric.measure is not None:
            return [metric]
        found = [leaf for given in metric.inputs for leaf in self.leaves(given)]
        return list({leaf.name: leaf for leaf in found}.values())

    def dimensions(self, name: str) -> list[str]:
        """By what a metric can be grouped and filtered, in MetricFlow's words."""
        found = self._metricflow.simple_dimensions_for_metrics([self.metric(name).name])
        names = {dimension.granularity_free_dunder_name for dimension in found}
        return sorted(name for name in names if not name.endswith(f"__{_ROW}"))

    def sql(self, question: Question) -> str:
        """MetricFlow's SQL for a question.

        Raises:
            MetricError: there is no such metric, or it can't be grouped or filtered so.
        """
        from metricflow.engine.metricflow_engine import MetricFlowQueryRequest
        from metricflow_semantics.errors.error_classes import MetricFlowException

        for name in question.metrics:
            self.metric(name)
        try:
            request = MetricFlowQueryRequest.create(
                metric_names=[*question.metrics],
                group_by_names=[*question.group_by] or None,
                where_constraints=[*question.where] or None,
                time_constraint_start=_instant(question.first),
                time_constraint_end=_instant(question.last),
                order_by_names=[*question.order_by] or None,
                limit=question.limit,
            )
            return str(self._metricflow.explain(request).sql_statement.sql)
        except (MetricFlowException, ValueError) as error:
            raise MetricError(
                f"{', '.join(question.metrics)} can't be asked so: {_in_short(error)} "
                f"By what it can be grouped: gtm metrics list dimensions --metrics {question.metrics[0]}"
            ) from error

    # -- definitions -----------------------------------------------------------------------------------------

    def _metric(self, node: Mapping[str, Any]) -> Metric:
        params = node["type_params"]
        inputs = [params.get("numerator"), params.get("denominator"), *(params.get("metrics") or ())]
        names = tuple(given["name"] for given in inputs if given)
        measure = self._measures[params["measure"]["name"]] if params.get("measure") else None
        expression = measure.expression if measure else params.get("expr") or " / ".join(names)
        filters = (node.get("filter") or {}).get("where_filters") or ()
        return Metric(
            node["name"],
            node["label"] or node["name"],
            node["description"],
            str(node["type"]),
            expression,
            names,
            tuple(" ".join(one["where_sql_template"].split()) for one in filters),
            measure,
        )

    @cached_property
    def _measures(self) -> dict[str, Measure]:
        return {measure.name: measure for measure in self._all_measures()}

    def _all_measures(self) -> Iterator[Measure]:
        for model in self.manifest["semantic_models"].values():
            (primary,) = (entity for entity in model["entities"] if entity["type"] == "primary")
            days = {d["name"]: d["expr"] or d["name"] for d in model["dimensions"] if d["type"] == "time"}
            for measure in model["measures"]:
                day = measure["agg_time_dimension"] or model["defaults"]["agg_time_dimension"]
                yield Measure(
                    measure["name"],
                    measure["description"] or "",
                    str(measure["agg"]),
                    measure["expr"] or measure["name"],
                    model["depends_on"]["nodes"][0],
                    model["node_relation"]["schema_name"],
                    model["node_relation"]["alias"],
                    f"{primary['name']}__{_ROW}",
                    primary["expr"] or primary["name"],
                    days[day],
                )

    # -- MetricFlow ------------------------------------------------------------------------------------------

    @cached_property
    def _metricflow(self) -> MetricFlowEngine:
        from metricflow.engine.metricflow_engine import MetricFlowEngine
        from metricflow.protocols.sql_client import SqlClient
        from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
        from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

        manifest = json.loads(self._path.with_name("semantic_manifest.json").read_text())
        spines = manifest["project_configuration"]["time_spines"]
        for model in manifest["semantic_models"]:
            # By the primary entity itself nothing can be grouped where a metric has its name: MetricFlow calls
            # both columns the same.
            (key,) = (e["expr"] or e["name"] for e in model["entities"] if e["type"] == "primary")
            model["dimensions"].append({"name": _ROW, "type": "categorical", "expr": key})
        for node in (*manifest["semantic_models"], *spines):
            relation = node["node_relation"]
            relation["relation_name"] = self._relation(relation["schema_name"], relation["alias"])
        parsed = parse_manifest_from_dbt_generated_manifest(manifest_json_string=json.dumps(manifest))
        return MetricFlowEngine(SemanticManifestLookup(parsed), cast(SqlClient, _Renders(self._engine_name)))


class _Renders:
    """What MetricFlow asks of a connection where it only writes SQL."""

    def __init__(self, engine: str) -> None:
        from metricflow.protocols.sql_client import SqlEngine
        from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
        from metricflow.sql.render.postgres import PostgresSQLSqlPlanRenderer

        self.sql_engine_type = SqlEngine(engine)
        self.sql_plan_renderer = {
            SqlEngine.DUCKDB: DuckDbSqlPlanRenderer,
            SqlEngine.POSTGRES: PostgresSQLSqlPlanRenderer,
        }[self.sql_engine_type]()


def _instant(day: date | None) -> datetime | None:
    return datetime.combine(day, time()) if day else None


def _in_columns(condition: str) -> str:
    """A condition with columns in the place of MetricFlow's dimensions, for people.

    >>> _in_columns("{{ Dimension('opportunity__is_won') }} = true")
    'is_won = true'
    """
    return re.sub(r"\{\{\s*Dimension\('(?:\w+?__)?(\w+)'\)\s*\}\}", r"\1", condition)


def _in_short(error: Exception) -> str:
    """What MetricFlow says, without its headings and its lists of what else there is."""
    text = " ".join(str(error).split())
    for heading in ("Got error(s) during query resolution.", "Error #1:", "Message:"):
        text = text.replace(heading, "")
    text, _, given = " ".join(text.split()).partition("Query Input:")
    text, _, _ = text.partition("Common issues")
    given = f" ({' '.join(given.split()[:8])})" if given else ""
    return f"{text.strip()[:300].rstrip('. ')}{given}."
