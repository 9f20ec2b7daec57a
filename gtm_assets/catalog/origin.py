"""How a row of core is followed to the raw records that it was made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where the records of a table of core lie in the lake."""

    core: str
    column: str
    """Core's column that names the record."""
    raw: str
    """Name of the raw table."""
    raw_column: str = "id"
    """The raw table's column that holds the same, as text."""
    prefix: str = ""
    """What core writes before it."""
    rows: str = "true"
    """SQL condition on the rows of core that the records are of."""
