"""``dbt source freshness`` as asset checks: when each raw table was last loaded, by the rows themselves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from gtm_assets.checks.finding import Finding
from gtm_assets.dbt_runner import TransformError, run_dbt
from gtm_assets.settings import Settings
from gtm_assets.warehouse import Warehouse

CHECK = "source_is_fresh"


def source_freshness_checks(settings: Settings, manifest: Mapping[str, Any]) -> dg.AssetChecksDefinition:
    """A check on each raw asset whose dbt source says how old its newest row may be. It only tells.

    Tables that may stand still for weeks say nothing of it: silence is news where rows come every working day.
    """
    sources = {
        dg.AssetCheckKey(dg.AssetKey(source["config"]["meta"]["dagster"]["asset_key"]), CHECK): unique_id
        for unique_id, source in manifest["sources"].items()
        if (source["freshness"] or {}).get("warn_after", {}).get("count")
    }
    specs = [
        dg.AssetCheckSpec(
            CHECK, asset=key.asset_key, description="Rows were loaded lately (dbt source freshness)."
        )
        for key in sources
    ]

    @dg.multi_asset_check(name="source_freshness", specs=specs, can_subset=True)
    def check(
        context: dg.AssetCheckExecutionContext, warehouse: dg.ResourceParam[Warehouse]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = sorted(context.selected_asset_check_keys)
        with warehouse.locked(f"source freshness, run {context.run.run_id[:8]}", context.log.info):
            results = measure(settings, warehouse.path, [manifest["sources"][sources[key]] for key in selected])
        for key in selected:
            yield judge(results[sources[key]]).result(key)

    return check


def judge(result: Mapping[str, Any]) -> Finding:
    """What dbt's result for one source says. ``result`` is an entry of ``sources.json``."""
    if "max_loaded_at" not in result:
        return Finding(False, f"dbt could not tell: {result.get('error') or result['status']}.")
    hours = result["max_loaded_at_time_ago_in_s"] / 3600
    limits = {name: limit for name, limit in result["criteria"].items() if limit and limit.get("count")}
    allowed = ", ".join(
        f"{name.removesuffix('_after')} after {limit['count']} {limit['period']}s"
        for name, limit in limits.items()
    )
    return Finding(
        passed=result["status"] == "pass",
        severity=dg.AssetCheckSeverity.WARN if result["status"] == "warn" else dg.AssetCheckSeverity.ERROR,
        sentence=f"The newest row was loaded {hours:,.1f} hours ago ({allowed}).",
        figures={"newest_row_loaded_at": result["max_loaded_at"], "hours_ago": round(hours, 1)},
    )


def measure(settings: Settings, warehouse: Path, sources: Sequence[Mapping[str, Any]]) -> dict[str, dict]:
    """dbt's results by unique id.

    Raises:
        TransformError: dbt wrote none.
    """
    written = settings.dbt_target_dir / "target" / "sources.json"
    written.unlink(missing_ok=True)
    selection = " ".join(f"source:{source['source_name']}.{source['name']}" for source in sources)
    try:
        for _ in run_dbt(["source", "freshness", "--select", selection], settings, warehouse):
            pass
    except TransformError:
        # A stale source is a failure to dbt; what it found is written all the same.
        if not written.exists():
            raise
    return {result["unique_id"]: result for result in json.loads(written.read_text())["results"]}
