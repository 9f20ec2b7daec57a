"""The commands of README.md and docs/operating.md work as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gtm_assets.cli.main import main
from gtm_assets.settings import PROJECT_DIR, load_settings
from gtm_assets_tests.gtm_process import GTM

PAGES = [page for name in ("README.md", "docs/operating.md") if (page := PROJECT_DIR / name).exists()]
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)?\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:make|gtm|cd|truncate|\.venv/bin/\S+) ?")
INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*gtm [^`]+)`")
PLACEHOLDERS = {"[TABLE]": "salesforce.contact", "TABLE": "salesforce.contact", "MODEL": "fct_opportunity"}
NEEDS_MORE = {"make", "gtm dev", "gtm alerts test"}
"""They run what this test is part of, go on until they are stopped, or send messages."""
LIGHT = {"quarantine", "alerts", "lake", "source", "doctor"}
REFUSED = ("gtm source forget", "gtm erase", "gtm access audit")
"""Commands that have nothing to do on a state folder that is well, without a server, and exit with 1."""


def blocks(page: Path) -> list[list[str]]:
    """The commands of each block of code that is one of commands, without what the page says of them."""
    found = []
    for text in BLOCK.findall(page.read_text()):
        lines = [re.sub(r"\s+# .*", "", line).rstrip() for line in text.splitlines() if line.strip()]
        if lines and all(COMMAND.match(line) for line in lines):
            found.append(lines)
    return found


def inline(page: Path) -> list[str]:
    """The `gtm` commands within sentences and tables, each once."""
    outside = BLOCK.sub("", page.read_text())
    return list(dict.fromkeys(INLINE.findall(outside)))


def of_gtm(line: str) -> tuple[dict[str, str], list[str]] | None:
    """The variables and the arguments that a line gives `gtm`; None where it runs something else."""
    words = shlex.split(line)
    given = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        given[name] = value
    if not words or Path(words[0]).name != "gtm":
        return None
    return given, [PLACEHOLDERS.get(word, word) for word in words[1:]]


def parse(arguments: list[str]) -> bool:
    """Let click read the arguments without doing what they say. Returns whether they are all that is needed.

    Raises:
        click.UsageError: there is no such command or option.
    """
    command: click.Command = main
    context = click.Context(main, info_name="gtm")
    while isinstance(command, click.Group):
        if not arguments:
            return False
        name, command, arguments = command.resolve_command(context, arguments)
        context = click.Context(command, info_name=name, parent=context)
    try:
        command.make_context(context.info_name, arguments, parent=context.parent)
    except (click.MissingParameter, click.BadOptionUsage):
        # A sentence may name a command, or one with an option, without the rest.
        return False
    return True


def typed(line: str) -> str | None:
    """A line as somebody types it. None where it can't be run here, or only its reader has what it needs."""
    line = " ".join(PLACEHOLDERS.get(word, word) for word in line.split(" "))
    called = of_gtm(line)
    is_whole = called is None or parse(called[1])
    names_a_place = re.search(r"=/|\[[A-Z]", line)
    left_out = any(re.match(rf"(?:\.venv/bin/)?{known}\b", line) for known in NEEDS_MORE)
    return line if is_whole and not names_a_place and not left_out else None


def test_the_readme_has_commands():
    assert any(line.startswith("make run") for block in blocks(PAGES[0]) for line in block)
    assert sum(len(inline(page)) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_gtm_takes(page):
    wrong = []
    for line in [*(line for block in blocks(page) for line in block), *inline(page)]:
        called = of_gtm(line)
        if called is None:
            continue
        given, arguments = called
        try:
            parse(arguments)
            load_settings({"GTM_HOME": "/nowhere", **given})
        except (click.UsageError, ValueError) as error:
            wrong.append(f"{line}: {error}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_names_a_day_that_passes(page):
    """A day that is written out is before, or after, what the reader's state folder holds."""
    lines = [*(line for block in blocks(page) for line in block), *inline(page)]

    assert [line for line in lines if re.search(r"\d{4}-\d{2}-\d{2}", line)] == []


@pytest.mark.slow
def test_the_light_commands_run_on_a_built_state_folder(built_home, tmp_path, monkeypatch):
    """Those that neither land nor build, in this process."""
    shutil.copytree(built_home.path, tmp_path / "gtm")
    for name, value in {**dict(built_home.settings), "GTM_HOME": str(tmp_path / "gtm")}.items():
        monkeypatch.setenv(name, value)
    wrong, tried = [], 0
    for line in dict.fromkeys(typed(line) for page in PAGES for line in inline(page)):
        called = line and of_gtm(line)
        if not called or called[1][0] not in LIGHT:
            continue
        ended, tried = CliRunner().invoke(main, called[1]), tried + 1
        is_refused = ended.exit_code == 1 and isinstance(ended.exception, SystemExit)
        if is_refused != line.startswith(REFUSED) or (ended.exit_code and not is_refused):
            wrong.append(f"{line}: {ended.output} {ended.exception!r}")
    assert wrong == []
    assert tried > 3


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder in which the commands find what they find in a clone: the environment, the dbt project."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / ".venv").symlink_to(GTM.parent.parent)
    shutil.copytree(PROJECT_DIR / "gtm_dbt", folder / "gtm_dbt", ignore=shutil.ignore_patterns("target", "logs"))
    return folder


@pytest.mark.slow
@pytest.mark.nightly
def test_the_commands_run_as_they_stand_on_a_fresh_state_folder(clone):
    """One after the other, as somebody would type them who reads on after `make run`."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("GTM_", "DAGSTER_", "DBT_"))}
    path = f"{clone}/.venv/bin:{os.environ['PATH']}"
    small = {"GTM_SYNTHETIC_SCALE": "0.001", "GTM_RETRY_SECONDS": "0"}
    environment = {**own, **small, "PATH": path, "GTM_HOME": str(clone / ".gtm"), "COLUMNS": "200"}

    def run(line: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", line], cwd=clone, env=environment, capture_output=True, text=True, timeout=900
        )

    first = run("gtm run")
    assert first.returncode == 0, first.stdout + first.stderr
    wrong, tried = [], 0
    for page in PAGES:
        # Lines of a block go together; a command in a sentence stands for itself.
        for lines in [*blocks(page), *([line] for line in inline(page))]:
            for before, line in pairwise(["", *map(typed, lines)]):
                if line is None:
                    continue
                is_refused = line.startswith(REFUSED) or (before or "").startswith("truncate")
                ended, tried = run(line), tried + 1
                if (ended.returncode != 0) != is_refused or "Traceback" in ended.stderr:
                    wrong.append(f"{line}\n{(ended.stdout + ended.stderr)[-1500:]}")
    assert wrong == []
    assert tried > 10
