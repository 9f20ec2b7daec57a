"""The checks on what dbt built, made by one op that opens the warehouse once, before anything is published."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.checks import active_rows, reconciliation, scd
from gtm_assets.dbt.external import external_tables
from gtm_assets.dbt.project import project_variables
from gtm_assets.dbt.sample import rows_of
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.finding import Finding
from gtm_assets.lake.store import Lake
from gtm_assets.runtime.retries import retried
from gtm_assets.settings import Settings

SCD_INTEGRITY = "scd_integrity"
WITH_CORE = "reconciles_with_core"
WITH_ACTIVE_ROWS = "reconciles_with_active_rows"
EXTERNAL_IS_SOUND = "external_tables_are_sound"
HISTORIES = {"dim_account_scd2": "account_id", "dim_contact_scd2": "contact_id", "dim_user_scd2": "user_id"}
"""Table to the record's id."""

Figures = Mapping[str, Any]
Check = Callable[[duckdb.DuckDBPyConnection, Figures | None], Finding]
"""Makes a finding from the warehouse and the figures of the finding before it."""


@dataclass(frozen=True)
class SourceProof:
    """What core is compared with of one source."""

    tables: Sequence[RawTable]
    is_external: bool
    """Whether another loader fills them."""
    check: str
    """Name of the check of ``reconciliations``."""
    description: str
    reconciliations: Sequence[reconciliation.SourceReconciliation] = ()
    record_reconciliations: Sequence[active_rows.RecordReconciliation] = ()
    report_rows: Mapping[str, str] = field(default_factory=dict)


def built_checks(settings: Settings, proofs: Sequence[SourceProof]) -> dg.AssetChecksDefinition:
    """SCD integrity and reconciliation, which block publishing; oddities of an external table, which do not."""
    checks = checks_by_key(settings, proofs)
    descriptions = {**_DESCRIPTIONS, **{proof.check: proof.description for proof in proofs}}
    specs = [
        dg.AssetCheckSpec(
            key.name,
            asset=key.asset_key,
            description=descriptions[key.name],
            blocking=key.name != EXTERNAL_IS_SOUND,
        )
        for key in checks
    ]

    @dg.multi_asset_check(name="reconcile", specs=specs, can_subset=True)
    def reconcile(
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

    return reconcile


_DESCRIPTIONS = {
    SCD_INTEGRITY: "The history has no gap and no overlap, one current version per record, and unique keys.",
    WITH_CORE: "Counts and sums of the report are those of core.",
    WITH_ACTIVE_ROWS: "The table shows the records that are active in the external table, each with its values.",
    EXTERNAL_IS_SOUND: "No record lies ahead of the newest load, and the versions of each follow on each other.",
}


def checks_by_key(settings: Settings, proofs: Sequence[SourceProof]) -> dict[dg.AssetCheckKey, Check]:
    """The checks that :func:`built_checks` offers, each with how it is made."""
    lake = Lake.of(settings)
    timezone, allowance = project_variables()["reporting_timezone"], settings.reconciliation_allowance
    checks: dict[dg.AssetCheckKey, Check] = {}
    for table, record_id in HISTORIES.items():
        checks[_key("core", table, SCD_INTEGRITY)] = partial(_scd, f"gtm_core.{table}", record_id)
    for proof in proofs:
        tables = {table.name: table for table in proof.tables}
        newest = reconciliation.newest_external if proof.is_external else reconciliation.newest_in_lake
        for rule in proof.reconciliations:
            checks[_key("core", rule.core, proof.check)] = partial(
                _with_source, rule, tables[rule.raw], newest, timezone, allowance, lake
            )
        if proof.is_external:
            # The settings refuse external mode without it.
            assert settings.external_database is not None
            for record_rule in proof.record_reconciliations:
                checks[_key("core", record_rule.core, WITH_ACTIVE_ROWS)] = partial(
                    _with_active_rows, record_rule, tables[record_rule.raw], settings.external_database
                )
            for raw in proof.tables:
                key = dg.AssetCheckKey(dg.AssetKey([raw.source, raw.name]), EXTERNAL_IS_SOUND)
                checks[key] = partial(_external_tables_are_sound, raw)
    for report in reconciliation.report_reconciliations([proof.report_rows for proof in proofs]):
        checks[_key("mart", report.report, WITH_CORE)] = partial(_with_core, report, allowance)
    return checks


def discrepancies(checks: Iterable[dg.AssetCheckKey]) -> list[dg.AssetCheckKey]:
    """Those of the checks that find a number that differs from its source, or a broken history."""
    return [
        key
        for key in checks
        if key.asset_key.path[0].startswith("gtm_")
        and (key.name == SCD_INTEGRITY or key.name.startswith("reconciles_with_"))
    ]


def _key(layer: str, table: str, name: str) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(dg.AssetKey([f"gtm_{layer}", table]), name)


def _scd(table: str, record_id: str, warehouse: duckdb.DuckDBPyConnection, before: Figures | None) -> Finding:
    return scd.scd_integrity(warehouse, table, record_id, before)


def _with_source(
    rule: reconciliation.SourceReconciliation,
    table: RawTable,
    newest: reconciliation.Newest,
    timezone: str,
    allowance: float,
    lake: Lake,
    warehouse: duckdb.DuckDBPyConnection,
    _before: Figures | None,
) -> Finding:
    try:
        return reconciliation.reconcile_with_source(warehouse, rule, table, newest, timezone, allowance)
    except duckdb.Error:
        # DuckDB does not say which of the table's files is damaged.
        for batch in lake.batches(table):
            lake.verify(batch)
        raise


def _with_active_rows(
    rule: active_rows.RecordReconciliation,
    table: RawTable,
    database: Path,
    warehouse: duckdb.DuckDBPyConnection,
    _before: Figures | None,
) -> Finding:
    return active_rows.reconcile_with_active_rows(warehouse, rule, table, database)


def _external_tables_are_sound(
    table: RawTable, warehouse: duckdb.DuckDBPyConnection, _before: Figures | None
) -> Finding:
    (external,) = (t for t in external_tables(warehouse) if (t.source, t.name) == (table.source, table.name))
    if not external.flaws:
        return Finding(
            True, f"{table.qualified_name} has no record ahead of the newest load, and its versions follow."
        )
    sql = (
        "select flaw, record_id, row_count from gtm_meta.external_flaws"
        f" where source_name = '{table.source}' and table_name = '{table.name}' order by all"
    )
    counts = warehouse.execute(f"select flaw, count(*) from ({sql}) group by all order by all").fetchall()
    return Finding(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        sentence=". ".join(external.flaws) + ".",
        figures=dict(counts),
        sql=sql,
        sample=rows_of(warehouse, sql),
    )


def _with_core(
    rule: reconciliation.ReportReconciliation,
    allowance: float,
    warehouse: duckdb.DuckDBPyConnection,
    _before: Figures | None,
) -> Finding:
    return reconciliation.reconcile_with_core(warehouse, rule, allowance)


def _figures_before(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dict[str, Any] | None:
    """The figures of the newest finding; None where there is none. This run's own is only planned yet."""
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=5):
        if isinstance(record.evaluation, dg.AssetCheckEvaluation):
            return {name: value.value for name, value in record.evaluation.metadata.items()}
    return None
