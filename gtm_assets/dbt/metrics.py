"""``gtm metrics``: MetricFlow's own commands, asked of the published file.

Metrics are defined in ``gtm_dbt/models/semantic``. A build under way is neither waited for nor disturbed.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from decimal import Decimal

import click

from gtm_assets.dbt.project import DBT_DIR, dbt_environment, manifest_path
from gtm_assets.dbt.warehouse import WarehouseError
from gtm_assets.settings import Settings, environment_with

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
    # The last four are MetricFlow's and dbt's own variables, for which its commands have no options.
    told = {
        **dbt_environment(settings, settings.warehouse_path),
        "DBT_TARGET": "published",
        "DBT_PROJECT_DIR": str(DBT_DIR),
        "DBT_PROFILES_DIR": str(DBT_DIR),
        "DBT_LOG_PATH": str(logs),
    }
    # MetricFlow unpickles a file from the temporary folder, into which others may write.
    tempfile.tempdir = str(settings.dbt_target_dir)
    with environment_with(told):
        from dbt_metricflow.cli.main import cli

        show_for_people()
        # Call MetricFlow's commands without their group, which would ask PyPI for a newer version each time.
        offered = click.Group("metrics", commands={name: cli.commands[name] for name in COMMANDS})
        offered.main(list(arguments), prog_name="gtm metrics")


def show_for_people() -> None:
    """Let MetricFlow print amounts in full, and its spinner only where somebody looks at it."""
    from dbt_metricflow.cli import main
    from metricflow.data_table.mf_table import MetricFlowDataTable

    main.Halo = _spinner(main.Halo)
    MetricFlowDataTable.text_format = _in_full(MetricFlowDataTable.text_format)


def _spinner(halo: type) -> type:
    class Spinner(halo):
        """Says how it ended; turns on a screen alone."""

        def start(self, text: str | None = None):
            return super().start(text) if sys.stdout.isatty() else self

    return Spinner


class _InFull(Decimal):
    """A number whose general format has no exponent: 1893456.78 and not 1.89346e+06, with up to six decimals."""

    def __format__(self, spec: str, *_) -> str:
        if spec != "g" or not self.is_finite():
            return super().__format__(spec)
        if self and abs(self) < Decimal("0.000001"):
            return f"{float(self):g}"
        text = f"{Decimal(self):.6f}"
        return text.rstrip("0").rstrip(".")


def _in_full(text_format):
    def shown(table, float_decimals: int | None = None) -> str:
        columns = tuple(
            dataclasses.replace(column, column_type=Decimal) if column.column_type is float else column
            for column in table.column_descriptions
        )
        rows = tuple(
            tuple(_InFull(str(cell)) if isinstance(cell, float | Decimal) else cell for cell in row)
            for row in table.rows
        )
        return text_format(dataclasses.replace(table, column_descriptions=columns, rows=rows), float_decimals)

    return shown
