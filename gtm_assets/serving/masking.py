"""How columns with personal data look to whoever may not see them: one rule of the access file, two dialects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from gtm_assets.engines.engine import Table
from gtm_assets.serving.access_file import Access, AccessError, Mask, missing_masks
from gtm_assets.serving.row_rules import missing_rules, tiers_of

Dialect = Literal["postgres", "duckdb"]
_WORDS: Mapping[Dialect, str] = {"postgres": r"(\w)\w*", "duckdb": r"([\p{L}\p{N}_])[\p{L}\p{N}_]*"}
"""A word and its first letter, of any alphabet: to DuckDB, \\w is a letter of English."""
_MASKS: Mapping[Mask, str] = {
    "email": "case when {value} is not null then '***@example.com' end",
    "phone": "'***-***-' || right(regexp_replace({value}, '\\D', '', 'g'), 4)",
    "initials": "regexp_replace({value}, '{words}', '\\1.', 'g')",
    "nothing": "cast(null as {type})",
}
_TEXTS = ("character varying", "text", "varchar")


def columns_of(
    access: Access,
    table: str,
    types: Mapping[str, str],
    tiers: Mapping[str, str],
    dialect: Dialect,
    shown: Callable[[str, str, str], str],
) -> list[str]:
    """What is selected of a table, which is called ``held``, with personal data masked.

    ``types`` and ``tiers`` are by column. ``shown`` makes of a tier, of a value and of what stands for it the
    expression that shows one of the two.

    Raises:
        AccessError: a column with personal data has no mask, or one for texts and is none.
    """
    columns = []
    for name, type_ in types.items():
        tier = tiers.get(name)
        value = f'held."{name}"'
        if tier is None:
            columns.append(value)
            continue
        mask = access.mask_of(name)
        if mask is None:
            raise AccessError(
                f"{table}.{name} holds {tier} personal data, and no rule of the access file masks it. Add one "
                "under masks, then: gtm access apply"
            )
        if mask != "nothing" and type_.lower() not in _TEXTS:
            raise AccessError(
                f"{table}.{name} is of type {type_}, and the access file masks it as {mask}, which is for texts. "
                "Give it the mask nothing"
            )
        masked = _MASKS[mask].replace("{words}", _WORDS[dialect]).replace("{value}", value)
        columns.append(f'{shown(tier, value, masked.replace("{type}", type_))} as "{name}"')
    return columns


def refuse(access: Access, described: Mapping[str, Table]) -> None:
    """Refuse an access file that leaves personal data in the open, or a table without a rule.

    Raises:
        AccessError: names each column without a mask, each table without a rule.
    """
    if columns := missing_masks(access, tiers_of(described)):
        raise AccessError(
            f"no rule of the access file masks {len(columns)} columns with personal data: "
            f"{', '.join(columns)}. Add rules under masks"
        )
    if tables := missing_rules(described):
        raise AccessError(
            f"no rule says whose the rows are of {', '.join(tables)}: give each model the meta row_rule, a "
            "column that names an owner, everyone or all"
        )
