"""Certified datasets: what they need for their badge, and when they lose it."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gtm_assets.dbt.project import TransformError, manifest_path
from gtm_assets.publishing.certification import (
    Certificates,
    CertificationError,
    badges,
    certify,
    datasets,
    keep_their_badge,
)
from gtm_assets.publishing.datasets import query_of, tables_in, views_of
from gtm_assets.publishing.publish import descriptions

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
NAMES = {"opportunities", "pipeline", "bookings_and_quota", "accounts", "activity"}


@pytest.fixture
def manifest() -> dict[str, Any]:
    return json.loads(manifest_path().read_text())


def changed(manifest: dict[str, Any], change: Any) -> dict[str, Any]:
    manifest = copy.deepcopy(manifest)
    change(manifest["nodes"])
    return manifest


def test_the_project_has_five_datasets_and_they_lack_nothing(manifest):
    found = datasets(manifest)
    assert found.keys() == NAMES
    assert {name: list(one.lacks()) for name, one in found.items()} == {name: [] for name in NAMES}


MODEL = "model.gtm_dbt.opportunities"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda nodes: nodes[MODEL].update(description=""), "a description"),
        (lambda nodes: nodes[MODEL]["config"]["meta"].pop("dagster"), "an owner"),
        (lambda nodes: nodes[MODEL]["config"]["meta"].pop("service_level"), "a service level"),
        (lambda nodes: nodes[MODEL]["config"]["meta"].pop("metrics"), "metrics"),
        (
            lambda nodes: nodes[MODEL]["columns"]["amount"].update(description=""),
            "a description of the column amount",
        ),
        (
            lambda nodes: nodes["model.gtm_dbt.dim_user"]["config"]["meta"].pop("row_rule"),
            "a rule whose rows it shows (meta row_rule of dim_user",
        ),
        (lambda nodes: without_tests(nodes, "primary_key"), "a grain"),
        (lambda nodes: without_tests(nodes, "adds_up_to"), "a reconciliation"),
    ],
)
def test_what_a_dataset_lacks_is_named_and_costs_it_its_badge(manifest, change, said):
    certificates = {"opportunities": certificate(manifest)}
    of = datasets(changed(manifest, change))

    (badge,) = [one for one in badges(of, certificates, {}) if one.dataset == "opportunities"]
    assert not badge.is_certified and f"it lacks {said}" in badge.reason
    assert not keep_their_badge([badge]).passed


def without_tests(nodes: dict[str, Any], kind: str) -> None:
    for id_ in [i for i, n in nodes.items() if n.get("attached_node") == MODEL]:
        if nodes[id_]["test_metadata"]["name"] == kind:
            del nodes[id_]


def test_a_badge_goes_with_a_failing_test_and_with_a_change_and_comes_back(manifest):
    of, certificates = datasets(manifest), {"opportunities": certificate(manifest)}

    def badge(of: Mapping[str, Any], failing: Mapping[str, list[str]] = {}) -> Any:
        return next(one for one in badges(of, certificates, failing) if one.dataset == "opportunities")

    assert badge(of).is_certified and badge(of).certified_by == "ana"
    assert keep_their_badge(badges(of, certificates, {})).passed
    failing = badge(
        of, {"opportunities": ["opportunities_adds_up_to_fct_opportunity warned: Rows against it: 1."]}
    )
    assert not failing.is_certified and "Rows against it: 1." in failing.reason
    assert badge(of).is_certified
    other = changed(manifest, lambda nodes: nodes[MODEL].update(raw_code=nodes[MODEL]["raw_code"] + " limit 1"))
    assert "it was changed since it was certified" in badge(datasets(other)).reason
    assert not next(one for one in badges(of, {}, {})).is_certified


def certificate(manifest: dict[str, Any], name: str = "opportunities") -> Any:
    from gtm_assets.publishing.certification import Certificate

    return Certificate(name, "ana", NOW.isoformat(), datasets(manifest)[name].definition, 0.1)


@pytest.fixture
def published(tmp_path) -> Path:
    path = tmp_path / "gtm.duckdb"
    with duckdb.connect(str(path)) as file:
        file.execute("create schema gtm_certified")
        file.execute(
            "create table gtm_certified.opportunities as select * from (values"
            " (date '2026-01-05', true, true, false, 10.10, 1.0),"
            " (date '2026-01-25', true, true, false, 0.20, 1.0),"
            " (date '2026-02-01', false, true, false, 7, 1.0), (date '2026-03-01', false, false, true, 5, 2.5),"
            " (null, false, false, true, 99, 9)"
            ") as v (close_date, is_won, is_closed, is_open_pipeline, amount, weighted_amount)"
        )
    return path


ANSWERS = {
    "bookings": {"2026-01": "10.3", "2026-02": "0"},
    "pipeline": {"2026-03": "5"},
    "weighted_pipeline": {"2026-03": "2.5"},
    "won_deals": {"2026-01": "2"},
    "win_rate_by_count": {"2026-01": "1.0", "2026-02": "0.0", "2026-03": ""},
}


def answered(folder: Path, answers: dict[str, dict[str, str]]) -> dict[str, Path]:
    for metric, months in answers.items():
        with (folder / f"{metric}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["metric_time__month", metric])
            writer.writerows([f"{month}-01T00:00:00", value] for month, value in months.items())
    return {metric: folder / f"{metric}.csv" for metric in answers}


def test_a_dataset_whose_metrics_are_those_of_the_semantic_layer_is_certified(manifest, published, tmp_path):
    dataset = datasets(manifest)["opportunities"]
    given = certify(dataset, published, answered(tmp_path, ANSWERS), [], "ana", NOW)
    kept = Certificates(tmp_path / "certificates.jsonl")
    kept.add(given)
    kept.add(certificate(manifest))
    assert kept.latest() == {"opportunities": certificate(manifest)}
    assert given.certified_at == "2026-11-29T12:00:00+00:00" and given.load_seconds < 5
    kept.path.write_text("{}\n")
    with pytest.raises(CertificationError, match="line 1, is no certificate"):
        kept.latest()


@pytest.mark.parametrize(
    ("metric", "month", "value", "said"),
    [
        ("bookings", "2026-01", "10.31", "its bookings of 2026-01 is 10.30, and the metric's is 10.31"),
        ("bookings", "2025-12", "1", "its bookings of 2025-12 is 0, and the metric's is 1"),
        ("pipeline", "2026-03", "0", "its pipeline of 2026-03 is 5.00, and the metric's is 0"),
        ("win_rate_by_count", "2026-01", "0.99", "its win_rate_by_count of 2026-01 is 1.0"),
    ],
)
def test_a_dataset_that_says_something_else_than_a_metric_is_refused(
    manifest, published, tmp_path, metric, month, value, said
):
    answers = {**ANSWERS, metric: {**ANSWERS[metric], month: value}}
    with pytest.raises(CertificationError, match="opportunities is not certified") as refused:
        certify(datasets(manifest)["opportunities"], published, answered(tmp_path, answers), [], "ana", NOW)
    assert said in str(refused.value)


def test_a_dataset_that_fails_its_tests_loads_slowly_or_is_not_published_is_refused(
    manifest, published, tmp_path, monkeypatch
):
    dataset, answers = datasets(manifest)["opportunities"], answered(tmp_path, ANSWERS)
    with pytest.raises(CertificationError, match="2 rows too many"):
        certify(dataset, published, answers, ["2 rows too many"], "ana", NOW)
    monkeypatch.setattr("gtm_assets.publishing.certification.LOAD_SECONDS", 0.0)
    with pytest.raises(CertificationError, match="s to load, and 0 s are allowed"):
        certify(dataset, published, answers, [], "ana", NOW)
    with pytest.raises(CertificationError, match=r"has no gtm_certified.pipeline. Publish it"):
        certify(datasets(manifest)["pipeline"], published, answers, [], "ana", NOW)


def test_a_dataset_is_plain_sql_over_core_and_mart(manifest):
    described = descriptions(manifest)
    for name in NAMES:
        query = described[f"gtm_certified.{name}"].query
        assert tables_in(query) and "{{" not in query
    node = manifest["nodes"][MODEL]
    names = {id_: f"{n['schema']}.{n['alias']}" for id_, n in manifest["nodes"].items()}
    with pytest.raises(TransformError, match="opportunities is made anew wherever it is published"):
        query_of({**node, "raw_code": node["raw_code"] + "{{ money('1') }}"}, names)
    staging = "model.gtm_dbt.stg_salesforce__task"
    below = {**node["depends_on"], "nodes": [*node["depends_on"]["nodes"], staging]}
    with pytest.raises(TransformError, match=r"It reads gtm_staging.stg_salesforce__task"):
        query_of({**node, "depends_on": below}, names)


def test_a_file_has_the_views_whose_tables_it_holds(manifest):
    described = descriptions(manifest)
    whole = {table for name in NAMES for table in tables_in(described[f"gtm_certified.{name}"].query)}
    made = [s for s in views_of(described, whole) if s.startswith("create view")]
    assert len(made) == len(NAMES)
    fewer = views_of(described, whole - {"gtm_core.fct_activity"})
    assert not any("gtm_certified.activity" in statement for statement in fewer)
