"""``dbt source freshness`` as asset checks: when each raw table was last loaded, by the rows themselves."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from gtm_assets import clock
from gtm_assets.checks.freshness import nothing_is_late
from gtm_assets.dbt.project import TransformError, run_dbt
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.engines.engine import Engine
from gtm_assets.finding import Finding
from gtm_assets.partitions import Calendar
from gtm_assets.runtime.retries import retried
from gtm_assets.settings import Settings

CHECK = "source_is_fresh"


def source_freshness_checks(
    settings: Settings, manifest: Mapping[str, Any], external: Collection[dg.AssetKey] = ()
) -> dg.AssetChecksDefinition:
    """A check on each raw asset whose dbt source says how old its newest row may be. It only tells.

    Tables that may stand still for weeks say nothing of it: silence is news where rows come every working day.
    ``external`` are the assets that another loader fills, on no calendar of ours.
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
        with (
            retried(context.op_execution_context, settings.retry_seconds),
            warehouse.locked(f"source freshness, run {context.run.run_id[:8]}", context.log.info),
        ):
            results = measure(settings, warehouse.engine, [manifest["sources"][sources[key]] for key in selected])
        for key in selected:
            last = None if key.asset_key in external else Calendar.of(settings).last
            yield judge(results[sources[key]], clock.now(), last).result(key)

    return check


def judge(result: Mapping[str, Any], now: datetime, last: date | None = None) -> Finding:
    """What dbt's result for one source says at an instant. ``result`` is an entry of ``sources.json``.

    Its age is counted by the platform's clock, where dbt takes the computer's. On a calendar that ends, with
    partition ``last``, rows only get older, and none is too old.
    """
    if "max_loaded_at" not in result:
        return Finding(False, f"dbt could not tell: {result.get('error') or result['status']}.")
    loaded_at = datetime.fromisoformat(result["max_loaded_at"])
    if loaded_at.year == 1:
        # dbt writes this where no row has a time of loading.
        unknown = "No row says when it was loaded (_fivetran_synced)."
        return Finding(True, f"{unknown} {nothing_is_late(last)}") if last else Finding(False, unknown)
    age = now - loaded_at
    limits = {
        name: timedelta(**{f"{limit['period']}s": limit["count"]})
        for name in ("warn_after", "error_after")
        if (limit := result["criteria"].get(name)) and limit.get("count")
    }
    figures = {"newest_row_loaded_at": result["max_loaded_at"], "hours_ago": round(_hours(age), 1)}
    loaded = f"The newest row was loaded {_hours(age):,.1f} hours ago"
    if last is not None:
        return Finding(True, f"{loaded}. {nothing_is_late(last)}", figures=figures)
    passed = [name for name, limit in limits.items() if age > limit]
    allowed = ", ".join(
        f"{name.removesuffix('_after')} after {_hours(limit):,g}" for name, limit in limits.items()
    )
    return Finding(
        passed=not passed,
        severity=dg.AssetCheckSeverity.ERROR if "error_after" in passed else dg.AssetCheckSeverity.WARN,
        sentence=f"{loaded} ({allowed}).",
        figures=figures,
    )


def _hours(time: timedelta) -> float:
    return time / timedelta(hours=1)


def measure(settings: Settings, engine: Engine, sources: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """dbt's results by unique id.

    Raises:
        TransformError: dbt wrote none.
    """
    written = settings.dbt_target_dir / "target" / "sources.json"
    written.unlink(missing_ok=True)
    selection = " ".join(f"source:{source['source_name']}.{source['name']}" for source in sources)
    try:
        for _ in run_dbt(["source", "freshness", "--select", selection], settings, engine):
            pass
    except TransformError:
        # dbt calls a stale source a failure, and writes its results all the same.
        if not written.exists():
            raise
    return {result["unique_id"]: result for result in json.loads(written.read_text())["results"]}
