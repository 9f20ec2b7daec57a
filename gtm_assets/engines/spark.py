"""Spark on Iceberg tables as the warehouse's engine: where they lie, and how dbt's profile is told."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gtm_assets.engines.engine import EngineAway, EngineError
from gtm_assets.engines.iceberg_catalog import CatalogueError, Warehouse

JARS = Path(sys.prefix, "share", "gtm_assets", "spark")
"""Where ``make setup-spark`` puts Iceberg's runtime and the catalogue's drivers: in the virtual environment."""
CATALOGUE = "gtm"
"""The catalogue's name, by which Spark and PyIceberg find each other's tables."""

OLDEST_JAVA = 17
"""The oldest Java that Spark 4 runs on (Spark's documentation, Overview)."""
_MASTER = re.compile(r"local(\[(\d+|\*)\])?|yarn|k8s://.+|spark://(?P<places>[^/]+:\d+(,[^/]+:\d+)*)")
_ANSWERS_WITHIN = 5.0
"""Seconds in which a master has to take a connection."""


def jars() -> list[Path]:
    """The jars that Spark needs beside its own.

    Raises:
        CatalogueError: they are not there.
    """
    found = sorted(JARS.glob("*.jar"))
    if not found:
        raise CatalogueError(f"{JARS} has no jars, which Spark needs for Iceberg tables. Run: make setup-spark")
    return found


def examine_java() -> None:
    """Ask whether the Java that Spark would start is there.

    Raises:
        EngineError: there is none, or too old a one.
    """
    home = os.environ.get("JAVA_HOME")
    java = Path(home, "bin", "java") if home else shutil.which("java")
    where = f"JAVA_HOME={home}" if home else "PATH"
    said = ""
    if java is not None:
        try:
            said = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
        except OSError as error:
            said = str(error)
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None:
        raise EngineError(
            f"GTM_ENGINE=spark needs Java {OLDEST_JAVA} or later, and {where} has none"
            f"{f' that starts ({said.strip()})' if said else ''}. Install it, or set JAVA_HOME"
        )
    if int(found[1]) < OLDEST_JAVA:
        raise EngineError(
            f"GTM_ENGINE=spark needs Java {OLDEST_JAVA} or later, and that of {where} is {found[1]}. Install it, "
            "or set JAVA_HOME"
        )


def examine_master(master: str) -> None:
    """Ask whether a cluster is one, and takes connections where it has an address of its own.

    Raises:
        EngineError: it is none.
        EngineAway: it takes none. Spark itself would try for minutes.
    """
    found = _MASTER.fullmatch(master)
    if found is None:
        raise EngineError(
            f"GTM_SPARK_MASTER={master} is none of local[*], local[<number>], spark://<host>:<port>, yarn and "
            "k8s://<address>"
        )
    refused = []
    for place in found["places"].split(",") if found["places"] else ():
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWERS_WITHIN).close()
            return
        except OSError as error:
            refused.append(f"{place}: {error}")
    if refused:
        raise EngineAway(
            f"Spark's master can't be reached at GTM_SPARK_MASTER={master} ({', '.join(refused)}). Start it, or "
            "mend the setting"
        )


def dbt_environment(
    warehouse: Warehouse, master: str = "local[*]", memory: str = "2g", partitions: int = 8
) -> Mapping[str, str]:
    """What dbt's profile asks for.

    ``master`` is Spark's cluster, by default this machine, ``memory`` that of its driver; ``partitions`` says into
    how many parts it shuffles rows.

    Raises:
        CatalogueError: the jars are not there.
    """
    return {
        "GTM_ENGINE": "spark",
        "GTM_SPARK_MASTER": master,
        "GTM_SPARK_MEMORY": memory,
        "GTM_SPARK_PARTITIONS": str(partitions),
        "GTM_SPARK_JARS": ",".join(map(str, jars())),
        **warehouse.dbt_environment,
    }
