"""``gtm dashboards`` as a process on a state folder, until it has said its addresses and passwords."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests

from gtm_assets_tests.browser import free_port
from gtm_assets_tests.gtm_process import GTM, PROJECT, GtmHome

PATIENCE = 420
"""Seconds for a first start: a metadata database is made, roles and assets are brought in."""
_PASSWORD = re.compile(r"^log in +(\S+), password (\S+)", re.M)
_DASHBOARD = re.compile(r"^dashboard +(\S+/superset/dashboard/(\w+)/)", re.M)


@dataclass
class Dashboards:
    """One start of the command."""

    home: GtmHome
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen = field(init=False)

    def start(self) -> Dashboards:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(GTM), "dashboards", "--port", str(self.port)],
                cwd=PROJECT,
                env=self.home.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + PATIENCE
        while "Ctrl-C" not in self.output:
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                pytest.fail(f"no dashboards\n{self.output}\n{self.server_log}")
            time.sleep(0.3)
        return self

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def server_log(self) -> str:
        path = self.home.path / "dashboards" / "log"
        return path.read_text()[-3000:] if path.exists() else ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pages(self) -> dict[str, str]:
        """The addresses that were printed, by dashboard."""
        return {name: address for address, name in _DASHBOARD.findall(self.output)}

    @property
    def passwords(self) -> dict[str, str]:
        """What was printed of new users."""
        return dict(_PASSWORD.findall(self.output))

    def stop(self) -> list[psutil.Process]:
        """Stop it as Ctrl-C does. Returns what of its own would not end; that is killed."""
        if self.process.poll() is not None:
            return []
        family = psutil.Process(self.process.pid).children(recursive=True)
        os.kill(self.process.pid, signal.SIGINT)
        _, left = psutil.wait_procs([psutil.Process(self.process.pid), *family], timeout=60)
        for process in left:
            process.kill()
        self.process.wait()
        return left


def chart_data(session: requests.Session, address: str, chart: int) -> dict:
    """What a chart shows to whom a session belongs to: its first query's answer."""
    answer = session.get(f"{address}/api/v1/chart/{chart}/data/", timeout=120)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()["result"][0]


def rows_of(session: requests.Session, address: str, dataset: int, columns: list[str]) -> list[dict]:
    """Columns of all rows of a dataset that are shown to whom a session belongs to."""
    query = {"columns": columns, "metrics": [], "filters": [], "row_limit": 50_000, "orderby": []}
    body = {
        "datasource": {"id": dataset, "type": "table"},
        "queries": [query],
        "result_format": "json",
        "result_type": "full",
    }
    answer = session.post(f"{address}/api/v1/chart/data", json=body, timeout=120)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()["result"][0]["data"]
