"""The ``gtm`` command."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import click

from gtm_assets.cli.access import access, serve, share
from gtm_assets.cli.certify import certify
from gtm_assets.cli.cost import cost
from gtm_assets.cli.dashboards import dashboards
from gtm_assets.cli.explain import explain
from gtm_assets.cli.mcp import mcp
from gtm_assets.cli.privacy import erase, finish_what_is_pending
from gtm_assets.cli.report import report
from gtm_assets.cli.speech import FULL_DISK, console, disk_is_full, escaped, explained, problems, whole_texts
from gtm_assets.settings import PROJECT_DIR, RenamedSetting, SettingsError, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from gtm_assets.catalog.raw_table import RawTable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """CRM records in, a proven star schema out."""
    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, RenamedSetting):
            problems.print(f"[yellow]note:[/] {escaped(message)}")
        else:
            shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show


@main.command()
@click.option("--from", "first", metavar="DAY", help="First partition to land. Default: all not landed yet.")
@click.option("--to", "last", metavar="DAY", help="Last partition to land. Default: the last that is over.")
@click.option("--full-refresh", is_flag=True, help="Rebuild every model from the whole lake.")
@click.option(
    "--full-extraction",
    is_flag=True,
    help="Take all records of every table: finds hard deletes and changed formula fields. Rebuilds every model.",
)
@click.option(
    "--now", "up_to_now", is_flag=True, help="Land the partition that is still open too, up to this minute."
)
@click.option("--force", is_flag=True, help="Build also what has not changed since it was built.")
@click.option("--as-of", metavar="DAY", help="Build everything as it was known at the end of that day.")
@explained
def run(
    first: str | None,
    last: str | None,
    full_refresh: bool,
    full_extraction: bool,
    up_to_now: bool,
    force: bool,
    as_of: str | None,
) -> None:
    """Land records, build the warehouse, prove it and publish it.

    Without --from and --to, the partitions that are over and have not landed yet are landed. With --now the one
    that is still open comes too; it is landed again when it is over.

    Tables, views and tests are left out where nothing that they are made of has changed: with --force none is.

    With --as-of nothing is landed or published: the build goes into a file of its own.

    DAY is a day, such as 2026-11-20, or so many days before that of the last partition boundary, such as -3d: the
    last partition that is over is -1d.
    """
    started = time.monotonic()
    settings = load_settings()
    finish_what_is_pending(settings)
    if as_of:
        if first or last or full_refresh or full_extraction or up_to_now or force:
            raise click.UsageError("--as-of builds from the lake alone: leave the other options out.")
        from gtm_assets.publishing.as_of import build_as_of

        built = build_as_of(settings, as_of, console.print)
        console.print(f"checks  {built.checks['passed']:,} passed, {built.checks['warned']:,} warned")
        console.print(f"as of   {built.instant:%Y-%m-%d %H:%M} UTC, in {time.monotonic() - started:,.0f} seconds")
        console.print(f"file    {built.path}")
        return
    if full_extraction and (first or last):
        raise click.UsageError(
            "--full-extraction is of the last partition that is over: leave --from and --to out."
        )
    if up_to_now and last:
        raise click.UsageError("--now goes on to this minute: leave --to out.")
    if up_to_now and full_extraction:
        raise click.UsageError("--full-extraction is of the last partition that is over: leave --now out.")
    if settings.executor == "in_process":
        from gtm_assets.dbt import process as dbt_process

        dbt_process.warm_up()
    from gtm_assets.cli.run import Options, refresh

    options = Options(first, last, full_refresh, full_extraction, up_to_now, force)
    outcome = refresh(settings, console, options)
    if outcome.errors and disk_is_full(settings.home, *outcome.errors):
        outcome.errors.append(FULL_DISK.format(home=settings.home, error="see above"))
    outcome.print_summary(console, settings, time.monotonic() - started)
    from gtm_assets.automation.alerts import tell_after_run

    tell_after_run(settings, _code_location, lambda sentence: problems.print(escaped(sentence)))
    sys.exit(0 if outcome.succeeded else 1)


@main.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--full-refresh", is_flag=True, help="Rebuild these models from the whole lake.")
@explained
def build(models: tuple[str, ...], full_refresh: bool) -> None:
    """Build exactly these MODELs, with their tests and unit tests, from what has landed.

    A MODEL is what dbt's --select takes: a name, +name with all above it, name+ with all below it.

    Nothing is published: gtm run does that, once every check of what it builds has passed.
    """
    started = time.monotonic()
    settings = load_settings()
    finish_what_is_pending(settings)
    if settings.executor == "in_process":
        from gtm_assets.dbt import process as dbt_process

        dbt_process.warm_up()
    from gtm_assets.cli.run import build as build_models

    outcome = build_models(settings, console, models, full_refresh)
    outcome.print_checks(console)
    outcome.print_end(console, time.monotonic() - started)
    sys.exit(1 if outcome.errors or outcome.checks["failed"] else 0)


main.add_command(serve)
main.add_command(share)
main.add_command(certify)
main.add_command(access)
main.add_command(cost)
main.add_command(dashboards)
main.add_command(erase)
main.add_command(report)
main.add_command(explain)
main.add_command(mcp)


@main.command("dbt", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@explained
def run_dbt_by_hand(arguments: tuple[str, ...]) -> None:
    """Run dbt on the warehouse, under its lock: gtm dbt show --select dim_user."""
    settings = load_settings()
    from gtm_assets.dbt.by_hand import run_by_hand

    sys.exit(run_by_hand(settings, arguments or ("--help",), problems.print))


@main.command()
@click.option("--port", default=3000, show_default=True, help="Port of the UI.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the UI listens on.")
@explained
def dev(port: int, host: str) -> None:
    """Open the UI, with the daemon that runs schedules and sensors."""
    settings = load_settings()
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.runtime.dagster_internals import dagster_dev
    from gtm_assets.runtime.instance import become_server, prepare_home

    prepare_home(settings)
    manifest_path()
    become_server(settings, host, port)
    console.print(f"The UI will be at http://{host}:{port}. Stop it with Ctrl-C.")
    os.chdir(PROJECT_DIR)
    # Dagster warns that this folder's dagster.yaml is not read: the state folder's is made from it.
    logging.getLogger("dagster").addFilter(lambda record: "Found a dagster instance" not in record.getMessage())
    # In this process: most of what it imports is here already.
    dagster_dev(["--workspace", "workspace.yaml", "--host", host, "--port", str(port)], name="gtm dev")


@main.group()
def quarantine() -> None:
    """Records that did not fit their table, and how they come back."""


@quarantine.command("list")
@click.argument("table", required=False)
@explained
def list_quarantine(table: str | None) -> None:
    """Show the records of TABLE that wait, each with its reason; without TABLE, how many wait in each."""
    settings = load_settings()
    from gtm_assets.lake.store import Lake

    lake = Lake.of(settings)
    if table is None:
        counts = {t.qualified_name: lake.quarantined(t).height for t in _tables()}
        for name, count in counts.items():
            if count:
                console.print(f"{name}: {count:,}")
        if not any(counts.values()):
            console.print("No record waits in quarantine.")
        return
    waiting = lake.quarantined(_table(table))
    if waiting.is_empty():
        console.print(f"No record of {table} waits in quarantine.")
        return
    shown = whole_texts("partition", "id", "reason")
    for row in waiting.iter_rows(named=True):
        shown.add_row(row["partition"], row["record_id"] or "", escaped(row["reason"]))
    console.print(shown)


@quarantine.command()
@click.argument("table")
@explained
def retry(table: str) -> None:
    """Land the records of TABLE that fit by now, after its catalogue was mended."""
    settings = load_settings()
    import dagster as dg

    from gtm_assets.checks import raw as raw_checks
    from gtm_assets.errors import LakeError
    from gtm_assets.lake.store import Lake
    from gtm_assets.partitions import Calendar
    from gtm_assets.runtime.instance import prepare_home
    from gtm_assets.sources.raw_asset import asset_key, landing_metadata

    raw, lake, calendar = _table(table), Lake.of(settings), Calendar.of(settings)
    before = lake.quarantined(raw).height
    if not before:
        console.print(f"No record of {table} waits in quarantine.")
        return
    prepare_home(settings)
    known_at, early = lake.read_until(raw), lake.landed_early(raw)
    if known_at is None:
        raise LakeError(
            f"{table}: no partition has landed that its records in quarantine could join. Run: gtm run"
        )
    landings = lake.retry(raw, lambda key: calendar.window(key, early.get(key)), known_at)
    with dg.DagsterInstance.get() as instance:
        for landing in landings:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key(raw), partition=landing.partition, metadata=landing_metadata(landing)
                )
            )
        finding = raw_checks.quarantine(lake, raw, settings.quarantine_limit)
        check = dg.AssetCheckKey(asset_key(raw), raw_checks.QUARANTINE)
        instance.report_runless_asset_event(finding.evaluation(check))
    added = sum(landing.added for landing in landings)
    left = lake.quarantined(raw).height
    console.print(f"{table}: {added:,} records landed, {left:,} still wait.")
    if added:
        console.print("Build them into the warehouse: gtm run")


@main.group("source")
def source_group() -> None:
    """The tables of the sources."""


@source_group.command()
@click.argument("table")
@explained
def forget(table: str) -> None:
    """Say that TABLE is gone from its source, so that it no longer stops publishing.

    What was last known of it stays. As soon as it can be read again, that is undone.
    """
    settings = load_settings()
    import dagster as dg

    from gtm_assets import clock
    from gtm_assets.checks.raw import VANISHED, still_there
    from gtm_assets.errors import LakeError
    from gtm_assets.lake.store import Lake
    from gtm_assets.runtime.instance import prepare_home
    from gtm_assets.sources.raw_asset import asset_key
    from gtm_assets.sources.registry import external_tables, source_of

    lake, external = Lake.of(settings), external_tables(settings)
    raw = _table(table, (*external, *_tables()))
    is_read = source_of(raw).can_be_read(settings, lake, raw)
    if is_read is None:
        raise LakeError(f"{raw.qualified_name}: nothing has landed, and there is nothing to forget. Run: gtm run")
    if is_read:
        raise LakeError(f"{raw.qualified_name} can be read: there is nothing to forget")
    lake.forget(raw, clock.now())
    if raw not in external and source_of(raw).may_refuse_tables:
        prepare_home(settings)
        with dg.DagsterInstance.get() as instance:
            check = dg.AssetCheckKey(asset_key(raw), VANISHED)
            instance.report_runless_asset_event(still_there(lake, raw).evaluation(check))
    if raw not in external:
        console.print(f"{raw.qualified_name}: {lake.alive(raw):,} records stay as they were last known.")
    console.print(f"{raw.qualified_name} stops publishing no more, until it can be read again. Next: gtm run")


@main.group("lake")
def lake_group() -> None:
    """The change log of raw records."""


@lake_group.command()
@click.argument("table", required=False)
@explained
def compact(table: str | None) -> None:
    """Merge the batches of TABLE, or of all tables, into one file for each month that is long over."""
    settings = load_settings()
    from gtm_assets.dbt.compaction import compact_lake

    done = compact_lake(settings, [_table(table)] if table else _tables(), console.print)
    if not any(compaction.files_after for compaction in done):
        console.print(
            f"There is nothing to merge: no month with several files is over by {settings.compaction_days} days."
        )


@lake_group.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@explained
def retain(dry_run: bool) -> None:
    """Let go of versions that were superseded for longer than GTM_RETENTION_DAYS and that no history needs."""
    settings = load_settings()
    if settings.retention_days is None:
        raise SettingsError("superseded versions are kept for ever: set GTM_RETENTION_DAYS, to 90 for example")
    from gtm_assets import clock
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.privacy.retention import retain_lake

    manifest = json.loads(manifest_path().read_text())
    done = retain_lake(settings, _tables(), manifest, clock.now(), console.print, dry_run)
    if not any(one.versions for one in done):
        console.print("Nothing is to go: no version that no history needs was superseded that long ago.")


@main.group("warehouse")
def warehouse_group() -> None:
    """What the models are built into."""


@warehouse_group.command()
@explained
def expire() -> None:
    """Let go of old snapshots of Iceberg tables, and of files that no table needs."""
    settings = load_settings()
    if settings.engine != "spark":
        console.print(f"GTM_ENGINE={settings.engine} keeps no snapshots: there is nothing to let go of.")
        return
    from gtm_assets.dbt.expiry import expire_snapshots

    done = expire_snapshots(settings, console.print)
    assert done is not None
    console.print(
        f"{done.snapshots:,} snapshots older than {settings.spark_snapshot_days} days have expired, and "
        f"{done.files:,} files went, of {done.bytes:,} bytes. What is built and what is published stays."
    )


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@explained
def metrics(arguments: tuple[str, ...]) -> None:
    """Ask the published file for metrics, with MetricFlow: gtm metrics query --help."""
    settings = load_settings()
    from gtm_assets.dbt.metrics import ask

    ask(settings, arguments or ("--help",))


@main.group()
def alerts() -> None:
    """What is wrong, and whether people would hear of it."""


@alerts.command("test")
@explained
def try_channels() -> None:
    """Read the matrix and send a test message to each channel that is set."""
    settings = load_settings()
    from gtm_assets.automation.alerts.channels import DeliveryError, Message, channels_set, deliver_by
    from gtm_assets.automation.alerts.matrix import Channel, load_matrix

    load_matrix(settings.alert_matrix)
    deliver, failed = deliver_by(settings), 0
    for channel in Channel:
        if channel not in channels_set(settings):
            console.print(f"{channel}: not set (GTM_ALERT_{channel.upper()}_URL)")
            continue
        try:
            deliver(channel, Message("[test] gtm alerts test", f"The channel {channel} works.", "test"))
        except DeliveryError as error:
            failed += 1
            console.print(f"{channel}: [red]not delivered[/]: {escaped(error)}")
        else:
            console.print(f"{channel}: delivered")
    if not channels_set(settings):
        console.print("No channel is set: alerts go to the log.")
    sys.exit(1 if failed else 0)


@alerts.command("list")
@explained
def list_alerts() -> None:
    """Show the incidents that are open."""
    settings = load_settings()
    from contextlib import closing

    from gtm_assets.automation.alerts.incidents import Incidents

    if not settings.incidents_path.exists():
        console.print("No incident is open: nothing was ever told.")
        return
    with closing(Incidents(settings.incidents_path)) as incidents:
        unresolved, waiting = incidents.unresolved(), incidents.waiting()
    if unresolved:
        shown = whole_texts("since (UTC)", "severity", "event", "what")
        for incident in unresolved:
            since = f"{incident.since:%Y-%m-%d %H:%M}"
            shown.add_row(since, incident.severity, incident.event, escaped(incident.title))
        console.print(shown)
    else:
        console.print("No incident is open.")
    if waiting:
        console.print(f"{waiting:,} messages did not reach their channel yet. Try the channels: gtm alerts test")


@main.command()
def doctor() -> None:
    """Read the settings, try what they name, and say what is wrong and how to mend it."""
    from gtm_assets.cli.doctor import examine

    findings = examine(load_settings, datetime.now(UTC))
    for finding in findings:
        mark = "[green]ok[/]   " if finding.ok else "[red]wrong[/]"
        console.print(f"{mark} {escaped(finding.sentence)}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


def _code_location() -> dg.Definitions:
    from gtm_assets.definitions import defs

    return defs


def _tables() -> tuple[RawTable, ...]:
    from gtm_assets.sources.registry import raw_tables

    return raw_tables(load_settings())


def _table(name: str, among: Sequence[RawTable] | None = None) -> RawTable:
    tables = among or _tables()
    found = [table for table in tables if name in (table.qualified_name, table.name)]
    if not found:
        raise SettingsError(
            f"{name} is not a table. The tables are: {', '.join(t.qualified_name for t in tables)}"
        )
    return found[0]
