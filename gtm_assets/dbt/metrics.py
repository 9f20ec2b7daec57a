"""``gtm metrics``: MetricFlow's own commands, asked of the published file.

Metrics are defined in ``gtm_dbt/models/semantic``. A build under way is neither waited for nor disturbed.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from gtm_assets.dbt.project import DBT_DIR, dbt_environment, manifest_path
from gtm_assets.dbt.warehouse import WarehouseError
from gtm_assets.engines.duckdb import DuckDB
from gtm_assets.settings import Settings, environment_with

if TYPE_CHECKING:
    from metricflow.data_table.mf_table import MetricFlowDataTable

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
    if not settings.export_published:
        raise WarehouseError(
            "metrics read the published file, which has no tables with GTM_EXPORT_PUBLISHED=false: leave it out"
        )
    manifest_path()
    logs = settings.dbt_target_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    # The last four are MetricFlow's and dbt's own variables, for which its commands have no options.
    told = {
        **dbt_environment(settings, DuckDB(settings.published_path)),
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

    _replace(main, "Halo", _spinner)
    _replace(MetricFlowDataTable, "text_format", _in_full)


def _replace(owner: object, name: str, made_of: Callable[[Any], Any]) -> None:
    """Put in the place of a library's own class or method what is made of it."""
    setattr(owner, name, made_of(getattr(owner, name)))


def _spinner(halo: type[Any]) -> type[Any]:
    """A spinner that turns on a screen alone, and says everywhere how it ended."""

    def start(spinner: Any, text: str | None = None) -> Any:
        return halo.start(spinner, text) if sys.stdout.isatty() else spinner

    return type("Spinner", (halo,), {"start": start})


class _InFull(Decimal):
    """A number whose general format has no exponent: 1893456.78 and not 1.89346e+06, with up to six decimals."""

    def __format__(self, spec: str, *_: object) -> str:
        if spec != "g" or not self.is_finite():
            return super().__format__(spec)
        if self and abs(self) < Decimal("0.000001"):
            return f"{float(self):g}"
        text = f"{Decimal(self):.6f}"
        return text.rstrip("0").rstrip(".")


TextFormat = Callable[["MetricFlowDataTable", int | None], str]


def _in_full(text_format: TextFormat) -> Callable[..., str]:
    def shown(table: MetricFlowDataTable, float_decimals: int | None = None) -> str:
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
