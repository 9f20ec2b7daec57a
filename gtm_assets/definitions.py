"""The code location: all that Dagster loads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg

from gtm_assets.automation.alerts.sensor import SPEC as ALERTS
from gtm_assets.automation.alerts.sensor import alerts_sensor
from gtm_assets.automation.definitions import automation
from gtm_assets.automation.freshness import policies
from gtm_assets.checks.definitions import built_checks
from gtm_assets.checks.drift import columns_read
from gtm_assets.checks.raw import QUARANTINE, VANISHED, Limits, quarantine, still_there
from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.dashboards.server import is_installed
from gtm_assets.dbt.assets import DbtBuild, Translator, transform_assets
from gtm_assets.dbt.costs import BuildCosts
from gtm_assets.dbt.exposures import SERVED_HERE, dashboards
from gtm_assets.dbt.project import manifest_path, project_variables
from gtm_assets.dbt.warehouse import Warehouse
from gtm_assets.finding import Finding
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.publishing.certification import Certificates
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.publishing.publish import Made, descriptions, published_asset, waiting_records
from gtm_assets.publishing.standing import built_from
from gtm_assets.reporting.assets import report_asset
from gtm_assets.settings import Settings, SettingsError, load_settings
from gtm_assets.sources import registry
from gtm_assets.sources.raw_asset import Rules, asset_key


def definitions(settings: Settings) -> dg.Definitions:
    """The code location for these settings."""
    lake, warehouse, calendar = Lake.of(settings), Warehouse.of(settings), Calendar.of(settings)
    extracted = registry.extracted(settings)
    manifest = json.loads(manifest_path().read_text())

    raw: list[dg.AssetsDefinition | dg.AssetSpec] = [
        *(registry.source_of(table).external_asset(table) for table in registry.external_tables(settings)),
        *_extracted(settings, manifest),
    ]
    built = transform_assets(manifest, settings.is_synthetic)
    proof = built_checks(settings, registry.proofs(settings))
    checks = CheckRegistry.of(
        spec for made in [*raw, built, proof] if not isinstance(made, dg.AssetSpec) for spec in made.check_specs
    )
    standing = _standing(settings, lake, checks)
    published = published_asset(
        built,
        checks,
        manifest,
        settings.retry_seconds,
        standing,
        lake,
        Made(
            partial(built_from, settings),
            BuildCosts(settings.costs_path).daily,
            partial(waiting_records, lake, registry.raw_tables(settings)),
            settings.parquet_path,
        ),
    )

    report = [report_asset(settings.published_path, settings.report_path)] if settings.writes_report else []

    shared = _shared(settings, warehouse, manifest)
    assets = dg.Definitions(
        assets=[
            *dg.map_asset_specs(_with_policy(policies(settings)), [*raw, built, published, *report]),
            *(one for one in shared if not isinstance(one, dg.AssetChecksDefinition)),
            *dashboards(manifest, Translator(), PUBLISHED, _dashboards_address(settings)),
            ALERTS,
        ],
        asset_checks=[
            proof,
            *(one for one in shared if isinstance(one, dg.AssetChecksDefinition)),
            *(check for source in extracted for check in source.asset_checks(settings, calendar)),
        ],
        sensors=[alerts_sensor(settings)],
        resources={
            **{
                name: resource
                for source in extracted
                for name, resource in source.resources(settings, calendar).items()
            },
            "lake": lake,
            "warehouse": warehouse,
            "dbt_build": DbtBuild(settings, warehouse, lake, registry.raw_tables(settings)),
            "published_path": settings.published_path,
            "certificates": Certificates(settings.certificates_path),
        },
        executor=dg.in_process_executor if settings.executor == "in_process" else dg.multiprocess_executor,
    )
    return dg.Definitions.merge(assets, automation(settings, lake, checks, manifest))


def _dashboards_address(settings: Settings) -> str | None:
    return settings.dashboards_address or (SERVED_HERE if is_installed() else None)


def _shared(
    settings: Settings, warehouse: Warehouse, manifest: Mapping[str, Any]
) -> Sequence[dg.AssetsDefinition]:
    """What brings what is published to a server that people share; the check of who may read what on it."""
    if not settings.is_shared:
        return []
    # Imported here: PostgreSQL's driver is an extra.
    try:
        from gtm_assets.engines.postgres_server import Server
        from gtm_assets.serving.access import enforcer_of
        from gtm_assets.serving.assets import access_check, served_asset
        from gtm_assets.serving.copying import Copying
        from gtm_assets.serving.securing import views_of
        from gtm_assets.serving.watching import audit_asset, costs_asset
    except ImportError as error:
        raise SettingsError(
            f"a server needs what is not installed ({error}). Install it: make setup-postgres"
        ) from error
    described = descriptions(manifest)
    if not settings.serves:
        # The engine publishes on the server itself.
        prefix, access = settings.schema_prefix, settings.access_path
        warehouse.engine.views = lambda cursor, of: views_of(cursor, prefix, access, of)
        return [access_check(PUBLISHED, enforcer_of(settings, described))]
    server = Server(settings.serve_address, "GTM_SERVE_URL")
    copying = Copying(server, settings.schema_prefix, settings.served_path, settings.access_path)
    enforcer = enforcer_of(settings, described)
    return [
        served_asset(copying, settings.published_path, described, enforcer, settings.retry_seconds),
        audit_asset(settings, server, enforcer),
        costs_asset(settings, server, enforcer),
    ]


def _extracted(settings: Settings, manifest: Mapping[str, Any]) -> Sequence[dg.AssetsDefinition]:
    read, start_month = columns_read(manifest), project_variables()["fiscal_year_start_month"]
    rules = Rules(
        calendar=Calendar.of(settings),
        limits=Limits(settings.volume_tolerance, settings.quarantine_limit, start_month),
        hard_delete_limit=settings.hard_delete_limit,
        retry_seconds=settings.retry_seconds,
    )
    return [
        source.raw_asset(table, read.get((table.source, table.name), ()), rules)
        for source in registry.extracted(settings)
        for table in source.tables
    ]


def _standing(
    settings: Settings, lake: Lake, checks: CheckRegistry
) -> Mapping[dg.AssetCheckKey, Callable[[], Finding]]:
    """The blocking checks of raw tables that the lake alone answers, each with the function that makes it."""
    made = {
        dg.AssetCheckKey(asset_key(table), name): partial(check, lake, table, *limits)
        for table in registry.raw_tables(settings)
        for name, check, limits in (
            (QUARANTINE, quarantine, (settings.quarantine_limit,)),
            (VANISHED, still_there, ()),
        )
    }
    return {key: check for key, check in made.items() if key in checks.keys}


def _with_policy(by_name: Mapping[str, dg.FreshnessPolicy]) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Gives an asset the freshness policy of its layer, a raw table that of its source."""

    def with_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
        layer = spec.tags.get("layer", "")
        policy = by_name.get(spec.tags["source"] if layer == "raw" else layer)
        return spec.replace_attributes(freshness_policy=policy) if policy else spec

    return with_policy


defs = definitions(load_settings())
