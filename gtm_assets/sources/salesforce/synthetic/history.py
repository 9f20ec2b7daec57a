"""Field histories: what changed between two versions of an account, a contact or a deal.

A row's code is made of its record's code, the version that brought the change and the field's place, so the
history is always that of the record's own versions.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.accounts import Accounts
from gtm_assets.sources.salesforce.synthetic.arrays import Ints
from gtm_assets.sources.salesforce.synthetic.clock import day_of, morning
from gtm_assets.sources.salesforce.synthetic.companies import Contacts
from gtm_assets.sources.salesforce.synthetic.deals import STAGE_NAMES, Opportunities, deals_of, state
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.people import user_ids
from gtm_assets.sources.salesforce.synthetic.recipe import Columns, Recipe
from gtm_assets.sources.salesforce.synthetic.timeline import Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

_FIELDS = 8
_VERSIONS = 1024
_OBJECTS = 4
_BLOCK = 60_000


class _History(Recipe):
    """A history object. ``fields`` are API name and data type; the first stands for the creation."""

    ages = ((0, 0),)
    parent: type[Recipe]
    parent_column: str
    parent_prefix: str
    fields: tuple[tuple[str, str], ...]
    place: int
    """Which of the three history objects it is: they share the key prefix 017."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._parent = self.parent(world)

    @abstractmethod
    def values(self, versions: Versions) -> list[pl.Series]:
        """The tracked fields of the parent's versions, as text, in the order of ``fields[1:]``."""

    @abstractmethod
    def authors(self, versions: Versions) -> Ints:
        """The users who made the parent's versions."""

    def id_code(self, codes: Ints) -> Ints:
        """The three objects have different ids, though they share a key prefix."""
        return codes * _OBJECTS + self.place

    def codes(self, first: int, last: int) -> Ints:
        """The changes stamped on days ``first`` to ``last``."""
        parents, timeline = self._parent.whole(last)
        stamped = (timeline.at >= morning(first)) & (timeline.at < morning(last + 1))
        rows, numbers = np.nonzero(stamped)
        found = [
            self._changes(parents[rows[low : low + _BLOCK]], numbers[low : low + _BLOCK], last)
            for low in range(0, len(rows), _BLOCK)
        ]
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def _changes(self, parents: Ints, numbers: Ints, until: int) -> Ints:
        """Codes of the fields that the versions changed."""
        versions = Versions(parents, numbers, self._parent.timelines(parents, until))
        first = numbers == 0
        changed = [first]
        for old, new in zip(self.values(versions.before()), self.values(versions), strict=True):
            changed.append(~first & new.ne_missing(old).to_numpy())
        rows, field = np.nonzero(np.stack(changed, axis=1))
        return (parents[rows] * _VERSIONS + numbers[rows]) * _FIELDS + field

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """A change has one version, at its own instant."""
        parents, numbers, _ = self._parts(codes)
        at = self._parent.timelines(parents, until).at
        return Timeline.of(np.take_along_axis(at, numbers[:, None], axis=1)[:, 0], [])

    @staticmethod
    def _parts(codes: Ints) -> tuple[Ints, Ints, Ints]:
        """The parent's code, its version and the field."""
        return codes // _FIELDS // _VERSIONS, codes // _FIELDS % _VERSIONS, codes % _FIELDS

    def columns(self, versions: Versions) -> Columns:
        """Old and new value of the field."""
        parents, numbers, field = self._parts(versions.codes)
        until = int(day_of(versions.created.max(initial=0))) if len(parents) else 0
        after = Versions(parents, numbers, self._parent.timelines(parents, max(until, 0)))
        return {
            self.parent_column: ids(self.parent_prefix, parents),
            "field": series.text([name for name, _ in self.fields], field),
            "data_type": series.text([kind for _, kind in self.fields], field),
            "old_value": _of_field(self.values(after.before()), field),
            "new_value": _of_field(self.values(after), field),
            "created_by_id": user_ids(self.authors(after)),
        }


def _of_field(values: list[pl.Series], field: Ints) -> pl.Series:
    """Of each row, the value of its field; null for the creation."""
    n = len(field)
    pool = pl.concat([pl.Series([None] * 1, dtype=pl.String), *values])
    which = np.where(field == 0, 0, 1 + (field - 1) * n + np.arange(n))
    return pool.gather(pl.Series(which.astype(np.uint32)))


class OpportunityHistory(_History):
    """Stage, amount, close date and owner of deals."""

    name = "opportunity_field_history"
    parent = Opportunities
    parent_column, parent_prefix, place = "opportunity_id", "006", 0
    fields = (
        ("created", "Text"),
        ("StageName", "DynamicEnum"),
        ("Amount", "Currency"),
        ("CloseDate", "DateOnly"),
        ("OwnerId", "EntityId"),
    )

    def values(self, versions: Versions) -> list[pl.Series]:
        """The tracked fields as text."""
        now = state(self.world, deals_of(self.world, versions.codes), versions)
        amount = series.money(np.maximum(now.cents, 0), now.cents < 0)
        return [
            series.text(STAGE_NAMES, now.stage),
            amount.cast(pl.Decimal(18, 2)).cast(pl.String),  # a text, which no wider type of amounts changes
            series.day(now.close_day).cast(pl.String),
            user_ids(now.owner),
        ]

    def authors(self, versions: Versions) -> Ints:
        """The owner."""
        return state(self.world, deals_of(self.world, versions.codes), versions).owner


class _ColumnHistory(_History):
    """The history of some of the parent's columns."""

    parent: type[Accounts | Contacts]
    _parent: Accounts | Contacts
    tracked: tuple[str, ...]

    def values(self, versions: Versions) -> list[pl.Series]:
        """The columns, all of them text."""
        made = self._parent.columns(versions)
        return [made[column] for column in self.tracked]

    def authors(self, versions: Versions) -> Ints:
        """The owner."""
        return self._parent.owner(versions)


class AccountHistory(_ColumnHistory):
    """Industry, type, segment and owner of accounts."""

    name = "account_history"
    parent = Accounts
    parent_column, parent_prefix, place = "account_id", "001", 1
    fields = (
        ("created", "Text"),
        ("Industry", "DynamicEnum"),
        ("Type", "DynamicEnum"),
        ("Segment__c", "DynamicEnum"),
        ("OwnerId", "EntityId"),
    )
    tracked = ("industry", "type", "segment_c", "owner_id")


class ContactHistory(_ColumnHistory):
    """Title, department and account of contacts."""

    name = "contact_history"
    parent = Contacts
    parent_column, parent_prefix, place = "contact_id", "003", 2
    fields = (("created", "Text"), ("Title", "Text"), ("Department", "Text"), ("AccountId", "EntityId"))
    tracked = ("title", "department", "account_id")
