"""What each dbt test says, in a sentence: the description of its check, and what a failure means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from gtm_assets.dbt.project import TransformError
from gtm_assets.settings import SAMPLE_ROWS

_KINDS = {
    "unique": "{column} is unique.",
    "primary_key": "{column} is unique and never null.",
    "not_null": "{column} is never null.",
    "never_null": "Never null: {columns}.",
    "not_negative": "Not below zero: {columns}.",
    "foreign_keys": "Never null, and each found where it points: {keys}.",
    "relationships": "Each {column} is a {field} of {to}.",
    "accepted_values": "{column} is one of: {values}.",
    "has_unknown_member": "The unknown member is there, once, for facts whose {column} resolves to nothing.",
    "equals_staging": "It holds what {staging} holds, record for record, with the same {columns}.",
    "adds_up_to": "Its numbers are those of {other}: {numbers}.",
    "one_currency": "The amounts that reports add are of one currency. Where they are of several: set the var "
    "reporting_currency in gtm_dbt/dbt_project.yml, give each other currency its rates in the seed currency_rates "
    "(gtm_dbt/seeds/currency_rates.csv), and run: gtm run.",
    "one_history_per_record": "The versions of each {column} follow on each other, and one is current. "
    "Where they do not, build the history afresh: gtm run --full-refresh.",
}
"""By generic test. One that is missing here is refused where the code location loads."""
_REF = re.compile(r"(?:ref|source)\(([^)]*)\)")


def meaning(node: Mapping[str, Any]) -> str:
    """What holds where a test passes. ``node`` is the test's entry in the manifest.

    A singular test says it in the comment that its file begins with.

    Raises:
        TransformError: the test says nothing, or nobody has said what its kind means.
    """
    generic = node.get("test_metadata")
    if not generic:
        comment = takewhile(lambda line: line.startswith("--"), node["raw_code"].splitlines())
        text = " ".join(line.removeprefix("--").strip() for line in comment)
        if not text:
            raise TransformError(f"dbt test {node['name']}: begin its file with a comment that says what holds")
        return text
    kind, arguments = generic["name"], dict(generic["kwargs"])
    if kind not in _KINDS:
        raise TransformError(f"dbt test {node['name']}: say in _KINDS of {__name__} what {kind} means")
    keys = arguments.pop("keys", {})
    return _KINDS[kind].format(
        column=arguments.pop("column_name", ""),
        columns=", ".join(arguments.pop("columns", [])),
        values=", ".join(map(str, arguments.pop("values", []))),
        to=_table(arguments.pop("to", "")),
        other=_table(arguments.pop("other", "")),
        numbers=", ".join(arguments.pop("numbers", {})),
        staging=_table(arguments.pop("staging", "")),
        keys=", ".join(f"{column} ({_table(key['to'])}.{key['field']})" for column, key in keys.items()),
        field=arguments.get("field", ""),
    )


def failure(node: Mapping[str, Any], count: int, rows: Sequence[Mapping[str, Any]]) -> str:
    """How much is against a test, and what would hold: the description of a check that failed.

    ``count`` is dbt's; ``rows`` are the first of what the test's query found.
    """
    kind: str = (node.get("test_metadata") or {}).get("name", "")
    if kind == "accepted_values":
        others = ", ".join(f"{row['other_value']} ({row['row_count']:,})" for row in rows)
        against = f"Rows against it: {count:,}. Their values: {others}{' …' if len(rows) == SAMPLE_ROWS else ''}."
    elif kind == "one_currency":
        against = "; ".join(f"{row['currency_iso_code']}: {row['amounts']}" for row in rows) + "."
    else:
        against = f"{_AGAINST.get(kind, 'Rows')} against it: {count:,}."
    return f"{against} {meaning(node)}"


_AGAINST = {"primary_key": "Keys", "unique": "Values"}
"""What a kind of test counts, where it is not rows."""


def _table(to: str) -> str:
    """The name in a ref or source."""
    named = _REF.search(to)
    return ".".join(re.findall(r"[\w]+", named[1])) if named else ""
