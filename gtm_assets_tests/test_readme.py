"""The documents say what the code says, are short where they are for users, and point to what is there."""

import os
import re
import subprocess
from pathlib import Path

from gtm_assets.cli.main import main
from gtm_assets.cli.readme import README, current, index_of
from gtm_assets.settings import PROJECT_DIR, Settings

CONTRIBUTING = PROJECT_DIR / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, PROJECT_DIR / "CHANGELOG.md", *sorted((PROJECT_DIR / "docs").glob("*.md"))]


def test_what_the_code_knows_better_is_as_it_says():
    assert [page.name for page, text in current().items() if page.read_text() != text] == [], "run: make docs"


def test_the_readme_is_for_users_and_at_most_200_lines():
    assert len(README.read_text().splitlines()) <= 200


def anchors(page: Path) -> set[str]:
    """The names under which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_link_from_page_to_page_leads_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            place, _, anchor = target.partition("#")
            to = (page.parent / place) if place else page
            if not to.exists() or (anchor and anchor not in anchors(to)):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_a_newcomers_five_tasks_need_at_most_three_files_each_and_these_are_there():
    section = CONTRIBUTING.read_text().split("## Five things")[1].split("\n## ")[0]
    tasks = re.split(r"^### ", section, flags=re.M)[1:]

    assert len(tasks) == 5
    for task in tasks:
        steps = re.findall(r"^\d\. (.+(?:\n   .+)*)", task, re.M)
        assert 1 <= len(steps) <= 3, task
        assert all(re.search(r"`(gtm_\w+/[\w./]+)`", step) for step in steps), task
        for name in re.findall(r"`(gtm_\w+/[\w./]+)`", task):
            assert (PROJECT_DIR / name).exists(), name


def test_the_index_of_decisions_has_the_dated_ones_the_newest_first():
    text = """\
## An old one, of `code`
2026-11-21 · lake · replaced by A new one
What: this.

## A new one
2026-11-28 · checks · in force
What: that.

## One without a date
What: nothing.
"""
    assert index_of(text).splitlines()[2:] == [
        "| 2026-11-28 | checks | [A new one](#a-new-one) | in force |",
        "| 2026-11-21 | lake | [An old one, of `code`](#an-old-one-of-code) | replaced by A new one |",
    ]


def test_every_decision_says_its_date_area_and_state():
    sections = re.split(r"^## ", (PROJECT_DIR / "docs" / "decisions.md").read_text(), flags=re.M)[1:]

    assert len(sections) > 100
    without = [s.splitlines()[0] for s in sections if not re.match(r".+\n\d{4}-\d\d-\d\d · [^·]+ · ", s)]
    assert without == []


def test_every_command_and_every_place_that_it_names_is_there():
    text = README.read_text() + CONTRIBUTING.read_text()
    makefile = (PROJECT_DIR / "Makefile").read_text()

    for target in re.findall(r"`?make ([a-z]+)", text):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for command in re.findall(r"`gtm ([a-z]+)", text):
        assert command in main.commands, command
    layout = text.split("## Where things are")[1].split("```")[1]
    for name in re.findall(r"^  (\S+\.py|\S+/)\s", layout, re.M):
        assert (PROJECT_DIR / "gtm_assets" / name).exists(), name


def test_make_runs_what_the_readme_says_of_its_targets():
    def commands(target: str) -> str:
        command = ["make", "--no-print-directory", "--dry-run", "--always-make", target]
        # A make that runs the tests tells those below it how it was called.
        own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True, env=own).stdout

    assert commands("run").splitlines()[-1] == ".venv/bin/gtm run"
    gate, everything = commands("test"), commands("test-all")
    for said in (gate, everything):
        assert "ruff check" in said and "sqlfluff lint" in said and "-m pytest" in said
    assert '-m "not nightly"' in gate and "-m " not in everything.split("-m pytest")[1]


def test_the_example_of_an_env_file_names_every_setting_with_its_default():
    example = (PROJECT_DIR / ".env.example").read_text()

    for name, field in Settings.model_fields.items():
        (value,) = re.findall(rf"^#GTM_{name.upper()}=(.+)$", example, re.M)
        if field.default is not None:
            given = type(field.default)(value) if isinstance(field.default, float) else value
            assert str(given).lower() == str(field.default).lower()
