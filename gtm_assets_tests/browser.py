"""`gtm dev` as a process that is started, asked and stopped, and a browser that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse

import psutil
import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from gtm_assets_tests.gtm_process import GTM, PROJECT, GtmHome

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120
"""Seconds to wait for what takes a few on a machine that has nothing else to do."""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """A `gtm dev` on a state folder, or another command that serves it, in a process group of its own."""

    home: GtmHome
    port: int
    log: Path
    command: tuple[str, ...] = (str(GTM), "dev")
    process: subprocess.Popen = field(init=False)
    seconds: float = field(init=False)
    """From the start to the first answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Server:
        began = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*self.command, "--port", str(self.port)],
                cwd=PROJECT,
                env=self.home.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - began > PATIENCE:
                kill(self.family())
                pytest.fail(f"no answer\n{self.log.read_text()}")
            time.sleep(0.2)
        self.seconds = time.monotonic() - began
        return self

    def _answers(self) -> bool:
        try:
            # Its own child, and not a server that was there before, must be what answers.
            listening = any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == self.port
                for process in self.family()
                for connection in process.net_connections("tcp")
            )
            return listening and bool(self.ask("{ version }")["version"])
        except (OSError, psutil.NoSuchProcess):
            return False

    def ask(self, query: str, **variables: object) -> dict:
        """The answer to a GraphQL query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        # No proxy of the environment: the address is this machine's.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer
        return answer["data"]

    def run_status(self, run_id: str) -> str:
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return self.ask(query, id=run_id)["runOrError"]["status"]

    def wait_for_run(self, run_id: str, *wanted: str) -> str:
        """The run's status as soon as it is one of those wanted."""
        began = time.monotonic()
        while (status := self.run_status(run_id)) not in wanted:
            assert status not in ENDED, f"the run ended: {status}\n{self.log.read_text()}"
            assert time.monotonic() - began < PATIENCE, f"the run is still {status}\n{self.log.read_text()}"
            time.sleep(0.3)
        return status

    def family(self) -> list[psutil.Process]:
        """The processes of the server that live: all of its process group, those without a parent too."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return os.getpgid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False

    def stop(self) -> list[psutil.Process]:
        """Stop it as Ctrl-C does. Returns what would not end by itself; that is killed."""
        family = self.family()
        os.killpg(self.process.pid, signal.SIGINT)
        _, left = psutil.wait_procs(family, timeout=PATIENCE)
        kill(left)
        self.process.wait()
        return left


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=PATIENCE)


@dataclass
class Visitor:
    """A browser on the UI. What a page asks of another machine is refused and noted."""

    browser: Browser
    screenshots: Path
    foreign: list[str] = field(default_factory=list)

    @contextmanager
    def page(self) -> Iterator[Page]:
        """An empty page of somebody who was never there: the UI remembers what its visitors unfolded."""
        with self.browser.new_context(viewport={"width": 1500, "height": 950}, timezone_id="UTC") as context:
            context.set_default_timeout(PATIENCE * 1000)
            context.route("**/*", self.refuse_foreign)
            yield context.new_page()

    def screenshot(self, page: Page, name: str) -> None:
        # A drawing of the graph goes on for a moment after its last node is there.
        page.wait_for_timeout(500)
        page.screenshot(path=self.screenshots / f"{name}.png")

    def refuse_foreign(self, route: Route, request: Request) -> None:
        if urlparse(request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            self.foreign.append(request.url)
            route.abort()


@contextmanager
def visitor(screenshots: Path) -> Iterator[Visitor]:
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield Visitor(browser, screenshots)
        finally:
            browser.close()
