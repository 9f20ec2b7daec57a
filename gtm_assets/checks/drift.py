"""Schema drift: what of a landing does not have the shape that the catalogue gives its table.

| drift | lands | told |
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
    described = described or Described()
    table = landings[-1].table
    arrived = [landing for landing in landings if landing.received]
    new = sorted({name for landing in arrived for name in landing.unknown_columns})
    absent = set(arrived[-1].missing_columns) if arrived else set()
    absent |= described.absent
    expected = {*had_values, *described.expected}
    gone = sorted(absent & expected)
    never = sorted(absent - expected)
    read_and_gone = [name for name in gone if name in read]
    retyped = {
        problem.column: f"{problem.column} {problem.problem} "
        f"(first: {problem.example_id} {problem.example_value!r})"
        for landing in arrived
        for problem in landing.problems
        if problem.records >= max(2, TYPE_CHANGED_SHARE * landing.received)
    }
    retyped = {**described.retyped, **retyped}
    rounded = sorted({problem.column for landing in arrived for problem in landing.rounded})
    errors = []
    if read_and_gone:
        verb = "no longer returns" if set(read_and_gone) <= set(had_values) else "does not return"
        errors.append(
            f"{table.qualified_name} {verb} {', '.join(read_and_gone)}, which models read; they go on "
            f"with null. Give the platform's user the field back, or take it out of the models."
        )
    if retyped:
        errors.append(
            f"{table.qualified_name} changed the type of {', '.join(retyped)}: {'; '.join(retyped.values())}. "
            f"Mend the type in the catalogue, then: gtm quarantine retry {table.qualified_name}"
        )
    told = []
    if rounded:
        cut = [problem for landing in arrived for problem in landing.rounded]
        told.append(
            f"{table.qualified_name} has amounts with more than six decimals, which are rounded to six: "
            f"{', '.join(rounded)}, in {sum(problem.records for problem in cut):,} values "
            f"(first: {cut[0].column} {cut[0].example_value!r} of {cut[0].example_id}). Where they matter, "
            f"give the field fewer decimals in the source."
        )
    notes = []
    if new:
        notes.append(f"New columns, landed as text and read by no model: {', '.join(new)}.")
    if described.new:
        notes.append(f"New fields, not landed: {', '.join(described.new)}.")
    if described.not_landed:
        notes.append(f"{len(described.not_landed)} fields are not in the catalogue and not landed.")
    if set(gone) - set(read_and_gone):
        notes.append(f"Gone, and read by no model: {', '.join(sorted(set(gone) - set(read_and_gone)))}.")
    if repaired := "; ".join(landing.describe_repaired() for landing in arrived if landing.repaired):
        notes.append(f"Texts held characters that are none (U+FFFD stands for them, NUL is left out): {repaired}.")
    notes += [f"{field} stands for {name}, whose own is hidden." for name, field in described.stand_ins.items()]
    if never:
        notes.append(f"In the catalogue and never returned: {', '.join(never)}.")
    return Finding(
        passed=not errors and not told,
        sentence=" ".join([*errors, *told, *notes]) or "The columns are those of the catalogue.",
        severity=dg.AssetCheckSeverity.WARN if told and not errors else dg.AssetCheckSeverity.ERROR,
        figures={
            "new_columns": [*new, *described.new],
            "fields_not_landed": list(described.not_landed),
            "columns_gone": gone,
            "columns_gone_that_models_read": read_and_gone,
            "types_changed": sorted(retyped),
            "amounts_rounded": rounded,
        },
    )


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
