"""Schema drift: what of a landing does not have the shape that the catalogue gives its table.

| drift | lands | finding |
|---|---|---|
| new column | yes, as text | passes, and names it |
| column gone | null from then on | error where a model reads it, else passes and names it |
| type changed | what casts without loss; the rest waits in quarantine | error |
| more decimals than six | yes, rounded to six | warning |
| new table in scope | no | warning |
| table gone | nothing new; what was last known stays | error, by the check whether the table is readable |

A source that describes its tables is believed: then a field counts as gone that a model reads and that every
organisation has, though it never had a value, and new fields are named and not landed.

None of it blocks: a column may only be hidden from our user, and what could not be typed is in quarantine, which
has a check of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from gtm_assets.catalog.raw_table import Described
from gtm_assets.finding import Finding
from gtm_assets.lake.landing import Landing

TYPE_CHANGED_SHARE = 0.5
"""From this share of a landing's records on, values that don't fit are a change of type and no longer slips."""


def schema_drift(
    landings: Sequence[Landing],
    had_values: Collection[str],
    read: Collection[str],
    described: Described | None = None,
) -> Finding:
    """What drifted in the landings of one run, oldest first.

    ``had_values`` are the columns that had a value before, ``read`` those that a model reads, ``described`` what
    the source says of the table.
    """
    drift = _Drift(landings, had_values, read, described or Described())
    errors, warnings = drift.errors(), drift.warnings()
    return Finding(
        passed=not errors and not warnings,
        sentence=" ".join([*errors, *warnings, *drift.notes()]) or "The columns are those of the catalogue.",
        severity=dg.AssetCheckSeverity.WARN if warnings and not errors else dg.AssetCheckSeverity.ERROR,
        figures=drift.figures(),
    )


class _Drift:
    """How the landings of one run differ from the catalogue, in sentences by how grave they are."""

    def __init__(
        self, landings: Sequence[Landing], had_values: Collection[str], read: Collection[str], described: Described
    ) -> None:
        self._name, self._had_values, self._described = landings[-1].table.qualified_name, had_values, described
        # A landing without records may not name its columns.
        self._arrived = [landing for landing in landings if landing.received]
        self._new = sorted({name for landing in self._arrived for name in landing.unknown_columns})
        absent = {*(self._arrived[-1].missing_columns if self._arrived else ()), *described.absent}
        expected = {*had_values, *described.expected}
        self._gone, self._never = sorted(absent & expected), sorted(absent - expected)
        self._read_and_gone = [name for name in self._gone if name in read]
        self._retyped = {**described.retyped, **_retyped(self._arrived)}
        self._rounded = [problem for landing in self._arrived for problem in landing.rounded]

    def errors(self) -> list[str]:
        found = []
        if self._read_and_gone:
            verb = "no longer returns" if set(self._read_and_gone) <= set(self._had_values) else "does not return"
            found.append(
                f"{self._name} {verb} {', '.join(self._read_and_gone)}, which models read; they go on "
                f"with null. Give the platform's user the field back, or take it out of the models."
            )
        if self._retyped:
            columns, problems = ", ".join(self._retyped), "; ".join(self._retyped.values())
            found.append(
                f"{self._name} changed the type of {columns}: {problems}. "
                f"Mend the type in the catalogue, then: gtm quarantine retry {self._name}"
            )
        return found

    def warnings(self) -> list[str]:
        if not self._rounded:
            return []
        first, count = self._rounded[0], sum(problem.records for problem in self._rounded)
        return [
            f"{self._name} has amounts with more than six decimals, which are rounded to six: "
            f"{', '.join(self._rounded_columns())}, in {count:,} values "
            f"(first: {first.column} {first.example_value!r} of {first.example_id}). Where they matter, "
            f"give the field fewer decimals in the source."
        ]

    def notes(self) -> list[str]:
        described, found = self._described, []
        if self._new:
            found.append(f"New columns, landed as text and read by no model: {', '.join(self._new)}.")
        if described.new:
            found.append(f"New fields, not landed: {', '.join(described.new)}.")
        if described.not_landed:
            found.append(f"{len(described.not_landed)} fields are not in the catalogue and not landed.")
        if unread := [name for name in self._gone if name not in self._read_and_gone]:
            found.append(f"Gone, and read by no model: {', '.join(unread)}.")
        if repaired := "; ".join(landing.describe_repaired() for landing in self._arrived if landing.repaired):
            found.append(
                f"Texts held characters that are none (U+FFFD stands for them, NUL is left out): {repaired}."
            )
        found += [
            f"{field} stands for {name}, whose own is hidden." for name, field in described.stand_ins.items()
        ]
        if self._never:
            found.append(f"In the catalogue and never returned: {', '.join(self._never)}.")
        return found

    def figures(self) -> dict[str, list[str]]:
        return {
            "new_columns": [*self._new, *self._described.new],
            "fields_not_landed": list(self._described.not_landed),
            "columns_gone": self._gone,
            "columns_gone_that_models_read": self._read_and_gone,
            "types_changed": sorted(self._retyped),
            "amounts_rounded": self._rounded_columns(),
        }

    def _rounded_columns(self) -> list[str]:
        return sorted({problem.column for problem in self._rounded})


def _retyped(landings: Sequence[Landing]) -> dict[str, str]:
    """The columns of whose values so many did not fit that their type has changed, each with how."""
    return {
        problem.column: f"{problem.column} {problem.problem} "
        f"(first: {problem.example_id} {problem.example_value!r})"
        for landing in landings
        for problem in landing.problems
        if problem.records >= max(2, TYPE_CHANGED_SHARE * landing.received)
    }


def columns_read(manifest: Mapping[str, Any]) -> dict[tuple[str, str], set[str]]:
    """The raw columns that some model reads, by source and table name: those that the SQL above its base names."""
    nodes = manifest["nodes"]
    read: dict[tuple[str, str], set[str]] = {}
    for source in manifest["sources"].values():
        bases = set(manifest["child_map"].get(source["unique_id"], ()))
        readers = {child for base in bases for child in manifest["child_map"].get(base, ())}
        sql = "\n".join(nodes[node]["raw_code"] for node in readers if node.startswith("model."))
        words = set(re.findall(r"\w+", re.sub(r"--[^\n]*", "", sql)))
        read[source["source_name"], source["name"]] = words & set(source["columns"])
    return read
