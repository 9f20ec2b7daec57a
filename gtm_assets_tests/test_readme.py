"""The README says what the code says."""

import re
import subprocess

from gtm_assets.cli.main import main
from gtm_assets.cli.readme import README, current
from gtm_assets.settings import PROJECT_DIR, Settings


def test_its_tables_are_those_of_the_code():
    assert README.read_text() == current(), "run: make docs"


def test_every_command_and_every_place_that_it_names_is_there():
    text = README.read_text()
    makefile = (PROJECT_DIR / "Makefile").read_text()

    for target in re.findall(r"`?make ([a-z]+)", text):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for command in re.findall(r"`gtm ([a-z]+)", text):
        assert command in main.commands, command
    layout = text.split("## Layout")[1].split("```")[1]
    for name in re.findall(r"^  (\S+\.py|\S+/)\s", layout, re.M):
        assert (PROJECT_DIR / "gtm_assets" / name).exists(), name


def test_make_runs_what_the_readme_says_of_its_targets():
    def commands(target: str) -> str:
        command = ["make", "--dry-run", "--always-make", target]
        return subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True).stdout

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
            assert str(type(field.default)(value) if isinstance(field.default, float) else value) == str(
                field.default
            )
