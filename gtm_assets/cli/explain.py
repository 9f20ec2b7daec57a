"""``gtm explain``: what a number is made of."""

from __future__ import annotations

import json

import click

from gtm_assets.cli.speech import console, escaped, explained
from gtm_assets.settings import load_settings

SHOWN = 10
ALL = "all"


@click.command()
@click.argument("metric")
@click.option("--month", help="A month, such as 2026-09 or -1m: the one before the last.")
@click.option("--quarter", help="A quarter of the fiscal year, such as 2026-Q3 or -1q.")
@click.option("--day", help="A day, such as 2026-09-30 or -1d.")
@click.option("--where", multiple=True, help="A condition as in gtm metrics query. May be given several times.")
@click.option("--records", default=str(SHOWN), show_default=True, help="So many of each part; or all.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@explained
def explain(
    metric: str,
    month: str | None,
    quarter: str | None,
    day: str | None,
    where: tuple[str, ...],
    records: str,
    as_json: bool,
) -> None:
    """Say what METRIC's number is made of, down to the records in the lake, and how far it can be trusted.

    Without a period the number is that of all days. The day that counts is the metric's own: of bookings and
    pipeline the close date.
    """
    shown = None if records == ALL else _count(records)
    settings = load_settings()
    import dagster as dg

    from gtm_assets import clock
    from gtm_assets.explaining.local import explainer_of
    from gtm_assets.explaining.period import period_of
    from gtm_assets.explaining.published import PublishedFile
    from gtm_assets.explaining.text import lines
    from gtm_assets.runtime.instance import prepare_home

    # Before anything is made in a state folder that has none.
    PublishedFile.at(settings.published_path).close()
    prepare_home(settings)
    with dg.DagsterInstance.get() as instance:
        explainer = explainer_of(settings, instance)
        period = period_of(explainer.published, month, quarter, day)
        found = explainer.explain(metric, period, where, shown, clock.now())
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        return
    for line in lines(found):
        console.print(escaped(line))


def _count(records: str) -> int:
    if not records.isdigit():
        raise click.UsageError(f"--records is a number or all, and not {records}.")
    return int(records)
