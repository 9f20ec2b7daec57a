"""What it costs to serve what is published: first, one day more, and what a policy adds to a query.

    make setup-postgres
    .venv/bin/python -m benchmarks.serving --scale 1

PostgreSQL's server is started for this and counts neither for the peak of memory nor for processor seconds. The
table is printed and written to ``benchmarks/results/``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.engines import SERVER
from benchmarks.warehouse import BIN, LAST_DAY, RESULTS, Row, as_text, machine, run, settings, tell
from gtm_assets_tests import postgres_server
from gtm_assets_tests.postgres_tables import connected, query

QUERIES = {
    "rep_owner_performance": "select * from gtm_{where}_mart.rep_owner_performance",
    "rep_pipeline_health": "select * from gtm_{where}_mart.rep_pipeline_health",
    "won by month": "select date_trunc('month', close_date), sum(amount) from gtm_{where}_core.fct_opportunity"
    " where is_won group by 1",
    "activities by owner": "select owner_user_key, count(*) from gtm_{where}_core.fct_activity group by 1",
}
TIMES = 7
PEOPLE = """
  everything: {{roles: [analyst], scope: all}}
  manager: {{roles: [analyst], scope: team, user: {manager}}}
"""


@click.group(invoke_without_command=True, help=__doc__)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Of the synthetic org.")
@click.option("--days", type=int, default=30, show_default=True, help="Partitions.")
@click.pass_context
def main(context: click.Context, scale: float, days: int) -> None:
    """Measure, print and write."""
    if context.invoked_subcommand:
        return
    about, rows = {**machine(), "scale": scale, "days": days}, []
    click.echo("\n".join(f"{name}: {value}" for name, value in about.items()))
    with TemporaryDirectory(prefix="gtm-bench-") as temporary:
        home = Path(temporary) / "gtm"
        with postgres_server.running(**SERVER) as address:
            for row in measured(home, scale, days, address):
                rows.append(row)
                click.echo(as_text(row))
    name = f"serving-scale-{scale:g}"
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"machine": about, "rows": [{**vars(row), "met": row.met} for row in rows]}, indent=2) + "\n"
    )
    head = [", ".join(f"{key} {value}" for key, value in about.items()), ""]
    table = ["| what | measured | bar | compared with | peak MiB |", "|---|---|---|---|---|"]
    (RESULTS / f"{name}.md").write_text("\n".join([*head, *table, *map(as_text, rows)]) + "\n")
    sys.exit(not all(row.met for row in rows))


def measured(home: Path, scale: float, days: int, address: str) -> Iterator[Row]:
    """A first copy, one after a day more, and queries with and without policies."""
    before = settings(home, scale, days, LAST_DAY - timedelta(1))
    at_scale_1 = scale == 1
    run(str(BIN / "gtm"), "run", **before)
    serving = {**before, "GTM_SERVE_URL": address}
    first = run(sys.executable, "-m", "benchmarks.serving", "serve", **serving)
    yield Row(
        f"serve {first['rows_sent']:,.0f} rows for the first time",
        first["seconds"],
        "s",
        bar=90 if at_scale_1 else None,
        peak_mib=first.peak_mib,
    )
    run(str(BIN / "gtm"), "run", **{**before, "GTM_END_DATE": str(LAST_DAY)})
    more = run(sys.executable, "-m", "benchmarks.serving", "serve", **serving)
    yield Row(
        f"serve a day more, of which {more['rows_sent']:,.0f} rows travel and {more['rows_changed']:,.0f} change",
        more["seconds"],
        "s",
        bar=first["seconds"] / 3,
        peak_mib=more.peak_mib,
    )
    nothing = run(sys.executable, "-m", "benchmarks.serving", "serve", **serving)
    yield Row("serve what is served already", nothing["seconds"], "s", peak_mib=nothing.peak_mib)
    logins = run(sys.executable, "-m", "benchmarks.serving", "secure", **serving).said
    own, host = address, address.partition("@")[2]
    for name, sql in QUERIES.items():
        plain = _seconds(own, sql.format(where="published"))
        for login, password in logins.items():
            guarded = _seconds(f"postgresql://{login}:{password}@{host}", sql.format(where="reader"))
            yield Row(
                f"{name} as {login}, to without a policy",
                guarded / plain,
                "x",
                bar=2 if at_scale_1 else None,
                compared_with={"without": plain},
            )


def _seconds(address: str, sql: str) -> float:
    """The median of several times, the first left out."""
    taken = []
    with connected(address) as cursor:
        for _ in range(TIMES + 1):
            began = time.perf_counter()
            query(cursor, sql)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


@main.command(help="Serve what a state folder has published.")
def serve() -> None:
    from gtm_assets.engines.postgres_server import Server
    from gtm_assets.serving.copying import Copying
    from gtm_assets.settings import load_settings

    given = load_settings()
    copying = Copying(Server(given.serve_address, "GTM_SERVE_URL"), "gtm_", given.served_path, given.access_path)
    done = copying.serve(given.published_path, _described())
    tell(seconds=done.seconds, rows_sent=done.rows_sent, rows_changed=done.rows_changed)


@main.command(help="Enforce an access file with two logins, and print their passwords.")
def secure() -> None:
    import duckdb

    from gtm_assets.serving.access import enforcer_of
    from gtm_assets.serving.access_file import DEFAULT
    from gtm_assets.settings import load_settings

    given = load_settings()
    with duckdb.connect(str(given.published_path), read_only=True) as file:
        [(manager,)] = file.execute(
            "select any_value(managers.user_id order by managers.user_id) from gtm_core.dim_user as users"
            " inner join gtm_core.dim_user as managers on users.manager_user_id = managers.user_id"
        ).fetchall()
    given.access_path.write_text(DEFAULT + PEOPLE.format(manager=manager))
    enforcer = enforcer_of(given, _described())
    enforcer.apply()
    click.echo(json.dumps({login: enforcer.rotate(login) for login in ("everything", "manager")}))


def _described() -> dict:
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.publishing.publish import descriptions

    return descriptions(json.loads(manifest_path().read_text()))


if __name__ == "__main__":
    main()
