"""The checks on what dbt built, made by one op that opens the warehouse once, before anything is published."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg
import duckdb

from gtm_assets.automation.retries import retried
from gtm_assets.checks import reconciliation, scd
from gtm_assets.checks.finding import Finding
from gtm_assets.dbt_runner import project_variables
from gtm_assets.settings import Settings
from gtm_assets.sources.pipedrive.catalog import TABLES as PIPEDRIVE_TABLES
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.warehouse import Warehouse

SCD_INTEGRITY = "scd_integrity"
WITH_SOURCE = "reconciles_with_source"
WITH_PIPEDRIVE = "reconciles_with_pipedrive"
WITH_CORE = "reconciles_with_core"
HISTORIES = {"dim_account_scd2": "account_id", "dim_contact_scd2": "contact_id", "dim_user_scd2": "user_id"}
"""Table to the record's id."""

Check = Callable[[duckdb.DuckDBPyConnection, Mapping[str, Any] | None], Finding]
"""Makes a finding from the warehouse and the figures of the finding before it."""


def built_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """SCD integrity and reconciliation. All of them block publishing. A landing is not reconciled with core."""
    checks = _checks(settings)
    specs = [
        dg.AssetCheckSpec(key.name, asset=key.asset_key, description=_DESCRIPTIONS[key.name], blocking=True)
        for key in checks
    ]

    @dg.multi_asset_check(name="prove", specs=specs, can_subset=True)
    def prove(
        context: dg.AssetCheckExecutionContext, warehouse: dg.ResourceParam[Warehouse]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = [key for key in checks if key in context.selected_asset_check_keys]
        with (
            retried(context.op_execution_context, settings.retry_seconds),
            warehouse.open(f"checks, run {context.run.run_id[:8]}") as connection,
        ):
            for key in selected:
                before = _figures_before(context.instance, key) if key.name == SCD_INTEGRITY else None
                yield checks[key](connection, before).result(key)

    return prove


_DESCRIPTIONS = {
    SCD_INTEGRITY: "The history has no gap and no overlap, one current version per record, and unique keys.",
    WITH_SOURCE: "Counts and sums of the table are, day by day, those of the raw records.",
    WITH_PIPEDRIVE: "Counts of the table's rows from Pipedrive are, day by day, those of the raw records.",
    WITH_CORE: "Counts and sums of the report are those of core.",
}


def _checks(settings: Settings) -> dict[dg.AssetCheckKey, Check]:
    tables = {table.qualified_name: table for table in (*OBJECTS, *PIPEDRIVE_TABLES)}
    timezone, allowance = project_variables()["reporting_timezone"], settings.reconciliation_allowance
    checks: dict[dg.AssetCheckKey, Check] = {}
    for table, record_id in HISTORIES.items():
        checks[_key("core", table, SCD_INTEGRITY)] = partial(_scd, f"gtm_core.{table}", record_id)
    for tie in reconciliation.SOURCE_TIES:
        is_landed = settings.is_landed and tie.source == "salesforce"
        newest = reconciliation.newest_landed if is_landed else reconciliation.newest_in_lake
        name = WITH_PIPEDRIVE if tie.source == "pipedrive" else WITH_SOURCE
        checks[_key("core", tie.core, name)] = partial(
            _with_source, tie, tables[f"{tie.source}.{tie.raw}"], newest, timezone, allowance
        )
    for report in reconciliation.REPORT_TIES:
        checks[_key("mart", report.report, WITH_CORE)] = partial(_with_core, report, allowance)
    return checks


def discrepancies(checks: Iterable[dg.AssetCheckKey]) -> list[dg.AssetCheckKey]:
    """Those of the checks that find a number which does not tie to its source, or a broken history."""
    return [key for key in checks if key.name in _DESCRIPTIONS]


def _key(layer: str, table: str, name: str) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(dg.AssetKey([f"gtm_{layer}", table]), name)


def _scd(table, record_id, warehouse, before) -> Finding:
    return scd.scd_integrity(warehouse, table, record_id, before)


def _with_source(tie, table, newest, timezone, allowance, warehouse, _before) -> Finding:
    return reconciliation.reconcile_with_source(warehouse, tie, table, newest, timezone, allowance)


def _with_core(tie, allowance, warehouse, _before) -> Finding:
    return reconciliation.reconcile_with_core(warehouse, tie, allowance)


def _figures_before(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dict[str, Any] | None:
    """The figures of the newest finding; None where there is none. This run's own is only planned yet."""
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=5):
        if isinstance(record.evaluation, dg.AssetCheckEvaluation):
            return {name: value.value for name, value in record.evaluation.metadata.items()}
    return None
