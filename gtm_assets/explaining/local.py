"""Explanations on the machine that publishes: its published file, its lake, and its record of checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import dagster as dg

from gtm_assets.checks.registry import CheckRegistry
from gtm_assets.dbt.project import manifest_path
from gtm_assets.dbt.semantic_layer import SemanticLayer
from gtm_assets.dbt.warehouse import WarehouseError
from gtm_assets.explaining.explanation import Explainer, as_published
from gtm_assets.explaining.published import Check, PublishedFile
from gtm_assets.explaining.records import Source
from gtm_assets.lake.reader import LakeReader
from gtm_assets.partitions import Calendar
from gtm_assets.publishing.publish import verdicts
from gtm_assets.settings import Settings
from gtm_assets.sources.registry import SOURCES


def explainer_of(settings: Settings, instance: dg.DagsterInstance | None = None) -> Explainer:
    """Explains what the state folder holds. With an instance, checks are told as they stand by now.

    Raises:
        WarehouseError: nothing is published, or the file has no tables.
        TransformError: dbt can't parse the project.
    """
    if not settings.export_published:
        raise WarehouseError(
            "numbers are explained by the published file, which has no tables with GTM_EXPORT_PUBLISHED=false: "
            "leave it out"
        )
    published = PublishedFile.at(settings.published_path)
    return Explainer(
        SemanticLayer(manifest_path()),
        published,
        sources(),
        LakeReader.of(settings),
        Calendar.of(settings),
        partial(as_they_stand, instance) if instance else as_published,
    )


def sources() -> list[Source]:
    """What is known of all sources."""
    return [
        Source({table.name: table for table in source.tables}, source.origins(), source.reconciliations())
        for source in SOURCES
    ]


def as_they_stand(instance: dg.DagsterInstance, published: Sequence[Check]) -> list[Check]:
    """The published checks, each by its newest result where it has run, or was to run, since."""
    keys = [dg.AssetCheckKey(dg.AssetKey(check.asset.split("/")), check.name) for check in published]
    blocking = frozenset(key for key, check in zip(keys, published, strict=True) if check.blocks_publishing)
    return [
        check
        if (stands.outcome, stands.checked_at) == (check.outcome, check.checked_at)
        else dataclasses.replace(
            check,
            outcome=stands.outcome,
            checked_at=stands.checked_at,
            sentence=stands.sentence,
            figures=stands.figures,
            since_publication=True,
        )
        for check, stands in zip(published, verdicts(instance, CheckRegistry(tuple(keys), blocking)), strict=True)
    ]
