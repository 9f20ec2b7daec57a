"""The platform's own errors: all of one root, and shown as a sentence wherever they are raised."""

import importlib
import inspect
import pkgutil
import traceback

import click
from click.testing import CliRunner
from dagster_shared.error import SerializableErrorInfo

import gtm_assets
from gtm_assets.cli.main import explained
from gtm_assets.errors import GtmError
from gtm_assets.runtime.runs import cause_of

SENTENCE = "salesforce.lead can't be read: the disk [x] is gone. Mend it"


def exceptions() -> list[type[BaseException]]:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(gtm_assets.__path__, "gtm_assets.")
        if not found.name.endswith("__main__")
    ]
    return [
        value
        for module in modules
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
