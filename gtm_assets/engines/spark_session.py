"""What dbt's adapter of Spark has no setting for."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def refuse_bad_casts() -> None:
    """Let Spark refuse what can't be cast, overflows or is divided by zero, as DuckDB and PostgreSQL do.

    dbt-spark has it give null there, for the sake of Spark 3, whatever the profile says.
    """
    from dbt.adapters.spark.session import Connection

    made = Connection.__init__

    def strict(self: Any, *, server_side_parameters: dict[Any, str] | None = None) -> None:
        made(self, server_side_parameters={**(server_side_parameters or {}), "spark.sql.ansi.enabled": "true"})

    Connection.__init__ = strict  # type: ignore[method-assign]
