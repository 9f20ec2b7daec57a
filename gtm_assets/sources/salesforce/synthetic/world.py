"""The world: how many records of each object there are by when, and how leads become other records.

Accounts, contacts and opportunities have two sources: most come into being by themselves (even codes), the rest
by the conversion of a lead (odd codes). Of every five leads one converts, always into a contact, every tenth
time into a new account and every third time into an opportunity. So the lead of a record, and the records of a
lead, are found without looking anything up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Floats, Ints
from gtm_assets.sources.salesforce.synthetic.clock import NEVER, Arrivals, day_of, workday, working_instant
from gtm_assets.sources.salesforce.synthetic.names import Names
from gtm_assets.sources.salesforce.synthetic.randomness import Dice

T = TypeVar("T")

VOLUMES = {
    # table: (records at scale 1, fewest at any scale, share that is there from the first day, hour it is made)
    "user": (500, 27, 0.6, -7.8),
    "product_2": (60, 14, 0.7, 0),
    "campaign": (500, 32, 0.1, 4),
    "account": (10_000, 210, 0.3, 2),
    "contact": (100_000, 530, 0.3, 3),
    "lead": (150_000, 300, 0.03, 4),
    "opportunity": (30_000, 830, 0.0, 0),
    "campaign_member": (50_000, 120, 0.0, 0),
    "email_message": (500_000, 600, 0.0, 0),
    "event": (200_000, 350, 0.0, 0),
    "task": (1_000_000, 1400, 0.0, 0),
}
LEADS_PER_CONVERSION = 5
CONVERSIONS_PER = {"contact": 1, "opportunity": 3, "account": 10}
SLOWEST_CONVERSION = 45
"""A lead that converts does so within this many days."""
_BLOCK = 128


class World:
    """What the recipes of one org share. Everything is a function of ``seed`` and ``scale``."""

    def __init__(self, seed: int, scale: float) -> None:
        """The world of a seed and a scale."""
        self.seed = seed
        self.scale = scale
        self._kept: dict[Hashable, Any] = {}
        self._lead_dice = self.dice("lead")
        self.arrivals = {table: self._arrivals(table) for table in VOLUMES}

    def dice(self, table: str) -> Dice:
        """The draws of one table."""
        return Dice(self.seed, table)

    @cached_property
    def names(self) -> Names:
        """Names and texts."""
        return Names(self.seed)

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of ``make``, which is called once for a key. Only pure values may be kept."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    @staticmethod
    def horizon(day: int) -> int:
        """A day at or after ``day``, the same for many days, so that what is kept serves them all."""
        return (max(day, 0) // _BLOCK + 1) * _BLOCK

    def _total(self, table: str) -> int:
        volume, fewest, _, _ = VOLUMES[table]
        return max(round(volume * self.scale), fewest)

    def _arrivals(self, table: str) -> Arrivals:
        _, _, share, hour = VOLUMES[table]
        total = float(self._total(table))
        if table in CONVERSIONS_PER:
            # Not all of them are subtracted, because some leads of the last weeks convert later.
            total -= 0.9 * self._total("lead") / (LEADS_PER_CONVERSION * CONVERSIONS_PER[table])
        elif table == "task":
            total -= self._total("email_message") / 2
        return Arrivals(total, stock=math.ceil(total * share), stock_hour=hour)

    # Leads that convert

    def converting_lead(self, conversion: Ints) -> Ints:
        """The lead of each conversion."""
        place = self._lead_dice.below("place of conversion", LEADS_PER_CONVERSION, conversion)
        return conversion * LEADS_PER_CONVERSION + place

    def conversion_of(self, lead: Ints) -> Ints:
        """The conversion of each lead, -1 where it never converts."""
        conversion = lead // LEADS_PER_CONVERSION
        return np.where(self.converting_lead(conversion) == lead, conversion, -1)

    def conversion_day(self, conversion: Ints) -> Ints:
        """Day of each conversion: two days to six weeks after the lead came."""
        lead_day = self.arrivals["lead"].day(self.converting_lead(conversion))
        wait = 5 + (self._lead_dice.unit("wait", conversion) ** 2 * 38).astype(np.int64)
        return workday(lead_day + wait)

    def conversion_at(self, conversion: Ints) -> Ints:
        """Instant of each conversion, NEVER where there is none (-1)."""
        at = working_instant(self.conversion_day(conversion), self._lead_dice.bits("conversion", conversion))
        return np.where(conversion < 0, NEVER, at)

    # Records with two sources

    def is_converted(self, codes: Ints) -> Flags:
        """True where the record was made by a conversion."""
        converted: Flags = codes % 2 == 1
        return converted

    def conversion_behind(self, table: str, codes: Ints) -> Ints:
        """The conversion that made each record (it has no meaning for the others)."""
        return (codes >> 1) * CONVERSIONS_PER[table]

    def created_day(self, table: str, codes: Ints) -> Ints:
        """Day on which each account, contact or opportunity is created."""
        own = self.arrivals[table].day(codes >> 1)
        return np.where(self.is_converted(codes), self.conversion_day(self.conversion_behind(table, codes)), own)

    def created_at(self, table: str, codes: Ints) -> Ints:
        """Instant at which each account, contact or opportunity is created."""
        own = self.arrivals[table].created(codes >> 1, self.dice(table).bits("created", codes))
        return np.where(self.is_converted(codes), self.conversion_at(self.conversion_behind(table, codes)), own)

    def codes_between(self, table: str, first: int, last: int) -> Ints:
        """Codes of the accounts, contacts or opportunities created on days ``first`` to ``last``, rising."""
        own = self.arrivals[table].between(first, last) * 2
        leads = self.arrivals["lead"].between(first - SLOWEST_CONVERSION, last)
        if not len(leads):
            return own
        each = LEADS_PER_CONVERSION * CONVERSIONS_PER[table]
        converted = np.arange(leads[0] // each, leads[-1] // each + 1) * 2 + 1
        day = self.created_day(table, converted)
        return np.sort(np.concatenate([own, converted[(day >= first) & (day <= last)]]))

    def pick(self, table: str, day: Ints, unit: Floats) -> Ints:
        """An account or contact that exists when office hours of ``day`` begin, by a draw in [0, 1)."""
        own = self.arrivals[table].known(day)
        each = LEADS_PER_CONVERSION * CONVERSIONS_PER[table]
        leads = self.arrivals["lead"].known(np.maximum(day - SLOWEST_CONVERSION, 0))
        converted = np.where(
            day > SLOWEST_CONVERSION, np.maximum((leads - LEADS_PER_CONVERSION) // each + 1, 0), 0
        )
        rank = (unit * (own + converted)).astype(np.int64)
        return np.where(rank < own, rank * 2, (rank - own) * 2 + 1)


class Members:
    """Which contacts, or deals, belong to an account: codes by account and day of creation."""

    _DAYS = 1 << 20

    def __init__(self, accounts: Ints, days: Ints, codes: Ints) -> None:
        """One entry for each member: its account, its day of creation and its code."""
        order = np.lexsort((codes, days, accounts))
        self._keys = (accounts * self._DAYS + days)[order]
        self._codes = codes[order]

    def pick(self, account: Ints, day: Ints, unit: Floats, skip: int = 0) -> Ints:
        """A member that exists before ``day``, -1 where there is none.

        ``skip`` gives, with the same draw, another one; -1 where there are not so many.
        """
        low = np.searchsorted(self._keys, account * self._DAYS)
        n = np.searchsorted(self._keys, account * self._DAYS + day) - low
        rank = ((unit * n).astype(np.int64) + skip) % np.maximum(n, 1)
        found = self._codes[np.minimum(low + rank, len(self._codes) - 1)] if len(self._codes) else low
        return np.where(n > skip, found, -1)


def office_day(instants: Ints) -> Ints:
    """The org's day of each instant, 0 for NEVER (masked by the caller)."""
    return np.where(instants >= NEVER, 0, day_of(np.minimum(instants, NEVER - 1)))
