"""``gtm dashboards``: Superset on what is published, by one command."""

from __future__ import annotations

import json
import signal
import sys

import click

from gtm_assets.cli.speech import console, escaped, explained, wait_for_ctrl_c
from gtm_assets.settings import DASHBOARDS_PORT, load_settings

_NAMES = ("executive", "revenue", "operations")


@click.command()
@click.option("--port", default=DASHBOARDS_PORT, show_default=True, help="Port of the server.")
@explained
def dashboards(port: int) -> None:
    """Show dashboards of what is published, until Ctrl-C: Apache Superset, on the loopback.

    What differs from the access file and from the repository's dashboards is brought there first; passwords of new
    users are printed once.
    """
    settings = load_settings()
    from gtm_assets.dashboards.bundle import documents, layers_of, packed, prepared
    from gtm_assets.dashboards.client import Client, Rights
    from gtm_assets.dashboards.server import ADMINISTRATOR, Instance
    from gtm_assets.dashboards.source import source_of
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.publishing.publish import descriptions
    from gtm_assets.serving.access_file import file_at

    source, secrets = source_of(settings)
    instance = Instance(settings.home / "dashboards")
    access = file_at(settings.access_path)
    described = descriptions(json.loads(manifest_path().read_text()))
    found = documents()
    bundle = packed(prepared(found, source, access, described))
    # Whoever ends us ends the server with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    console.print("Superset is prepared; the first time takes a minute.")
    is_new = instance.prepare()
    with instance.running(port) as address:
        client = Client(address, ADMINISTRATOR, instance.password)
        client.bring(bundle, secrets)
        passwords = Rights(client, access, layers_of(found), source, described).apply()
        for name in _NAMES:
            console.print(f"dashboard  {address}/superset/dashboard/{name}/")
        if is_new:
            console.print(f"log in     {ADMINISTRATOR}, password {escaped(instance.password)} (told this once)")
        for login, password in passwords.items():
            console.print(f"log in     {escaped(login)}, password {escaped(password)} (told this once)")
        console.print("           Ctrl-C stops the server; users and what they have made stay.", highlight=False)
        wait_for_ctrl_c()
