"""A Trino server of the tests' own, on the loopback: it reads Iceberg tables as a team's would.

Trino's own archive is in no package registry. What it is made of is: `python -m gtm_assets_tests.trino_server` has
Maven fetch the server and its Iceberg connector, some 480 MB, into the virtual environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gtm_assets_tests.browser import free_port

VERSION = "483"
OLDEST_JAVA = 25
JARS = Path(sys.prefix, "share", "gtm_assets", "trino")
MAIN, PLUGIN = JARS / "main", JARS / "plugin" / "iceberg"
# The published jar leaves it out, since Trino's build writes it into the archive.
SERVICE, CONNECTOR = "META-INF/services/io.trino.spi.Plugin", "io.trino.plugin.iceberg.IcebergPlugin"
START = f"""class Start {{
    public static void main(String[] none) {{ new io.trino.server.Server().start("{VERSION}"); }}
}}"""
POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>gtm</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>{}</dependency>"


def fetch() -> None:
    """Have Maven fetch what the server is made of."""
    shutil.rmtree(JARS, ignore_errors=True)
    fetch_jars(MAIN, f"io.trino:trino-main:{VERSION}")
    fetch_jars(PLUGIN, f"io.trino:trino-iceberg:{VERSION}")
    with zipfile.ZipFile(PLUGIN / "service.jar", "w") as jar:
        jar.writestr(SERVICE, CONNECTOR)


def fetch_jars(folder: Path, *artifacts: str) -> None:
    """The jars of artifacts, `group:name:version[:classifier]`, and those that they stand on, in the folder."""
    parts = [artifact.split(":") for artifact in artifacts]
    dependencies = "".join(
        DEPENDENCY.format(*part[:3], "".join(f"<classifier>{name}</classifier>" for name in part[3:]))
        for part in parts
    )
    with tempfile.TemporaryDirectory() as project:
        Path(project, "pom.xml").write_text(POM.format(name=parts[0][1], dependencies=dependencies))
        command = ["mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies", "-DincludeScope=runtime"]
        subprocess.run([*command, f"-DoutputDirectory={folder}"], cwd=project, check=True)


def java(oldest: int) -> Path | None:
    """A Java that is no older; None where none is installed."""
    installed = [*Path("/usr/lib/jvm").glob("*"), *Path("/Library/Java").glob("*/*/*/Home")]
    homes = [os.environ.get("JAVA_HOME"), *installed]
    found = {_version(Path(home)): Path(home, "bin", "java") for home in homes if home}
    return found[max(found)] if max(found, default=0) >= oldest else None


def _version(home: Path) -> int:
    if not (home / "release").exists():
        return 0
    lines = (home / "release").read_text().splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    return int(said.get("JAVA_VERSION", "0").strip('"').split(".")[0])


def missing() -> str | None:
    """What is missing for tests with Trino, as a reason to skip them."""
    if java(OLDEST_JAVA) is None:
        return f"Java {OLDEST_JAVA} is not installed, which Trino needs"
    if not (PLUGIN / "service.jar").exists():
        return "what Trino is made of is not here: make setup-readers"
    return None


# In CI too: Debian's stable release has no Java that is new enough.
needs_trino = pytest.mark.skipif(bool(missing()), reason=missing() or "")


@contextmanager
def running(catalogues: Mapping[str, Mapping[str, str]]) -> Iterator[Any]:
    """A connection to a server that runs meanwhile, with these catalogues, each by its properties."""
    import trino

    command = java(OLDEST_JAVA)
    assert command is not None, missing()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="gtm-trino-") as home:
        folder = Path(home)
        (folder / "catalog").mkdir()
        for name, properties in catalogues.items():
            _write(folder / "catalog" / f"{name}.properties", properties)
        server = {
            "node.environment": "tests",
            "node.bind-ip": "127.0.0.1",
            "node.internal-address": "127.0.0.1",
            "http-server.http.port": str(port),
            "discovery.uri": f"http://127.0.0.1:{port}",
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "catalog.config-dir": str(folder / "catalog"),
            "plugin.dir": str(PLUGIN.parent),
        }
        _write(folder / "config.properties", server)
        (folder / "Start.java").write_text(START)
        options = [
            "-Xmx1g",
            "--add-modules=jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            f"-Dconfig={folder / 'config.properties'}",
        ]
        with started([command, *options, "-cp", f"{MAIN}/*", folder / "Start.java"], folder) as log:
            wait_until(log, "SERVER STARTED", seconds=180)
            with trino.dbapi.connect(host="127.0.0.1", port=port, user="tests", timezone="UTC") as connection:
                yield connection


def _write(path: Path, properties: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


@contextmanager
def started(command: list[Any], folder: Path) -> Iterator[tuple[subprocess.Popen, Path]]:
    """A process that runs meanwhile, and the file that it writes what it says into."""
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process, log
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(of: tuple[subprocess.Popen, Path], said: str, seconds: float) -> None:
    """Wait until a process has said it."""
    process, log = of
    end = time.monotonic() + seconds
    while said not in log.read_text():
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.2)


if __name__ == "__main__":
    fetch()
