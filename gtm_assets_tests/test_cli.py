"""What a command costs: it imports no more than it needs."""

import subprocess
import sys

import pytest

from gtm_assets_tests.gtm_process import PROJECT, GtmHome

HEAVY = ("dagster", "dagster_dbt", "dbt", "sqlalchemy", "apprise", "requests", "faker", "metricflow")
PROGRAM = """
import sys
from gtm_assets.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("--help", "Commands:"),
        ("alerts list", "No incident is open"),
        ("quarantine list", "No record waits in quarantine"),
        ("lake compact", "There is nothing to merge"),
    ],
)
def test_a_command_with_nothing_to_do_imports_neither_dagster_nor_dbt(tmp_path, command, said):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=HEAVY), *command.split()],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env=GtmHome(tmp_path).environment,
    )

    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert done.stderr.split() == []
