"""The local Salesforce as a process, until it is interrupted."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets_tests.salesforce_server import TRANSIENT, ConnectedApp, SalesforceServer


def _instant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an instant such as 2026-09-30T04:49:00Z") from None
    return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)


@click.command(help=__doc__)
@click.option("--port", type=int, default=0, help="0, the default, takes a free one.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the synthetic org.")
@click.option("--scale", type=float, default=0.01, show_default=True, help="Scale of the synthetic org.")
@click.option("--at", callback=_instant, help="Instant at which the org stands; without it goes with the clock.")
@click.option("--public-key", type=click.Path(path_type=Path, exists=True), help="PEM; allows JWT logins.")
@click.option("--token-minutes", type=float, default=120, show_default=True, help="How long a token lives.")
@click.option("--fail", type=float, default=0.0, show_default=True, help="Share of requests that fail at random.")
def main(
    port: int,
    seed: int,
    scale: float,
    at: datetime | None,
    public_key: Path | None,
    token_minutes: float,
    fail: float,
) -> None:
    app = ConnectedApp(public_key=public_key.read_text() if public_key else None)
    server = SalesforceServer(
        SyntheticOrg(seed, scale), now=at, app=app, token_lifetime=timedelta(minutes=token_minutes), port=port
    )
    if fail:
        server.faults.random(seed, fail, TRANSIENT)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with server:
        click.echo(f"url={server.url}")
        click.echo(f"consumer_key={app.consumer_key}")
        click.echo(f"consumer_secret={app.consumer_secret}")
        click.echo(f"username={app.username}")
        stop.wait()


if __name__ == "__main__":
    main()
