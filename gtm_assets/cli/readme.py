"""The parts of documents that the code knows better: tables of models, settings and keys, the index of decisions.

``make docs`` writes them between their marks; the test suite holds the committed README equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from gtm_assets.dbt.assets import LAYERS, layer_of
from gtm_assets.dbt.project import manifest_path
from gtm_assets.engines.engine import Table
from gtm_assets.publishing.publish import descriptions
from gtm_assets.settings import PREFIX, PROJECT_DIR, Settings

README = PROJECT_DIR / "README.md"
SETTINGS = PROJECT_DIR / "docs" / "settings.md"
STAR_SCHEMA = PROJECT_DIR / "docs" / "star-schema.md"
DECISIONS = PROJECT_DIR / "docs" / "decisions.md"
CORE = "gtm_core."
_HOLDS = {
    "seeds": "small tables that a team edits",
    "staging": "`base_*` the newest version of each record, `stg_*` the same without the deleted, renamed",
    "intermediate": "`int_*` all versions of a record, and steps that several models share",
    "core": "`dim_*` and `fct_*`: the star schema, histories included",
    "mart": "`rep_*`: the reports",
    "certified": "datasets that people read without a further join, views of core and mart",
}


def models_table(manifest: Mapping[str, Any]) -> str:
    """How many models and tests each layer has. A test is of the layer of the table that its check belongs to."""
    nodes = manifest["nodes"].values()
    models = [node for node in nodes if node["resource_type"] in ("model", "seed")]
    of_tests = [layer_of(_subject(node, manifest)) for node in nodes if node["resource_type"] == "test"]
    lines = ["| layer | what it holds | models | tests |", "|---|---|---|---|"]
    for layer in LAYERS:
        count = sum(layer_of(node) == layer for node in models)
        lines.append(f"| {layer} | {_HOLDS[layer]} | {count} | {of_tests.count(layer)} |")
    return "\n".join(lines)


def _subject(test: Mapping[str, Any], manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a test belongs to: as its yml or its meta says, or the one thing that it reads."""
    parents: dict[str, Mapping[str, Any]] = {
        id_: manifest["nodes"].get(id_) or manifest["sources"][id_] for id_ in test["depends_on"]["nodes"]
    }
    if test.get("attached_node"):
        return parents[test["attached_node"]]
    named = test["config"]["meta"].get("dagster", {}).get("ref", {}).get("name")
    return next(node for node in parents.values() if named in (None, node["name"]))


def settings_table() -> str:
    """Each setting, its default and what it is."""
    lines = ["| variable | default | what |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default is None else str(default.isoformat() if isinstance(default, date) else default)
        lines.append(f"| `{PREFIX}{name.upper()}` | {f'`{shown}`' if shown else ''} | {field.description} |")
    return "\n".join(lines)


def bus_matrix(tables: Mapping[str, Table]) -> str:
    """Which fact refers to which dimension, and by which columns."""
    keys: dict[str, dict[str, list[str]]] = {}
    for name, table in sorted(tables.items()):
        if name.startswith(f"{CORE}fct_"):
            for column, (dimension, _) in table.foreign_keys.items():
                keys.setdefault(name, {}).setdefault(dimension, []).append(f"`{column}`")
    dimensions = sorted({dimension for found in keys.values() for dimension in found})
    heads = " | ".join(f"`{dimension.removeprefix(CORE)}`" for dimension in dimensions)
    lines = [f"| fact | {heads} |", "|---" * (len(dimensions) + 1) + "|"]
    for fact, found in keys.items():
        cells = " | ".join(", ".join(found.get(dimension, ())) for dimension in dimensions)
        lines.append(f"| `{fact.removeprefix(CORE)}` | {cells} |")
    return "\n".join(lines)


def diagram(tables: Mapping[str, Table]) -> str:
    """The tables of core with their keys, as Mermaid's entity-relationship diagram."""
    core = {name.removeprefix(CORE): table for name, table in sorted(tables.items()) if name.startswith(CORE)}
    lines = ["```mermaid", "erDiagram"]
    for name, table in core.items():
        for column, (other, _) in sorted(table.foreign_keys.items()):
            lines.append(f"    {other.removeprefix(CORE)} ||--o{{ {name} : {column}")
    return "\n".join([*lines, "```"])


def with_tables(text: str, tables: Mapping[str, str]) -> str:
    """The text with what stands between ``<!-- name -->`` and ``<!-- /name -->`` replaced."""
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = f"{before}{start}\n{table}\n{end}{after}"
    return text


def index_of(decisions: str) -> str:
    """The decisions that say their date, the newest first: date, area, title with a link, and state."""
    dated = list(_DECISION.finditer(decisions))
    lines = ["| date | area | decision | state |", "|---|---|---|---|"]
    for match in sorted(dated, key=lambda match: (match["date"], -match.start()), reverse=True):
        anchor = re.sub(r"[^\w\- ]", "", match["title"].lower()).replace(" ", "-")
        lines.append(f"| {match['date']} | {match['area']} | [{match['title']}](#{anchor}) | {match['state']} |")
    return "\n".join(lines)


_DECISION = re.compile(
    r"^## (?P<title>[^\n]+)\n(?P<date>\d{4}-\d\d-\d\d) · (?P<area>[^·\n]+) · (?P<state>[^\n]+)$", re.M
)


def current() -> dict[Path, str]:
    """Each document that has such a part, as it should be."""
    manifest = json.loads(manifest_path().read_text())
    models, tables = models_table(manifest), descriptions(manifest)
    decisions = DECISIONS.read_text()
    return {
        README: with_tables(README.read_text(), {"models": models}),
        STAR_SCHEMA: with_tables(
            STAR_SCHEMA.read_text(), {"matrix": bus_matrix(tables), "diagram": diagram(tables)}
        ),
        SETTINGS: with_tables(SETTINGS.read_text(), {"settings": settings_table()}),
        DECISIONS: with_tables(decisions, {"index": index_of(decisions)}),
    }


def write() -> None:
    """Write them."""
    for path, text in current().items():
        path.write_text(text)


if __name__ == "__main__":
    write()
