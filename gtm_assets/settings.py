"""The settings: every ``GTM_*`` variable of the environment or of ``.env``, typed, in one place.

Nothing else in the package reads the environment. An unknown or malformed variable is a :class:`SettingsError`
that names it.
"""

from __future__ import annotations

import difflib
import getpass
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gtm_assets.errors import GtmError

PREFIX = "GTM_"
PROJECT_DIR = Path(__file__).resolve().parent.parent
_MEMORY = re.compile(r"(?P<number>\d+([.]\d+)?) ?(?P<unit>%|[MGT]i?B)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OF_TABLE = re.compile(r"(\w+\.\w+) *= *(\d+)")
_NO_PREFIX = re.compile(r"[^\w/.=-]")
TOLD_TO_DBT = frozenset(
    {
        "GTM_LAKE_FILESYSTEMS",
        "GTM_WAREHOUSE_FILE",
        "GTM_SOURCES_OFF",
        "GTM_SCHEMA_PREFIX",
        "GTM_POSTGRES_HOST",
        "GTM_POSTGRES_PORT",
        "GTM_POSTGRES_USER",
        "GTM_POSTGRES_DATABASE",
        "GTM_SPARK_JARS",
        "GTM_SPARK_CATALOG_FILES",
        "GTM_SPARK_CATALOG_REGION",
        "GTM_SPARK_CATALOG_TYPE",
    }
)
"""Variables that the dbt project reads beside the settings. They are set while dbt runs, and are no settings."""
OTHER_NAMES = {"SALESFORCE_INSTANCE_URL": "GTM_SALESFORCE_INSTANCE_URL"}
"""Names that other tools use, read where ours is not set."""
EXTERNAL = "GTM_SALESFORCE_SOURCE=external"
"""How a person has tables read that another loader fills."""
EXTERNAL_SOURCES = frozenset({"salesforce"})
"""The sources whose tables another loader may fill."""
RENAMED = {"GTM_LANDING_DATABASE": "GTM_EXTERNAL_DATABASE"}
"""Variables by the name that they had up to release 0.1, read for one release more."""
RENAMED_VALUES = {("GTM_SALESFORCE_SOURCE", "landed"): "external"}
"""Values by variable and the word that they had up to release 0.1, read for one release more."""
SAMPLE_ROWS = 10
"""How many rows a finding shows."""
HARD_DELETE_LIMIT = 0.2
KEPT_DAYS = 31
"""Days whose batches stay in files of their own at least: checks compare with the last 28."""
SHORTEST_KEY = 32
"""Characters that a key has at least."""
DASHBOARDS_PORT = 8088
RETRY_SECONDS = 15.0
DAY_MINUTES = 24 * 60
Refresh = Literal["daily", "hourly", "30m", "15m"]
"""How often a source is refreshed."""
DAILY: Refresh = "daily"
REFRESH_MINUTES: Mapping[Refresh, int] = {DAILY: DAY_MINUTES, "hourly": 60, "30m": 30, "15m": 15}
"""Minutes from one refresh to the next. Within the day they divide an hour."""


class SettingsError(GtmError):
    """A setting is unknown or malformed. The message names it and says what it takes."""


class RenamedSetting(FutureWarning):
    """A setting is given under a name or by a value of an older release. The message names the new one."""


class Settings(BaseSettings):
    """What can be set. Each field is the variable ``GTM_<FIELD>``; the defaults need no account anywhere."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=None, frozen=True, extra="forbid")

    home: Path = Field(
        default=Path(".gtm"),
        description="State folder: lake, warehouse, published file, Dagster's records. Relative to the project.",
    )
    lake_url: str | None = Field(
        default=None,
        description="Where the lake lies: a folder, or `s3://bucket/prefix` (`make setup-s3`). Default: `lake` in "
        "the state folder.",
    )
    lake_endpoint: str | None = Field(
        default=None,
        description="Address of the object store, such as https://minio.internal:9000. Default: Amazon's.",
    )
    lake_region: str | None = Field(
        default=None, description="Region of the bucket. Default: what AWS's own settings say."
    )
    salesforce_source: Literal["synthetic", "live", "external"] = Field(
        default="synthetic",
        description="Where Salesforce records come from: `synthetic`, `live`, or `external` tables that "
        "another loader fills.",
    )
    external_database: Path | None = Field(
        default=None,
        description="DuckDB file whose schema `gtm_raw` holds the external tables; it is only read.",
    )
    salesforce_instance_url: str | None = Field(
        default=None, description="Address of the live organisation, such as https://acme.my.salesforce.com."
    )
    salesforce_client_id: str | None = Field(
        default=None, description="Consumer key of the connected app through which the live organisation is read."
    )
    salesforce_client_secret: SecretStr | None = Field(
        default=None, description="Consumer secret of that app (client-credentials login)."
    )
    salesforce_client_secret_file: Path | None = Field(
        default=None, description="File that holds the consumer secret, instead of the variable."
    )
    salesforce_username: str | None = Field(
        default=None, description="User as whom the platform logs in with a private key (JWT login)."
    )
    salesforce_private_key_file: Path | None = Field(
        default=None, description="File that holds the RSA private key of the JWT login, in PEM form."
    )
    salesforce_audience: str = Field(
        default="https://login.salesforce.com",
        description="Audience of the JWT login; https://test.salesforce.com for a sandbox.",
    )
    salesforce_api_version: str = Field(
        default="62.0", pattern=r"^\d{2,3}\.0$", description="Version of Salesforce's API, such as 62.0."
    )
    salesforce_lookback_minutes: int = Field(
        default=60,
        ge=10,
        le=43_200,
        description="Minutes before a partition that are read again, for records that showed up late.",
    )
    salesforce_bulk_rows: int = Field(
        default=8_000, ge=1, description="From so many records on a query is a Bulk job; below it REST."
    )
    salesforce_parallel: int = Field(default=4, ge=1, le=16, description="Queries to Salesforce at a time.")
    salesforce_api_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of the organisation's daily API limit at which the platform stops, whoever used it.",
    )
    salesforce_scope: str = Field(
        default="*__c",
        description="Objects to be told of where they are not landed: names or patterns with `*`, by commas. "
        "Default: all custom objects.",
    )
    salesforce_refresh: Refresh = Field(
        default=DAILY,
        description="How often Salesforce is refreshed: `daily`, or within the day `hourly`, `30m` or `15m`.",
    )
    pipedrive_dir: Path | None = Field(
        default=None,
        description="Folder with the CSV files of a Pipedrive export. Default: with the synthetic org a synthetic "
        "export, else none. Relative to the project.",
    )
    pipedrive_refresh: Refresh = Field(
        default=DAILY,
        description="How often a Pipedrive export is looked at: `daily`, or within the day `hourly`, `30m` or "
        "`15m`. A file that is as it was is not landed again.",
    )
    refresh: Refresh | None = Field(
        default=None,
        description="How often all sources are refreshed, whatever their own settings say: `daily`, `hourly`, "
        "`30m` or `15m`.",
    )
    start_date: date | None = Field(
        default=None,
        description="Key of the first daily partition; it also holds all history before it. Default: 30 days "
        "before the first run, kept in the state folder.",
    )
    end_date: Annotated[date | None, NoDecode] = Field(
        default=None,
        description="Key of the last daily partition. Default: partitions go on with the calendar (`open`). On a "
        "calendar that ends nothing is late, and nothing runs by itself.",
    )
    synthetic_scale: float = Field(
        default=0.01, gt=0, le=100, description="Volume of the synthetic org; 1 is a mid-sized company's."
    )
    synthetic_seed: int = Field(default=1, ge=0, description="Seed of the synthetic org.")
    executor: Literal["in_process", "multiprocess"] = Field(
        default="in_process", description="How the steps of a run are executed."
    )
    hard_delete_limit: float = Field(
        default=HARD_DELETE_LIMIT,
        ge=0,
        le=1,
        description="Share of a table's live records that a full extraction may lack; above it nothing lands.",
    )
    retry_seconds: float = Field(
        default=RETRY_SECONDS,
        ge=0,
        description="Seconds before a failure that may pass is tried again; four times as many the next time.",
    )
    dbt_threads: int = Field(default=4, ge=1, le=64, description="Models that dbt builds at a time.")
    engine: Literal["duckdb", "postgres", "spark"] = Field(
        default="duckdb",
        description="Where the models are built: `duckdb`, embedded; `postgres`, a server that several people "
        "share (`make setup-postgres`); or `spark`, on Iceberg tables (`make setup-spark`).",
    )
    warehouse_url: SecretStr | None = Field(
        default=None,
        description="Address of the database to build in with `GTM_ENGINE=postgres`: "
        "postgresql://user:password@host:5432/database. A secret.",
    )
    warehouse_url_file: Path | None = Field(
        default=None, description="File that holds that address, instead of the variable."
    )
    serve_url: SecretStr | None = Field(
        default=None,
        description="Address of a PostgreSQL database to which what is published is brought too, for people to "
        "read: postgresql://user:password@host:5432/database (`make setup-postgres`). A secret.",
    )
    serve_url_file: Path | None = Field(
        default=None, description="File that holds that address, instead of the variable."
    )
    serve_admin_url: SecretStr | None = Field(
        default=None,
        description="Address of that database as a login that may create roles, for `gtm access` alone. Default: "
        "the address above. A secret.",
    )
    mcp_url: SecretStr | None = Field(
        default=None,
        description="Address of that database with a person's own login, by which `gtm mcp` answers an agent: it "
        "is told what that login sees (`make setup-mcp setup-postgres`). A secret.",
    )
    dashboards_url: SecretStr | None = Field(
        default=None,
        description="Address of that database with the login by which the dashboards read it (`make "
        "setup-dashboards`). Without a server they read the published file. A secret.",
    )
    dashboards_address: str | None = Field(
        default=None,
        description="Where people reach the dashboards: what links to them begins with it. Default: where `make "
        "dashboards` serves them on this machine.",
    )
    access_file: Path | None = Field(
        default=None,
        description="File that says who may read what on that server. Default: `access.yml` in the state folder, "
        "which `gtm access show` writes with comments.",
    )
    credential_days: int = Field(
        default=90,
        ge=1,
        description="Days after which a check asks for another password of a person or a service on that server.",
    )
    embedding_credential_days: int = Field(
        default=180, ge=1, description="The same of a login by which another application shows reports."
    )
    key_days: int = Field(default=365, ge=1, description="The same of a login of the kind `key`.")
    audit_days: int = Field(
        default=400, ge=1, description="Days for which it is kept who read what on that server."
    )
    erasures_dir: Path | None = Field(
        default=None,
        description="Folder of what was erased: the certificates, keyed hashes of ids and addresses, and their "
        "key. Default: `erasures` in the state folder. Let a backup of the state folder not be its only copy.",
    )
    erasure_key: SecretStr | None = Field(
        default=None,
        description="Key of the hashes of what was erased. Default: one in the folder above, which the first "
        "erasure makes. A secret.",
    )
    erasure_key_file: Path | None = Field(
        default=None, description="File that holds that key, instead of the variable."
    )
    env: Literal["prod", "dev"] = Field(
        default="prod",
        description="Whose schemas are built in a database that is shared: `prod`, gtm_core and so on, or `dev`, "
        "dev_<login>_core and so on.",
    )
    spark_master: str = Field(
        default="local[*]",
        description="Spark's cluster with `GTM_ENGINE=spark`: this machine, or spark://host:7077.",
    )
    spark_memory: str = Field(
        default="2g", pattern=r"^\d+[kmgtKMGT]$", description="Memory of Spark's driver, such as 2g or 512m."
    )
    spark_partitions: int = Field(default=8, ge=1, description="Into so many parts Spark shuffles rows.")
    spark_catalog: str | None = Field(
        default=None,
        description="Address of Iceberg's catalogue: a database, jdbc:postgresql://host:5432/database; a server "
        "of Iceberg's REST interface, https://host/path; or Glue, glue://region. Default: a file in the state "
        "folder.",
    )
    spark_catalog_user: str | None = Field(default=None, description="User of that catalogue.")
    spark_catalog_password: SecretStr | None = Field(default=None, description="Password of that user. A secret.")
    spark_warehouse: str | None = Field(
        default=None,
        description="Folder in which Iceberg tables lie, as a URL, or the name that the REST server has of the "
        "warehouse. Default: in the state folder.",
    )
    spark_snapshot_days: int = Field(
        default=7,
        ge=1,
        description="Days after which `gtm warehouse expire` lets go of earlier snapshots of Iceberg tables.",
    )
    export_published: bool = Field(
        default=True,
        description="Whether core and mart are also written into the published DuckDB file where another engine "
        "builds them. Without it metrics, and whatever else reads that file, have no tables to read.",
    )
    publish_parquet: bool = Field(
        default=False,
        description="Whether each publication also writes its tables as Parquet files: "
        "`published/parquet/<schema>/<table>.parquet`.",
    )
    memory_limit: str = Field(
        default="80%",
        description="Memory that DuckDB takes for a build or a check, such as 6GB, or a share of the machine's. "
        "What exceeds it is written to disk beside the warehouse.",
    )
    volume_tolerance: float = Field(
        default=0.2,
        ge=0,
        description="Share by which a partition's record count may be off without a warning.",
    )
    quarantine_limit: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of a partition's records from which on those in quarantine stop the build.",
    )
    reconciliation_allowance: float = Field(
        default=0,
        ge=0,
        le=0.01,
        description="Share by which a total may differ from its source with a warning only; at most 0.01.",
    )
    compaction_days: int = Field(
        default=KEPT_DAYS,
        ge=KEPT_DAYS,
        description=f"Days that `gtm lake compact` leaves alone; at least {KEPT_DAYS}.",
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        description="Days for which the lake keeps superseded versions of tables that no history is made of; "
        "90, for example. Earlier days can't be built by `--as-of` then. Default: for ever.",
    )
    financial_retention_days: int = Field(
        default=2557,
        ge=1,
        description="The same of tables with amounts, where GTM_RETENTION_DAYS is set: 7 years.",
    )
    retention_of_tables: str | None = Field(
        default=None,
        description="The same of single tables: `salesforce.task=730, salesforce.lead=30`.",
    )
    landing_late_minutes: int = Field(
        default=30, ge=1, description="Minutes after a partition's end when a table not landed is late (warning)."
    )
    landing_missed_minutes: int = Field(
        default=60, ge=1, description="Minutes after a partition's end when it has missed its day (critical)."
    )
    publish_deadline_minutes: int = Field(
        default=60, ge=1, description="Minutes after a partition's end by which it is to be published."
    )
    publish_late_minutes: int = Field(
        default=15, ge=1, description="Minutes after that deadline when the published file is late (warning)."
    )
    publish_missed_minutes: int = Field(
        default=30, ge=1, description="Minutes after that deadline when it has missed its day (critical)."
    )

    ui_url: str | None = Field(
        default=None,
        description="Where people reach the UI: alerts link to it. Default: where it was served last.",
    )
    alert_chat_url: SecretStr | None = Field(
        default=None, description="Apprise URL of the alert channel `chat`. A secret, like those of the others."
    )
    alert_email_url: SecretStr | None = Field(
        default=None, description="Apprise URL of the alert channel `email`."
    )
    alert_pager_url: SecretStr | None = Field(
        default=None, description="Apprise URL of the alert channel `pager`."
    )
    alert_matrix: Path | None = Field(
        default=None,
        description="A team's own matrix of alerts. Default: `gtm_assets/automation/alerts.yml`. "
        "Relative to the project.",
    )
    alert_escalation_minutes: int = Field(
        default=30, ge=1, description="Minutes after which an unresolved critical alert goes to the next channel."
    )
    alert_failed_syncs: int = Field(
        default=3, ge=1, description="Failed extractions in a row that are critical; fewer are a warning."
    )
    alert_extract_minutes: int = Field(
        default=30, ge=1, description="Minutes after which an extraction that is not done is a warning."
    )
    alert_failed_checks: int = Field(
        default=3, ge=2, description="Checks that fail at a time and are told as one critical alert."
    )

    @field_validator("home", "external_database", "pipedrive_dir", "alert_matrix", "access_file", "erasures_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value and (PROJECT_DIR / value.expanduser()).resolve()

    @field_validator("lake_url")
    @classmethod
    def _folder_or_bucket(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "://" not in value:
            return str((PROJECT_DIR / Path(value).expanduser()).resolve())
        parts = urlsplit(value)
        if parts.scheme == "file" and not parts.netloc and parts.path:
            return str(Path(unquote(parts.path)).resolve())
        if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
            raise ValueError("it is a folder, or a bucket as in s3://bucket/prefix, without credentials")
        prefix = "/".join(part for part in parts.path.split("/") if part)
        if _NO_PREFIX.search(prefix):
            raise ValueError(
                "the prefix holds a character that patterns know: take letters, digits, -, _, . and ="
            )
        return f"s3://{parts.netloc}/{prefix}".rstrip("/")

    @field_validator("retention_of_tables")
    @classmethod
    def _days_of_tables(cls, value: str | None) -> str | None:
        for one in filter(None, map(str.strip, (value or "").split(","))):
            if not _OF_TABLE.fullmatch(one) or one.endswith("=0"):
                raise ValueError(f"{one!r} does not give a table its days: write salesforce.task=730")
        return value

    @field_validator("lake_endpoint")
    @classmethod
    def _endpoint(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://host")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("it is an address such as https://minio.internal:9000, without credentials")
        return value and value.rstrip("/")

    @field_validator("alert_chat_url", "alert_email_url", "alert_pager_url")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and "://" not in value.get_secret_value():
            raise ValueError("it is not a URL")
        return value

    @field_validator("memory_limit")
    @classmethod
    def _amount_of_memory(cls, value: str) -> str:
        found = _MEMORY.fullmatch(value.strip())
        if not found or float(found["number"]) == 0 or (found["unit"] == "%" and float(found["number"]) > 100):
            raise ValueError("it is an amount of memory with its unit, such as 6GB, or a share, such as 50%")
        return value.strip()

    @field_validator("end_date", mode="before")
    @classmethod
    def _open_end(cls, value: object) -> object:
        return date.max if isinstance(value, str) and value.strip().lower() == "open" else value

    @field_validator("salesforce_instance_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value if "://" in value else f"https://{value}")
        host = parts.hostname or ""
        if parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/") or not host:
            raise ValueError("it is an address without a path, such as https://acme.my.salesforce.com")
        is_loopback = host in ("localhost", "::1") or host.startswith("127.")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback):
            raise ValueError("credentials go over https only; http is for this machine's own addresses")
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator(
        "salesforce_client_secret_file",
        "salesforce_private_key_file",
        "warehouse_url_file",
        "serve_url_file",
        "erasure_key_file",
    )
    @classmethod
    def _secret_file(cls, value: Path | None) -> Path | None:
        return None if value is None else (PROJECT_DIR / value.expanduser()).resolve()

    @model_validator(mode="after")
    def _can_log_in(self) -> Settings:
        if self.salesforce_source != "live":
            return self
        for name in ("salesforce_instance_url", "salesforce_client_id"):
            if getattr(self, name) is None:
                raise ValueError(f"GTM_SALESFORCE_SOURCE=live needs {PREFIX}{name.upper()}")
        by_secret = [s for s in (self.salesforce_client_secret, self.salesforce_client_secret_file) if s]
        by_key = [s for s in (self.salesforce_username, self.salesforce_private_key_file) if s]
        if (len(by_secret), len(by_key)) not in ((1, 0), (0, 2)):
            raise ValueError(
                "GTM_SALESFORCE_SOURCE=live needs one login: either GTM_SALESFORCE_CLIENT_SECRET or "
                "GTM_SALESFORCE_CLIENT_SECRET_FILE; or both GTM_SALESFORCE_USERNAME and "
                "GTM_SALESFORCE_PRIVATE_KEY_FILE"
            )
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Settings:
        if self.start_date is not None and self.end_date is not None and self.end_date < self.start_date:
            raise ValueError(f"GTM_END_DATE {self.end_date} is before GTM_START_DATE {self.start_date}")
        return self

    @model_validator(mode="after")
    def _deadlines_follow_on_each_other(self) -> Settings:
        for what in ("landing", "publish"):
            late, missed = (f"{what}_{name}_minutes" for name in ("late", "missed"))
            if getattr(self, late) > getattr(self, missed):
                raise ValueError(
                    f"{PREFIX}{late.upper()} {getattr(self, late)} is after {PREFIX}{missed.upper()} "
                    f"{getattr(self, missed)}: what is late is told before what has missed its day"
                )
        # Dagster's freshness policies are of a day.
        if self.landing_missed_minutes > DAY_MINUTES:
            raise ValueError(f"GTM_LANDING_MISSED_MINUTES {self.landing_missed_minutes} is more than a day")
        if self.publish_deadline_minutes + self.publish_missed_minutes > DAY_MINUTES:
            raise ValueError(
                f"GTM_PUBLISH_DEADLINE_MINUTES {self.publish_deadline_minutes} and GTM_PUBLISH_MISSED_MINUTES "
                f"{self.publish_missed_minutes} are together more than a day"
            )
        return self

    @model_validator(mode="after")
    def _external_database_is_named(self) -> Settings:
        if self.is_external and self.external_database is None:
            raise ValueError(
                "GTM_SALESFORCE_SOURCE=external needs GTM_EXTERNAL_DATABASE: the path of the DuckDB file "
                "whose schema gtm_raw holds the tables"
            )
        return self

    @model_validator(mode="after")
    def _serves_what_is_published(self) -> Settings:
        if self.erasure_key and self.erasure_key_file:
            raise ValueError("GTM_ERASURE_KEY and GTM_ERASURE_KEY_FILE name one key twice: leave one of them out")
        if self.serve_url and self.serve_url_file:
            raise ValueError("GTM_SERVE_URL and GTM_SERVE_URL_FILE name one address twice: leave one of them out")
        if self.serves and self.engine == "postgres":
            raise ValueError(
                "GTM_ENGINE=postgres publishes in the database that it builds in, and people read it there: "
                "leave GTM_SERVE_URL out"
            )
        if self.publish_parquet and not self.export_published:
            raise ValueError(
                "GTM_PUBLISH_PARQUET writes the tables of the published file as Parquet, and "
                "GTM_EXPORT_PUBLISHED=false leaves them out of that file: leave one of the two out"
            )
        if self.serves and not self.export_published:
            raise ValueError(
                "GTM_SERVE_URL brings the tables of the published file to a server, and "
                "GTM_EXPORT_PUBLISHED=false leaves them out of that file: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _engine_has_an_address(self) -> Settings:
        if self.engine == "duckdb":
            if not self.export_published:
                raise ValueError(
                    "GTM_EXPORT_PUBLISHED=false leaves tables out of the published file, which is all that people "
                    "read of GTM_ENGINE=duckdb: leave it out"
                )
            return self
        addresses = [given for given in (self.warehouse_url, self.warehouse_url_file) if given]
        if self.engine == "postgres" and len(addresses) != 1:
            raise ValueError(
                f"GTM_ENGINE={self.engine} needs either GTM_WAREHOUSE_URL, the address of a database such as "
                "postgresql://user:password@host:5432/database, or GTM_WAREHOUSE_URL_FILE, a file that holds it"
            )
        if self.is_external:
            raise ValueError(
                f"{EXTERNAL} reads a DuckDB file, which GTM_ENGINE={self.engine} can't: leave GTM_ENGINE out, or "
                "land the records"
            )
        return self

    @model_validator(mode="after")
    def _spark_reads_a_folder(self) -> Settings:
        if self.engine == "spark" and self.lake_bucket:
            raise ValueError(
                "GTM_ENGINE=spark reads the lake's files itself, which it can't from a bucket: take for "
                "GTM_LAKE_URL a folder that all of Spark's machines reach, or take another engine"
            )
        return self

    @model_validator(mode="after")
    def _external_tables_have_no_open_day(self) -> Settings:
        for name in ("refresh", "salesforce_refresh", "pipedrive_refresh"):
            if self.is_external and getattr(self, name) not in (None, DAILY):
                raise ValueError(
                    f"{PREFIX}{name.upper()}={getattr(self, name)} lands the partition that is still open: with "
                    f"{EXTERNAL} another loader lands the records, and each run reads all that it has loaded. "
                    f"Leave it out, or take {DAILY}"
                )
        return self

    @property
    def is_external(self) -> bool:
        """Whether Salesforce's raw tables are external: another loader fills them, and the lake lacks them."""
        return self.salesforce_source == "external"

    @property
    def is_synthetic(self) -> bool:
        """Whether the records are those of the synthetic organisation."""
        return self.salesforce_source == "synthetic"

    @property
    def is_live(self) -> bool:
        """Whether records are those of a real organisation, which goes on."""
        return self.salesforce_source == "live"

    @property
    def sources_for_dbt(self) -> dict[str, str]:
        """What the dbt project is told of the sources, as environment variables."""
        return {
            "GTM_SALESFORCE_SOURCE": self.salesforce_source,
            "GTM_SOURCES_OFF": "" if self.pipedrive_source else "pipedrive",
        }

    @property
    def pipedrive_source(self) -> Literal["export", "synthetic"] | None:
        """Where Pipedrive's records come from. Made-up ones never go beside those of a real organisation."""
        if self.pipedrive_dir is not None:
            return "export"
        return "synthetic" if self.is_synthetic else None

    @cached_property
    def calendar_path(self) -> Path:
        """The file that says with which partition the state folder begins."""
        return self.home / "calendar.json"

    @property
    def lake_bucket(self) -> str | None:
        """The bucket and prefix of the change log of raw records, as a URL; None where it lies in a folder."""
        return self.lake_url if self.lake_url and "://" in self.lake_url else None

    @cached_property
    def lake_dir(self) -> Path:
        """The change log of raw records. Where it lies in a bucket: its locks, and files being written."""
        return Path(self.lake_url) if self.lake_url and not self.lake_bucket else self.home / "lake"

    @cached_property
    def warehouse_path(self) -> Path:
        """The DuckDB file that dbt writes, or that has what checks read of another engine's warehouse."""
        return self.home / ("warehouse.duckdb" if self.engine == "duckdb" else f"{self.engine}.duckdb")

    @property
    def warehouse_address(self) -> str:
        """The address of the database that another engine builds in.

        Raises:
            SettingsError: the file that holds it can't be read.
        """
        return _address_of("GTM_WAREHOUSE_URL", self.warehouse_url, self.warehouse_url_file)

    @property
    def serves(self) -> bool:
        """Whether what is published is brought to a server too."""
        return bool(self.serve_url or self.serve_url_file)

    @property
    def is_shared(self) -> bool:
        """Whether people read what is published on a server, on which roles say who may read what."""
        return self.serves or self.engine == "postgres"

    @property
    def serve_address(self) -> str:
        """The address of the database that people read.

        Raises:
            SettingsError: the file that holds it can't be read.
        """
        if self.engine == "postgres":
            return self.warehouse_address
        return _address_of("GTM_SERVE_URL", self.serve_url, self.serve_url_file)

    @property
    def serve_admin_address(self) -> str:
        """The address of that database as a login that may create roles."""
        return self.serve_admin_url.get_secret_value() if self.serve_admin_url else self.serve_address

    @cached_property
    def access_path(self) -> Path:
        """The file that says who may read what."""
        return self.access_file or self.home / "access.yml"

    @cached_property
    def retention_by_table(self) -> Mapping[str, int]:
        """Days for which superseded versions of single tables are kept, by ``source.table``."""
        return {table: int(days) for table, days in _OF_TABLE.findall(self.retention_of_tables or "")}

    @cached_property
    def certificates_path(self) -> Path:
        """The record of who certified which dataset."""
        return self.home / "certificates.jsonl"

    @cached_property
    def costs_path(self) -> Path:
        """What builds cost."""
        return self.home / "costs.sqlite"

    @cached_property
    def erasures_path(self) -> Path:
        """The folder of what was erased."""
        return self.erasures_dir or self.home / "erasures"

    @property
    def erasure_secret(self) -> bytes | None:
        """The key of the hashes of what was erased; None where it lies in that folder.

        Raises:
            SettingsError: the file that holds it can't be read, or the key is too short to keep anything secret.
        """
        if self.erasure_key is None and self.erasure_key_file is None:
            return None
        key = _address_of("GTM_ERASURE_KEY", self.erasure_key, self.erasure_key_file)
        if len(key) < SHORTEST_KEY:
            raise SettingsError(
                f"GTM_ERASURE_KEY has {len(key)} characters: take {SHORTEST_KEY} or more, "
                "such as those of: openssl rand -hex 32"
            )
        return key.encode()

    @cached_property
    def served_path(self) -> Path:
        """A copy of the published file that was served last."""
        return self.home / "served" / "postgres.duckdb"

    @property
    def schema_prefix(self) -> str:
        """What the schemas begin with of a database that is shared."""
        if self.env == "prod":
            return "gtm_"
        login = re.sub(r"\W+", "_", getpass.getuser().lower())
        return f"{self.env}_{login}_"

    @cached_property
    def warehouse_lock_path(self) -> Path:
        """The file whose lock whoever opens the warehouse holds."""
        return self.home / "warehouse.lock"

    @cached_property
    def published_path(self) -> Path:
        """The file that people read."""
        return self.home / "published" / "gtm.duckdb"

    @cached_property
    def parquet_path(self) -> Path | None:
        """The folder of what is published as Parquet; None where there is none."""
        return self.home / "published" / "parquet" if self.publish_parquet else None

    @cached_property
    def report_path(self) -> Path:
        """The folder of pages that people read in a browser."""
        return self.home / "published" / "report"

    @property
    def writes_report(self) -> bool:
        """Whether there are pages: they show what the published file's tables hold."""
        return self.engine == "duckdb" or self.export_published

    @cached_property
    def incidents_path(self) -> Path:
        """What the alerts remember."""
        return self.home / "incidents.sqlite"

    @cached_property
    def dagster_home(self) -> Path:
        """Dagster's own records: runs, events, schedules, logs."""
        return self.home / "dagster"

    @cached_property
    def dbt_target_dir(self) -> Path:
        """Artifacts of dbt's runs on this state folder."""
        return self.home / "dbt"

    @property
    def dbt_compiled_dir(self) -> Path:
        """The SQL of models as dbt has last compiled it for this state folder."""
        return self.dbt_target_dir / "target" / "compiled"


@contextmanager
def environment_with(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process's environment that have these values until the block ends."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})
        for name in [name for name, value in before.items() if value is None]:
            del os.environ[name]


def _address_of(name: str, url: SecretStr | None, file: Path | None) -> str:
    """An address that a variable holds, or the file that another names."""
    if url is not None:
        return url.get_secret_value()
    assert file is not None
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE={file} can't be read: {error}") from error


def load_settings(environment: dict[str, str] | None = None) -> Settings:
    """The settings of the environment, over those of the project's ``.env``.

    Raises:
        SettingsError: a ``GTM_*`` variable is unknown or does not fit its type, or is given by its old name and
            by its new one with different values.
    """
    if environment is None:
        in_file = _with_new_names({k: v or "" for k, v in dotenv_values(PROJECT_DIR / ".env").items()}, ".env")
        outside = _with_new_names(os.environ, "the environment")
        environment = in_file | {k: v for k, v in outside.items() if v.strip() or k not in in_file}
    else:
        environment = _with_new_names(environment, "the environment")
    given = {k: v for k, v in environment.items() if k.upper().startswith(PREFIX) and k not in TOLD_TO_DBT}
    for name, variable in OTHER_NAMES.items():
        if environment.get(name, "").strip() and not given.get(variable, "").strip():
            given[variable] = environment[name]
    known = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    for variable in given:
        if variable not in known:
            # What all settings begin with is no likeness.
            names = {name.removeprefix(PREFIX): name for name in known}
            near = difflib.get_close_matches(variable.upper().removeprefix(PREFIX), names, n=1)
            hint = f"did you mean {names[near[0]]}?" if near else f"the settings are {', '.join(sorted(known))}."
            raise SettingsError(f"{variable} is not a setting: {hint}")
    # An empty variable is how a shell or a compose file says "not set".
    values: dict[str, Any] = {known[k]: v.strip() for k, v in given.items() if v.strip()}
    try:
        return _FromMapping(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(e) for e in error.errors())) from None


def _with_new_names(environment: Mapping[str, str], place: str) -> dict[str, str]:
    """The variables by today's names, with today's values; a :class:`RenamedSetting` for each old one."""
    renamed = dict(environment)
    for old, new in RENAMED.items():
        value = renamed.pop(old, "").strip()
        if not value:
            continue
        other = renamed.get(new, "").strip()
        if other and (PROJECT_DIR / other).resolve() != (PROJECT_DIR / value).resolve():
            raise SettingsError(
                f"{old}={value} and {new}={other} are both set in {place}: {old} is the old name of {new}. "
                f"Leave {old} out"
            )
        renamed[new] = other or value
        _tell_renamed(f"{old} is now called {new}: rename it in {place}. The next release refuses the old name.")
    for (name, old), new in RENAMED_VALUES.items():
        if renamed.get(name, "").strip() == old:
            renamed[name] = new
            _tell_renamed(
                f"{name}={old} is now {name}={new}: change it in {place}. The next release refuses {old}."
            )
    return renamed


def _tell_renamed(sentence: str) -> None:
    # Once in a process, however often the settings are loaded. Python's own memory of what it has told is cleared
    # by whoever changes a filter.
    if sentence not in _TOLD:
        _TOLD.add(sentence)
        warnings.warn(sentence, RenamedSetting, stacklevel=1)


_TOLD: set[str] = set()


class _FromMapping(Settings):
    """Settings made from the given values alone: the environment was read, and checked, by the caller."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _explain(error: ErrorDetails) -> str:
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0])
    field = Settings.model_fields[name]
    secret = SecretStr in (field.annotation, *get_args(field.annotation))
    value = "**********" if secret else repr(_WITHOUT_PASSWORD.sub("//***@", error["input"]))
    message = error["msg"].removeprefix("Value error, ")
    return f"{PREFIX}{name.upper()}={value}: {message}. It holds: {field.description}"


_WITHOUT_PASSWORD = re.compile(r"//[^/]*@")
"""The name and password that an address may hold."""
