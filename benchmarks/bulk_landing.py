"""Landing tasks through Bulk API 2.0, against Polars turning the same CSV into Parquet, in CPU time.

    make bench                                   a million tasks
    .venv/bin/python benchmarks/bulk_landing.py --rows 200000

The local Salesforce, the landing and Polars are processes of their own; CPU time is user and system time of the
latter two while they work, without imports. It ends with 1 where the ratio or the memory is above its bar.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

HIGHEST_RATIO, HIGHEST_MIB = 2.0, 500
PROJECT = Path(__file__).resolve().parent.parent
ROWS = 1_000_000
"""Tasks of the synthetic organisation at scale 1 on that day, roughly."""
AT = datetime(2026, 9, 30, 4, 49, tzinfo=UTC)


@dataclass(frozen=True)
class Cost:
    """What one process used for its work."""

    rows: int
    cpu_seconds: float
    peak_mib: float


@contextmanager
def salesforce(rows: int) -> Iterator[dict[str, str]]:
    """A local Salesforce with about so many tasks, in a process of its own: its url, key and secret."""
    command = [sys.executable, "-m", "gtm_assets_tests.salesforce_server"]
    command += ["--scale", str(rows / ROWS), "--at", AT.isoformat()]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = (process.stdout.readline().strip() for _ in range(4))
            yield dict(line.split("=", 1) for line in lines)
        finally:
            process.terminate()


def logged_in(org: dict[str, str], folder: str | Path) -> tuple[str, ...]:
    """The arguments of a command that reads the organisation and works in a folder."""
    return org["url"], org["consumer_key"], org["consumer_secret"], str(folder)


def in_a_process(*arguments: str) -> Cost:
    """What a command of this script used."""
    command = [sys.executable, __file__, *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(ended.stdout.splitlines()[-1]))


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def tell(rows: int, since: float) -> None:
    """Print the cost, for the process that waits."""
    # Not ru_maxrss: that begins with the memory of the process that started this one.
    [peak] = (int(line.split()[1]) / 1024 for line in _status() if line.startswith("VmHWM"))
    click.echo(json.dumps({"rows": rows, "cpu_seconds": cpu_seconds() - since, "peak_mib": peak}))


def _status() -> list[str]:
    return Path("/proc/self/status").read_text().splitlines()


@click.group(invoke_without_command=True, help=__doc__)
@click.option("--rows", type=int, default=ROWS, show_default=True, help="Tasks, roughly.")
@click.pass_context
def main(context: click.Context, rows: int) -> None:
    if context.invoked_subcommand:
        return
    with tempfile.TemporaryDirectory() as folder, salesforce(rows) as org:
        in_a_process("download", *logged_in(org, folder))
        landing = in_a_process("land", *logged_in(org, folder))
        polars = in_a_process("polars", folder)
    ratio = landing.cpu_seconds / polars.cpu_seconds
    click.echo(f"{landing.rows:,} tasks landed by Bulk in {landing.cpu_seconds:.1f} s of CPU time")
    click.echo(f"{polars.rows:,} tasks of the same CSV to Parquet by Polars in {polars.cpu_seconds:.1f} s")
    click.echo(f"ratio {ratio:.2f} (at most {HIGHEST_RATIO:g})")
    click.echo(f"memory {landing.peak_mib:,.0f} MiB at its highest (at most {HIGHEST_MIB})")
    if landing.rows != polars.rows:
        raise click.ClickException("the numbers of tasks differ")
    sys.exit(ratio > HIGHEST_RATIO or landing.peak_mib > HIGHEST_MIB)


def _session(url: str, key: str, secret: str):
    from gtm_assets.sources.salesforce.live.session import Budget, Login, Session

    return Session(Login(url, key, secret), "62.0", Budget(1.0))


def _task():
    from gtm_assets.sources.salesforce.catalog import OBJECTS

    return next(table for table in OBJECTS if table.name == "task")


@main.command(help="Land all tasks.")
@click.argument("url")
@click.argument("key")
@click.argument("secret")
@click.argument("folder", type=click.Path(path_type=Path))
def land(url: str, key: str, secret: str, folder: Path) -> None:
    from gtm_assets.lake.store import Lake
    from gtm_assets.partitions import Calendar
    from gtm_assets.sources.salesforce.live import LiveOrg

    table = _task()
    window = Calendar(date(2026, 9, 28), None).window("2026-09-28")
    org = LiveOrg(
        _session(url, key, secret), folder / "salesforce", lookback=timedelta(hours=1), bulk_rows=8_000, parallel=4
    )
    since = cpu_seconds()
    landing = Lake(folder / "lake").land(table, window, org.changes(table, window), window.end)
    tell(landing.added, since)
    org.close()


@main.command(help="Download the CSV that a landing of all tasks gets.")
@click.argument("url")
@click.argument("key")
@click.argument("secret")
@click.argument("folder", type=click.Path(path_type=Path))
def download(url: str, key: str, secret: str, folder: Path) -> None:
    import time

    from gtm_assets.sources.salesforce.live.query import Description, Span

    session, table = _session(url, key, secret), _task()
    description = Description.read(table, session.get("sobjects/Task/describe"))
    since = cpu_seconds()
    job = session.post("jobs/query", {"operation": "queryAll", "query": description.select(Span(None, AT))})
    while session.get(f"jobs/query/{job['id']}")["state"] != "JobComplete":
        time.sleep(0.2)
    locator, rows = None, 0
    with (folder / "tasks.csv").open("wb") as file:
        while locator != "null":
            params = {"locator": locator} if locator else {}
            body, rows_here, following = session.call(
                "GET",
                f"jobs/query/{job['id']}/results",
                lambda a: (a.content, int(a.headers["Sforce-NumberOfRecords"]), a.headers["Sforce-Locator"]),
                params=params,
            )
            file.write(body.partition(b"\n")[2] if locator else body)
            locator, rows = following, rows + rows_here
    tell(rows, since)


@main.command(help="Turn the CSV into Parquet by Polars.")
@click.argument("folder", type=click.Path(path_type=Path))
def polars(folder: Path) -> None:
    import polars as pl

    since = cpu_seconds()
    tasks = pl.scan_csv(folder / "tasks.csv", try_parse_dates=True)
    tasks.sink_parquet(folder / "tasks.parquet", compression="zstd")
    tell(pl.scan_parquet(folder / "tasks.parquet").select(pl.len()).collect().item(), since)


if __name__ == "__main__":
    main()
