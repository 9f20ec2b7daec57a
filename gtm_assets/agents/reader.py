"""Whose view of what is published an agent gets: that of the person who started the server."""

from __future__ import annotations

from pathlib import Path

from gtm_assets.dbt.project import manifest_path
from gtm_assets.dbt.semantic_layer import SemanticLayer
from gtm_assets.explaining.explanation import Explainer
from gtm_assets.explaining.local import explainer_of, sources
from gtm_assets.explaining.published import PublishedFile
from gtm_assets.settings import Settings, SettingsError


def explainer_for(settings: Settings, file: Path | None = None) -> Explainer:
    """Explains what the caller may read: a file that is named, their own login's views, or what is published here.

    Raises:
        SettingsError: people read what is published on a server, and no login of the caller's own is set.
        WarehouseError: the file can't be read.
    """
    if file is not None:
        return Explainer(SemanticLayer(manifest_path()), PublishedFile.at(file), sources())
    if settings.mcp_url is not None:
        try:
            from gtm_assets.agents.served import ServedViews
        except ImportError as error:
            raise SettingsError(
                f"GTM_MCP_URL needs what is not installed ({error}). Install it: make setup-postgres"
            ) from error

        served = ServedViews(settings.mcp_url.get_secret_value(), settings.schema_prefix)
        return Explainer(SemanticLayer(manifest_path(), served.relation, served.engine), served, sources())
    if settings.is_shared:
        raise SettingsError(
            "what is published is shared on a server, where each person sees what they may. Set GTM_MCP_URL to "
            "its address with your own login, or name a file that gtm share wrote for you: gtm mcp --file"
        )
    return explainer_of(settings)
