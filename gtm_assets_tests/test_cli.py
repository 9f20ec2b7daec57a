"""What a command costs: it imports no more than it needs."""

import os
import subprocess
import sys

import duckdb
import pytest

from gtm_assets.engines.files import connect
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
        ("cost", "No model was built"),
        ("quarantine list", "No record waits in quarantine"),
        ("lake compact", "There is nothing to merge"),
        ("warehouse expire", "keeps no snapshots"),
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


def test_dbt_by_hand_works_on_the_state_folder(tmp_path):
    """It is told where the warehouse is, and ends as dbt ends."""
    home = GtmHome(tmp_path / "gtm")
    (home.path / "lake").mkdir(parents=True)

    built = home.command("dbt", "seed", "--select", "funnel_steps")
    refused = home.command("dbt", "seed", "--selct", "funnel_steps")

    assert built.code == 0, built.output
    with connect(home.warehouse) as warehouse:
        assert warehouse.sql("select count(*) > 1 from gtm_staging.funnel_steps").fetchall() == [(True,)]
    assert refused.code == 2
    assert "No such option" in refused.output


def test_dbt_by_hand_names_who_has_the_warehouse_open(tmp_path):
    home = GtmHome(tmp_path / "gtm")
    home.path.mkdir()
    held = duckdb.connect(str(home.warehouse))
    try:
        refused = home.command("dbt", "seed", "--select", "funnel_steps")
    finally:
        held.close()

    assert refused.code == 1
    assert f"is open in process {os.getpid()}" in refused.output.replace("\n", " ")
    assert "Traceback" not in refused.output
