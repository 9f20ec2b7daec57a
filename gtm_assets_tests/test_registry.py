"""A source is one folder: a made-up third one, added to the registry alone, is landed, checked and examined."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest
from rich.console import Console

from gtm_assets.automation import jobs
from gtm_assets.catalog.raw_table import Column, ColumnType, Deletes, RawTable
from gtm_assets.checks.raw import QUARANTINE
from gtm_assets.cli import doctor
from gtm_assets.cli.run import Outcome, wanted_by
from gtm_assets.definitions import definitions
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar, Window
from gtm_assets.runtime.runs import range_tags
from gtm_assets.settings import Settings, load_settings
from gtm_assets.sources import registry
from gtm_assets.sources.extractions import extractions
from gtm_assets.sources.raw_asset import Rules, TableExtraction, Task, asset_key, raw_asset
from gtm_assets.sources.source import Source

TICKET = RawTable(
    source="helpdesk",
    name="ticket",
    api_name="Ticket",
    description="A customer's question.",
    columns=tuple(
        Column(name, type_, f"Its {name}.", name)
        for name, type_ in {
            "id": ColumnType.STRING,
            "subject": ColumnType.STRING,
            "updated_at": ColumnType.TIMESTAMP,
            "is_deleted": ColumnType.BOOLEAN,
        }.items()
    ),
    cursor="updated_at",
    deletes=Deletes.SOFT,
)
NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


class Desk:
    def tickets(self, window: Window) -> Iterator[pl.DataFrame]:
        updated_at = window.end.replace(hour=0).isoformat()
        yield pl.DataFrame(
            {"id": [window.key], "subject": ["Help"], "updated_at": [updated_at], "is_deleted": ["false"]}
        )


class HelpdeskExtraction(TableExtraction):
    resource = "desk"

    def __init__(self, task: Task, desk: Desk) -> None:
        self._task, self._desk = task, desk

    def land(self, window: Window) -> Landing:
        return self._task.lake.land(self._task.table, window, self._desk.tickets(window), window.end)


class Helpdesk(Source):
    name = "helpdesk"
    description = "Questions."
    tables = (TICKET,)

    def mode(self, settings: Settings) -> str:
        return "made up"

    def resources(self, settings: Settings, calendar: Calendar) -> Mapping[str, Any]:
        return {"desk": Desk()}

    def raw_asset(self, table: RawTable, read: Collection[str], rules: Rules) -> dg.AssetsDefinition:
        return raw_asset(table, HelpdeskExtraction, read, rules)

    def examine(self, settings: Settings) -> Iterable[tuple[bool, str]]:
        yield False, "The desk is closed. Open it."


@pytest.fixture(autouse=True)
def third_source(monkeypatch) -> None:
    monkeypatch.setattr(registry, "SOURCES", (*registry.SOURCES, Helpdesk()))


@pytest.fixture
def settings(tmp_path) -> Settings:
    return load_settings({"GTM_HOME": str(tmp_path), "GTM_START_DATE": "2026-03-01", "GTM_END_DATE": "2026-03-02"})


def test_it_is_offered_and_landed_like_any_other(settings):
    lake, calendar = Lake(settings.lake_dir), Calendar.of(settings)
    defs = definitions(settings)
    dg.Definitions.validate_loadable(defs)
    node = defs.resolve_asset_graph().get(asset_key(TICKET))
    assert (node.group_name, node.kinds) == ("helpdesk_raw", {"helpdesk", "parquet"})
    assert QUARANTINE in {key.name for key in node.check_keys}

    # What `gtm run` finds missing, and the run that it starts for it.
    wanted = wanted_by(settings, lake, registry.raw_tables(settings), calendar.range(None, None, NOW))
    (extraction,) = extractions({table: keys for table, keys in wanted.items() if table is TICKET})
    with dg.DagsterInstance.ephemeral() as instance:
        ended = defs.resolve_job_def(jobs.EXTRACT).execute_in_process(
            asset_selection=[asset_key(TICKET)], tags=range_tags(extraction.partitions), instance=instance
        )
    assert ended.success and all(check.passed for check in ended.get_asset_check_evaluations())
    assert lake.partitions(TICKET) == ["2026-03-01", "2026-03-02"]
    assert not wanted_by(settings, lake, [TICKET], calendar.range(None, None, NOW))[TICKET]


def test_people_are_told_of_it(settings, capsys):
    said = {finding.sentence: finding.ok for finding in doctor.examine(lambda: settings, NOW)}
    assert said["The desk is closed. Open it."] is False
    assert any("helpdesk made up" in sentence for sentence in said)

    Outcome(reach={"helpdesk": "read up to noon"}).print_summary(Console(), settings, 1.0)
    assert "source     helpdesk, made up: read up to noon" in capsys.readouterr().out
