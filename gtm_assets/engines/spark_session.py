"""Spark's session in dbt's process, beyond what dbt's adapter has settings for."""

from __future__ import annotations

import fcntl
from functools import cache
from pathlib import Path
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

    Connection.__init__ = strict  # type: ignore[method-assign,unused-ignore]


@cache
def lock_until_its_end(path: Path) -> Any:
    """Let the session's JVM hold the lock of a file for as long as it lives. Gives Java's lock.

    It outlives this process where that is killed, by moments in which it may still commit.
    """
    from pyspark.sql import SparkSession

    jvm: Any = SparkSession.builder.getOrCreate()._jvm
    return jvm.java.io.RandomAccessFile(str(path), "rw").getChannel().lock()


def outwait(path: Path) -> None:
    """Wait until no JVM holds the lock of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        # Java locks as POSIX has it, and so does lockf.
        fcntl.lockf(file, fcntl.LOCK_EX)
