"""Spark on Iceberg tables as the warehouse's engine: where they lie, and how dbt's profile is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gtm_assets.errors import GtmError

JARS = Path("spark", "jars")
"""Where ``make setup-spark`` puts Iceberg's runtime and the catalogue's driver, below the state folder."""
CATALOGUE = "gtm"
"""The catalogue's name, by which Spark and PyIceberg find each other's tables."""


class CatalogueError(GtmError):
    """The address of Iceberg's catalogue is none, or what Spark needs is not there."""


@dataclass(frozen=True)
class Warehouse:
    """Where the Iceberg tables lie: their catalogue in a database, their files in a folder."""

    catalogue: str
    """Address of the database for JDBC."""
    files: str
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, home: Path) -> Warehouse:
        """The warehouse of a state folder, whose catalogue is a file in it."""
        return cls(f"jdbc:sqlite:{home / 'spark' / 'catalog.db'}", f"file://{home / 'spark' / 'warehouse'}")

    @property
    def python_address(self) -> str:
        """The address of the catalogue's database as SQLAlchemy takes it.

        Raises:
            CatalogueError: it is neither of SQLite nor of PostgreSQL.
        """
        kind, _, place = self.catalogue.removeprefix("jdbc:").partition(":")
        if kind == "sqlite" and place:
            return f"sqlite:///{place}"
        if kind == "postgresql" and place.startswith("//"):
            who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
            return f"postgresql+psycopg2://{who}{place[2:]}"
        raise CatalogueError(
            f"the catalogue of Iceberg is {self.catalogue}, which is neither jdbc:sqlite:/path/catalog.db "
            "nor jdbc:postgresql://host:5432/database"
        )


def jars_of(home: Path) -> list[Path]:
    """The jars that Spark needs beside its own.

    Raises:
        CatalogueError: they are not there.
    """
    found = sorted((home / JARS).glob("*.jar"))
    if not found:
        raise CatalogueError(
            f"{home / JARS} has no jars, which Spark needs for Iceberg tables. Run: make setup-spark"
        )
    return found


def dbt_environment(
    home: Path,
    warehouse: Warehouse | None = None,
    jars: Path | None = None,
    master: str = "local[*]",
    partitions: int = 8,
) -> Mapping[str, str]:
    """What dbt's profile asks for. ``jars`` is a state folder that has them, by default this one.

    ``master`` is Spark's cluster, by default this machine; ``partitions`` into so many parts it shuffles rows.

    Raises:
        CatalogueError: the jars are not there.
    """
    place = warehouse or Warehouse.of(home)
    return {
        "GTM_ENGINE": "spark",
        "GTM_SPARK_MASTER": master,
        "GTM_SPARK_MEMORY": "2g",
        "GTM_SPARK_PARTITIONS": str(partitions),
        "GTM_SPARK_JARS": ",".join(map(str, jars_of(jars or home))),
        "GTM_SPARK_CATALOG": place.catalogue,
        "GTM_SPARK_CATALOG_USER": place.user,
        "DBT_ENV_SECRET_SPARK_CATALOG_PASSWORD": place.password,
        "GTM_SPARK_WAREHOUSE": place.files,
    }
