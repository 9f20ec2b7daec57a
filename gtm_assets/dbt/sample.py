"""The first rows of a query, as what a check shows."""

from __future__ import annotations

from typing import Any

from gtm_assets.engines.engine import Connection
from gtm_assets.settings import SAMPLE_ROWS


def rows_of(connection: Connection, sql: str) -> list[dict[str, Any]]:
    """The first rows of a query, as dictionaries."""
    result = connection.execute(f"select * from ({sql}) as found limit {SAMPLE_ROWS}")
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
