"""dbt's exposures in Dagster: what reads the reports, as assets at the end of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator

from gtm_assets.dbt.project import TransformError
from gtm_assets.settings import DASHBOARDS_PORT

GROUP = "dashboards"
SERVED_HERE = f"http://127.0.0.1:{DASHBOARDS_PORT}"
"""What the address of one of the repository's own dashboards begins with: as they are served here."""
NOT_SET_UP = (
    "No dashboards are set up here. Install Superset by make setup-dashboards and start it by make dashboards, or "
    "say in GTM_DASHBOARDS_ADDRESS where people reach it."
)
_TERMS = ("certified", "refresh_schedule", "refresh_timezone", "service_level")
"""What an exposure's meta says of it, shown as metadata."""


def dashboards(
    manifest: Mapping[str, Any], translator: DagsterDbtTranslator, published: dg.AssetKey, address: str | None
) -> list[dg.AssetSpec]:
    """An external asset per exposure of the manifest, save those that name an asset which they are.

    It depends on the reports that the exposure names, and on ``published``, the file in which it reads them: what
    keeps the file from being replaced keeps every dashboard as it was. ``address`` is where people reach the
    dashboards; None where none are set up.
    """
    return [
        dg.AssetSpec(
            key=[GROUP, exposure["name"]],
            deps=[*_reports(manifest, exposure, translator), published],
            description=exposure["description"],
            group_name=GROUP,
            kinds={exposure["type"]},
            owners=owners(exposure),
            tags={"layer": GROUP},
            metadata=metadata(exposure, address),
        )
        for exposure in manifest["exposures"].values()
        if _own_asset(exposure) is None
    ]


def exposure_of(manifest: Mapping[str, Any], key: dg.AssetKey) -> Mapping[str, Any]:
    """The exposure that names ``key`` as the asset which it is.

    Raises:
        TransformError: none does.
    """
    exposures: Mapping[str, Mapping[str, Any]] = manifest["exposures"]
    for exposure in exposures.values():
        if _own_asset(exposure) == key:
            return exposure
    raise TransformError(
        f"no exposure of the dbt project says that it is the asset {key.to_user_string()}. "
        f"Write one into gtm_dbt/models/mart/_exposures.yml with meta: {{dagster: {{asset_key: {key.path}}}}}"
    )


def owners(exposure: Mapping[str, Any]) -> Sequence[str]:
    """The owner's address, as Dagster takes it."""
    return [exposure["owner"]["email"]] if exposure["owner"].get("email") else []


def metadata(exposure: Mapping[str, Any], address: str | None = None) -> Mapping[str, Any]:
    """Maturity, owner, address and what ``meta`` says, without what is not given."""
    meta = exposure["config"]["meta"]
    url = exposure["url"]
    is_ours = bool(url) and url.startswith(SERVED_HERE)
    if is_ours and address is not None:
        url = address.rstrip("/") + url.removeprefix(SERVED_HERE)
    given = {
        "maturity": exposure["maturity"],
        "owner": exposure["owner"].get("name"),
        "url": dg.MetadataValue.url(url) if url and (address or not is_ours) else None,
        "address": NOT_SET_UP if is_ours and address is None else None,
        **{term: meta.get(term) for term in _TERMS},
    }
    return {name: value for name, value in given.items() if value is not None}


def _own_asset(exposure: Mapping[str, Any]) -> dg.AssetKey | None:
    path = exposure["config"]["meta"].get("dagster", {}).get("asset_key")
    return dg.AssetKey(path) if path else None


def _reports(
    manifest: Mapping[str, Any], exposure: Mapping[str, Any], translator: DagsterDbtTranslator
) -> list[dg.AssetKey]:
    return [translator.get_asset_key(manifest["nodes"][node]) for node in exposure["depends_on"]["nodes"]]
