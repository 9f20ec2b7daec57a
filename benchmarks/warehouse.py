"""What the platform costs: the synthetic org, landing, building, a day more, a backfill, the UI.

    make bench                                         at scale 1, about half an hour
    .venv/bin/python -m benchmarks.warehouse --scale 0.05 --history 30 --history 90

Each figure is of a process of its own and stands beside what it is compared with, measured in the same run: the
project's own compiled SQL in one bare DuckDB connection, ``dbt build`` alone, or Polars on the same bytes. The
table is printed and written to ``benchmarks/results/``. It ends with 1 where a bar is not met.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from graphlib import TopologicalSorter
from pathlib import Path

import click
import duckdb
import psutil
import pyarrow.parquet as pq

from gtm_assets.engines.files import attach_staging, staging_path

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results"
BIN = Path(sys.executable).parent
LAST_DAY = date(2026, 9, 30)
MODEL = "fct_opportunity"
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    ... on LaunchRunSuccess { run { runId } } } }"""
STATS = """query($id: ID!) { runOrError(runId: $id) { ... on Run { stats { ... on RunStatsSnapshot {
    enqueuedTime launchTime startTime endTime } } } } }"""
SMALL_SCALE = 0.01
"""The default scale of the synthetic org, of which a backfill's cost is the platform's own."""


@dataclass(frozen=True)
class Cost:
    """What a process and its children used; the peak is of all together, looked at ten times a second.

    ``said`` is the last line that it printed, where that is JSON: figures by their names.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    said: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.said[name]


@dataclass(frozen=True)
class Row:
    """A line of the table. ``bar`` is the most that ``value`` may be, in its unit."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    compared_with: Mapping[str, float] = field(default_factory=dict)
    """Name to seconds."""
    peak_mib: float | None = None

    @property
    def met(self) -> bool:
        return self.bar is None or self.value <= self.bar


def run(*command: str, **environment: str) -> Cost:
    """Run a command to its end; its children count.

    Raises:
        click.ClickException: it failed.
    """
    own = {k: v for k, v in os.environ.items() if not k.startswith(("GTM_", "DAGSTER_"))}
    # What was written before is not to be flushed in the measured time.
    os.sync()
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=PROJECT, env={**own, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
        with _Tree(process.pid) as tree:
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{said}")
    last = said.strip().splitlines()[-1:] or [""]
    told = json.loads(last[0]) if last[0].startswith("{") else {}
    # A process that nobody waits for, such as Spark's, is not in what the system tells of children.
    return Cost(
        seconds, max(used.ru_utime + used.ru_stime, tree.cpu_seconds), tree.peak_mib or used.ru_maxrss / 1024, told
    )


class _Tree:
    """What a process and its children use while it is entered, shared memory counted once."""

    def __init__(self, pid: int) -> None:
        self._process, self.peak_mib = psutil.Process(pid), 0.0
        self._used: dict[psutil.Process, float] = {}
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look)

    @property
    def cpu_seconds(self) -> float:
        """Of all processes that were seen, each as it was seen last."""
        return sum(self._used.values())

    def _look(self) -> None:
        while not self._ended.wait(1):
            held = 0
            with suppress(psutil.Error):
                for process in [self._process, *self._process.children(recursive=True)]:
                    with suppress(psutil.Error):
                        times = process.cpu_times()
                        self._used[process] = times.user + times.system
                        held += process.memory_full_info().pss
            self.peak_mib = max(self.peak_mib, held / 2**20)

    def __enter__(self) -> _Tree:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()


def part(name: str, *arguments: str, **environment: str) -> Cost:
    """Run a part of this script, a command below, as a process."""
    return run(sys.executable, "-m", "benchmarks.warehouse", name, *arguments, **environment)


def at(instant: str, *arguments: str, **environment: str) -> Cost:
    """Run ``gtm`` as at another instant."""
    return run(sys.executable, "-m", "gtm_assets_tests.gtm_at", instant, *arguments, **environment)


def settings(home: Path, scale: float, days: int, last: date = LAST_DAY) -> dict[str, str]:
    """The environment of a state folder whose calendar has so many days up to the last one."""
    return {
        "GTM_HOME": str(home),
        "GTM_SYNTHETIC_SCALE": str(scale),
        "GTM_START_DATE": str(last - timedelta(days - 1)),
        "GTM_END_DATE": str(last),
    }


@dataclass(frozen=True)
class Statements:
    """What the SQL of a model or a test cost, and how many rows a model wrote of how many that it holds."""

    name: str
    kind: str
    seconds: float
    cpu_seconds: float
    deleted: int | None = None
    inserted: int | None = None
    held: int | None = None


# -- the figures ------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """Measures and collects rows. The bars of what grows with the org are those of scale 1."""

    folder: Path
    scale: float
    rows: list[Row] = field(default_factory=list)
    statements: dict[str, list[Statements]] = field(default_factory=dict)
    """By what bare SQL was measured of."""

    def at_scale_1(self, bar: float) -> float | None:
        return bar if self.scale == 1 else None

    def add(self, what: str, value: float, unit: str = "s", **kwargs) -> None:
        self.rows.append(Row(what, value, unit, **kwargs))
        click.echo(as_text(self.rows[-1]))

    def start_up(self) -> None:
        """The code location and the UI, on an empty state folder."""
        environment = settings(self.folder / "empty", SMALL_SCALE, 3)
        cost = part("load", **environment)
        self.add("load the code location", cost["seconds"], peak_mib=cost.peak_mib)
        self.add("gtm dev until GraphQL answers", part("serve", **environment)["seconds"], bar=15)

    def organisation(self, days: int) -> None:
        cost = part("organise", **settings(self.folder / "none", self.scale, days))
        self.add(
            f"synthetic org, {cost['rows']:,.0f} records of {days} days",
            cost["seconds"],
            bar=self.at_scale_1(60),
            peak_mib=cost.peak_mib,
        )

    def landing(self, home: Path, days: int) -> None:
        """Land all days; Polars reads and writes the same files."""
        cost = part("land", **settings(home, self.scale, days))
        polars = part("copy", str(home / "lake"), str(self.folder / "copied"))
        self.add(
            f"land {days} days of all tables, the org's own time included",
            cost["seconds"],
            compared_with={"Polars reads and writes the files": polars["seconds"]},
            peak_mib=cost.peak_mib,
        )

    def rebuild(self, home: Path, days: int) -> None:
        """Build everything from the lake, against dbt alone and against bare SQL."""
        environment = settings(home, self.scale, days)
        cost = run(str(BIN / "gtm"), "run", "--full-refresh", **environment)
        bare = self.bare("full rebuild", home)
        alone = self.dbt_alone(home, "--full-refresh")
        steps = part("steps", **environment)
        against = {
            "bare SQL": bare["seconds"],
            "its models alone": bare["models"],
            "dbt build alone": alone.seconds,
        }
        what = "full rebuild from the lake, all models and checks, published"
        self.add(what, cost.seconds, bar=self.at_scale_1(40), compared_with=against, peak_mib=cost.peak_mib)
        self.add("full rebuild: bare SQL", bare["seconds"], bar=self.at_scale_1(20))
        self.add("full rebuild: peak memory", cost.peak_mib / 1024, "GiB", bar=self.at_scale_1(4))
        for name, seconds in steps.said.items():
            bar = {"published__gtm": self.at_scale_1(2), "published__report": self.at_scale_1(20)}.get(name)
            self.add(f"full rebuild: step {name}", seconds, bar=bar)
        for what, where in {
            "lake": "lake",
            "core and mart": "warehouse.duckdb",
            "what they are made of": "warehouse.staging.duckdb",
            "published file": "published",
        }.items():
            self.add(f"on disk: {what}", _gib(home / where), "GiB")

    def developing(self, days: int) -> None:
        """What a developer waits for at the default scale: nothing to do, a model, a click, a day more."""
        home = self.folder / "default"
        before = settings(home, SMALL_SCALE, days, LAST_DAY - timedelta(1))
        part("load", **before)
        loading = part("load", **before)
        run(str(BIN / "gtm"), "run", **before)
        loaded = {"import of the code location": loading["seconds"]}
        nothing = run(str(BIN / "gtm"), "run", **before)
        self.add("gtm run with nothing new", nothing.seconds, bar=5, compared_with=loaded)
        built = run(str(BIN / "gtm"), "build", MODEL, **before)
        self.add(f"gtm build {MODEL}, with its tests", built.seconds, bar=6, compared_with=loaded)
        clicked = part("click", MODEL, **before)
        self.add(f"a click on {MODEL} until it is green", clicked["seconds"], bar=15, compared_with=loaded)
        self.add("of it: in the queue", clicked["queued"])
        self.add("of it: a process and its imports", clicked["loading"])
        self.add("of it: the run", clicked["building"])
        more = run(str(BIN / "gtm"), "run", **{**before, "GTM_END_DATE": str(LAST_DAY)})
        self.add(f"one more day after {days} at scale {SMALL_SCALE}", more.seconds, bar=20, compared_with=loaded)

    def bare(self, what: str, home: Path, *arguments: str) -> Cost:
        """The SQL of a state folder's newest build in one connection; what each statement cost is kept."""
        warehouse = self.folder / "bare" / "warehouse.duckdb"
        cost = part("bare", *arguments, str(home), str(warehouse))
        told = json.loads(warehouse.with_suffix(".json").read_text())
        self.statements[what] = [Statements(**given) for given in told]
        return cost

    def dbt_alone(self, home: Path, *arguments: str) -> Cost:
        """``dbt build`` of everything into a warehouse of its own."""
        warehouse = self.folder / "alone" / "warehouse.duckdb"
        warehouse.parent.mkdir(exist_ok=True)
        places = ["--project-dir", "gtm_dbt", "--profiles-dir", "gtm_dbt", "--target-path", str(warehouse.parent)]
        quiet = [
            "--exclude-resource-type",
            "unit_test",
            "--log-level",
            "none",
            "--log-path",
            str(warehouse.parent),
        ]
        environment = {"GTM_HOME": str(home), "GTM_WAREHOUSE_FILE": str(warehouse)}
        return run(str(BIN / "dbt"), "build", *arguments, *places, *quiet, **environment)

    def day_more(self, history: Iterable[int]) -> None:
        """One more day after a history of so many, against bare SQL on the same day.

        Months that are over are merged before, as the monthly schedule does.
        """
        seconds: dict[int, float] = {}
        bare_cpu_seconds: dict[int, float] = {}
        for days in sorted(history):
            home = self.folder / f"history-{days}"
            before = settings(home, self.scale, days, LAST_DAY - timedelta(1))
            part("land", **before)
            run(str(BIN / "gtm"), "run", **before)
            run(str(BIN / "gtm"), "lake", "compact", **before)
            was = home.with_name(f"{home.name}-before.duckdb")
            _copy_warehouse(home / "warehouse.duckdb", was)
            cost = run(str(BIN / "gtm"), "run", **{**before, "GTM_END_DATE": str(LAST_DAY)})
            what = f"one more day after {days}, closed months merged"
            bare = self.bare(what, home, "--upon", str(was))
            seconds[days], bare_cpu_seconds[days] = cost.seconds, bare["cpu_seconds"]
            against = {"bare SQL": bare["seconds"]}
            self.add(what, cost.seconds, bar=bare["seconds"] + 15, compared_with=against, peak_mib=cost.peak_mib)
            self.add(f"bare SQL of one more day after {days}", bare["seconds"], bar=self.at_scale_1(8))
            shutil.rmtree(home)
            _remove_warehouse(was)
        first, *_, last = seconds
        if last != first:
            what = f"one more day: after {last} to after {first}"
            self.add(what, seconds[last] / seconds[first], "x", bar=1.1)
            self.add(f"{what}, bare SQL's CPU time", bare_cpu_seconds[last] / bare_cpu_seconds[first], "x")

    def hour_more(self, days: int) -> None:
        """A refresh within the day, in which a thousandth has changed: two hours of business."""
        home, morning = self.folder / "hours", LAST_DAY + timedelta(1)
        # The partition of a day ends in the evening of the next.
        given = settings(home, self.scale, days + 1)
        part("land", **settings(home, self.scale, days, LAST_DAY - timedelta(1)))
        at(f"{morning}T06:00:30+00:00", "run", **given)
        at(f"{morning}T20:00:30+00:00", "run", "--now", **given)
        before = part("landed", **given)["rows"]
        cost = at(f"{morning}T22:00:30+00:00", "run", "--now", **given)
        new = part("landed", **given)["rows"] - before
        self.add(
            f"refresh within the day with {new:,.0f} new versions, {new / before:.2%} of what had landed",
            cost.seconds,
            bar=self.at_scale_1(20),
            peak_mib=cost.peak_mib,
        )
        shutil.rmtree(home)

    def backfill(self, days: int) -> None:
        cost = part("land", **settings(self.folder / "backfill", SMALL_SCALE, days))
        what = f"backfill of {days} days of all tables at scale {SMALL_SCALE}"
        self.add(what, cost["seconds"], peak_mib=cost.peak_mib)
        self.add("of it Salesforce's tables and the runs", cost["seconds"] - cost["pipedrive"], bar=150)


def _copy_warehouse(path: Path, to: Path) -> None:
    shutil.copyfile(path, to)
    shutil.copyfile(staging_path(path), staging_path(to))


def _remove_warehouse(path: Path) -> None:
    path.unlink(missing_ok=True)
    staging_path(path).unlink(missing_ok=True)


def _gib(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**30


def as_text(row: Row) -> str:
    """A row as a line of Markdown's table."""
    bar = "" if row.bar is None else f"{'met' if row.met else 'NOT MET'}: at most {row.bar:.1f} {row.unit}"
    against = ", ".join(
        f"{name} {value:.1f} s ({row.value / value:.1f} x)" for name, value in row.compared_with.items()
    )
    peak = "" if row.peak_mib is None else f"{row.peak_mib:,.0f}"
    value = f"{row.value:.2f}" if row.unit == "x" else f"{row.value:.1f}"
    return f"| {row.what} | {value} {row.unit} | {bar} | {against} | {peak} |"


def machine() -> dict[str, object]:
    """Where this was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


@click.group(invoke_without_command=True, help=__doc__)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Of the synthetic org.")
@click.option("--days", type=int, default=30, show_default=True, help="Partitions of the rebuild.")
@click.option("--history", type=int, multiple=True, default=(30, 90, 365), show_default=True)
@click.option("--backfill", type=int, default=365, show_default=True, help="Partitions of the backfill.")
@click.option("--only", multiple=True, help="Name a part: start, develop, org, rebuild, day, hour, backfill.")
@click.pass_context
def main(
    context: click.Context,
    scale: float,
    days: int,
    history: tuple[int, ...],
    backfill: int,
    only: tuple[str, ...],
) -> None:
    if context.invoked_subcommand:
        return
    about = {**machine(), "scale": scale}
    click.echo("\n".join(f"{name}: {value}" for name, value in about.items()))
    with tempfile.TemporaryDirectory(prefix="gtm-bench-") as folder:
        bench, home = Bench(Path(folder), scale), Path(folder) / "gtm"
        parts: dict[str, Callable[[], None]] = {
            "start": bench.start_up,
            "develop": lambda: bench.developing(days),
            "org": lambda: bench.organisation(days),
            "rebuild": lambda: (bench.landing(home, days), bench.rebuild(home, days)),
            "day": lambda: bench.day_more(history),
            "hour": lambda: bench.hour_more(days),
            "backfill": lambda: bench.backfill(backfill),
        }
        for name, measure in parts.items():
            if not only or name in only:
                measure()
    write(about, bench.rows, bench.statements)
    sys.exit(not all(row.met for row in bench.rows))


LEDGER = "gtm_meta.consumed_batches"
COSTLIEST = 20
"""So many models and tests of a build are listed; the rest is one line."""


def as_table(statements: Iterable[Statements]) -> list[str]:
    """The costliest models and tests of a build as a table of Markdown."""
    listed = sorted(statements, key=lambda given: -given.cpu_seconds)
    rest = listed[COSTLIEST:]
    lines = [
        "| model or test | CPU s | s | rows deleted | rows inserted | of rows |",
        "|---|---|---|---|---|---|",
        *(
            f"| {given.name} | {given.cpu_seconds:.2f} | {given.seconds:.2f} | "
            + " | ".join("" if n is None else f"{n:,}" for n in (given.deleted, given.inserted, given.held))
            + " |"
            for given in listed[:COSTLIEST]
        ),
    ]
    cpu, seconds = (sum(getattr(given, name) for given in rest) for name in ("cpu_seconds", "seconds"))
    return [*lines, f"| {len(rest)} others | {cpu:.2f} | {seconds:.2f} | | | |"]


def write(
    about: Mapping[str, object], rows: Iterable[Row], statements: Mapping[str, Iterable[Statements]]
) -> None:
    """Write the tables as JSON and as Markdown."""
    RESULTS.mkdir(exist_ok=True)
    name = f"warehouse-scale-{about['scale']:g}"
    listed = [{**asdict(row), "met": row.met} for row in rows]
    costs = {what: [asdict(given) for given in of] for what, of in statements.items()}
    told = {"machine": about, "rows": listed, "statements": costs}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")
    head = [", ".join(f"{key} {value}" for key, value in about.items()), ""]
    table = ["| what | measured | bar | compared with | peak MiB |", "|---|---|---|---|---|"]
    lines = [*head, *table, *(as_text(row) for row in rows)]
    for what, of in statements.items():
        lines += ["", f"## Bare SQL: {what}", "", *as_table(of)]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")


# -- the parts, each a process ----------------------------------------------------------------------------------


def tell(**figures: float) -> None:
    """Print figures for the process that waits."""
    click.echo(json.dumps(figures))


@main.command(help="Load the code location.")
def load() -> None:
    began = time.perf_counter()
    importlib.import_module("gtm_assets.definitions")

    tell(seconds=time.perf_counter() - began)


@main.command(help="Start the UI and ask it.")
def serve() -> None:
    from gtm_assets_tests.browser import Server, free_port
    from gtm_assets_tests.gtm_process import GtmHome

    home = Path(os.environ["GTM_HOME"])
    given = tuple((k, v) for k, v in os.environ.items() if k.startswith("GTM_") and k != "GTM_HOME")
    home.mkdir(parents=True, exist_ok=True)
    server = Server(GtmHome(home, given), free_port(), home / "dev.log").start()
    server.stop()
    tell(seconds=server.seconds)


@main.command("click", help="Materialize a model of core by the UI's request, and wait until it is green.")
@click.argument("model")
def click_on(model: str) -> None:
    from gtm_assets_tests.browser import Server, free_port
    from gtm_assets_tests.gtm_process import GtmHome

    home = Path(os.environ["GTM_HOME"])
    given = tuple((k, v) for k, v in os.environ.items() if k.startswith("GTM_") and k != "GTM_HOME")
    server = Server(GtmHome(home, given), free_port(), home / "dev.log").start()
    selector = {
        "repositoryLocationName": "gtm_assets",
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": ["gtm_core", model]}],
    }
    try:
        began = time.perf_counter()
        launched = server.ask(LAUNCH, params={"selector": selector, "mode": "default"})["launchRun"]["run"][
            "runId"
        ]
        server.wait_for_run(launched, "SUCCESS")
        seconds = time.perf_counter() - began
        told = server.ask(STATS, id=launched)["runOrError"]["stats"]
    finally:
        server.stop()
    tell(
        seconds=seconds,
        queued=told["launchTime"] - told["enqueuedTime"],
        loading=told["startTime"] - told["launchTime"],
        building=told["endTime"] - told["startTime"],
    )


@main.command(help="Make the records of the synthetic org, and drop them.")
def organise() -> None:
    from gtm_assets import clock
    from gtm_assets.partitions import Calendar
    from gtm_assets.settings import load_settings
    from gtm_assets.sources.salesforce.catalog import OBJECTS
    from gtm_assets.sources.salesforce.synthetic import SyntheticOrg

    given = load_settings()
    calendar = Calendar.of(given)
    began, rows = time.perf_counter(), 0
    org = SyntheticOrg(given.synthetic_seed, given.synthetic_scale)
    for key in calendar.closed(clock.now()):
        for table in OBJECTS:
            rows += sum(page.height for page in org.changes(table, calendar.window(key)))
    tell(seconds=time.perf_counter() - began, rows=rows)


@main.command(help="Land all partitions that are over, by the jobs that a backfill runs.")
def land() -> None:
    import dagster as dg

    from gtm_assets import clock
    from gtm_assets.automation import jobs
    from gtm_assets.lake.store import Lake
    from gtm_assets.partitions import Calendar
    from gtm_assets.runtime.instance import prepare_home
    from gtm_assets.runtime.runs import execute
    from gtm_assets.settings import load_settings
    from gtm_assets.sources.extractions import extractions, missing
    from gtm_assets.sources.registry import raw_tables

    given = load_settings()
    prepare_home(given)
    keys = Calendar.of(given).closed(clock.now())
    with dg.DagsterInstance.get() as instance:
        began, pipedrive = time.perf_counter(), 0.0
        for extraction in extractions(missing(Lake(given.lake_dir), raw_tables(given), keys)):
            for event in execute(instance, jobs.EXTRACT, partitions=extraction.partitions):
                if event.is_failure:
                    raise click.ClickException(str(event.message))
                if event.is_step_success and event.step_key.startswith("pipedrive"):
                    pipedrive += event.step_success_data.duration_ms / 1000
        tell(seconds=time.perf_counter() - began, pipedrive=pipedrive)


@main.command(help="How many versions have landed.")
def landed() -> None:
    files = Path(os.environ["GTM_HOME"]).glob("lake/**/*.parquet")
    tell(rows=sum(pq.read_metadata(file).num_rows for file in files))


@main.command(help="Read each file of the lake by Polars and write it elsewhere.")
@click.argument("lake", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
def copy(lake: Path, target: Path) -> None:
    import polars as pl

    began = time.perf_counter()
    for file in sorted(lake.rglob("*.parquet")):
        to = target / file.relative_to(lake)
        to.parent.mkdir(parents=True, exist_ok=True)
        pl.read_parquet(file, hive_partitioning=False).write_parquet(to)
    tell(seconds=time.perf_counter() - began)


@main.command(help="How long each step of the newest run took, the longest first.")
def steps() -> None:
    import dagster as dg

    from gtm_assets.runtime.instance import prepare_home
    from gtm_assets.settings import load_settings

    prepare_home(load_settings())
    with dg.DagsterInstance.get() as instance:
        [newest] = instance.get_runs(limit=1)
        stats = instance.get_run_step_stats(newest.run_id)
        took = {s.step_key: s.end_time - s.start_time for s in stats if s.end_time and s.start_time}
    tell(**dict(sorted(took.items(), key=lambda item: -item[1])[:5]))


@main.command(help="Execute the SQL of the newest dbt build of a state folder in one bare DuckDB connection.")
@click.option("--upon", type=click.Path(path_type=Path), help="A warehouse to begin from; else an empty one.")
@click.argument("home", type=click.Path(path_type=Path))
@click.argument("warehouse", type=click.Path(path_type=Path))
def bare(upon: Path | None, home: Path, warehouse: Path) -> None:
    from gtm_assets.dbt.project import manifest_path

    manifest = json.loads(manifest_path().read_text())
    nodes, sql = manifest["nodes"], _compiled(home, manifest)
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    _remove_warehouse(warehouse)
    if upon:
        _copy_warehouse(upon, warehouse)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute(f"set TimeZone = 'UTC'; set file_search_path = '{home}'")
        connection.execute(f"attach '{staging_path(warehouse)}' as staging")
        built = home / "warehouse.duckdb"
        for database, path in (("warehouse", built), ("staging", staging_path(built))):
            connection.execute(f"attach '{path}' as built_{database} (read_only)")
            schemas = {node["schema"] for node in nodes.values() if node["database"] == database}
            for schema in schemas | {"gtm_meta"}:
                connection.execute(f'create schema if not exists {database}."{schema}"')
            # Seeds and the lists of batches are given: they cost nothing beside the rest.
            listed = connection.execute(
                "select table_name from duckdb_tables() where database_name = ? and schema_name = 'gtm_meta'",
                [f"built_{database}"],
            ).fetchall()
            seeds = [n for n in nodes.values() if n["resource_type"] == "seed" and n["database"] == database]
            given = [f"{n['schema']}.{n['alias']}" for n in seeds] + [f"gtm_meta.{name}" for (name,) in listed]
            # What had been consumed before the day is what the day begins with.
            for table in [name for name in given if not (upon and name == LEDGER)]:
                connection.execute(f"create or replace table {database}.{table} as from built_{database}.{table}")
        attach_staging(connection, warehouse, read_only=False)
        costs: list[Statements] = []
        for name, text in sql.items():
            costs.append(_executed(connection, nodes[name], text, upon is not None))
            if upon:
                _consume(connection, nodes[name])
    warehouse.with_suffix(".json").write_text(json.dumps([asdict(cost) for cost in costs]))
    seconds = {kind: sum(c.seconds for c in costs if c.kind == kind) for kind in ("model", "test")}
    tell(
        seconds=sum(seconds.values()),
        models=seconds["model"],
        tests=seconds["test"],
        cpu_seconds=sum(cost.cpu_seconds for cost in costs),
    )


def _executed(connection: duckdb.DuckDBPyConnection, node: Mapping, sql: str, incremental: bool) -> Statements:
    """Execute a node's SQL and say what it cost."""
    began, cpu_began = time.perf_counter(), _cpu_seconds()
    counts = [
        (statement.split(maxsplit=1)[0], connection.execute(statement).fetchall())
        for statement in _statements(node, sql, incremental)
    ]
    seconds, cpu_seconds = time.perf_counter() - began, _cpu_seconds() - cpu_began
    if node["resource_type"] == "test" or node["config"]["materialized"] == "view":
        return Statements(node["name"], node["resource_type"], seconds, cpu_seconds)
    [(held,)] = connection.execute(f"select count(*) from {node['schema']}.{node['alias']}").fetchall()
    written = {verb: rows[0][0] for verb, rows in counts}
    # A table that is made anew is all of it written.
    return Statements(
        node["name"],
        node["resource_type"],
        seconds,
        cpu_seconds,
        deleted=written.get("delete", 0),
        inserted=written.get("insert", held),
        held=held,
    )


def _consume(connection: duckdb.DuckDBPyConnection, node: Mapping) -> None:
    """Enter into the ledger what the measured build entered for a node."""
    ledger, built = (f"{prefix}{node['database']}.{LEDGER}" for prefix in ("", "built_"))
    connection.execute(f"delete from {ledger} where model = ?", [node["name"]])
    connection.execute(f"insert into {ledger} from {built} where model = ?", [node["name"]])


def _cpu_seconds() -> float:
    """What this process used so far, its threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _compiled(home: Path, manifest: Mapping) -> dict[str, str]:
    """The SQL of the models and tests that the newest build of a state folder did not leave out, parents first."""
    with duckdb.connect(str(home / "published" / "gtm.duckdb"), read_only=True) as published:
        ((run_id,),) = published.execute("select run_id from gtm_meta.publication").fetchall()
    states = json.loads((home / "warehouse.state.json").read_text())["nodes"]
    nodes, found = manifest["nodes"], {}
    parents = {name: node["depends_on"].get("nodes", ()) for name, node in nodes.items()}
    for name in TopologicalSorter(parents).static_order():
        node = nodes.get(name)
        if node is None or node["resource_type"] not in ("model", "test") or states[name]["run_id"] != run_id:
            continue
        path = Path(node["original_file_path"])
        place = path / node["path"] if path.suffix == ".yml" else path
        found[name] = (home / "dbt" / "target" / "compiled" / node["package_name"] / place).read_text()
    return found


def _statements(node: Mapping, sql: str, incremental: bool) -> list[str]:
    """What makes a node from its compiled SQL, without dbt's renaming, contracts and bookkeeping."""
    sql = sql.strip().rstrip(";")
    if node["resource_type"] == "test":
        return [f"select count(*) from (\n{sql}\n)"]
    name, kind = f"{node['schema']}.{node['alias']}", node["config"]["materialized"]
    if kind == "view":
        return [f"create or replace view {name} as (\n{sql}\n)"]
    if kind != "incremental" or not incremental:
        return [f"create or replace table {name} as (\n{sql}\n)"]
    keys = node["config"]["unique_key"] or []
    keys = [keys] if isinstance(keys, str) else keys
    same = " and ".join(f"{name}.{key} = incoming.{key}" for key in keys)
    # What is gone, a row of the strategy `sync` without its source, is not inserted.
    there = " where source_system is not null" if node["config"]["incremental_strategy"] == "sync" else ""
    return [
        f"create or replace temp table incoming as (\n{sql}\n)",
        *([f"delete from {name} using incoming where {same}"] if keys else []),
        f"insert into {name} by name from incoming{there}",
    ]


if __name__ == "__main__":
    main()
