"""``gtm cost``: what builds and queries cost."""

from __future__ import annotations

from datetime import datetime

import click

from gtm_assets import clock
from gtm_assets.cli.speech import console, escaped, explained, problems, whole_texts
from gtm_assets.settings import Settings, load_settings

MOST = 10


@click.command()
@click.option(
    "--days", default=30, show_default=True, help="So many days back; compared with as many before them."
)
@explained
def cost(days: int) -> None:
    """Print what costs most: the ten dearest models and queries, budgets, and each month's total."""
    from gtm_assets.dbt.costs import BuildCosts

    settings, now = load_settings(), clock.now()
    costs = BuildCosts(settings.costs_path)
    table = whole_texts("model", "builds", "seconds", f"{days} days before", "trend")
    dearest = costs.dearest(now, days, MOST)
    for one in dearest:
        table.add_row(one.model, f"{one.builds:,}", *_trend(one.seconds, one.seconds_before))
    if dearest:
        console.print(f"The models that took longest to build and test in the last {days} days:")
        console.print(table)
    else:
        console.print(f"No model was built in the last {days} days: gtm run")
    months = dict(costs.by_month())
    queries = _queries(settings, now, days) if settings.serves else {}
    if months or queries:
        totals = whole_texts("month", "seconds of builds", *(["seconds of queries"] if settings.serves else []))
        for month in sorted({*months, *queries}, reverse=True):
            of_queries = [f"{queries.get(month, 0):,.1f}"] if settings.serves else []
            totals.add_row(month, f"{months.get(month, 0):,.1f}", *of_queries)
        console.print(totals)


def _queries(settings: Settings, now: datetime, days: int) -> dict[str, float]:
    """Print the dearest queries and the budgets; what queries cost in each month."""
    from gtm_assets.engines.postgres_server import Server
    from gtm_assets.serving import budgets
    from gtm_assets.serving.access_file import file_at
    from gtm_assets.serving.query_costs import QueryCosts
    from gtm_assets.serving.securing import Names

    names = Names(settings.schema_prefix)
    costs = QueryCosts(Server(settings.serve_address, "GTM_SERVE_URL"), names)
    if lacks := costs.not_counted():
        problems.print(f"[yellow]warning:[/] what queries cost is not counted: {escaped('; '.join(lacks))}")
    else:
        costs.snapshot()
    table = whole_texts("login", "calls", "seconds", f"{days} days before", "trend", "query")
    for one in costs.dearest(now, days, MOST):
        trend = _trend(one.seconds, one.seconds_before)
        table.add_row(one.login, f"{one.calls:,}", *trend, escaped(" ".join(one.query.split())[:300]))
    console.print(f"The queries that took longest on the server in the last {days} days:")
    console.print(table)
    for used in budgets.used(file_at(settings.access_path), names.prefix, costs.seconds_by_login(now)):
        if used.budget_seconds:
            console.print(escaped(f"{now:%Y-%m}: {used.sentence}"))
    return dict(costs.by_month())


def _trend(seconds: float, before: float) -> tuple[str, str, str]:
    change = f"{100 * (seconds - before) / before:+,.0f} %" if before else "new"
    return f"{seconds:,.2f}", f"{before:,.2f}", change
