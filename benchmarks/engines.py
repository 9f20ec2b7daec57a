"""What the same build costs on DuckDB, PostgreSQL and Spark: everything from the lake, and one day more.

    make setup-postgres setup-spark
    .venv/bin/python -m benchmarks.engines --scale 1

All engines build from the same lake on the same machine, one after the other. PostgreSQL's server is started for
this and set as its documentation advises for a machine of this size; what it uses counts. Spark is ``local[2]``.
The table is printed and written to ``benchmarks/results/``; engines that are not measured keep their rows there.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import psutil

from benchmarks.warehouse import BIN, LAST_DAY, RESULTS, Cost, machine, part, run, settings
from gtm_assets_tests import postgres_server
from gtm_assets_tests.postgres_tables import connected, query

SERVER = {
    "shared_buffers": "2GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "fsync": "on",
}
"""Source: PostgreSQL's documentation, Resource Consumption, and its wiki, Tuning Your PostgreSQL Server."""
NEEDS = {"duckdb": "duckdb", "postgres": "adbc_driver_postgresql", "spark": "pyspark"}
"""The module without which an engine can't be measured."""


@dataclass(frozen=True)
class Row:
    """What one build cost on one engine; seconds of the clock, of processors, and the most memory held."""

    what: str
    engine: str
    seconds: float
    cpu_seconds: float
    peak_mib: float


@contextmanager
def engine_settings(name: str, folder: Path) -> Iterator[tuple[dict[str, str], psutil.Process | None]]:
    """The settings of an engine that is there meanwhile, and the process of its server where it has one."""
    if name == "postgres":
        with postgres_server.running(**SERVER) as address:
            with connected(address) as cursor:
                [(backend,)] = query(cursor, "select pg_backend_pid()")
                server = psutil.Process(backend).parent()
            yield {"GTM_ENGINE": name, "GTM_WAREHOUSE_URL": address}, server
    elif name == "spark":
        yield {"GTM_ENGINE": name, "GTM_SPARK_MASTER": "local[2]", "GTM_SPARK_MEMORY": "8g"}, None
    else:
        yield {"GTM_ENGINE": name}, None


class _Server:
    """What a server uses while it is entered: processor seconds and memory, shared pages counted once."""

    def __init__(self, server: psutil.Process | None) -> None:
        self._server, self.cpu_seconds, self.peak_mib = server, 0.0, 0.0
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look)

    def _processes(self) -> list[psutil.Process]:
        return [] if self._server is None else [self._server, *self._server.children(recursive=True)]

    def _used(self) -> float:
        """Of the server, of children that have ended and of those that run."""
        used = 0.0
        for process in self._processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system + times.children_user + times.children_system
        return used

    def _look(self) -> None:
        while not self._ended.wait(1):
            held = 0
            for process in self._processes():
                with suppress(psutil.Error):
                    held += process.memory_full_info().pss
            self.peak_mib = max(self.peak_mib, held / 2**20)

    def __enter__(self) -> _Server:
        self._before = self._used()
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()
        self.cpu_seconds = self._used() - self._before


def measured(server: psutil.Process | None, **environment: str) -> Cost:
    """One ``gtm run``, with what the server used for it."""
    with _Server(server) as used:
        cost = run(str(BIN / "gtm"), "run", **environment)
    return replace(cost, cpu_seconds=cost.cpu_seconds + used.cpu_seconds, peak_mib=cost.peak_mib + used.peak_mib)


def builds(name: str, folder: Path, lake: Path, before: Mapping[str, str]) -> Iterator[Row]:
    """Build on an engine everything that has landed, then one day more."""
    home = folder / name
    home.mkdir()
    shutil.copytree(lake, home / "lake")
    with engine_settings(name, home) as (own, server):
        environment = {**before, "GTM_HOME": str(home), **own}
        whole = measured(server, **environment)
        yield Row("everything from the lake", name, whole.seconds, whole.cpu_seconds, whole.peak_mib)
        more = measured(server, **{**environment, "GTM_END_DATE": str(LAST_DAY)})
        yield Row("one more day, landed and built", name, more.seconds, more.cpu_seconds, more.peak_mib)
    shutil.rmtree(home)


def as_text(row: Row) -> str:
    """A line of the table in Markdown."""
    figures = f"{row.seconds:.0f} s | {row.cpu_seconds:.0f} s | {row.peak_mib / 1024:.1f} GiB"
    return f"| {row.what} | {row.engine} | {figures} |"


HEAD = ["| build, proven and published | engine | clock | processors | peak memory |", "|---|---|---|---|---|"]


@click.command(help=__doc__)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Of the synthetic org.")
@click.option("--days", type=int, default=30, show_default=True, help="Partitions.")
@click.option("--engine", "engines", multiple=True, type=click.Choice([*NEEDS]), help="By default all of them.")
def main(scale: float, days: int, engines: tuple[str, ...]) -> None:
    """Measure, print and write."""
    about = {**machine(), "scale": scale, "days": days}
    rows = kept(scale, engines)
    click.echo("\n".join(f"{name}: {value}" for name, value in about.items()))
    with TemporaryDirectory(prefix="gtm-bench-") as temporary:
        folder = Path(temporary)
        before = settings(folder / "landed", scale, days, LAST_DAY - timedelta(1))
        part("land", **before)
        click.echo("\n".join(HEAD))
        for name in engines or NEEDS:
            if find_spec(NEEDS[name]) is None:
                click.echo(f"{name} is not installed: make setup-{name}")
                continue
            for row in builds(name, folder, folder / "landed" / "lake", before):
                rows.append(row)
                click.echo(as_text(row))
                write(about, rows)


def kept(scale: float, engines: Sequence[str]) -> list[Row]:
    """The rows of engines that were measured at this scale before and are not measured now."""
    path = RESULTS / f"engines-scale-{scale:g}.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    return [Row(**row) for row in before if row["engine"] not in (engines or NEEDS)]


def write(about: Mapping[str, object], rows: list[Row]) -> None:
    """Write the table as JSON and as Markdown."""
    name = f"engines-scale-{about['scale']:g}"
    told = {"machine": about, "rows": [asdict(row) for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")
    head = [", ".join(f"{key} {value}" for key, value in about.items()), "", *HEAD]
    (RESULTS / f"{name}.md").write_text("\n".join([*head, *map(as_text, rows)]) + "\n")


if __name__ == "__main__":
    main()
