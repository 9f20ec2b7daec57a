"""The code location: what Dagster is offered."""

from __future__ import annotations

import json

import dagster as dg

from gtm_assets.automation import jobs, schedules, sensors
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
from gtm_assets.sources.salesforce.assets import raw_asset
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.live.resource import live_org
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets.transform import DbtBuild, Translator, transform_assets
from gtm_assets.warehouse import Warehouse


def definitions(settings: Settings) -> dg.Definitions:
    """The code location for these settings."""
    calendar = Calendar.of(settings)
    lake, warehouse = Lake(settings.lake_dir), Warehouse.of(settings)
    manifest = json.loads(manifest_path().read_text())

    read = columns_read(manifest)
    limits = Limits(settings.volume_tolerance, settings.quarantine_limit)
    raw = [
        raw_asset(
            table,
            calendar,
            read[table.source, table.name],
            limits,
            hard_delete_limit=settings.hard_delete_limit,
            retry_seconds=settings.retry_seconds,
        )
        for table in OBJECTS
    ]
    built = transform_assets(manifest)
    proof = built_checks(settings)
    checks = {spec.key: spec.blocking for made in [*raw, built, proof] for spec in made.check_specs}

    return dg.Definitions(
        assets=[
            *raw,
            built,
            published_asset(built, checks, manifest, settings.retry_seconds),
            *dashboards(manifest, Translator(), PUBLISHED),
        ],
        asset_checks=[proof],
        jobs=[jobs.extract, jobs.transform, jobs.refresh, jobs.full_refresh],
        schedules=schedules.all_schedules(settings),
        sensors=sensors.all_sensors(settings, calendar, lake, checks),
        resources={
            "org": live_org(settings, calendar)
            if settings.salesforce_source == "live"
            else SyntheticOrg(settings.synthetic_seed, settings.synthetic_scale),
            "lake": lake,
            "warehouse": warehouse,
            "dbt_build": DbtBuild(settings, warehouse, lake),
            "published_path": settings.published_path,
        },
        executor=dg.in_process_executor if settings.executor == "in_process" else dg.multiprocess_executor,
    )


defs = definitions(load_settings())
