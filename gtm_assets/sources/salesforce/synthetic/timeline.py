"""Timelines: the versions of records, each the result of one event.

A record's first version is its creation. Every later event makes one more. What a field holds in a version is
worked out from how many events of which kind have happened by then, so any version can be made without the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints
from gtm_assets.sources.salesforce.synthetic.clock import NEVER

CREATED, DELETED, RESTORED, TOUCHED, ARCHIVED = 0, 1, 2, 3, 4
"""Kinds of event that objects share. The kinds that only one object has are numbered from 8 on."""
_BY_SYSTEM = (TOUCHED, ARCHIVED)
"""Kinds of event that change only the cursor, not the date of the last change by a user."""
_KINDS = 32
_SHORTEST = 60

Happening = tuple[int | Ints, Ints]
"""Some events: their kind (one for all of them, or one for each) and their instants."""


@dataclass(frozen=True)
class Timeline:
    """Versions of n records: ``at`` (n × k instants, rising, filled up with NEVER) and ``kind`` (n × k)."""

    at: Ints
    kind: NDArray[np.int8]

    @classmethod
    def of(
        cls,
        created: Ints,
        events: Sequence[Happening],
        silent: tuple[Ints, Ints] | None = None,
    ) -> Timeline:
        """Creation and events in order of time.

        ``events`` are pairs of a kind and instants of shape (n,) or (n, m). Events of the span ``silent``
        (its ends excluded) do not happen: nobody changes a deleted record.
        """
        packed = [_pack(created[:, None], CREATED)]
        for kind, when in events:
            when = when if when.ndim == 2 else when[:, None]
            if silent is not None:
                begins, ends = silent
                when = np.where((when > begins[:, None]) & (when < ends[:, None]), NEVER, when)
            when = np.minimum(np.maximum(when, created[:, None] + _SHORTEST), NEVER)
            packed.append(_pack(when, kind if isinstance(kind, int) or kind.ndim == 2 else kind[:, None]))
        merged = np.concatenate(packed, axis=1)
        merged[:, 1:].sort(axis=1)
        at, kinds = merged // _KINDS, (merged % _KINDS).astype(np.int8)
        # Two versions never share an instant: the cursor alone must tell which is newer.
        for k in range(2, at.shape[1]):
            at[:, k] = np.where(at[:, k] == NEVER, NEVER, np.maximum(at[:, k], at[:, k - 1] + 1))
        return cls(at, kinds)

    def take(self, rows: Ints | Flags) -> Timeline:
        """The timelines of some of the records."""
        return Timeline(self.at[rows], self.kind[rows])


def _pack(at: Ints, kind: int | Ints) -> Ints:
    return at.astype(np.int64) * _KINDS + kind


@dataclass(frozen=True)
class Versions:
    """One version each of n records: ``codes`` (n), ``number`` of the version (n), and their timelines."""

    codes: Ints
    number: Ints
    timeline: Timeline

    @cached_property
    def _past(self) -> Flags:
        return np.arange(self.timeline.at.shape[1])[None, :] <= self.number[:, None]

    @property
    def created(self) -> Ints:
        """Instant of creation."""
        return self.timeline.at[:, 0]

    @cached_property
    def stamp(self) -> Ints:
        """Instant at which the version began."""
        return np.take_along_axis(self.timeline.at, self.number[:, None], axis=1)[:, 0]

    @cached_property
    def modified(self) -> Ints:
        """Instant of the last change that the system did not make."""
        latest: Ints = np.where(self._past & ~np.isin(self.timeline.kind, _BY_SYSTEM), self.timeline.at, 0).max(
            axis=1
        )
        return latest

    @cached_property
    def deleted(self) -> Flags:
        """True where the record is in the recycle bin."""
        return self.count(DELETED) > self.count(RESTORED)

    def count(self, kind: int) -> Ints:
        """How many events of a kind have happened."""
        events: Ints = (self._past & (self.timeline.kind == kind)).sum(axis=1)
        return events

    def has(self, kind: int) -> Flags:
        """True where an event of a kind has happened."""
        found: Flags = (self._past & (self.timeline.kind == kind)).any(axis=1)
        return found

    def last(self, kind: int) -> Ints:
        """Instant of the latest event of a kind, NEVER where there was none."""
        latest = np.where(self._past & (self.timeline.kind == kind), self.timeline.at, -1).max(axis=1)
        return np.where(latest < 0, NEVER, latest)

    def before(self) -> Versions:
        """The version before each (a first version is its own)."""
        return Versions(self.codes, np.maximum(self.number - 1, 0), self.timeline)
