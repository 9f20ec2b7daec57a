"""Schema drift: what of a landing does not have the shape that the catalogue gives its table.

| drift | lands | told |
|---|---|---|
| new column | yes, as text | passes, and names it |
| column gone | null from then on | error where a model reads it, else passes and names it |
| type changed | what casts without loss; the rest waits in quarantine | error |

None of it blocks: a column may only be hidden from our user, and what could not be typed is in quarantine, which
has a check of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from gtm_assets.checks.finding import Finding
from gtm_assets.lake import Landing

TYPE_CHANGED_SHARE = 0.5
"""From this share of a landing's records on, values that don't fit are a change of type and no longer slips."""


def schema_drift(landings: Sequence[Landing], had_values: Collection[str], read: Collection[str]) -> Finding:
    """What drifted in the landings of one run, oldest first.

    ``had_values`` are the columns that had a value before, ``read`` those that a model reads.
    """
    table = landings[-1].table
    arrived = [landing for landing in landings if landing.received]
    new = sorted({name for landing in arrived for name in landing.unknown_columns})
    absent = set(arrived[-1].missing_columns) if arrived else set()
    gone = sorted(absent & set(had_values))
    never = sorted(absent - set(had_values))
    read_and_gone = [name for name in gone if name in read]
    retyped = {
        problem.column: f"{problem.column} {problem.problem} "
        f"(first: {problem.example_id} {problem.example_value!r})"
        for landing in arrived
        for problem in landing.problems
        if problem.records >= max(2, TYPE_CHANGED_SHARE * landing.received)
    }
    errors = []
    if read_and_gone:
        errors.append(
            f"{table.qualified_name} no longer returns {', '.join(read_and_gone)}, which models read; they go on "
            f"with null. Give the platform's user the field back, or take it out of the models."
        )
    if retyped:
        errors.append(
            f"{table.qualified_name} changed the type of {', '.join(retyped)}: {'; '.join(retyped.values())}. "
            f"Mend the type in the catalogue, then: gtm quarantine retry {table.qualified_name}"
        )
    notes = []
    if new:
        notes.append(f"New columns, landed as text and read by no model: {', '.join(new)}.")
    if set(gone) - set(read_and_gone):
        notes.append(f"Gone, and read by no model: {', '.join(sorted(set(gone) - set(read_and_gone)))}.")
    if never:
        notes.append(f"In the catalogue and never returned: {', '.join(never)}.")
    return Finding(
        passed=not errors,
        sentence=" ".join([*errors, *notes]) or "The columns are those of the catalogue.",
        severity=dg.AssetCheckSeverity.ERROR,
        figures={
            "new_columns": new,
            "columns_gone": gone,
            "columns_gone_that_models_read": read_and_gone,
            "types_changed": sorted(retyped),
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
