"""Fetches what Spark needs for Iceberg tables into the virtual environment.

``python -m gtm_assets.engines.spark_jars`` does it.

Spark fetches its packages itself, with what they stand on; they are copied to where builds look for them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

from gtm_assets.engines.spark import JARS

PACKAGES = (
    "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0",
    # Drivers of the catalogue's database.
    "org.xerial:sqlite-jdbc:3.50.3.0",
    "org.postgresql:postgresql:42.7.8",
)


def fetch(folder: Path) -> list[Path]:
    """The packages' jars, in the folder; what lay there goes."""
    with tempfile.TemporaryDirectory() as ivy:
        builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
        builder = builder.config("spark.jars.ivy", ivy).config("spark.jars.packages", ",".join(PACKAGES))
        builder.getOrCreate().stop()
        fetched = sorted(Path(ivy).glob("jars/*.jar"))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return [Path(shutil.copy(path, folder / path.name)) for path in fetched]


if __name__ == "__main__":
    for path in fetch(JARS):
        print(path)
