"""``gtm metrics``: MetricFlow's own commands, asked of the published file.

Metrics are defined in ``gtm_dbt/models/semantic``. A build under way is neither waited for nor disturbed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import click

from gtm_assets.dbt_runner import DBT_DIR, manifest_path
from gtm_assets.settings import Settings
from gtm_assets.warehouse import WarehouseError

COMMANDS = ("query", "list", "validate-configs")
"""What is offered of MetricFlow's commands; the others make examples of their own."""


def ask(settings: Settings, arguments: Sequence[str]) -> None:
    """Run one of MetricFlow's commands and end the process as it does.

    Raises:
        WarehouseError: nothing has been published yet.
        TransformError: dbt can't parse the project.
    """
    if not settings.published_path.exists():
        raise WarehouseError(f"nothing is published at {settings.published_path} yet. Build it: gtm run")
    manifest_path()
    logs = settings.dbt_target_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "GTM_HOME": str(settings.home),
        "DBT_TARGET": "published",
        "DBT_PROJECT_DIR": str(DBT_DIR),
        "DBT_PROFILES_DIR": str(DBT_DIR),
        "DBT_LOG_PATH": str(logs),
    }
    # It unpickles a file from the temporary folder, into which others may write.
    tempfile.tempdir = str(settings.dbt_target_dir)
    from dbt_metricflow.cli.main import cli

    # Its commands without their group, which would ask PyPI for a newer version each time.
    offered = click.Group("metrics", commands={name: cli.commands[name] for name in COMMANDS})
    offered.main(list(arguments), prog_name="gtm metrics")
