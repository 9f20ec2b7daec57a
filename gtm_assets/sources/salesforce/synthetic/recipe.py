"""Recipes: how the records of one object are made. Each object has one class, in the module of its subject."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints
from gtm_assets.sources.salesforce.synthetic.clock import NEVER, day_of, workday, working_instant
from gtm_assets.sources.salesforce.synthetic.timeline import DELETED, RESTORED, Happening, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

Columns = dict[str, pl.Series]
NOBODY = -1
"""The code of no record: its id is null."""


class Recipe(ABC):
    """How the records of one object are made.

    A record is known by its *code*, from which its id, its timeline and every field follow.
    """

    name: str
    referenced = False
    """True where other objects refer to this one: its records then never appear late, only their changes do."""
    ages: tuple[tuple[int, int], ...] | None = None
    """Spans of a record's age, in days, in which it can change. None: at any age."""

    def __init__(self, world: World) -> None:
        """The recipe for the org of ``world``."""
        self.world = world
        self.dice = world.dice(self.name)

    @abstractmethod
    def codes(self, first: int, last: int) -> Ints:
        """Codes of the records created on days ``first`` to ``last``, rising. There may be a few more."""

    @abstractmethod
    def timeline(self, codes: Ints, until: int) -> Timeline:
        """Timelines of the records, complete to the end of day ``until``."""

    @abstractmethod
    def columns(self, versions: Versions) -> Columns:
        """The columns that the system does not fill, in any order."""

    def id_code(self, codes: Ints) -> Ints:
        """What the ids are made from: the code itself, unless objects share a key prefix."""
        return codes

    # Versions of records that change at any age are kept: every window asks for them.

    def whole(self, until: int) -> tuple[Ints, Timeline]:
        """Codes and timelines of all records, complete to ``until`` at least."""
        until = self.world.horizon(until)

        def make() -> tuple[Ints, Timeline]:
            codes = self.codes(0, until)
            return codes, self.timeline(codes, until)

        return self.world.kept((self.name, "whole", until), make)

    def timelines(self, codes: Ints, until: int) -> Timeline:
        """Timelines of some of the records."""
        if self.ages is not None:
            return self.timeline(codes, until)
        all_codes, timeline = self.whole(until)
        return timeline.take(np.searchsorted(all_codes, codes))

    # Events that many objects have

    def deletion(
        self, codes: Ints, created: Ints, share: float, within: int, may: Flags | None = None
    ) -> tuple[Ints, Ints]:
        """When records are soft-deleted, and when some of those come back (a third, after a day to a week)."""
        goes = self.dice.happens("is deleted", share, codes)
        if may is not None:
            goes &= may
        day = day_of(created) + 2 + self.dice.below("deletion day", within, codes)
        deleted = working_instant(workday(day), self.dice.bits("deletion", codes))
        deleted = np.maximum(deleted, created + 3600)
        back_day = day_of(deleted) + 1 + self.dice.below("restoration day", 6, codes)
        restored = np.maximum(working_instant(back_day, self.dice.bits("restoration", codes)), deleted + 3600)
        comes_back = self.dice.happens("is restored", 0.35, codes)
        deleted = np.where(goes, deleted, NEVER)
        return deleted, np.where(goes & comes_back, restored, NEVER)

    def slow_changes(
        self, codes: Ints, created: Ints, until: int, period: int, kinds: Mapping[int, float]
    ) -> tuple[Ints, Ints]:
        """Kinds and instants (n × m) of changes that come about once in ``period`` days, for ever."""
        created_day = day_of(created)
        oldest = until - int(created_day.min()) if len(codes) else 0
        turns = np.arange(max(oldest // period + 2, 1))[None, :]
        day = created_day[:, None] + turns * period
        day = day + 4 + (self.dice.unit("slow day", codes[:, None], turns) * (period - 8)).astype(np.int64)
        at = working_instant(workday(day), self.dice.bits("slow time", codes[:, None], turns))
        which = self.dice.one_of("slow kind", tuple(kinds.values()), codes[:, None], turns)
        return np.array(list(kinds))[which], at


def with_deletion(events: Sequence[Happening], created: Ints, span: tuple[Ints, Ints]) -> Timeline:
    """The timeline of the events, without those that fall into the time in which the record is deleted."""
    deleted, restored = span
    return Timeline.of(created, [*events, (DELETED, deleted), (RESTORED, restored)], silent=span)
