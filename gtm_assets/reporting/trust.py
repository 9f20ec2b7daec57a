"""The page of how far the headline numbers can be trusted: what each is made of, and what guards it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from gtm_assets.dbt.project import manifest_path
from gtm_assets.dbt.semantic_layer import Metric, MetricError, SemanticLayer
from gtm_assets.dbt.warehouse import WarehouseError
from gtm_assets.explaining.explanation import Explainer, Explanation
from gtm_assets.explaining.local import sources
from gtm_assets.explaining.period import ALL_DAYS, Period, last_day, month_of, period_of
from gtm_assets.explaining.published import Check, PublishedFile
from gtm_assets.explaining.text import figures
from gtm_assets.reporting.page import Content, Figure, Page, Section, Table, Tile, Words
from gtm_assets.reporting.published import Published
from gtm_assets.reporting.rows import Column, Kind, Measure, ReportError, Rows

HEADLINES: dict[str, str] = {
    "bookings": "month",
    "pipeline": "all",
    "weighted_pipeline": "all",
    "win_rate_by_amount": "quarter",
    "win_rate_by_count": "quarter",
    "quota_attainment": "quarter",
    "arr": "all",
    "leads_created": "month",
    "calls": "month",
    "meetings": "month",
    "emails": "month",
}
"""The headline numbers, where the semantic layer has them, each with the last period that it is of."""
_KINDS: tuple[Kind, ...] = ("amount", "count", "share", "number")
STANDS, FAILED, WARNED, LACKS, UNKNOWN = (
    "stands",
    "a check failed",
    "stands, with a warning",
    "may lack records",
    "no record",
)
"""How a number stands."""
_TEXT_OF_A_CHECK = (
    Column("check_name", "Check"),
    Column("asset", "Table"),
    Column("outcome", "Verdict"),
    Column("checked_at", "Checked at", "instant"),
    Column("figures", "Figures"),
)


@dataclass(frozen=True)
class _Number:
    """A headline number with what is known of it; without an explanation where no record is in its period."""

    metric: Metric
    period: Period
    kind: Kind
    found: Explanation | None
    why: str = ""

    @property
    def verdict(self) -> str:
        """How it stands, in a word or three."""
        return verdict(self.found) if self.found else UNKNOWN

    def row(self) -> tuple[Any, ...]:
        """Its row of the page."""
        found = self.found
        outcomes = Counter(check.outcome for check in found.checks or ()) if found else Counter()
        value = found.value if found else None
        return (
            self.metric.name,
            self.metric.label,
            self.period.name,
            self.verdict,
            *(_of_kind(value, kind) if kind == self.kind else None for kind in _KINDS),
            sum(part.record_count for part in found.parts) if found else 0,
            outcomes["passed"],
            outcomes["warned"],
            outcomes["failed"] + outcomes["missing"],
            _last(found.reconciled) if found else None,
        )


def verdict(found: Explanation) -> str:
    """How a number stands: the gravest that is known of it."""
    outcomes = {check.outcome for check in found.checks or ()}
    if outcomes & {"failed", "missing"} or any(part.adds_up is False for part in found.parts):
        return FAILED
    if found.lacks:
        return LACKS
    if found.checks is None:
        return UNKNOWN
    return WARNED if "warned" in outcomes else STANDS


def content(published: Published) -> Content:
    """The page of what is published.

    Raises:
        ReportError: what is published can't be read.
    """
    try:
        numbers = [*_numbers(published)]
    except WarehouseError as error:
        raise ReportError(str(error)) from error
    rows = Rows(
        "trust",
        (
            Column("metric", "Metric"),
            Column("label", "Number"),
            Column("period", "Period"),
            Column("verdict", "Verdict"),
            *(Column(f"value_{kind}", "Value", kind) for kind in _KINDS),
            Column("records", "Records", "count"),
            Column("passed", "Checks passed", "count"),
            Column("warned", "Warned", "count"),
            Column("failed", "Failed", "count"),
            Column("reconciled_at", "Last reconciled", "instant"),
        ),
        [number.row() for number in numbers],
        "gtm explain",
    )
    return Content([_all_numbers(rows, numbers), *(_section(number) for number in numbers)])


def _numbers(published: Published) -> Iterator[_Number]:
    layer, file = SemanticLayer(manifest_path()), PublishedFile(published.connection, "the published file")
    explainer = Explainer(layer, file, sources())
    until = last_day(file)
    periods = {"month": month_of(f"{until:%Y-%m}"), "quarter": period_of(file, quarter="-0q"), "all": ALL_DAYS}
    for name, of in HEADLINES.items():
        if name not in layer.metrics:
            continue
        metric = layer.metrics[name]
        try:
            found = explainer.explain(name, periods[of], shown=0)
        except MetricError as error:
            yield _Number(metric, periods[of], _kind_of(metric), None, str(error))
        else:
            yield _Number(metric, periods[of], _kind_of(metric), found)


def _kind_of(metric: Metric) -> Kind:
    if metric.measure is None:
        return "share"
    return _KIND_OF_MEASURE.get(metric.measure.aggregation, "number")


_KIND_OF_MEASURE: Mapping[str, Kind] = {"sum": "amount", "count": "count"}
"""What the figures of a measure are, by how it is added up."""


def _of_kind(value: Any, kind: Kind) -> Any:
    return Decimal(value) if kind == "amount" and value is not None else value


def _last(checks: Sequence[Check]) -> datetime | None:
    return max((check.checked_at for check in checks if check.checked_at), default=None)


def _all_numbers(rows: Rows, numbers: Sequence[_Number]) -> Section:
    tiles: list[Figure] = [
        Tile(
            number.metric.label,
            rows,
            Measure(number.metric.label, f"value_{number.kind}", number.kind, metric=number.metric.name),
            better="",
            where={"metric": number.metric.name},
            note=f"{number.period.name}: {number.verdict}",
        )
        for number in numbers
    ]
    table = Table(
        "How far each can be trusted",
        rows,
        ["label", "period", "verdict", "reconciled_at"],
        [
            Measure("Records", "records", "count"),
            Measure("Checks passed", "passed", "count"),
            Measure("Warned", "warned", "count"),
            Measure("Failed", "failed", "count"),
        ],
        wide=True,
        note="A check that failed and blocks publishing keeps the file that was published before. What a check "
        "found stands on the page of operations.",
    )
    return Section("The headline numbers", [*tiles, table])


def _section(number: _Number) -> Section:
    metric, found = number.metric, number.found
    paragraphs = [metric.description, f"Computed as {metric.definition}."]
    if found is None:
        return Section(metric.label, [Words([*paragraphs, number.why])])
    for part in found.parts:
        proof = {True: "they add up to it", False: "they do not add up to it", None: "nothing is to be added up"}
        paragraphs.append(
            f"{part.metric} is made of {part.record_count:,} records of {part.table}: {proof[part.adds_up]}."
        )
    paragraphs.append(f"The records come from {', '.join(found.lineage.raw_tables)}.")
    paragraphs += found.not_followed
    return Section(
        metric.label,
        [
            Words(paragraphs),
            _table(f"{metric.name}_reconciled", "With what it was reconciled", found.reconciled),
            _table(
                f"{metric.name}_troubled",
                "Checks that did not pass",
                found.troubled,
                "Every check that guards it passed.",
            ),
            Table(
                "What may be missing",
                Rows(
                    f"{metric.name}_lacks",
                    (Column("table", "Table"), Column("what", "What"), Column("since", "Since")),
                    [(lack.table, lack.what, lack.since) for lack in found.lacks],
                    "gtm explain",
                ),
                ["table", "what", "since"],
                if_missing="Nothing that is known of.",
                wide=True,
            ),
        ],
        note=f"{number.period.name}: {number.verdict}",
    )


def _table(name: str, title: str, checks: Sequence[Check], if_missing: str = "") -> Table:
    values = [
        (check.name, check.asset, check.outcome, check.checked_at, figures(check.figures)) for check in checks
    ]
    rows = Rows(name, _TEXT_OF_A_CHECK, values, "gtm explain")
    return Table(title, rows, [column.name for column in _TEXT_OF_A_CHECK], if_missing=if_missing, wide=True)


PAGE = Page(
    "trust",
    "Trust",
    "How far each headline number can be trusted: what it is made of, which checks guard it, what may be missing.",
    content,
)
