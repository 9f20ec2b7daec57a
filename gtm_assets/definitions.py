"""The code location: what Dagster is offered."""

from __future__ import annotations

import json

import dagster as dg

from gtm_assets.automation import jobs
from gtm_assets.automation.alerts.sensor import alerts_sensor
from gtm_assets.checks.built import built_checks
from gtm_assets.checks.drift import columns_read
from gtm_assets.checks.raw import Limits
from gtm_assets.dbt_runner import manifest_path
from gtm_assets.exposures import dashboards
from gtm_assets.lake import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.publish import ASSET_KEY as PUBLISHED
from gtm_assets.publish import published_asset
from gtm_assets.settings import Settings, load_settings
from gtm_assets.sources.salesforce.assets import landed_asset, raw_asset
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets.transform import DbtBuild, Translator, transform_assets
from gtm_assets.warehouse import Warehouse


def definitions(settings: Settings) -> dg.Definitions:
    """The code location for these settings."""
    lake, warehouse = Lake(settings.lake_dir), Warehouse.of(settings)
    manifest = json.loads(manifest_path().read_text())

    if settings.is_landed:
        extracted, landed = [], [landed_asset(table) for table in OBJECTS]
    else:
        calendar, read = Calendar.of(settings), columns_read(manifest)
        limits, landed = Limits(settings.volume_tolerance, settings.quarantine_limit), []
        extracted = [raw_asset(table, calendar, read[table.source, table.name], limits) for table in OBJECTS]
    built = transform_assets(manifest)
    proof = built_checks(settings)
    checks = {spec.key: spec.blocking for made in [*extracted, built, proof] for spec in made.check_specs}

    return dg.Definitions(
        assets=[
            *extracted,
            *landed,
            built,
            published_asset(built, checks, manifest),
            *dashboards(manifest, Translator(), PUBLISHED),
        ],
        asset_checks=[proof],
        jobs=[jobs.transform] if settings.is_landed else [jobs.extract, jobs.transform, jobs.refresh],
        sensors=[alerts_sensor(settings)],
        resources={
            "org": SyntheticOrg(settings.synthetic_seed, settings.synthetic_scale),
            "lake": lake,
            "warehouse": warehouse,
            "dbt_build": DbtBuild(settings, warehouse, lake),
            "published_path": settings.published_path,
        },
        executor=dg.in_process_executor if settings.executor == "in_process" else dg.multiprocess_executor,
    )


defs = definitions(load_settings())
