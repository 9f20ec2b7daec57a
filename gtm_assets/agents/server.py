"""The server: tools that list, describe, ask and explain metrics, and say how fresh they are. All only read."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from typing import Any, ParamSpec, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from gtm_assets.agents import answers
from gtm_assets.agents.answers import Condition
from gtm_assets.dbt.semantic_layer import Question
from gtm_assets.errors import GtmError
from gtm_assets.explaining.explanation import Explainer

INSTRUCTIONS = """
Go-to-market metrics (bookings, pipeline, win rates, quota attainment, activity and more), each defined once.
Ask data_health how fresh the data is, list_metrics and describe_metric what is defined, query_metrics for numbers
by dimension and time, and explain_number for what a number is made of and which checks guard it. Never compute a
metric from others where one is defined. Amounts are texts in the reporting currency, rates are 0 to 1. Say as_of
with each number, and what explain_number names as failed, missing or not followed.
"""
_READ_ONLY = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
P = ParamSpec("P")
T = TypeVar("T")


def server_of(explainer: Explainer) -> MCPServer:
    """The server of what one person may read."""
    server = MCPServer("gtm", instructions=INSTRUCTIONS, version=version("gtm-assets"), log_level="WARNING")

    def tool(answer: Callable[P, T]) -> Callable[P, T]:
        told: Callable[P, T] = server.tool(annotations=_READ_ONLY)(_explained(answer))
        return told

    @tool
    def list_metrics() -> list[dict[str, Any]]:
        """All metrics: name, label, description, how each is computed."""
        return answers.all_metrics(explainer)

    @tool
    def describe_metric(metric: str) -> dict[str, Any]:
        """One metric: its definition, the dimensions to group and filter by, the tables that it comes from."""
        return answers.one_metric(explainer, metric)

    @tool
    def query_metrics(
        metrics: list[str],
        group_by: list[str] | None = None,
        conditions: list[Condition] | None = None,
        first_day: str | None = None,
        last_day: str | None = None,
        order_by: list[str] | None = None,
        limit: int = 100,
    ) -> dict[str, Any]:
        """Metrics by dimension and time.

        group_by: names of describe_metric, and metric_time__month or another grain. conditions: on dimensions,
        each with an operator and values. first_day and last_day (2026-09-30, both included) are of metric_time,
        the day that counts for the metric. order_by: names of group_by or metrics, with a minus for descending.
        """
        first, last = answers.day_of(first_day), answers.day_of(last_day)
        asked = Question(metrics, group_by or (), (), first, last, order_by or ())
        return answers.numbers(explainer, asked, conditions or (), limit)

    @tool
    def explain_number(
        metric: str,
        month: str | None = None,
        quarter: str | None = None,
        day: str | None = None,
        conditions: list[Condition] | None = None,
        records: int = 10,
    ) -> dict[str, Any]:
        """What a number is made of: definition, the largest records, lineage, checks and what may be missing.

        Of one month (2026-09), fiscal quarter (2026-Q3) or day (2026-09-30); of all days where none is given.
        -1m, -1q and -1d count back from the last day of which records count.
        """
        return answers.explained(explainer, metric, month, quarter, day, conditions or (), records)

    @tool
    def data_health() -> dict[str, Any]:
        """How fresh and how trusted the data is: as of when, which checks did not pass, what could not be read."""
        return answers.health(explainer)

    return server


def _explained(answer: Callable[P, T]) -> Callable[P, T]:
    """Tell an agent what the platform's own errors say: they say what to do."""

    @wraps(answer)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return answer(*args, **kwargs)
        except GtmError as error:
            raise ToolError(str(error)) from error

    return wrapper
