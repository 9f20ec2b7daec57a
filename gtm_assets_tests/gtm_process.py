"""The `gtm` command as its users run it: a process of its own on a state folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from unittest import mock

from click.testing import CliRunner

from gtm_assets.cli.main import main
from gtm_assets.engines.files import connect

PROJECT = Path(__file__).resolve().parent.parent
GTM = Path(sys.executable).with_name("gtm")
SMALL = {
    "GTM_START_DATE": "2026-09-09",
    "GTM_END_DATE": "2026-09-11",
    "GTM_SYNTHETIC_SCALE": "0.001",
    "GTM_RETRY_SECONDS": "0",
}
"""Three partitions of the smallest organisation. A column appears on the last day."""


FIRST_END = "2026-09-10"
"""The last partition of the first of the runs that `built_home` has had."""


@dataclass(frozen=True)
class Finished:
    """A command that ended, with all that it said."""

    code: int
    output: str

    def check(self) -> Finished:
        assert self.code == 0, self.output
        return self


@dataclass(frozen=True)
class GtmHome:
    """A state folder and the settings that commands on it get."""

    path: Path
    settings: tuple[tuple[str, str], ...] = tuple(SMALL.items())
    patience: int = 900
    """Seconds in which a command has to end."""

    @property
    def environment(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("GTM_", "DAGSTER_"))}
        return {**own, **dict(self.settings), "GTM_HOME": str(self.path), "COLUMNS": "200"}

    def start(self, *arguments: str, now: datetime | None = None) -> subprocess.Popen:
        at = [sys.executable, "-m", "gtm_assets_tests.gtm_at", now.isoformat()] if now else [str(GTM)]
        return subprocess.Popen(
            [*at, *arguments],
            cwd=PROJECT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(self, *arguments: str, now: datetime | None = None) -> Finished:
        """What a command did; with ``now`` its clocks show that time."""
        process = self.start(*arguments, now=now)
        output, _ = process.communicate(timeout=self.patience)
        return Finished(process.returncode, output)

    def in_process(self, *arguments: str) -> Finished:
        """What a command did that neither builds nor serves, in this process: another takes seconds to import."""
        environment = self.environment | {"GTM_EXECUTOR": "multiprocess"}
        with mock.patch.dict(os.environ, environment, clear=True):
            result = CliRunner().invoke(main, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Finished(result.exit_code, result.output)

    def run(self, *arguments: str, now: datetime | None = None) -> Finished:
        return self.command("run", *arguments, now=now)

    @property
    def warehouse(self) -> Path:
        return self.path / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.path / "published" / "gtm.duckdb"

    @property
    def output_file(self) -> Path:
        """Beside the folder: what its runs said."""
        return self.path.with_suffix(".txt")

    @property
    def first_publication(self) -> Path:
        """Beside the folder: what its first run published."""
        return self.path.with_suffix(".first.duckdb")

    def lake_files(self) -> dict[str, bytes]:
        lake = self.path / "lake"
        return {str(path.relative_to(lake)): path.read_bytes() for path in sorted(lake.rglob("*.parquet"))}


def tables(database: Path, wanted: Callable[[str], bool] = lambda schema: True) -> dict[str, list[tuple]]:
    """All rows of all tables and views of a DuckDB file, by `schema.table`, in an order of their own.

    Of a warehouse also those of its second file; the ledger there is `staging.gtm_meta.consumed_batches`.
    """
    with connect(database) as connection:
        names = connection.execute(
            "select table_schema, table_name, table_catalog = 'staging' and table_schema = 'gtm_meta'"
            " from information_schema.tables order by all"
        ).fetchall()
        places = [
            f"{'staging.' if is_second else ''}{schema}.{name}"
            for schema, name, is_second in names
            if wanted(schema)
        ]
        return {place: connection.execute(f"select * from {place} order by all").fetchall() for place in places}


def differences(one: dict[str, list[tuple]], other: dict[str, list[tuple]]) -> list[str]:
    """Names of the tables that are not in both with the same rows."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
