"""What landing one partition did: counts, problems and columns, and the sentences that tell people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.files import PARTITION_DIR


@dataclass(frozen=True)
class Problem:
    """Values of one column that did not fit its type: their records went to quarantine, or they were rounded."""

    column: str
    problem: str
    records: int
    example_id: str | None
    example_value: str | None


@dataclass(frozen=True)
class Landing:
    """What landing one partition did."""

    table: RawTable
    partition: str
    batch_id: str | None
    """The new batch; None where all versions were there already."""
    received: int
    """Records that the source returned, repeats included."""
    added: int
    """Versions that were not in the lake before."""
    quarantined: int
    """Records that went to quarantine and were not there already."""
    bytes: int
    newest_cursor: datetime | None
    problems: tuple[Problem, ...]
    rounded: tuple[Problem, ...]
    """Amounts that landed with fewer decimals than the source gave them."""
    unknown_columns: tuple[str, ...]
    missing_columns: tuple[str, ...]
    columns: dict[str, str] = field(repr=False)
    """Column name to SQL type, as landed."""
    until: datetime
    """Up to when the partition was read: its end, or the minute where it is still open."""
    is_open: bool
    """Whether the partition was still open."""
    hard_deleted: int = 0
    """Records that a snapshot no longer holds: of the versions added, those that say so."""
    repaired: Mapping[str, int] = field(default_factory=dict)
    """Column to how many of its texts held characters that are none: U+FFFD stands for them, NUL is left out."""
    released: int = 0
    """Records that left quarantine, as the newest whole export no longer has them."""

    def describe_repaired(self) -> str:
        """The columns with such texts and how many, in a phrase. Empty where there are none."""
        return ", ".join(f"{name} in {count:,}" for name, count in sorted(self.repaired.items()))

    def describe_problems(self) -> str:
        """What was rounded; what is in quarantine, why and what to do, in sentences. Empty where nothing is."""
        name = self.table.qualified_name
        lines = [f"{self._sentence(p)} They are rounded to six." for p in self.rounded]
        if not self.problems:
            return "\n".join(lines)
        lines += [self._sentence(p) for p in self.problems]
        folder = f"lake/quarantine/{self.table.source}/{self.table.name}/{PARTITION_DIR.format(self.partition)}"
        lines.append(
            f"They are in quarantine ({folder}). Repaired at the source, they come back by themselves; "
            f"if our type is wrong, mend the catalogue and run: gtm quarantine retry {name}"
        )
        return "\n".join(lines)

    def _sentence(self, problem: Problem) -> str:
        example = f"{problem.example_id or 'no id'} {problem.example_value!r}"
        return (
            f"{self.table.qualified_name} {self.partition}: {problem.column} {problem.problem} in "
            f"{problem.records:,} of {self.received:,} records (first: {example})."
        )
