"""What a check found, in the one form in which all of ours report it: a sentence, figures, SQL, sample rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from gtm_assets.settings import SAMPLE_ROWS


@dataclass(frozen=True)
class Finding:
    """How a check ended. ``sentence`` says it for people; ``sql`` shows the rows, ``sample`` the first of them."""

    passed: bool
    sentence: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    """How grave it is where it did not pass."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    sql: str | None = None
    sample: Sequence[Mapping[str, Any]] = ()

    def result(self, check: dg.AssetCheckKey) -> dg.AssetCheckResult:
        """The finding as Dagster records it."""
        return dg.AssetCheckResult(**self._said_of(check))

    def evaluation(self, check: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
        """The finding for where no run makes it: a sensor, a command."""
        return dg.AssetCheckEvaluation(**self._said_of(check))

    def _said_of(self, check: dg.AssetCheckKey) -> dict[str, Any]:
        return {
            "asset_key": check.asset_key,
            "check_name": check.name,
            "passed": self.passed,
            "severity": self.severity,
            "description": self.sentence,
            "metadata": self.metadata(),
        }

    def metadata(self) -> dict[str, Any]:
        """Figures by name; ``sql`` and ``sample`` where there are any."""
        metadata: dict[str, Any] = dict(self.figures)
        if self.sql:
            metadata["sql"] = dg.MetadataValue.md(f"```sql\n{self.sql.strip()}\n```")
        if self.sample:
            metadata["sample"] = sample_table(self.sample)
        return metadata


def sample_table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """The first rows as a table in the UI. All values are shown as text."""
    first = rows[:SAMPLE_ROWS]
    names = list(dict.fromkeys(name for row in first for name in row))
    records = [dg.TableRecord({name: _text(row.get(name)) for name in names}) for row in first]
    return dg.MetadataValue.table(
        records, schema=dg.TableSchema([dg.TableColumn(name, "string") for name in names])
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)
