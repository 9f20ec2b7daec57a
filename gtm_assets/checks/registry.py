"""The asset checks of a code location, each with whether it blocks publishing: one object, shared by all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True)
class CheckRegistry:
    """Asset checks by key. Iterating gives the keys of all, in the order in which they were given."""

    keys: tuple[dg.AssetCheckKey, ...]
    blocking: frozenset[dg.AssetCheckKey]
    """Those of them that must pass before anything is published."""

    @classmethod
    def of(cls, specs: Iterable[dg.AssetCheckSpec]) -> CheckRegistry:
        """The checks that these specifications declare."""
        blocks = {spec.key: spec.blocking for spec in specs}
        return cls(tuple(blocks), frozenset(key for key, is_blocking in blocks.items() if is_blocking))

    def blocking_of(self, assets: Collection[dg.AssetKey]) -> CheckRegistry:
        """The blocking checks of these assets alone."""
        kept = tuple(key for key in self.keys if key in self.blocking and key.asset_key in assets)
        return CheckRegistry(kept, frozenset(kept))

    def __iter__(self) -> Iterator[dg.AssetCheckKey]:
        """The keys of all checks."""
        return iter(self.keys)
