"""Where the dashboards read: the published file, or the server that people share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import duckdb

from gtm_assets.dashboards.bundle import Certificate, DashboardsError, Source
from gtm_assets.settings import Settings

DATABASE = "databases/gtm.yaml"
"""The document of the database, which a password goes with."""
_MASKED = "XXXXXXXXXX"
"""What Superset takes for a password that is given apart."""


def source_of(settings: Settings) -> tuple[Source, Mapping[str, str]]:
    """What the dashboards read, and the passwords for it by document.

    Raises:
        DashboardsError: nothing is published, or people read a server and no login for the dashboards is set.
    """
    if settings.is_shared:
        return _server(settings)
    file = settings.published_path
    if not file.exists():
        raise DashboardsError(
            f"nothing is published at {file} yet, so there is nothing to show. Build it: gtm run"
        )
    return Source("duckdb", f"duckdb:///{quote(str(file))}", _certificates(file)), {}


def _server(settings: Settings) -> tuple[Source, Mapping[str, str]]:
    if settings.dashboards_url is None:
        raise DashboardsError(
            "people read what is published on a server, and so do the dashboards: set GTM_DASHBOARDS_URL to the "
            "address of that database with a login of the access file that sees all rows (kind: service, scope: "
            "all) and the personal data that the dashboards' readers may see"
        )
    # Imported here: its driver is an extra, which a published file does without.
    from gtm_assets.serving.securing import Names

    given = urlsplit(settings.dashboards_url.get_secret_value())
    names = Names(settings.schema_prefix)
    schemas = {
        "gtm_certified": names.reader("certified"),
        "gtm_core": names.reader("core"),
        "gtm_mart": names.reader("mart"),
        "gtm_meta": names.published("meta"),
    }
    place = f"{given.hostname}:{given.port or 5432}{given.path}"
    masked = f":{_MASKED}" if given.password else ""
    address = f"postgresql+psycopg2://{given.username}{masked}@{place}"
    file = settings.published_path
    source = Source("postgres", address, _certificates(file) if file.exists() else {}, schemas)
    return source, {DATABASE: unquote(given.password)} if given.password else {}


def _certificates(file: Path) -> Mapping[str, Certificate]:
    with closing(duckdb.connect(str(file), read_only=True)) as published:
        found = published.execute(
            "select dataset, is_certified, certified_by from gtm_meta.certified_datasets"
        ).fetchall()
    return {dataset: Certificate(is_certified, by) for dataset, is_certified, by in found}
