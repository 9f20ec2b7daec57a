"""Catalogues by REST and by Glue: what is published there, as those see it who read a table by its tag."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import requests

from gtm_assets.engines.engine import EngineAway, EngineError, Table
from gtm_assets.engines.registry import engine_of
from gtm_assets.settings import load_settings
from gtm_assets_tests import rest_catalog
from gtm_assets_tests.browser import free_port
from gtm_assets_tests.needs import require
from gtm_assets_tests.spark_session import needs_spark

pytestmark = [needs_spark, pytest.mark.nightly]

DESCRIBED = {name: Table("", {}) for name in ("gtm_core.dim_user", "gtm_mart.rep_users")}


@pytest.fixture
def rest(tmp_path) -> Iterator[dict[str, str]]:
    require(rest_catalog.missing())
    (tmp_path / "server").mkdir()
    with rest_catalog.running(tmp_path / "server") as address:
        yield {
            "GTM_SPARK_CATALOG": address,
            "GTM_SPARK_WAREHOUSE": "sales",
            "GTM_SPARK_CATALOG_USER": "ana",
            "GTM_SPARK_CATALOG_PASSWORD": "hidden",
        }


@pytest.fixture
def glue(monkeypatch) -> Iterator[dict[str, str]]:
    require("moto is not installed: make setup-readers" if find_spec("moto") is None else None)
    import boto3
    from moto.server import ThreadedMotoServer
    from pyiceberg.utils.config import Config

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    own = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "AWS_ENDPOINT_URL": address}
    os.environ.update(own, PYICEBERG_CATALOG__GTM__S3__ENDPOINT=address)
    # It reads them as it is imported.
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
    # All servers of a process share what they hold.
    requests.post(f"{address}/moto-api/reset")
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="lake")
    yield {"GTM_SPARK_CATALOG": "glue://us-east-1", "GTM_SPARK_WAREHOUSE": "s3://lake/warehouse"}
    server.stop()


@pytest.fixture(params=["rest", "glue"])
def engine(request, tmp_path) -> Any:
    return engine_at(tmp_path, request.getfixturevalue(request.param))


def engine_at(folder: Path, given: dict[str, str]) -> Any:
    engine = engine_of(load_settings({"GTM_HOME": str(folder / "gtm"), "GTM_ENGINE": "spark", **given}))
    engine.path.parent.mkdir(parents=True, exist_ok=True)
    return engine


def build(engine: Any, number: int, *tables: str) -> None:
    rows = pa.table({"user_key": ["a", "b"], "number": [number, number]})
    for table in tables or DESCRIBED:
        catalogue = engine.catalogue()
        catalogue.create_namespace_if_not_exists(table.split(".")[0])
        catalogue.create_table_if_not_exists(table, rows.schema).overwrite(rows)


def publish(engine: Any, folder: Path, number: int, described: dict[str, Table] = DESCRIBED) -> None:
    build(engine, number)
    said = folder / "said.duckdb"
    said.unlink(missing_ok=True)
    with duckdb.connect(str(said)) as file:
        file.execute(f"create schema gtm_meta; create table gtm_meta.publication as select {number} as number")
    engine.publish(said, described)


def seen(engine: Any, table: str) -> set[int] | None:
    """The numbers that a reader of the published snapshot sees; None where none is published."""
    iceberg = engine.catalogue().load_table(table)
    tagged = iceberg.metadata.refs.get("published")
    return tagged and {*iceberg.scan(snapshot_id=tagged.snapshot_id).to_arrow()["number"].to_pylist()}


def test_readers_see_the_tagged_snapshots_and_not_what_is_built(engine, tmp_path):
    tables = [*DESCRIBED, "gtm_said.publication"]
    build(engine, 0, "gtm_core.internal")
    publish(engine, tmp_path, 1)
    build(engine, 99)
    assert [seen(engine, table) for table in tables] == [{1}, {1}, {1}]

    publish(engine, tmp_path, 2)
    publish(engine, tmp_path, 3, {"gtm_core.dim_user": Table("", {})})
    assert [seen(engine, table) for table in tables] == [{3}, None, {3}]
    assert seen(engine, "gtm_core.internal") is None


def test_what_is_there_and_whatever_is_written_is_noticed(engine):
    assert engine.relations() == set() and engine.stamp() is None
    build(engine, 1)
    before = engine.stamp()
    assert engine.relations() == {("gtm_core", "dim_user"), ("gtm_mart", "rep_users")}
    assert engine.stamp() == before
    build(engine, 1, "gtm_core.dim_user")
    assert {table for table, place in engine.stamp().items() if place != before[table]} == {"gtm_core.dim_user"}


def test_old_snapshots_go_and_the_published_one_stays(engine, tmp_path):
    publish(engine, tmp_path, 1)
    for number in range(2, 5):
        build(engine, number)

    expired = engine.expire(datetime.now(UTC) + timedelta(days=1))

    # Each overwrite is two commits, of which the last one stays, and that of the publication.
    assert (expired.snapshots > 8, expired.files) == (True, 0)
    assert [seen(engine, table) for table in DESCRIBED] == [{1}, {1}]
    assert engine.catalogue().load_table("gtm_core.dim_user").scan().to_arrow()["number"].to_pylist() == [4, 4]


def test_a_view_of_a_server_is_noticed_and_is_no_table(rest, tmp_path):
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField, StringType
    from pyiceberg.view.metadata import SQLViewRepresentation, ViewVersion

    engine = engine_at(tmp_path, rest)
    build(engine, 1)
    sql = SQLViewRepresentation(type="sql", sql="select 'a' as user_key", dialect="spark")
    version = ViewVersion(
        version_id=1,
        schema_id=0,
        timestamp_ms=1,
        summary={},
        representations=[sql],
        default_namespace=["gtm_core"],
    )
    schema = Schema(NestedField(1, "user_key", StringType()))
    engine.catalogue().create_view(("gtm_core", "users"), schema, version)

    assert ("gtm_core", "users") in engine.relations()
    assert ("gtm_core", "users") not in engine.tables()
    assert engine.stamp()["gtm_core.users"]


def test_a_server_that_is_away_is_said_without_the_password(tmp_path):
    given = {
        "GTM_SPARK_CATALOG": f"http://127.0.0.1:{free_port()}/api",
        "GTM_SPARK_WAREHOUSE": "sales",
        "GTM_SPARK_CATALOG_PASSWORD": "hidden",
    }
    with pytest.raises(EngineAway, match=r"at http://127\.0\.0\.1:\d+/api can't be reached") as away:
        engine_at(tmp_path, given).relations()
    assert "hidden" not in str(away.value)


def test_what_glue_refuses_is_said(glue, tmp_path, monkeypatch):
    engine = engine_at(tmp_path, glue)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(EngineError, match=r"the catalogue of Iceberg at glue://us-east-1 refuses it"):
        engine.relations()
