"""The questions that agents may ask, and their answers as plain values.

A condition is a dimension, an operator and values, and never SQL: what an agent writes reaches no database but as
a name that is known or as a quoted text.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from gtm_assets import clock
from gtm_assets.dbt.semantic_layer import Metric, MetricError, Question
from gtm_assets.dbt.warehouse import WarehouseError
from gtm_assets.explaining.explanation import Explainer
from gtm_assets.explaining.lineage import lineage
from gtm_assets.explaining.period import period_of
from gtm_assets.explaining.published import publication, unreadable, waiting

Operator = Literal["=", "<>", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null"]
MOST_ROWS = 1000
"""More rows are not given at once: an agent asks for what it needs."""
MOST_RECORDS = 100


@dataclass(frozen=True)
class Condition:
    """A condition on a dimension, such as ``account__segment = Enterprise``."""

    dimension: str
    operator: Operator = "="
    values: Sequence[str | float | bool] = ()
    """One; several with ``in`` and ``not in``; none with ``is null`` and ``is not null``."""


def all_metrics(explainer: Explainer) -> list[dict[str, Any]]:
    """Each metric with what it means."""
    return [_told(metric) for metric in explainer.layer.metrics.values()]


def one_metric(explainer: Explainer, name: str) -> dict[str, Any]:
    """A metric with its definition, its dimensions and what it is made of.

    Raises:
        MetricError: there is no such metric.
    """
    layer = explainer.layer
    metric = layer.metric(name)
    leaves = layer.leaves(name)
    made_of = lineage(layer.manifest, dict.fromkeys(leaf.measure.model for leaf in leaves if leaf.measure))
    return {
        **_told(metric),
        "made_of_metrics": [{"name": leaf.name, "definition": leaf.definition} for leaf in leaves],
        "dimensions": layer.dimensions(name),
        "time": "group by metric_time__day, __week, __month, __quarter, __year, __fiscal_quarter or __fiscal_year",
        "models": list(made_of.models),
        "raw_tables": list(made_of.raw_tables),
    }


def numbers(
    explainer: Explainer,
    asked: Question,
    conditions: Sequence[Condition] = (),
    limit: int = 100,
) -> dict[str, Any]:
    """Metrics by dimensions and time. Amounts are texts, so that no cent is lost.

    Raises:
        MetricError: there is no such metric or dimension, or the limit is not one to a thousand.
    """
    if not asked.metrics:
        raise MetricError("name at least one metric: list_metrics tells which there are")
    if not 1 <= limit <= MOST_ROWS:
        raise MetricError(f"the limit is 1 to {MOST_ROWS}, and not {limit}")
    question = dataclasses.replace(
        asked,
        where=_where(explainer, asked.metrics, conditions),
        order_by=asked.order_by or asked.group_by,
        limit=limit + 1,
    )
    rows = explainer.published.rows(explainer.layer.sql(question))
    said = publication(explainer.published)
    return {
        "rows": [{name: _plain(value) for name, value in row.items()} for row in rows[:limit]],
        "is_cut_off": len(rows) > limit,
        "as_of": _plain(said["as_of"]),
        "published_at": _plain(said["published_at"]),
    }


def explained(
    explainer: Explainer,
    metric: str,
    month: str | None = None,
    quarter: str | None = None,
    day: str | None = None,
    conditions: Sequence[Condition] = (),
    records: int = 10,
) -> dict[str, Any]:
    """What a number is made of, and what guards it: :class:`~gtm_assets.explaining.explanation.Explanation`.

    Raises:
        MetricError: as in :func:`numbers`, or no record is in the period.
    """
    if not 0 <= records <= MOST_RECORDS:
        raise MetricError(f"0 to {MOST_RECORDS} records are told, and not {records}")
    period = period_of(explainer.published, month, quarter, day)
    found = explainer.explain(metric, period, _where(explainer, [metric], conditions), records, clock.now())
    told = found.as_json()
    # Of hundreds of checks those are told that did not pass.
    outcomes = Counter(check["outcome"] for check in told["checks"] or ())
    told["checks"] = {
        "by_outcome": dict(outcomes),
        "not_passed": [check for check in told["checks"] or () if check["outcome"] != "passed"],
    }
    return told


def health(explainer: Explainer) -> dict[str, Any]:
    """How fresh and how trusted the data is."""
    published = explainer.published
    said = publication(published)
    age = clock.now() - said["as_of"]
    told: dict[str, Any] = {
        "place": published.place,
        "shows_all": published.is_whole,
        "as_of": _plain(said["as_of"]),
        "hours_since_as_of": round(age.total_seconds() / 3600, 1),
        "published_at": _plain(said["published_at"]),
        "read_from": said["read_from"],
        "last_partition": said["last_partition"],
        "checks_passed": said["checks_passed"],
        "checks_not_passed": said["checks_warned"],
        "unreadable_tables": unreadable(published),
        "records_in_quarantine": waiting(published),
    }
    for name, table in {"findings": "findings", "datasets": "certified_datasets"}.items():
        rows = _if_told(explainer, table)
        told[name] = rows if rows is not None else "not told to this reader"
    return told


def _if_told(explainer: Explainer, table: str) -> list[dict[str, Any]] | None:
    try:
        rows = explainer.published.rows(f"select * from {explainer.published.relation('gtm_meta', table)}")
    except WarehouseError:
        return None
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _told(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "label": metric.label,
        "description": metric.description,
        "type": metric.type,
        "definition": metric.definition,
    }


# -- conditions -------------------------------------------------------------------------------------------------


def _where(explainer: Explainer, metrics: Sequence[str], conditions: Sequence[Condition]) -> list[str]:
    if not conditions:
        return []
    shared = set.intersection(*(set(explainer.layer.dimensions(name)) for name in metrics))
    return [_sql(condition, shared) for condition in conditions]


def _sql(condition: Condition, known: set[str]) -> str:
    """A condition in MetricFlow's words.

    Raises:
        MetricError: the dimension is not one of the metrics', or the values don't go with the operator.
    """
    name, operator, values = condition.dimension, condition.operator, [*condition.values]
    if name not in known or name == "metric_time":
        raise MetricError(
            f"{name} is not a dimension by which this can be filtered. There are: {', '.join(sorted(known))}. "
            "Days of metric_time are given as first_day and last_day"
        )
    expected = {"is null": 0, "is not null": 0}.get(operator, 1)
    if (operator in ("in", "not in") and not values) or (
        operator not in ("in", "not in") and len(values) != expected
    ):
        raise MetricError(f"{name} {operator} takes {expected or 'no'} values, and not {len(values)}")
    subject = f"{{{{ Dimension('{name}') }}}}"
    if not expected:
        return f"{subject} {operator}"
    listed = ", ".join(_literal(value) for value in values)
    return f"{subject} {operator} ({listed})" if operator in ("in", "not in") else f"{subject} {operator} {listed}"


def _literal(value: str | float | bool) -> str:
    """A value as SQL.

    Raises:
        MetricError: it has what MetricFlow would take for a template.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if "{" in value or "}" in value:
        raise MetricError(f"a value with braces can't be asked for: {value}")
    return "'" + value.replace("'", "''") + "'"


def day_of(text: str | None) -> date | None:
    """A day that may be left out.

    Raises:
        MetricError: it is not one.
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise MetricError(f"{text} is not a day. Write it as in 2026-09-30") from error


def _plain(value: Any) -> Any:
    match value:
        case datetime() if value.tzinfo:
            return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        case date():
            return value.isoformat()[:10]
        case Decimal():
            return f"{value:f}"
    return value
