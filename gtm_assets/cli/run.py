"""``gtm run``: it lands what is missing, builds, proves and publishes, and prints what happens meanwhile."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from dagster import DagsterEventType as Event
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gtm_assets import clock
from gtm_assets.automation import jobs
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.checks.freshness import LANDED as LANDED_ON_TIME
from gtm_assets.checks.freshness import PUBLISHED as PUBLISHED_ON_TIME
from gtm_assets.cli.report import report_address
from gtm_assets.dbt.assets import BUILD_OP, LAYERS, STANDS_FROM, layer_of, selected_models
from gtm_assets.dbt.external import tables_not_read
from gtm_assets.dbt.inspection import check_readable
from gtm_assets.dbt.project import manifest_path
from gtm_assets.dbt.warehouse import Warehouse, WarehouseError
from gtm_assets.engines.registry import engine_of
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, PartitionError, boundary, end_of, minute_of, partition_of
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.publishing.standing import Standing, standing
from gtm_assets.reporting.assets import ASSET_KEY as REPORT
from gtm_assets.runtime.instance import end_dead_runs, prepare_home
from gtm_assets.runtime.runs import cause_of, execute
from gtm_assets.serving.names import ASSET_KEY as SERVED
from gtm_assets.serving.names import WATCHED
from gtm_assets.settings import EXTERNAL, Settings
from gtm_assets.sources import registry
from gtm_assets.sources.extractions import Extraction, extractions, missing
from gtm_assets.sources.raw_asset import UNTIL_TAG, asset_key
from gtm_assets.sources.registry import raw_tables


@dataclass
class Outcome:
    """What a ``gtm run`` did. Filled from the events of its runs."""

    rows: dict[dg.AssetKey, int] = field(default_factory=dict)
    """Rows per model now, and versions added per raw table."""
    layers: Mapping[dg.AssetKey, str] = field(default_factory=dict)
    checks: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    """Checks that warned or failed, a sentence each."""
    missing: list[str] = field(default_factory=list)
    """Raw tables that the external database lacks."""
    reach: Mapping[str, str] = field(default_factory=dict)
    """By source a sentence that says up to when it was read. It is empty where nothing of it has landed."""
    lacking: dict[str, str] = field(default_factory=dict)
    """By raw table the columns that the external database lacks."""
    unread: list[str] = field(default_factory=list)
    """Tables that lie in the external database and are not in the catalogue."""
    errors: list[str] = field(default_factory=list)
    published: bool = False
    served: str = ""
    """The server that people read, and what changed there."""
    stands_from: str = ""
    """Where there was nothing to do: since which run, in words."""
    left_out: int = 0
    """Tables and views that were left out, as nothing that they are made of has changed."""

    @property
    def succeeded(self) -> bool:
        """Whether everything ran and was published."""
        return self.published and not self.errors

    def print_summary(self, console: Console, settings: Settings, seconds: float) -> None:
        """The end of ``gtm run``: rows per layer, checks, time, where the file is, what to type next."""
        self._print_rows(console, settings)
        self.print_checks(console)
        if settings.is_external:
            self._print_external(console, settings)
        said = [s.summary(settings, self.reach.get(s.name, "")) for s in registry.extracted(settings)]
        for sentence in filter(None, said):
            console.print(f"source     {sentence}")
        console.print(f"engine     {settings.engine}: {engine_of(settings).place}")
        self.print_end(console, seconds)
        if self.stands_from:
            console.print(
                f"unchanged  all stands as built {self.stands_from}. To build it anyway: gtm run --force"
            )
        elif self.left_out:
            console.print(f"unchanged  {self.left_out:,} tables and views, which stand as they were")
        if self.published:
            console.print(f"published  {settings.published_path}")
            console.print(f"report     {report_address(settings)}")
            if self.served:
                console.print(f"served     {self.served}")
            console.print("next       make dev          opens the UI")
            console.print(f'           .venv/bin/python -c "{_one_liner(settings)}"')
        elif settings.published_path.exists():
            console.print(f"published  nothing new: {settings.published_path} is as it was")
        else:
            console.print("published  nothing")

    def _print_rows(self, console: Console, settings: Settings) -> None:
        table = Table(title="gtm run", title_justify="left")
        for header in ("layer", "tables", "rows"):
            table.add_column(header, overflow="fold")
        table.columns[1].justify = table.columns[2].justify = "right"
        tables: Counter[str] = Counter()
        rows: Counter[str] = Counter()
        sources: dict[str, list[int]] = defaultdict(list)
        external = {table.source for table in registry.external_tables(settings)}
        for key, count in self.rows.items():
            tables[self.layers[key]] += 1
            rows[self.layers[key]] += count
            if self.layers[key] == "raw":
                sources[key.path[0]].append(count)
        for source, counts in sources.items():
            unit = "rows" if source in external else "new versions"
            table.add_row(f"raw: {source}", f"{len(counts):,}", f"{sum(counts):,} {unit}")
        for layer in LAYERS:
            if tables[layer]:
                table.add_row(layer, f"{tables[layer]:,}", f"{rows[layer]:,} rows")
        console.print(table)

    def _print_external(self, console: Console, settings: Settings) -> None:
        console.print(f"source     external: schema gtm_raw of {settings.external_database}")
        if self.missing:
            console.print(f"           not there and counted as empty: {', '.join(self.missing)}")
        for name, columns in self.lacking.items():
            console.print(f"           not there and counted as null: {escape(f'{name}: {columns}')}")
        if self.unread:
            names = ", ".join(self.unread)
            console.print(f"           there and not read, not being in the catalogue: {escape(names)}")

    def print_checks(self, console: Console) -> None:
        """How many checks passed, and a sentence of each that did not."""
        passed, warned, failed = (self.checks[o] for o in ("passed", "warned", "failed"))
        blocking = self.checks["blocking"]
        console.print(
            f"checks     {passed:,} passed, {warned:,} warned, {failed:,} failed"
            + (f": {_blocking(blocking, failed)}" if failed else "")
        )
        for trouble in self.troubles:
            console.print(f"           {escape(trouble)}")

    def print_end(self, console: Console, seconds: float) -> None:
        """How long it took, and what went wrong."""
        console.print(f"seconds    {seconds:,.0f}")
        for error in self.errors:
            console.print(f"[red]error[/]      {escape(error)}")


def _blocking(blocking: int, failed: int) -> str:
    """Which of the checks that failed hold back what was built."""
    if not blocking:
        return "none of them blocks publishing"
    others = failed - blocking
    rest = f", {others:,} {'does' if others == 1 else 'do'} not" if others else ""
    return f"{blocking:,} {'blocks' if blocking == 1 else 'block'} publishing{rest}"


def _one_liner(settings: Settings) -> str:
    query = "select * from gtm_mart.rep_owner_performance limit 5"
    return f"import duckdb; duckdb.connect('{settings.published_path}', read_only=True).sql('{query}').show()"


@dataclass(frozen=True)
class Options:
    """What a run is asked for."""

    first: str | None = None
    """The first partition that is landed (again). Without it those are landed that have not landed yet."""
    last: str | None = None
    """The last partition. Both are days, or days back as in :func:`~gtm_assets.partitions.day_named`."""
    full_refresh: bool = False
    """Rebuild every model from the whole lake."""
    full_extraction: bool = False
    """Take all records of every table for the last partition, and rebuild every model."""
    up_to_now: bool = False
    """Land the partition that is still open too, up to the last whole minute."""
    force: bool = False
    """Build also what has not changed since it was built."""

    @property
    def ops(self) -> Mapping[str, Any]:
        """The config of the ops that build."""
        return jobs.REBUILD if self.full_refresh else jobs.FORCED if self.force else {}

    @property
    def may_do_nothing(self) -> bool:
        """Whether there is nothing to do where nothing has changed."""
        return not (self.full_refresh or self.full_extraction or self.force)


def refresh(settings: Settings, console: Console, options: Options) -> Outcome:
    """Land what is wanted, build, prove and publish.

    What has not changed since it was built is left out; where nothing has changed at all, no run is made.

    Raises:
        PartitionError: the range is not one that can be landed.
        SettingsError: the settings contradict the calendar that the state folder keeps.
        ExternalError: in external mode, the external database can't be read.
        TransformError: dbt can't parse the project.
    """
    lake, tables = Lake.of(settings), raw_tables(settings)
    now = clock.now()
    _refuse(settings, options, lake, tables, now)
    prepare_home(settings)
    calendar = Calendar.of(settings)
    keys = calendar.range(options.first, options.last, now) if tables else []
    still_open = calendar.open_at(now) if tables else None
    early = still_open if options.up_to_now else None
    if options.up_to_now and early is None:
        console.print(_nothing_is_open(calendar, keys[-1]))
    with dg.DagsterInstance.get() as instance:
        for run_id in end_dead_runs(instance):
            console.print(f"Run {run_id[:8]} was killed; its record is closed now.")
        missed = wanted_by(settings, lake, tables, keys, early)
        wanted = dict.fromkeys(tables, keys) if options.first else missed
        if still_open is not None and options.last is None:
            wanted = with_open(lake, wanted, still_open, options.up_to_now)
        if settings.is_external:
            console.print(f"Reading the external database {settings.external_database}.")
        if tables and not any(wanted.values()):
            console.print("All partitions that are over have landed.")
            if options.may_do_nothing and (stands := standing(settings, lake, instance, jobs.PUBLISHING)):
                return _unchanged(stands, _reaches(lake, tables, still_open))
        # Imported here, because the code location parses the dbt project when that has changed.
        console.print("Loading the code location.")
        from gtm_assets.definitions import defs

        refresh = _Refresh(instance, defs, console, tables, minute_of(now) if early else None)
        if options.full_extraction:
            before = {table: [key for key in wanted[table] if key != keys[-1]] for table in tables}
            plan = [*extractions(before), Extraction(tables, (keys[-1],))]
            outcome = refresh.run(plan, jobs.FULL_EXTRACTION, jobs.extract_all(tables) | jobs.REBUILD)
            outcome.reach = _reaches(lake, tables, still_open)
            return outcome
        outcome = refresh.run(extractions(wanted), jobs.REFRESH, options.ops)
        left = missing(lake, tables, keys)
        refresh.run_released({} if options.first or outcome.errors else _released(lake, wanted, left))
        outcome.reach = _reaches(lake, tables, still_open)
        outcome.unread = _unread(settings, outcome)
        return outcome


def _refuse(settings: Settings, options: Options, lake: Lake, tables: Sequence[RawTable], now: datetime) -> None:
    """Refuse what can't be landed, before a state folder is made."""
    if settings.is_external:
        wants_records = bool(options.first or options.last or options.full_extraction)
        _refuse_to_land(options.up_to_now, wants_records and not tables)
        check_readable(settings.external_database)
    if tables:
        Calendar.of(settings).range(options.first, options.last, now)
    for source in registry.extracted(settings):
        source.refuse_to_land(settings, lake)


def _unchanged(stands: Standing, reach: Mapping[str, str]) -> Outcome:
    """What a run says that has nothing to do: how what is published stands."""
    nodes = json.loads(manifest_path().read_text())["nodes"]
    keys = {name: dg.AssetKey([nodes[name]["schema"], nodes[name]["alias"]]) for name in stands.rows}
    failed = sum(outcome == "failed" for _, _, outcome, _ in stands.findings)
    return Outcome(
        rows={keys[name]: rows for name, rows in stands.rows.items()},
        layers={keys[name]: layer_of(nodes[name]) for name in stands.rows},
        checks=Counter(
            passed=stands.checks_passed, warned=stands.checks_warned - failed, failed=failed, blocking=0
        ),
        troubles=[_trouble(*finding) for finding in stands.findings],
        reach=reach,
        published=True,
        stands_from=f"by run {stands.run_id[:8]}, {stands.published_at:%Y-%m-%d %H:%M} UTC",
    )


def _trouble(asset: str, check: str, outcome: str, sentence: str) -> str:
    """What a check that did not pass says in the summary."""
    return f"{outcome}: {asset} {check}. {sentence}".rstrip(". ") + "."


def _refuse_to_land(up_to_now: bool, wants_records: bool) -> None:
    """Refuse options that land records where another loader does: ``--now``, and others where we land no table."""
    if up_to_now:
        raise PartitionError(
            f"--now lands the partition that is still open: with {EXTERNAL} another loader "
            "lands the records, and each run reads all that it has loaded. Leave --now out"
        )
    if wants_records:
        raise PartitionError(
            f"--from, --to and --full-extraction land records: with {EXTERNAL} another loader does that"
        )


def build(settings: Settings, console: Console, selections: Sequence[str], full_refresh: bool = False) -> Outcome:
    """Build exactly the models that dbt selects by ``selections``, with their tests and unit tests.

    Nothing is landed or published. The run is recorded as one from the UI is.

    Raises:
        TransformError: a selection is of no model, or dbt can't parse the project.
        ExternalError: in external mode, the external database can't be read.
    """
    prepare_home(settings)
    with dg.DagsterInstance.get() as instance:
        for run_id in end_dead_runs(instance):
            console.print(f"Run {run_id[:8]} was killed; its record is closed now.")
        from gtm_assets.definitions import defs

        refresh = _Refresh(instance, defs, console, (), None)
        return refresh.build(selected_models(defs, selections), full_refresh)


def rebuild(settings: Settings, console: Console) -> Outcome:
    """Build everything from what has landed, prove, publish and serve it. Nothing is landed."""
    prepare_home(settings)
    with dg.DagsterInstance.get() as instance:
        for run_id in end_dead_runs(instance):
            console.print(f"Run {run_id[:8]} was killed; its record is closed now.")
        from gtm_assets.definitions import defs

        return _Refresh(instance, defs, console, (), None).run([], jobs.REFRESH, jobs.REBUILD)


def _unread(settings: Settings, outcome: Outcome) -> list[str]:
    """Tables of the external database that are not read, by what this run listed, whether it published or not."""
    listed = outcome.missing or any(outcome.layers[key] == "raw" for key in outcome.rows)
    if settings.is_external and listed:
        # The end of a run is printed even where somebody has the warehouse open by then.
        with suppress(WarehouseError), Warehouse.of(settings).open("gtm run") as built:
            return tables_not_read(built)
    return []


def _nothing_is_open(calendar: Calendar, last: str) -> str:
    """Why there is no partition for ``--now`` to land early."""
    if calendar.last is not None and last == calendar.last.isoformat():
        why = f"The calendar has ended with partition {last} (GTM_END_DATE; `open` lets it go on)"
    else:
        why = f"Partition {last} has ended this minute"
    return f"{why}: no partition is open, and --now lands nothing more than gtm run does."


def _reaches(lake: Lake, tables: Sequence[RawTable], still_open: str | None) -> dict[str, str]:
    """Up to when each source was read, as :func:`_reach` says it."""
    names = dict.fromkeys(table.source for table in tables)
    return {name: _reach(lake, [t for t in tables if t.source == name], still_open) for name in names}


def _reach(lake: Lake, tables: Sequence[RawTable], still_open: str | None) -> str:
    """Up to when the tables of a source were read, and which of them less far.

    ``still_open`` is the partition that could be landed early, where there is one.
    """
    read = {table: lake.read_until(table) for table in tables}
    known = [until for until in read.values() if until is not None]
    if not known:
        return ""
    newest = max(known)
    key, reach = partition_of(newest), f"read up to {newest:%Y-%m-%d %H:%M} UTC"
    if newest == boundary(date.fromisoformat(key)):
        reach += ", the last partition boundary"
        if still_open:
            reach += ". Up to this minute: gtm run --now"
    else:
        reach += (
            f". Partition {key} is not whole: it ends {end_of(key):%Y-%m-%d %H:%M} UTC, and is then landed again"
        )
    behind = [table.name for table, until in read.items() if until != newest]
    return reach + (f". Less far: {', '.join(behind)}" if behind else "")


def wanted_by(
    settings: Settings, lake: Lake, tables: Sequence[RawTable], keys: Sequence[str], early: str | None = None
) -> dict[RawTable, list[str]]:
    """The partitions that are missing. A table whose export is newer than what has landed gets the last one.

    With ``early``, the partition that is landed early, news of an export comes in that one.
    """
    wanted = missing(lake, tables, keys)
    if early is None:
        for table in tables:
            if not wanted[table] and registry.source_of(table).has_news(settings, lake, table):
                wanted[table] = [keys[-1]]
    return wanted


def with_open(
    lake: Lake, wanted: Mapping[RawTable, Sequence[str]], still_open: str, up_to_now: bool
) -> dict[RawTable, list[str]]:
    """The wanted partitions and the one that is still open: of all tables, or only of those that owe it.

    Otherwise a table that could not be read when it was landed early would stop publishing until the partition's
    end.
    """
    owing = {table for table in wanted if up_to_now or still_open in lake.unreadable_partitions(table)}
    return {table: [*keys, still_open] if table in owing else [*keys] for table, keys in wanted.items()}


def _released(
    lake: Lake, wanted: Mapping[RawTable, list[str]], left: Mapping[RawTable, list[str]]
) -> dict[RawTable, list[str]]:
    """Older partitions still missing from tables that became readable again in this run."""
    unread = {table: keys for table, keys in left.items() if keys and not set(keys) & set(wanted[table])}
    return {table: keys for table, keys in unread.items() if lake.unreadable_reason(table) is None}


def _progress(console: Console) -> Progress:
    """Progress bars where somebody looks at a screen. In a log they would be lines."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # Rich takes a log for a terminal where FORCE_COLOR is set.
        disable=not (console.is_terminal and console.file.isatty()),
    )


class _Refresh:
    """The runs of one refresh and what they report."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        defs: dg.Definitions,
        console: Console,
        tables: Sequence[RawTable],
        until: datetime | None,
    ) -> None:
        self.instance, self.console, self.tables = instance, console, tables
        # All tables are read up to the same minute, however long each takes.
        self.tags = {UNTIL_TAG: until.isoformat()} if until else {}
        graph = defs.resolve_asset_graph()
        layers = {key: graph.get(key).tags.get("layer") for key in graph.toposorted_asset_keys}
        self.blocking = {key: graph.get_check_spec(key).blocking for key in graph.asset_check_keys}
        self.layers = {key: layer for key, layer in layers.items() if layer in ("raw", *LAYERS)}
        self.built = list(defs.resolve_job_def(jobs.TRANSFORM).asset_layer.executable_asset_keys)
        self.outcome = Outcome(layers=self.layers)

    def run_released(self, released: Mapping[RawTable, Sequence[str]]) -> None:
        """Land what tables owe that can be read again, and build once more."""
        if not released:
            return
        names = ", ".join(table.qualified_name for table in released)
        self.console.print(f"Can be read again: {names}. What could not be read before is landed.")
        # Drop these check results: the build below reports its own.
        self.outcome.checks.clear()
        self.outcome.troubles.clear()
        self.run(extractions(released), jobs.REFRESH, {})

    def run(self, plan: list[Extraction], last_job: str, ops: Mapping[str, Any]) -> Outcome:
        """Land what the plan names; the last of its runs, by ``last_job`` with this config of ops, builds too."""
        partitions = sum(len(e.tables) * len(e.partitions) for e in plan)
        with _progress(self.console) as self.progress:
            self.landing = self.progress.add_task("landing partitions", total=partitions)
            self.building = self.progress.add_task("building tables", total=len(self.built))
            if not plan:
                self._follow(jobs.TRANSFORM, run_config={"ops": ops})
            for extraction in plan:
                is_last = extraction is plan[-1]
                raw = [asset_key(table) for table in extraction.tables]
                # A narrowed job gets the checks of freshness too, which speak of days that are still to land.
                whole = len(raw) == len(self.tables)
                self._follow(
                    last_job if is_last else jobs.EXTRACT,
                    partitions=extraction.partitions,
                    assets=None if whole else [*raw, *self.built] if is_last else raw,
                    run_config={"ops": ops} if is_last else None,
                )
                if self.outcome.errors:
                    break
        return self.outcome

    def build(self, models: Sequence[dg.AssetKey], full_refresh: bool) -> Outcome:
        """Build these models alone."""
        with _progress(self.console) as self.progress:
            self.building = self.progress.add_task("building tables", total=len(models))
            config = {"full_refresh": full_refresh, "force": True, "unit_tests": True}
            run_config = {"ops": {BUILD_OP: {"config": config}}}
            self._follow(jobs.TRANSFORM, assets=models, run_config=run_config)
        return self.outcome

    def _follow(
        self,
        job_name: str,
        *,
        partitions: Sequence[str] = (),
        assets: Sequence[dg.AssetKey] | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> None:
        landed: Counter[tuple[dg.AssetKey, str]] = Counter()
        events = execute(
            self.instance,
            job_name,
            partitions=partitions,
            assets=assets,
            run_config=run_config,
            tags=self.tags,
        )
        for event in events:
            match event.event_type:
                case Event.ASSET_MATERIALIZATION:
                    self._materialized(event, landed)
                case Event.STEP_SUCCESS if event.step_key and landed:
                    self._landed(landed)
                    landed.clear()
                case Event.ASSET_OBSERVATION:
                    self._observed(event.asset_observation_data.asset_observation)
                case Event.ASSET_CHECK_EVALUATION:
                    self._checked(event.asset_check_evaluation_data)
                case Event.STEP_FAILURE:
                    error = event.step_failure_data.error
                    # Dagster does not record an error with every failure.
                    self.outcome.errors.append(cause_of(error) if error else event.message or "a step failed")
                case Event.RUN_FAILURE if not self.outcome.errors:
                    self.outcome.errors.append(event.message or "the run failed")

    def _materialized(self, event: dg.DagsterEvent, landed: Counter[tuple[dg.AssetKey, str]]) -> None:
        materialization = event.step_materialization_data.materialization
        key, metadata = materialization.asset_key, materialization.metadata
        if key == PUBLISHED:
            self.outcome.published = True
        elif key == SERVED:
            figures = (metadata[name].value for name in ("served_by", "tables", "rows_changed"))
            self.outcome.served = "{}, {:,} tables, of which {:,} rows changed".format(*figures)
        elif key in (REPORT, *WATCHED):
            # The UI has their figures, and checks tell what is wrong.
            pass
        elif self.layers.get(key) == "raw":
            landed[key, "partitions"] += 1
            landed[key, "rows"] += _count(metadata["dagster/partition_row_count"])
            self.progress.advance(self.landing)
            return
        else:
            rows = _count(metadata["dagster/row_count"])
            self.outcome.rows[key] = rows
            if STANDS_FROM in metadata:
                self.outcome.left_out += 1
            else:
                self.console.print(f"built   {'.'.join(key.path)}: {rows:,} rows")
        self.progress.advance(self.building)

    def _landed(self, landed: Counter[tuple[dg.AssetKey, str]]) -> None:
        for key in {key for key, _ in landed}:
            rows = landed[key, "rows"]
            self.outcome.rows[key] = self.outcome.rows.get(key, 0) + rows
            self.console.print(
                f"landed  {'.'.join(key.path)}: {rows:,} new versions in {landed[key, 'partitions']} partitions"
            )

    def _observed(self, observation: dg.AssetObservation) -> None:
        key, metadata = observation.asset_key, observation.metadata
        if self.layers.get(key) != "raw":
            return
        name = ".".join(key.path)
        if not metadata["in_external_database"].value:
            self.outcome.missing.append(name)
            return
        if columns := metadata["columns_not_in_external_database"].value:
            self.outcome.lacking[name] = str(columns)
        rows = _count(metadata["dagster/row_count"])
        self.outcome.rows[key] = rows
        until = "an unknown time"
        match metadata.get("dagster/last_updated_timestamp"):
            case dg.TimestampMetadataValue(value=synced):
                until = f"{datetime.fromtimestamp(synced, UTC):%Y-%m-%d %H:%M} UTC"
        self.console.print(f"external  {name}: {rows:,} rows, loaded until {until}")
        if "problems" in metadata:
            problems = str(metadata["problems"].value).splitlines()
            self.outcome.troubles += [f"warned: {problem.removeprefix('- ')}." for problem in problems]

    def _checked(self, evaluation: dg.AssetCheckEvaluation) -> None:
        if evaluation.check_name in (LANDED_ON_TIME, PUBLISHED_ON_TIME):
            return
        if evaluation.passed:
            self.outcome.checks["passed"] += 1
            return
        severe = evaluation.severity == dg.AssetCheckSeverity.ERROR
        outcome = "failed" if severe else "warned"
        self.outcome.checks[outcome] += 1
        if severe:
            blocks = bool(self.blocking.get(evaluation.asset_check_key))
            self.outcome.checks["blocking"] += blocks
            outcome += ", blocks publishing" if blocks else ", blocks nothing"
        asset, detail = evaluation.asset_key.to_user_string(), evaluation.description or ""
        self.outcome.troubles.append(_trouble(asset, evaluation.check_name, outcome, detail))


def _count(figure: dg.MetadataValue) -> int:
    """A number of rows, of which every materialization says one."""
    assert isinstance(figure.value, int)
    return figure.value
