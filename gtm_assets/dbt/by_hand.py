"""``gtm dbt``: dbt by hand, on the warehouse of the state folder and under its lock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from gtm_assets.dbt.project import DBT_DIR, dbt_environment
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.engines.registry import engine_of
from gtm_assets.settings import Settings, load_settings

WITHOUT_WAREHOUSE = frozenset({"clean", "--help", "-h", "list", "ls", "parse", "--version"})
"""dbt's commands that open no database."""


def run_by_hand(settings: Settings, arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Run dbt with these arguments in a process of its own, and return its exit code.

    Dagster hears nothing of it: ``gtm build`` is for what the UI should show. ``say`` hears for whom we wait.

    Raises:
        WarehouseError: a process outside the platform has the warehouse open, or it can't be opened.
    """
    warehouse = Warehouse.of(settings)
    environment = {
        **os.environ,
        **dbt_environment(settings, warehouse.engine),
        "DBT_PROJECT_DIR": str(DBT_DIR),
        "DBT_PROFILES_DIR": str(DBT_DIR),
        "DBT_TARGET_PATH": str(settings.dbt_target_dir / "target"),
        "DBT_LOG_PATH": str(settings.dbt_target_dir / "logs"),
    }
    # -P: what lies in the current folder is not imported.
    command = [sys.executable, "-P", "-m", "gtm_assets.dbt.by_hand", *arguments]
    if not arguments or arguments[0] in WITHOUT_WAREHOUSE:
        return subprocess.run(command, env=environment).returncode
    with warehouse.locked(f"gtm dbt {arguments[0]}", say):
        warehouse.engine.prepare()
        return subprocess.run(command, env=environment).returncode


def _dbt() -> None:
    """That process."""
    from dbt.cli.main import cli

    engine_of(load_settings()).ready_dbt()
    cli(prog_name="dbt")


if __name__ == "__main__":
    _dbt()
