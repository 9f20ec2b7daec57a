"""The dashboards of the repository, as Superset imports them: where they read, and personal data masked.

``dashboards/assets`` is an export of Superset's. Three things are not in it, since they differ from place to
place: the address of the database; the masks, which the access file says; and whether a dataset is certified,
which what is published says.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gtm_assets.dashboards.rights import LAYERS, sees
from gtm_assets.engines.engine import Table
from gtm_assets.errors import GtmError
from gtm_assets.serving.access_file import Access, Layer
from gtm_assets.serving.masking import Dialect, columns_of
from gtm_assets.settings import PROJECT_DIR

ASSETS = PROJECT_DIR / "dashboards" / "assets"
CERTIFIED = "gtm_certified"


class DashboardsError(GtmError):
    """Dashboards can't be shown. The message says why and what to do."""


@dataclass(frozen=True)
class Certificate:
    """Whether a dataset is certified, as what is published says it."""

    is_certified: bool
    by: str | None


@dataclass(frozen=True)
class Source:
    """The database that the dashboards read."""

    dialect: Dialect
    address: str
    """SQLAlchemy's."""
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    """By dataset."""
    schemas: Mapping[str, str] = field(default_factory=dict)
    """What the schemas are called there, where not as in the published file."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What the driver is told."""
        if self.dialect == "postgres":
            return {}
        # What is published is only read, and no query reads another file of the machine.
        config = {"enable_external_access": False, "lock_configuration": True}
        return {"engine_params": {"connect_args": {"read_only": True, "config": config}}}

    def named(self, query: str) -> str:
        """A query whose schemas are called as they are there."""
        for schema, there in self.schemas.items():
            query = query.replace(f"{schema}.", f"{there}.")
        return query


def documents(folder: Path = ASSETS) -> dict[str, dict[str, Any]]:
    """What the repository has, by path within the folder.

    Raises:
        DashboardsError: the folder has nothing, or a file is no YAML.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*.yaml")):
        try:
            found[str(path.relative_to(folder))] = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise DashboardsError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not found:
        raise DashboardsError(f"{folder} has no dashboards: take it from the repository again")
    return found


def datasets(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The datasets among documents, by name."""
    return {d["table_name"]: d for path, d in found.items() if path.startswith("datasets/")}


def prepared(
    found: Mapping[str, Mapping[str, Any]], source: Source, access: Access, described: Mapping[str, Table]
) -> dict[str, dict[str, Any]]:
    """The documents for one place. ``described`` is what the dbt project says of its tables.

    Raises:
        AccessError: a column with personal data has no mask.
    """
    result = {}
    badges = dict(_badges(found, source))
    for path, document in found.items():
        kind, changed = path.split("/")[0], dict(document)
        if kind == "metadata.yaml":
            changed["type"] = "assets"
        elif kind == "databases":
            changed |= {"sqlalchemy_uri": source.address, "extra": {**document["extra"], **source.options}}
        elif kind == "datasets":
            changed |= _dataset(document, source, access, described)
        elif kind == "dashboards" and not badges[path]:
            changed |= {"certified_by": None, "certification_details": None}
        result[path] = changed
    return result


def _dataset(
    document: Mapping[str, Any], source: Source, access: Access, described: Mapping[str, Table]
) -> dict[str, Any]:
    schema, name = document["schema"], document["table_name"]
    there = source.schemas.get(schema, schema)
    changed: dict[str, Any] = {"schema": there}
    if document["sql"]:
        changed["sql"] = source.named(document["sql"])
    table = described.get(f"{schema}.{name}")
    if table is not None and table.tiers:
        types = {column["column_name"]: column["type"] for column in document["columns"]}
        shown = columns_of(access, f"{schema}.{name}", types, table.tiers, source.dialect, _shown)
        lines = ",\n    ".join(shown)
        changed["sql"] = f"select\n    {lines}\nfrom {there}.{name} as held\n"
    if schema == CERTIFIED:
        certificate = source.certificates.get(name)
        if certificate is None or not certificate.is_certified:
            changed["extra"] = None
        else:
            badge = document["extra"]["certification"]
            changed["extra"] = {
                "certification": {**badge, "certified_by": certificate.by or badge["certified_by"]}
            }
    return changed


def _shown(tier: str, value: str, masked: str) -> str:
    """A value for those to whom its tier is shown. Superset asks at each query who looks."""
    return f"{{% if '{sees(tier)}' in (current_user_roles() or []) %}}{value}{{% else %}}{masked}{{% endif %}}"


def _badges(found: Mapping[str, Mapping[str, Any]], source: Source) -> Iterator[tuple[str, bool]]:
    """By a dashboard's path, whether all datasets are certified that it reads and that can be."""
    names = {document["uuid"]: name for name, document in datasets(found).items()}
    schemas = {name: document["schema"] for name, document in datasets(found).items()}
    charts = {d["uuid"]: names[d["dataset_uuid"]] for path, d in found.items() if path.startswith("charts/")}
    for path, dashboard in found.items():
        if path.startswith("dashboards/"):
            read = {charts[chart] for chart in charts_of(dashboard)}
            certified = {name for name, one in source.certificates.items() if one.is_certified}
            yield path, {name for name in read if schemas[name] == CERTIFIED} <= certified


def charts_of(dashboard: Mapping[str, Any]) -> list[str]:
    """The charts of a dashboard, by their UUIDs."""
    places = [place for place in dashboard["position"].values() if isinstance(place, dict)]
    return [place["meta"]["uuid"] for place in places if place["type"] == "CHART"]


def layers_of(found: Mapping[str, Mapping[str, Any]]) -> dict[str, frozenset[Layer]]:
    """The layers that each dashboard reads, by its slug."""
    layers = {document["uuid"]: LAYERS[document["schema"]] for document in datasets(found).values()}
    charts = {d["uuid"]: layers[d["dataset_uuid"]] for path, d in found.items() if path.startswith("charts/")}
    return {
        document["slug"]: frozenset(charts[chart] for chart in charts_of(document))
        for path, document in found.items()
        if path.startswith("dashboards/")
    }


def packed(documents: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The documents as the ZIP file that Superset imports."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path, document in documents.items():
            # JSON is YAML, and keeps each text as it is.
            bundle.writestr(f"assets/{path}", json.dumps(document))
    return held.getvalue()
