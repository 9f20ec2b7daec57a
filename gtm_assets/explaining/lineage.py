"""Which models, seeds and raw tables a model is made of, by dbt's manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lineage:
    """All that lies upstream of some models, these included."""

    models: tuple[str, ...]
    """Models and seeds as ``schema.table``, those nearest to the number first."""
    raw_tables: tuple[str, ...]
    """``source.table``."""

    @property
    def assets(self) -> list[str]:
        """The same as Dagster calls them."""
        return [name.replace(".", "/", 1) for name in (*self.models, *self.raw_tables)]


def lineage(manifest: Mapping[str, Any], models: Iterable[str]) -> Lineage:
    """The lineage of models, given by their unique ids."""
    found: dict[str, None] = {}
    waiting = [*models]
    while waiting:
        step = [name for name in dict.fromkeys(waiting) if name not in found]
        found |= dict.fromkeys(step)
        waiting = sorted(parent for name in step for parent in manifest["parent_map"].get(name, ()))
    nodes = [manifest["nodes"][name] for name in found if name in manifest["nodes"]]
    sources = [manifest["sources"][name] for name in found if name in manifest["sources"]]
    return Lineage(
        tuple(f"{node['schema']}.{node['alias']}" for node in nodes),
        tuple(sorted(f"{source['source_name']}.{source['name']}" for source in sources)),
    )
