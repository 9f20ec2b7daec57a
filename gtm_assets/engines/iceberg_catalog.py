"""Which catalogue holds the Iceberg tables, by its address, and what Spark and PyIceberg are told of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from gtm_assets.engines.engine import EngineError

FORMS = (
    "jdbc:sqlite:/path/catalog.db, jdbc:postgresql://host:5432/database, https://host/path of a server of "
    "Iceberg's REST interface, and glue://region"
)
_HADOOP, _BY_SCHEME = "org.apache.iceberg.hadoop.HadoopFileIO", "org.apache.iceberg.io.ResolvingFileIO"


class CatalogueError(EngineError):
    """The address of Iceberg's catalogue is none, or what Spark needs is not there."""


@dataclass(frozen=True)
class Warehouse:
    """Where the Iceberg tables lie: their catalogue, and their files."""

    catalogue: str
    """Address of the catalogue."""
    files: str
    """Folder of the tables; where a server gives tables their places, its name of the warehouse."""
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, home: Path) -> Warehouse:
        """The warehouse of a state folder, whose catalogue is a file in it."""
        return cls(f"jdbc:sqlite:{home / 'spark' / 'catalog.db'}", f"file://{home / 'spark' / 'warehouse'}")

    @classmethod
    def named(cls, home: Path, catalogue: str | None, files: str | None, user: str, password: str) -> Warehouse:
        """The warehouse that settings name; what they leave out is that of the state folder.

        Raises:
            CatalogueError: they leave out what has no default.
        """
        here = cls.of(home)
        found = cls(catalogue or here.catalogue, files or here.files, user, password)
        if found.kind != "jdbc" and not files:
            raise CatalogueError(
                f"GTM_SPARK_CATALOG={found.place} needs GTM_SPARK_WAREHOUSE: the name that the server has of the "
                "warehouse, or a folder such as s3://bucket/warehouse"
            )
        return found

    @property
    def kind(self) -> Literal["jdbc", "rest", "glue"]:
        """What answers at the address.

        Raises:
            CatalogueError: the address is of no form that is known.
        """
        if re.match(r"jdbc:(sqlite:.|postgresql://)", self.catalogue):
            return "jdbc"
        if re.match(r"https?://.", self.catalogue):
            return "rest"
        if re.fullmatch(r"glue://[a-z0-9-]*", self.catalogue):
            return "glue"
        raise CatalogueError(f"GTM_SPARK_CATALOG={self.place} is none of {FORMS}")

    @property
    def place(self) -> str:
        """The address of the catalogue, for people: without what may be a password."""
        return re.sub(r"//[^/]*@", "//", self.catalogue.partition("?")[0])

    @property
    def python_address(self) -> str:
        """The address of the catalogue's database as SQLAlchemy takes it."""
        kind, _, place = self.catalogue.removeprefix("jdbc:").partition(":")
        if kind == "sqlite":
            return f"sqlite:///{place}"
        who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        return f"postgresql+psycopg2://{who}{place[2:]}"

    @property
    def told(self) -> Mapping[str, str]:
        """What Spark and PyIceberg are both told of a catalogue by REST or Glue, under the same names.

        A user and a password are an OAuth client and its secret, a password alone is a token.
        """
        said = {"type": self.kind, "warehouse": self.files}
        if self.kind == "rest":
            secret = {"credential": f"{self.user}:{self.password}"} if self.user else {"token": self.password}
            return {**said, "uri": self.catalogue, **(secret if self.password else {})}
        region = urlsplit(self.catalogue).netloc
        return {**said, **({"client.region": region} if region else {})}

    @property
    def dbt_environment(self) -> Mapping[str, str]:
        """What dbt's profile asks for; what is empty does not reach Spark."""
        jdbc = self.kind == "jdbc"
        told: Mapping[str, str] = {} if jdbc else self.told
        return {
            "GTM_SPARK_CATALOG": self.catalogue,
            "GTM_SPARK_CATALOG_TYPE": self.kind,
            "GTM_SPARK_CATALOG_REGION": told.get("client.region", ""),
            # Glue's own default reads nothing but S3, where the lake's files need not lie.
            "GTM_SPARK_CATALOG_FILES": _HADOOP if jdbc else _BY_SCHEME,
            "GTM_SPARK_CATALOG_USER": self.user if jdbc else "",
            "DBT_ENV_SECRET_SPARK_CATALOG_PASSWORD": self.password if jdbc else "",
            "DBT_ENV_SECRET_SPARK_CATALOG_CREDENTIAL": told.get("credential", ""),
            "DBT_ENV_SECRET_SPARK_CATALOG_TOKEN": told.get("token", ""),
            "GTM_SPARK_WAREHOUSE": self.files,
        }
