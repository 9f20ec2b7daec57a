"""The parts of the README that the code knows better: its tables of models and of settings.

``make docs`` writes them between their marks; the test suite holds the committed README equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from gtm_assets.dbt_runner import manifest_path
from gtm_assets.settings import PREFIX, PROJECT_DIR, Settings
from gtm_assets.transform import LAYERS, layer_of

README = PROJECT_DIR / "README.md"
_HOLDS = {
    "seeds": "small tables that a team edits",
    "staging": "`base_*` the newest version of each record, `stg_*` the same without the deleted, renamed",
    "intermediate": "`int_*` all versions of a record, and steps that several models share",
    "core": "`dim_*` and `fct_*`: the star schema, histories included",
    "mart": "`rep_*`: the reports",
}


def models_table(manifest: Mapping[str, Any]) -> str:
    """How many models and tests each layer has."""
    nodes = manifest["nodes"].values()
    models = [node for node in nodes if node["resource_type"] in ("model", "seed")]
    attached = [manifest["nodes"].get(n.get("attached_node") or "") for n in nodes if n["resource_type"] == "test"]
    lines = ["| layer | what it holds | models | tests |", "|---|---|---|---|"]
    for layer in LAYERS:
        count = sum(layer_of(node) == layer for node in models)
        tests = sum(node is not None and layer_of(node) == layer for node in attached)
        lines.append(f"| {layer} | {_HOLDS[layer]} | {count} | {tests} |")
    return "\n".join(lines)


def settings_table() -> str:
    """Each setting, its default and what it is."""
    lines = ["| variable | default | what |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default is None else str(default.isoformat() if isinstance(default, date) else default)
        lines.append(f"| `{PREFIX}{name.upper()}` | {f'`{shown}`' if shown else ''} | {field.description} |")
    return "\n".join(lines)


def with_tables(text: str, tables: Mapping[str, str]) -> str:
    """The text with what stands between ``<!-- name -->`` and ``<!-- /name -->`` replaced."""
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = f"{before}{start}\n{table}\n{end}{after}"
    return text


def current(readme: Path = README) -> str:
    """The README as it should be."""
    manifest = json.loads(manifest_path().read_text())
    return with_tables(readme.read_text(), {"models": models_table(manifest), "settings": settings_table()})


if __name__ == "__main__":
    README.write_text(current())
