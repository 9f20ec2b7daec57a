"""``gtm mcp``: metrics for agents."""

from __future__ import annotations

from pathlib import Path

import click

from gtm_assets.cli.speech import explained
from gtm_assets.settings import SettingsError, load_settings


@click.command()
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that gtm share wrote, to answer by that alone.",
)
@explained
def mcp(file: Path | None) -> None:
    """Answer an agent's questions to metrics over the Model Context Protocol, on standard input and output.

    An agent's program starts it, and is told what the one who starts it may read: with GTM_MCP_URL what that login
    sees on the server, with --file what the file holds.
    """
    settings = load_settings()
    try:
        from gtm_assets.agents.server import server_of
    except ImportError as error:
        raise SettingsError(
            f"gtm mcp needs what is not installed ({error}). Install it: make setup-mcp"
        ) from error
    from gtm_assets.agents.reader import explainer_for

    server_of(explainer_for(settings, file)).run("stdio")
