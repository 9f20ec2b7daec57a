"""Certified datasets: what a dataset must have for its badge, who gave it, and when it is lost.

``gtm certify DATASET`` gives the badge and records it in a file of the state folder. Each publication looks again
at what was promised and at the tests, and says in ``gtm_meta.certified_datasets`` how each dataset stands. A badge
that is lost comes back where the test passes again. Where a dataset was changed, it has to be certified anew.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import isclose
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from gtm_assets.dbt.assets import VIEWS_LAYER, layer_of
from gtm_assets.errors import GtmError
from gtm_assets.finding import Finding

LOAD_SECONDS = 5.0
"""So long it may take to load a dataset."""
RECONCILES = "adds_up_to"
KEY = "primary_key"


class CertificationError(GtmError):
    """A dataset can't be certified. The message says what it lacks."""


@dataclass(frozen=True)
class Dataset:
    """A certified dataset, as the dbt project says it."""

    name: str
    node: Mapping[str, Any]
    tests: Sequence[Mapping[str, Any]]
    parents: Sequence[Mapping[str, Any]]

    @property
    def table(self) -> str:
        """What people read."""
        return f"{self.node['schema']}.{self.node['alias']}"

    @property
    def meta(self) -> Mapping[str, Any]:
        """What its yml says of it beside dbt's own terms."""
        meta: Mapping[str, Any] = self.node["config"]["meta"]
        return meta

    @property
    def owner(self) -> str:
        """Who answers for it."""
        return ", ".join(self.meta.get("dagster", {}).get("owners", []))

    @property
    def service_level(self) -> str:
        """What its readers may count on."""
        return str(self.meta.get("service_level", ""))

    @property
    def metrics(self) -> Mapping[str, Mapping[str, str]]:
        """By metric of the semantic layer, how the dataset gives it: ``value``, and the date that it is ``by``."""
        metrics: Mapping[str, Mapping[str, str]] = self.meta.get("metrics", {})
        return metrics

    @property
    def definition(self) -> str:
        """A digest of what was certified: query, columns, tests and metrics."""
        columns = {name: (c["data_type"], c["description"]) for name, c in self.node["columns"].items()}
        said = [self.node["raw_code"], columns, sorted(t["name"] for t in self.tests), self.metrics, self.owner]
        text = json.dumps(said, sort_keys=True)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    def lacks(self) -> Iterator[str]:
        """What is missing that can be seen without looking at data."""
        kinds = {(test.get("test_metadata") or {}).get("name") for test in self.tests}
        for lack, is_there in {
            "a description": self.node["description"],
            "an owner (meta dagster: owners)": self.owner,
            "a service level (meta service_level)": self.service_level,
            "metrics (meta metrics)": self.metrics,
            f"a grain: a column that is tested to be its {KEY}": KEY in kinds,
            f"a reconciliation of its own: a test {RECONCILES}": RECONCILES in kinds,
        }.items():
            if not is_there:
                yield lack
        for column in self.node["columns"].values():
            if not column["description"]:
                yield f"a description of the column {column['name']}"
        for parent in self.parents:
            if not parent["config"]["meta"].get("row_rule"):
                yield f"a rule whose rows it shows (meta row_rule of {parent['name']})"


def datasets(manifest: Mapping[str, Any]) -> dict[str, Dataset]:
    """The datasets of the project, by name."""
    nodes = manifest["nodes"]
    return {
        node["name"]: Dataset(
            node["name"],
            node,
            [test for test in nodes.values() if test.get("attached_node") == id_],
            [nodes[parent] for parent in node["depends_on"]["nodes"]],
        )
        for id_, node in nodes.items()
        if node["resource_type"] == "model" and layer_of(node) == VIEWS_LAYER
    }


@dataclass(frozen=True)
class Certificate:
    """That somebody certified a dataset."""

    dataset: str
    certified_by: str
    certified_at: str
    """UTC, as ISO 8601 writes it."""
    definition: str
    load_seconds: float


@dataclass(frozen=True)
class Badge:
    """How a dataset stands in a publication."""

    dataset: str
    owner: str
    service_level: str
    certified_by: str | None
    certified_at: datetime | None
    is_certified: bool
    reason: str
    """Why it is not certified; empty where it is."""


class Certificates:
    """The file that records who certified what and when. Lines are only ever added."""

    def __init__(self, path: Path) -> None:
        """The file need not be there."""
        self.path = path

    def latest(self) -> dict[str, Certificate]:
        """The last certificate of each dataset.

        Raises:
            CertificationError: a line of the file is none.
        """
        found: dict[str, Certificate] = {}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                one = Certificate(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise CertificationError(
                    f"{self.path}, line {number}, is no certificate ({error}). Remove the line, and certify anew: "
                    "gtm certify"
                ) from error
            found[one.dataset] = one
        return found

    def add(self, certificate: Certificate) -> None:
        """Record a certificate."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(certificate)) + "\n")


def badges(
    of: Mapping[str, Dataset], certificates: Mapping[str, Certificate], failing: Mapping[str, Sequence[str]]
) -> list[Badge]:
    """How each dataset stands. ``failing`` are the sentences of what fails or warns, by dataset."""
    found = []
    for name, dataset in sorted(of.items()):
        given = certificates.get(name)
        reasons = [f"it lacks {lack}" for lack in dataset.lacks()]
        reasons += failing.get(name, ())
        if given is None:
            reasons.insert(0, f"nobody has certified it: gtm certify {name}")
        elif given.definition != dataset.definition:
            reasons.insert(0, f"it was changed since it was certified: gtm certify {name}")
        found.append(
            Badge(
                name,
                dataset.owner,
                dataset.service_level,
                given.certified_by if given else None,
                datetime.fromisoformat(given.certified_at) if given else None,
                not reasons,
                "; ".join(reasons),
            )
        )
    return found


def keep_their_badge(of: Sequence[Badge]) -> Finding:
    """Whether all datasets that somebody certified are still what was certified."""
    lost = [f"{one.dataset}: {one.reason}" for one in of if one.certified_by and not one.is_certified]
    if lost:
        return Finding(False, f"Not certified any more: {'. '.join(lost)}.", dg.AssetCheckSeverity.WARN)
    certified = [one.dataset for one in of if one.is_certified]
    return Finding(True, f"Certified: {', '.join(certified) or 'none'}.")


def certify(
    dataset: Dataset,
    published: Path,
    answers: Mapping[str, Path],
    failing: Sequence[str],
    by: str,
    now: datetime,
) -> Certificate:
    """A certificate for a dataset of a published file.

    ``answers`` are files in which the semantic layer has answered each metric of the dataset; of those ``by`` a
    date, month by month.

    Raises:
        CertificationError: says all that is against it.
    """
    against = [f"it lacks {lack}" for lack in dataset.lacks()] + [*failing]
    with closing(duckdb.connect(str(published), read_only=True)) as file:
        file.execute("set TimeZone = 'UTC'")
        try:
            began = time.monotonic()
            for _ in file.sql(f"select * from {dataset.table}").to_arrow_reader(2**16):
                pass
            seconds = time.monotonic() - began
        except duckdb.CatalogException as error:
            raise CertificationError(
                f"{dataset.name} is not certified: {published} has no {dataset.table}. Publish it: gtm run"
            ) from error
        if seconds > LOAD_SECONDS:
            against.append(f"it takes {seconds:.1f} s to load, and {LOAD_SECONDS:g} s are allowed")
        for metric, asked in dataset.metrics.items():
            against += _differences(file, dataset, metric, asked, answers[metric])
    if against:
        raise CertificationError(f"{dataset.name} is not certified: {'; '.join(against)}")
    return Certificate(dataset.name, by, now.astimezone(UTC).isoformat(), dataset.definition, round(seconds, 3))


def _differences(
    file: duckdb.DuckDBPyConnection, dataset: Dataset, metric: str, asked: Mapping[str, str], answer: Path
) -> Iterator[str]:
    by = asked.get("by")
    month = f"strftime(date_trunc('month', {by}), '%Y-%m-%d')" if by else "''"
    where = f" where {by} is not null" if by else ""
    rows = file.execute(
        f"select {month}, {asked['value']} from {dataset.table}{where} group by all order by all"
    ).fetchall()
    ours = {when: value for when, value in rows if value}
    theirs = {}
    for row in csv.DictReader(answer.open()) if answer.exists() else ():
        when = row["metric_time__month"][:10] if by else ""
        if row[metric] and float(row[metric]):
            theirs[when] = row[metric]
    for when in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(when, 0), theirs.get(when, "0")
        equal = (
            isclose(here, float(there), rel_tol=1e-9)
            if isinstance(here, float)
            else Decimal(here) == Decimal(there).quantize(Decimal(here)) or Decimal(here) == Decimal(there)
        )
        if not equal:
            yield f"its {metric}{f' of {when[:7]}' if when else ''} is {here}, and the metric's is {there}"
