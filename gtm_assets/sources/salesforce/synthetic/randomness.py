"""Random draws without a state: every draw is a hash of its name and its keys.

A draw is named by its field and numbered by keys (a record's code, a version's number), so no draw depends on
another one and the order of calls decides nothing.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from gtm_assets.sources.salesforce.synthetic.arrays import Bits, Flags, Floats, Ints

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
# Quantiles of the normal distribution. Linear interpolation between them is precise enough.
_RANKS = (np.arange(4096) + 0.5) / 4096
_NORMAL: Floats = np.array([NormalDist().inv_cdf(rank) for rank in _RANKS])


def _mix(x: Bits) -> Bits:
    """The finaliser of splitmix64: every bit of the result depends on every bit of ``x``."""
    x ^= x >> np.uint64(30)
    x *= _MIX_1
    x ^= x >> np.uint64(27)
    x *= _MIX_2
    x ^= x >> np.uint64(31)
    return x


@lru_cache(maxsize=4096)
def _stream(*names: object) -> np.uint64:
    digest = hashlib.blake2b("\x1f".join(map(str, names)).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


class Dice:
    """The draws of one table of one org. Keys are integer arrays that broadcast against each other."""

    def __init__(self, seed: int, table: str) -> None:
        """The draws of two tables, or of two seeds, are independent of each other."""
        self._seed = seed
        self._table = table

    def bits(self, field: str, *keys: Ints) -> Bits:
        """64 random bits for each combination of keys (uint64)."""
        x: Bits | np.uint64 = _stream(self._seed, self._table, field)
        for key in keys:
            x = _mix(np.asarray(key).astype(np.uint64) * _GOLDEN + x)
        return np.asarray(x)

    def unit(self, field: str, *keys: Ints) -> Floats:
        """Uniform in [0, 1)."""
        return (self.bits(field, *keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, field: str, n: int | Ints, *keys: Ints) -> Ints:
        """A whole number in [0, n) (int64); 0 where n is 0."""
        return (self.unit(field, *keys) * n).astype(np.int64)

    def between(self, field: str, low: float, high: float, *keys: Ints) -> Floats:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit(field, *keys)

    def happens(self, field: str, share: float | Floats, *keys: Ints) -> Flags:
        """True for ``share`` of the keys."""
        return self.unit(field, *keys) < share

    def normal(self, field: str, *keys: Ints) -> Floats:
        """Standard normal."""
        return np.interp(self.unit(field, *keys), _RANKS, _NORMAL)

    def one_of(self, field: str, weights: tuple[float, ...], *keys: Ints) -> Ints:
        """Position of a weighted choice (int64)."""
        edges = np.cumsum(weights) / sum(weights)
        return np.searchsorted(edges[:-1], self.unit(field, *keys), side="right")
