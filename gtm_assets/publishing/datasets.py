"""Certified datasets: what they select, and the views of them that each place makes where people read.

They are models of the layer ``certified``. Their SQL is plain and reads core and mart alone, so that the same text
makes a view in the published file, in a file that is shared, and on a server over views that mask and filter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gtm_assets.dbt.assets import PUBLISHED_LAYERS
from gtm_assets.dbt.project import TransformError
from gtm_assets.engines.engine import Table
from gtm_assets.engines.files import literal

_REF = re.compile(r"\{\{\s*ref\('(\w+)'\)\s*\}\}")


def query_of(node: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What a certified dataset selects. ``names`` are those of tables, ``gtm_<layer>.<table>``, by node.

    Raises:
        TransformError: it has more of Jinja in it than ref(), or reads what is not published.
    """
    read = {id_.rpartition(".")[2]: names[id_] for id_ in node["depends_on"]["nodes"]}
    query = _REF.sub(lambda ref: read.get(ref[1], ref[0]), node["raw_code"])
    others = sorted(set(read.values()) - set(tables_in(query)))
    if "{{" in query or "{%" in query or others:
        raise TransformError(
            f"the certified dataset {node['name']} is made anew wherever it is published, so that it may select "
            f"from models of {' and '.join(PUBLISHED_LAYERS)} alone, in plain SQL with ref()"
            + (f". It reads {', '.join(others)}" if others else "")
        )
    return query.strip()


_TABLE = re.compile(rf"\bgtm_(?:{'|'.join(PUBLISHED_LAYERS)})\.\w+")


def tables_in(query: str) -> list[str]:
    """The published tables that a certified dataset's query names."""
    return sorted(set(_TABLE.findall(query)))


def views_of(described: Mapping[str, Table], tables: set[str], place: str = "") -> list[str]:
    """The statements that make the certified datasets of a file which holds ``tables``, as views.

    ``place`` is the file's name and a full stop, where it is not the one that is open.
    """
    statements = []
    for view, what in sorted(described.items()):
        if what.query and tables.issuperset(tables_in(what.query)):
            statements += [
                f"create schema if not exists {place}{view.split('.')[0]}",
                f"create view {place}{view} as {what.query}",
                *comments_on("view", f"{place}{view}", what),
            ]
    return statements


def comments_on(kind: str, table: str, described: Table | None) -> list[str]:
    """The statements that describe a table or a view, as ``kind`` says, and its columns."""
    if described is None:
        return []
    return [
        f"comment on {kind} {table} is {literal(described.description)}",
        *(
            f"comment on column {table}.{name} is {literal(text)}"
            for name, text in described.columns.items()
            if text
        ),
    ]
