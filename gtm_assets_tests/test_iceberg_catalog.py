"""Which catalogue holds the Iceberg tables: its address, as Spark and PyIceberg are told of it."""

from pathlib import Path

import pytest

from gtm_assets.engines import spark
from gtm_assets.engines.iceberg_catalog import CatalogueError, Warehouse
from gtm_assets.engines.spark import dbt_environment

HOME = Path("/state")


def test_a_database_has_one_address_for_spark_and_python():
    here = Warehouse.of(HOME)
    assert (here.kind, here.python_address) == ("jdbc", "sqlite:////state/spark/catalog.db")
    shared = Warehouse("jdbc:postgresql://db.internal:5432/lake", "file:///lake", "ana@acme", "p@ss")
    assert shared.python_address == "postgresql+psycopg2://ana%40acme:p%40ss@db.internal:5432/lake"
    told = shared.dbt_environment
    assert told["GTM_SPARK_CATALOG_TYPE"] == "jdbc"
    assert told["DBT_ENV_SECRET_SPARK_CATALOG_PASSWORD"] == "p@ss"
    assert told["DBT_ENV_SECRET_SPARK_CATALOG_CREDENTIAL"] == told["DBT_ENV_SECRET_SPARK_CATALOG_TOKEN"] == ""


def test_a_server_by_rest_gets_a_client_or_a_token_and_nothing_where_there_is_none():
    def told(user: str, password: str) -> tuple[dict, str, str, str]:
        place = Warehouse.named(HOME, "https://catalog.internal/api", "sales", user, password)
        said = place.dbt_environment
        secrets = [said[f"DBT_ENV_SECRET_SPARK_CATALOG_{name}"] for name in ("CREDENTIAL", "TOKEN", "PASSWORD")]
        return (dict(place.told), *secrets)

    same = {"type": "rest", "uri": "https://catalog.internal/api", "warehouse": "sales"}
    assert told("", "") == (same, "", "", "")
    assert told("ana", "s:ecret") == (same | {"credential": "ana:s:ecret"}, "ana:s:ecret", "", "")
    assert told("", "t0ken") == (same | {"token": "t0ken"}, "", "t0ken", "")


def test_glue_gets_its_region_or_leaves_it_to_the_environment():
    place = Warehouse.named(HOME, "glue://eu-central-1", "s3://lake/warehouse", "", "")
    assert place.told == {"type": "glue", "warehouse": "s3://lake/warehouse", "client.region": "eu-central-1"}
    assert place.dbt_environment["GTM_SPARK_CATALOG_REGION"] == "eu-central-1"
    # Its own default reads nothing but S3.
    assert place.dbt_environment["GTM_SPARK_CATALOG_FILES"] == "org.apache.iceberg.io.ResolvingFileIO"
    assert "client.region" not in Warehouse("glue://", "s3://lake").told


@pytest.mark.parametrize(
    "address", ["mysql://host/lake", "jdbc:mysql://host/lake", "jdbc:sqlite:", "https://", "glue://EU/1", "lake"]
)
def test_an_address_of_no_known_form_is_refused_with_those_that_are(address):
    with pytest.raises(CatalogueError, match=r"GTM_SPARK_CATALOG=.* is none of jdbc:sqlite:/path/.*glue://region"):
        Warehouse.named(HOME, address, "/lake", "", "")


def test_a_server_is_not_asked_for_a_warehouse_that_nobody_named():
    with pytest.raises(CatalogueError, match=r"catalog\.internal needs GTM_SPARK_WAREHOUSE: the name") as refused:
        Warehouse.named(HOME, "https://ana:pw@catalog.internal", None, "", "")
    assert "pw" not in str(refused.value)


def test_without_the_jars_it_is_said_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(spark, "JARS", tmp_path)
    with pytest.raises(CatalogueError, match="Run: make setup-spark"):
        dbt_environment(Warehouse.of(tmp_path))
