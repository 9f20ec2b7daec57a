"""A number explained: what it means, what it is made of, what guards it and what it may lack."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from gtm_assets.dbt.semantic_layer import Metric, MetricError, Question, SemanticLayer
from gtm_assets.explaining.lineage import Lineage, lineage
from gtm_assets.explaining.missing import Lack, lacks
from gtm_assets.explaining.period import Period
from gtm_assets.explaining.published import Check, Published, checks, landed, publication, unreadable, waiting
from gtm_assets.explaining.records import Record, Rows, Source, Value, followed, rows_of
from gtm_assets.lake.reader import LakeReader
from gtm_assets.partitions import Calendar

Batches = Mapping[str, Mapping[str, str]]
"""By table the batches that were published, each with its partition."""
Newest = Callable[[Sequence[Check]], Sequence[Check]]
"""Gives checks as they stand now, which may have run since the publication."""


@dataclass(frozen=True)
class Part:
    """A simple metric that a number is made of."""

    metric: str
    definition: str
    value: Value
    table: str
    """Whose rows it is made of, ``schema.table``."""
    record_count: int
    adds_up: bool | None
    """Whether the rows' values give the part's value, to the cent; None: there is nothing to compare."""
    records: Sequence[Record]
    """The largest of the rows, as many as were asked for, each with its versions in the lake."""


@dataclass(frozen=True)
class Explanation:
    """All that is known of a number."""

    metric: str
    label: str
    description: str
    definition: str
    period: str
    where: Sequence[str]
    value: Value
    parts: Sequence[Part]
    lineage: Lineage
    published_at: datetime
    """UTC."""
    as_of: datetime
    """Up to when records count, UTC."""
    place: str
    """What was read."""
    checks: Sequence[Check] | None
    """Those that guard it; None where whoever asks is not told."""
    lacks: Sequence[Lack]
    not_followed: Sequence[str]
    """What could not be followed, and why."""

    @property
    def reconciled(self) -> list[Check]:
        """The checks that compare its tables with the records or with core, those nearest to the number first."""
        found = [check for check in self.checks or () if check.reconciles and check.checked_at]
        return sorted(found, key=lambda check: (self.lineage.assets.index(check.asset), check.name))

    @property
    def troubled(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks or () if check.outcome != "passed"]

    @property
    def is_trusted(self) -> bool | None:
        """Whether each check that blocks publishing passed, and nothing is missing; None: it is not told."""
        if self.checks is None:
            return None
        stands = all(check.outcome not in ("failed", "missing") for check in self.checks)
        return stands and not self.lacks and all(part.adds_up is not False for part in self.parts)

    def as_json(self) -> dict[str, Any]:
        """For machines. Decimals are texts, so that no cent is lost."""
        told = dataclasses.asdict(self)
        told["reconciled"] = [dataclasses.asdict(check) for check in self.reconciled]
        told["is_trusted"] = self.is_trusted
        plain: dict[str, Any] = json.loads(json.dumps(told, default=_plain))
        return plain


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else str(value)


def as_published(checks: Sequence[Check]) -> Sequence[Check]:
    """Checks as they stood at the publication."""
    return checks


@dataclass(frozen=True)
class Explainer:
    """Explains numbers of one publication."""

    layer: SemanticLayer
    published: Published
    sources: Sequence[Source] = ()
    lake: LakeReader | None = None
    """Where records are followed; None where whoever asks may read what is published alone."""
    calendar: Calendar | None = None
    newest: Newest = as_published

    def explain(
        self,
        name: str,
        period: Period,
        where: Sequence[str] = (),
        shown: int | None = 10,
        now: datetime | None = None,
    ) -> Explanation:
        """Explain a metric's number in a period. ``shown``: so many records of each part, all where None.

        Raises:
            MetricError: there is no such metric, the condition can't be asked, or no record is in the period.
            WarehouseError: what is published can't be read.
            LakeError: a file of the lake can't be read.
        """
        metric, said = self.layer.metric(name), publication(self.published)
        batches = landed(self.published)
        (row,) = self.published.rows(self.layer.sql(Question([name], (), where, period.first, period.last))) or [
            {}
        ]
        why: list[str] = []
        parts = [self._part(leaf, period, where, shown, batches, why) for leaf in self.layer.leaves(name)]
        if not any(part.record_count for part in parts):
            raise MetricError(self._nothing(metric, period, where))
        models = dict.fromkeys(leaf.measure.model for leaf in self.layer.leaves(name) if leaf.measure)
        made_of = lineage(self.layer.manifest, models)
        told = checks(self.published, made_of.assets)
        if told is None:
            why.append(
                "The checks are not told: an earlier release published. Publish anew: gtm run"
                if self.published.is_whole
                else "The checks are not told to this reader."
            )
        if batches is None:
            why.append("Which partitions were published is not told to this reader.")
        tables = [
            source.tables[raw.partition(".")[2]]
            for raw in made_of.raw_tables
            for source in self.sources
            if raw in {table.qualified_name for table in source.tables.values()}
        ]
        return Explanation(
            metric.name,
            metric.label,
            metric.description,
            metric.definition,
            period.name,
            tuple(where),
            row.get(name),
            parts,
            made_of,
            said["published_at"],
            said["as_of"],
            self.published.place,
            None if told is None else self.newest(told),
            lacks(
                tables,
                batches or {},
                unreadable(self.published),
                waiting(self.published),
                self.lake,
                self.calendar,
                now or said["as_of"],
            ),
            tuple(dict.fromkeys(why)),
        )

    def _part(
        self,
        leaf: Metric,
        period: Period,
        where: Sequence[str],
        shown: int | None,
        batches: Batches | None,
        why: list[str],
    ) -> Part:
        measure = leaf.measure
        assert measure is not None
        asked = Question([leaf.name], (), where, period.first, period.last)
        (row,) = self.published.rows(self.layer.sql(asked)) or [{}]
        rows = rows_of(self.layer, self.published, leaf, period, where, row.get(leaf.name))
        if rows.why_not:
            why.append(f"{leaf.name}: {rows.why_not}")
        records = rows.records[: len(rows.records) if shown is None else shown]
        if records:
            records = self._followed(rows, records, batches, why)
        return Part(
            leaf.name,
            leaf.definition,
            row.get(leaf.name),
            rows.table,
            len(rows.records),
            rows.adds_up,
            records,
        )

    def _followed(
        self,
        rows: Rows,
        records: Sequence[Record],
        batches: Batches | None,
        why: list[str],
    ) -> Sequence[Record]:
        if not rows.table.startswith("gtm_core."):
            return records
        core = rows.table.removeprefix("gtm_core.")
        if self.lake is None or not batches:
            why.append(
                f"The records are followed to {rows.table}: "
                + (
                    "they lie in another loader's database, which has no batches."
                    if self.published.is_whole
                    else "what lies beneath, the lake, is not masked, and is read by who publishes alone."
                )
            )
            return records
        if core not in {origin.core for source in self.sources for origin in source.origins}:
            why.append(f"{rows.table} is not followed to the lake: no origin of its rows is known.")
            return records
        found = followed(self.published, self.lake, self.sources, batches, rows, records)
        gone = [record.id for record in found if not record.versions]
        if gone:
            why.append(
                f"{len(gone):,} records of {rows.table} have no version in the lake, such as {gone[0]}: they were "
                "erased, or their versions are not kept any more."
            )
        return found

    def _nothing(self, metric: Metric, period: Period, where: Sequence[str]) -> str:
        leaf = self.layer.leaves(metric.name)[0]
        asked = Question([leaf.name], ["metric_time__month"], where)
        months = [
            row["metric_time__month"]
            for row in self.published.rows(self.layer.sql(asked))
            if row["metric_time__month"] is not None
        ]
        condition = f" where {' and '.join(where)}" if where else ""
        if not months:
            return f"{metric.name} has no record{condition} at all in what is published. It is {leaf.definition}"
        return (
            f"{metric.name} has no record{condition} in {period.name}. There are some from "
            f"{min(months):%Y-%m} to {max(months):%Y-%m}: gtm explain {metric.name} --month {max(months):%Y-%m}"
        )
