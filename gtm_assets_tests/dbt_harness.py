"""Real dbt builds on small lakes, in this process: land a few records, build a few models, look at tables.

The project is parsed once a session; a build of one model takes about a second.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType

import duckdb
import polars as pl
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.artifacts.schemas.results import NodeStatus
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.base_types import EventMsg

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.dbt.inspection import ExternalError, inspect
from gtm_assets.dbt.project import wanted_tables
from gtm_assets.engines.files import connect
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, boundary
from gtm_assets.settings import PROJECT_DIR
from gtm_assets.sources.pipedrive.catalog import TABLES as PIPEDRIVE_TABLES
from gtm_assets.sources.salesforce.catalog import OBJECTS

DBT_DIR = PROJECT_DIR / "gtm_dbt"
CALENDAR = Calendar(date(2026, 1, 1), date(2026, 3, 31))
CREATED = datetime(2025, 12, 1, tzinfo=UTC)
TABLES: dict[str, RawTable] = {table.name: table for table in OBJECTS}
PIPEDRIVE: dict[str, RawTable] = {table.qualified_name: table for table in PIPEDRIVE_TABLES}
"""Pipedrive's tables by their qualified names, such as ``pipedrive.activity``."""
BOOKKEEPING = frozenset({"_batch_id", "_known_at", "_fivetran_synced", "_partition_key"})
"""Columns that say how a row came, not what it says."""

DUCKDB: Mapping[str, str] = MappingProxyType({})
"""What dbt's profile asks the environment for DuckDB beside the places: nothing."""


_QUICKLY = ("--quiet", "--log-level-file", "none", "--no-write-json")


class BuildError(AssertionError):
    """dbt failed where a test expected it not to. The message holds what dbt said of each node."""


class Home:
    """A state folder: a lake to land in and a warehouse that dbt builds from it."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest | None = None,
        external: Path | None = None,
        without: str = "",
        project: Path = DBT_DIR,
        engine: Mapping[str, str] = DUCKDB,
    ) -> None:
        """The folder at ``path``, built by the dbt project, or by a manifest that a test has changed.

        With ``external`` it is built from that file's schema ``gtm_raw`` in place of the lake; ``without`` names
        sources that are off; ``project`` is a changed copy of the dbt project; ``engine`` is what dbt's profile
        asks the environment of the engine that it is built on.
        """
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.manifest, self.external, self.without = path, manifest, external, without
        self.project, self.engine = project, engine
        self.lake = Lake(path / "lake")

    def twin(self, name: str) -> Home:
        """A home with this one's lake and a warehouse of its own."""
        other = Home(self.path.with_name(f"{self.path.name}-{name}"), self.manifest)
        if not other.lake.root.exists():
            self.lake.root.mkdir(parents=True, exist_ok=True)
            other.lake.root.symlink_to(self.lake.root)
        return other

    def land(
        self,
        table: str | RawTable,
        partition: str,
        *records: Mapping[str, object],
        known_at: datetime | None = None,
        until: datetime | None = None,
    ) -> Landing:
        """Land the records as what an extraction of the partition found, seen at its end.

        With ``until`` the partition is still open then: of the records those that were there by then land early.
        A table may be named: Salesforce's as ``account``, Pipedrive's as ``pipedrive.activity``.
        """
        raw_table = (TABLES | PIPEDRIVE)[table] if isinstance(table, str) else table
        window = CALENDAR.window(partition, until)
        if until is not None:
            records = tuple(record for record in records if record[raw_table.cursor] < window.end)
        return self.lake.land(raw_table, window, [as_page(records)], known_at or window.end)

    def dbt(
        self,
        *arguments: str,
        variables: Mapping[str, object] | None = None,
        hear: Callable[[EventMsg], None] | None = None,
    ) -> dbtRunnerResult:
        """One dbt command on this home's warehouse. ``hear`` is given each of dbt's log events."""
        places = {
            "--project-dir": self.project,
            "--profiles-dir": self.project,
            "--target-path": self.path / "dbt",
            "--log-path": self.path / "dbt",
        }
        command = [*arguments, *(str(part) for pair in places.items() for part in pair), *_QUICKLY]
        if variables:
            command += ["--vars", str(dict(variables))]
        source = {
            "GTM_WAREHOUSE_FILE": str(self.path / "warehouse.duckdb"),
            "GTM_SALESFORCE_SOURCE": "external" if self.external else "synthetic",
            "GTM_EXTERNAL_DATABASE": str(self.external or ""),
            "GTM_SOURCES_OFF": self.without,
        }
        if self.external:
            given = (variables or {}).get("pass_through_columns") or {}
            self.inspect(given if isinstance(given, Mapping) else {})
        with _environment(GTM_HOME=str(self.path), GTM_DBT_THREADS="2", **source, **self.engine):
            try:
                manifest = self.manifest or parsed(self.project, self.engine)
                runner = dbtRunner(manifest=manifest, callbacks=[hear] if hear else [])
                return runner.invoke(command)
            finally:
                _let_go()

    def inspect(self, passed_through: Mapping[str, object]) -> None:
        """Inspect the external database, as the package does before each of dbt's commands.

        Raises:
            BuildError: it was refused.
        """
        assert self.external
        names = {
            table: [column["name"] if isinstance(column, Mapping) else column for column in columns]
            for table, columns in passed_through.items()
            if isinstance(columns, list)
        }
        try:
            inspect(self.external, wanted_tables(self.manifest or parsed()), names).write(
                self.path / "dbt" / "external"
            )
        except ExternalError as error:
            raise BuildError(str(error)) from error

    def build(
        self, *select: str, full_refresh: bool = False, variables: Mapping[str, object] | None = None
    ) -> dbtRunnerResult:
        """Build the selected models, without their tests.

        Raises:
            BuildError: a model failed.
        """
        command = ["run", "--select", *select, *(["--full-refresh"] if full_refresh else [])]
        result = self.dbt(*command, variables=variables)
        if not result.success:
            raise BuildError(describe(result))
        return result

    def seed(self) -> Home:
        """Load the seeds, on which some tables stand; gives the home itself."""
        result = self.dbt("seed")
        assert result.success, describe(result)
        return self

    def rows(self, query: str) -> list[tuple]:
        """The rows of a query on the warehouse."""
        with connect(self.path / "warehouse.duckdb") as connection:
            return connection.execute(query).fetchall()

    def table(self, name: str, ignoring: Iterable[str] = BOOKKEEPING) -> Counter[tuple]:
        """A table's rows, as often as each is there, without the columns that say how a row came."""
        return self.tables(name, ignoring=ignoring)[name]

    def tables(self, *names: str, ignoring: Iterable[str] = BOOKKEEPING) -> dict[str, Counter[tuple]]:
        """The rows of tables by name, as :meth:`table` gives them."""
        with connect(self.path / "warehouse.duckdb") as connection:
            places = "select table_name, table_schema from information_schema.tables"
            schemas = dict(connection.execute(places).fetchall())
            return {name: _content(connection, schemas, name, set(ignoring)) for name in names}

    def consumed(self, model: str) -> set[tuple[str, str]]:
        """The ledger's entries of a model: parent and batch."""
        ledgers = "(from gtm_meta.consumed_batches union all from staging.gtm_meta.consumed_batches)"
        return set(self.rows(f"select parent, batch_id from {ledgers} where model = '{model}'"))


def copied_warehouse(home: Path, folder: Path) -> Path:
    """A copy of a state folder's warehouse in another folder."""
    for path in home.glob("warehouse*.duckdb"):
        shutil.copyfile(path, folder / path.name)
    return folder / "warehouse.duckdb"


def _content(
    connection: duckdb.DuckDBPyConnection, schemas: Mapping[str, str], name: str, ignoring: set[str]
) -> Counter[tuple]:
    assert name in schemas, f"{name} has not been built"
    result = connection.execute(f"select * from {schemas[name]}.{name}")
    keep = [i for i, column in enumerate(result.description) if column[0] not in ignoring]
    names = [result.description[i][0] for i in keep]
    return Counter(tuple(zip(names, (row[i] for i in keep), strict=True)) for row in result.fetchall())


def as_page(records: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """Records as a page of typed columns. A column that a record lacks is null there."""
    records = list(records)
    names = list(dict.fromkeys(name for record in records for name in record))
    return pl.DataFrame({name: pl.Series(name, [r.get(name) for r in records], strict=False) for name in names})


def at(day: int, hours: float = 6) -> datetime:
    """An instant of a partition of January 2026: so many hours after its beginning."""
    return boundary(date(2026, 1, day)) + timedelta(hours=hours)


def partition(day: int) -> str:
    """Key of a partition of January 2026."""
    return f"2026-01-{day:02d}"


def account(number: int, modified: datetime, **changes: object) -> dict[str, object]:
    """An account, as last modified at an instant."""
    return {
        "id": f"001{number:015d}",
        "name": f"Account {number}",
        "industry": "Energy",
        "segment_c": "Startup",
        "annual_revenue": 1_000_000,
        "created_date": CREATED,
        "system_modstamp": modified,
        "is_deleted": False,
    } | changes


def user(number: int, modified: datetime, **changes: object) -> dict[str, object]:
    """A user, as last modified at an instant."""
    return {
        "id": f"005{number:015d}",
        "name": f"User {number}",
        "division": "North",
        "audit_phase_c": "Phase1",
        "is_active": True,
        "created_date": CREATED,
        "system_modstamp": modified,
        "_fivetran_deleted": False,
    } | changes


def contact(number: int, modified: datetime, **changes: object) -> dict[str, object]:
    """A contact, as last modified at an instant."""
    return {
        "id": f"003{number:015d}",
        "name": f"Contact {number}",
        "created_date": CREATED,
        "system_modstamp": modified,
        "is_deleted": False,
    } | changes


def task(number: int, modified: datetime, **changes: object) -> dict[str, object]:
    """A task, as last modified at an instant."""
    return {
        "id": f"00T{number:015d}",
        "subject": f"Task {number}",
        "status": "Not Started",
        "is_closed": False,
        "created_date": CREATED,
        "system_modstamp": modified,
        "is_deleted": False,
    } | changes


def opportunity(number: int, modified: datetime, **changes: object) -> dict[str, object]:
    """A deal, as last modified at an instant."""
    return {
        "id": f"006{number:015d}",
        "name": f"Deal {number}",
        "stage_name": "Prospecting",
        "forecast_category": "Pipeline",
        "amount": 100,
        "probability": 10.0,
        "close_date": date(2026, 3, 31),
        "is_closed": False,
        "is_won": False,
        "created_date": CREATED,
        "system_modstamp": modified,
        "is_deleted": False,
    } | changes


def empty_tables(home: Home, *names: str) -> None:
    """Land the first partition of tables in which nothing was found."""
    for name in names:
        if not home.lake.batches((TABLES | PIPEDRIVE)[name]):
            home.land(name, partition(1))


def incremental_models() -> list[str]:
    """All incremental models of the project."""
    nodes = parsed().nodes.values()
    return sorted(n.name for n in nodes if n.resource_type == "model" and n.config.materialized == "incremental")


def with_ancestors(*names: str) -> list[str]:
    """The models and all models that they are built from."""
    manifest, found = parsed(), set()
    waiting = [f"model.gtm_dbt.{name}" for name in names]
    while waiting:
        id_ = waiting.pop()
        if id_ in manifest.nodes and manifest.nodes[id_].resource_type == "model" and id_ not in found:
            found.add(id_)
            waiting += manifest.nodes[id_].depends_on.nodes
    return sorted(manifest.nodes[id_].name for id_ in found)


def describe(result: dbtRunnerResult) -> str:
    """What dbt said of each node that failed."""
    if result.exception:
        return str(result.exception)
    failed = [r for r in result.result if r.status not in (NodeStatus.Success, NodeStatus.Pass, NodeStatus.Warn)]
    return "\n".join(f"{r.node.name}: {r.status}: {r.message}" for r in failed)


def parsed(project: Path = DBT_DIR, engine: Mapping[str, str] = DUCKDB) -> Manifest:
    """The project's manifest, parsed once a session. To change it, change a copy: ``parsed().deepcopy()``."""
    return _parsed(project, tuple(engine.items()))


@cache
def _parsed(project: Path, engine: tuple[tuple[str, str], ...]) -> Manifest:
    places = ["--project-dir", str(project), "--profiles-dir", str(project)]
    with tempfile.TemporaryDirectory() as target, _environment(GTM_HOME="/nowhere", **dict(engine)):
        result = dbtRunner().invoke(
            [
                "parse",
                *places,
                "--target-path",
                target,
                "--log-path",
                target,
                "--no-partial-parse",
                "--quiet",
                "--no-write-json",
            ]
        )
    assert result.success, result.exception
    return result.result


def _let_go() -> None:
    """Close the warehouse: in its own process dbt leaves that to the end."""
    environment = DuckDBConnectionManager._ENV
    if environment is not None:
        environment.close()
        DuckDBConnectionManager.close_all_connections()


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
