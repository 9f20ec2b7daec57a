"""The models on PostgreSQL: the lake's records reach it whole, and it understands every model and every test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from gtm_assets.dbt.project import DBT_DIR
from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets.sources.registry import raw_tables
from gtm_assets_tests.dbt_harness import PIPEDRIVE, TABLES, Home, account, at, empty_tables, partition
from gtm_assets_tests.postgres_server import needs_postgres, running

pytestmark = needs_postgres


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running() as address:
        yield address


@contextmanager
def connected(address: str) -> Iterator[Any]:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(address) as connection, connection.cursor() as cursor:
        yield cursor
