"""The platform's own errors: all of one root, and shown as a sentence wherever they are raised."""

import importlib
import inspect
import pkgutil
import traceback
from datetime import date
from types import ModuleType

import click
import polars as pl
from click.testing import CliRunner
from dagster_shared.error import SerializableErrorInfo

import gtm_assets
from gtm_assets.cli.main import explained, main
from gtm_assets.errors import GtmError
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.runtime.runs import cause_of
from gtm_assets.sources.salesforce.catalog import OBJECTS

SENTENCE = "salesforce.lead can't be read: the disk [x] is gone. Mend it"


EXTRAS = (
    "adbc_driver_postgresql",
    "aiohttp",
    "botocore",
    "dbt.adapters",
    "psycopg2",
    "py4j",
    "pyiceberg",
    "pyspark",
    "s3fs",
)
"""What extras bring."""


def imported(name: str) -> ModuleType | None:
    """A module of the package; None where its extra is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith(EXTRAS):
            raise
        return None


def exceptions() -> list[type[BaseException]]:
    modules = [
        imported(found.name)
        for found in pkgutil.walk_packages(gtm_assets.__path__, "gtm_assets.")
        if not found.name.endswith("__main__")
    ]
    return [
        value
        for module in filter(None, modules)
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and not issubclass(value, Warning)
        and value.__module__ == module.__name__
    ]


EXCEPTIONS = exceptions()


def raised(kind: type[BaseException]) -> BaseException:
    error = kind.__new__(kind)
    error.args = (SENTENCE,)
    return error


def serialized(error: BaseException) -> SerializableErrorInfo:
    return SerializableErrorInfo.from_traceback(traceback.TracebackException.from_exception(error))


def test_each_exception_of_the_package_is_a_gtm_error():
    assert len(EXCEPTIONS) >= 20
    assert [kind for kind in EXCEPTIONS if not issubclass(kind, GtmError)] == []


def test_a_command_ends_with_the_sentence_of_the_error():
    @click.command()
    @explained
    def command():
        raise raised(kind)

    wrong = {}
    for kind in EXCEPTIONS:
        shown = CliRunner().invoke(command)
        if (shown.exit_code, shown.output) != (1, f"error: {SENTENCE}\n"):
            wrong[kind] = shown.output
    assert wrong == {}


def test_a_failed_step_is_told_by_the_sentence_of_the_error():
    wrong = {}
    for kind in EXCEPTIONS:
        error, step = raised(kind), RuntimeError("Error occurred while executing op")
        error.__cause__, step.__cause__ = OSError("no such device"), error
        if (said := [cause_of(serialized(step)), cause_of(serialized(error))]) != [SENTENCE] * 2:
            wrong[kind] = said
    assert wrong == {}


def test_of_other_errors_all_is_told():
    class Foreign(Exception):
        """As another package has them."""

    step = RuntimeError("Error occurred while executing op")
    step.__cause__ = Foreign("no such device")
    assert "Error occurred while executing op" in cause_of(serialized(step))
    assert cause_of(serialized(step), traceback=False).endswith("Foreign: no such device")


def test_a_retry_of_quarantine_before_any_partition_has_landed_is_a_sentence(tmp_path, monkeypatch):
    # A landing that was killed between its quarantine and its batch leaves only the former.
    monkeypatch.setenv("GTM_HOME", str(tmp_path))
    campaign = next(table for table in OBJECTS if table.name == "campaign")
    lake, window = Lake(tmp_path / "lake"), Calendar(date(2026, 9, 9), date(2026, 9, 11)).window("2026-09-11")
    lake.land(campaign, window, [pl.DataFrame({"id": ["701A"], "system_modstamp": ["some day"]})], window.end)
    for batch in lake.batches(campaign):
        batch.path.unlink()

    retried = CliRunner().invoke(main, ["quarantine", "retry", "salesforce.campaign"])

    assert retried.exit_code == 1
    assert retried.output == (
        "error: salesforce.campaign: no partition has landed that its records in quarantine could join. "
        "Run: gtm run\n"
    )
