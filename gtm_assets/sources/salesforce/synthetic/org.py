"""The synthetic org as a source: what an extraction finds in it, by snapshot and by window."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import polars as pl

from gtm_assets.catalog.raw_table import ColumnType, Deletes
from gtm_assets.partitions import Window
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.org import Totals
from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.accounts import Accounts
from gtm_assets.sources.salesforce.synthetic.activities import EmailMessages, Events, Tasks
from gtm_assets.sources.salesforce.synthetic.ahead import Ahead
from gtm_assets.sources.salesforce.synthetic.arrays import Ints
from gtm_assets.sources.salesforce.synthetic.clock import DAY, day_of, seconds
from gtm_assets.sources.salesforce.synthetic.companies import Contacts, Leads
from gtm_assets.sources.salesforce.synthetic.deal_parts import ContactRoles, LineItems
from gtm_assets.sources.salesforce.synthetic.deals import COMPETITOR_SINCE, Opportunities, Stages
from gtm_assets.sources.salesforce.synthetic.history import AccountHistory, ContactHistory, OpportunityHistory
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.marketing import CampaignInfluences, CampaignMembers, Campaigns
from gtm_assets.sources.salesforce.synthetic.people import Roles, Users
from gtm_assets.sources.salesforce.synthetic.planning import ForecastItems, Periods, Quotas
from gtm_assets.sources.salesforce.synthetic.products import PricebookEntries, Pricebooks, Products, RecordTypes
from gtm_assets.sources.salesforce.synthetic.recipe import Recipe
from gtm_assets.sources.salesforce.synthetic.timeline import Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

PAGE_ROWS = 49_000
"""Records on a page at most; with the rows that come twice it stays below 50,000."""
LEGACY_SCORE_UNTIL = datetime(2026, 9, 21, tzinfo=UTC)
"""The lead's ``legacy_score_c`` is missing from extractions that end later."""
LATE_SHARE = 0.003
LATEST_DAYS = 3
"""A late version appears at most so many days after its stamp."""
TWICE_SHARE = 0.002
AGAIN_SHARE = 0.001
"""Shares of the versions that come twice in one pull, and once more in the pull a day later."""

RECIPES: tuple[type[Recipe], ...] = (
    Accounts,
    AccountHistory,
    Campaigns,
    CampaignInfluences,
    CampaignMembers,
    Contacts,
    ContactHistory,
    EmailMessages,
    Events,
    ForecastItems,
    Quotas,
    Leads,
    Opportunities,
    ContactRoles,
    OpportunityHistory,
    LineItems,
    Stages,
    Periods,
    Pricebooks,
    PricebookEntries,
    Products,
    RecordTypes,
    Tasks,
    Users,
    Roles,
)


@dataclass(frozen=True)
class _Found:
    """Records found, each in one version (arrays of n)."""

    codes: Ints
    number: Ints


class SyntheticOrg:
    """A Salesforce org that is a pure function of (seed, scale, instant).

    The org begins at ``clock.EPOCH`` and grows without end. ``scale`` 1 is the volume of a mid-sized company two
    years later (1 M tasks, 30 K opportunities); a smaller scale never has fewer records than its floors.
    What an instance keeps is for speed alone: a fresh one, asked in any order, gives the same frames.
    """

    def __init__(self, seed: int = 1, scale: float = 0.01) -> None:
        """Nothing is made before it is asked for."""
        self.seed = seed
        self.scale = scale
        self._world = World(seed, scale)
        self._recipes = {recipe.name: recipe(self._world) for recipe in RECIPES}
        self._ahead = Ahead(self._changes)

    def known_at(self, window: Window) -> datetime:
        """The window's end: made-up records are seen when their day is over."""
        return window.end

    def described(self, table: SalesforceObject) -> None:
        """Nothing: its fields are those that its records have."""

    def objects(self) -> Collection[str]:
        """The objects of the catalogue."""
        return [table.api_name for table in OBJECTS]

    def deletions(self, table: SalesforceObject, window: Window) -> Mapping[str, datetime]:
        """None: what is gone is missing from a full extraction."""
        return {}

    def totals(self, table: SalesforceObject, window: Window) -> Totals:
        """Counts and sums of the records as they are just before the window's end."""
        records = pl.concat(self.snapshot(table, window)).filter(pl.col(table.cursor) < window.end)
        soft = table.deletes is Deletes.SOFT
        alive = records.filter(~pl.col(table.deletes.value)) if soft else records
        amounts = [name for name, kind in table.types.items() if kind is ColumnType.CURRENCY]
        return Totals(
            before=window.end,
            records=alive.height,
            deleted=records.height - alive.height if soft else None,
            sums={name: Decimal(alive[name].sum() or 0) for name in amounts},
        )

    def _recipe(self, table: SalesforceObject) -> Recipe:
        try:
            return self._recipes[table.name]
        except KeyError:
            raise LookupError(
                f"{table.qualified_name}: the synthetic organisation has no records of it. "
                f"Add a recipe that makes them to RECIPES in {__name__}."
            ) from None

    def snapshot(self, table: SalesforceObject, window: Window) -> Iterator[pl.DataFrame]:
        """All records as the source shows them just before the window's end, each once, in pages; at least one.

        Each is in its newest version that had arrived by then; soft-deleted ones are included.
        """
        recipe = self._recipe(table)
        found = self._find(recipe, None, seconds(window.end))
        for low in range(0, max(len(found.codes), 1), PAGE_ROWS):
            page = _Found(found.codes[low : low + PAGE_ROWS], found.number[low : low + PAGE_ROWS])
            yield self._frame(table, recipe, page, window.end)

    def changes(self, table: SalesforceObject, window: Window) -> Iterator[pl.DataFrame]:
        """What an extraction of the window finds, in pages of at most 50,000 rows; none where nothing changed.

        These are the records whose newest version visible at the window's end arrived within the window
        (``start`` None: ever before). A few rows come twice, a few others again from the pull a day before, and
        late ones have a stamp from before the window.
        """
        return self._ahead.pages(table, window)

    def _changes(self, table: SalesforceObject, window: Window) -> Iterator[pl.DataFrame]:
        recipe = self._recipe(table)
        end = seconds(window.end)
        start = None if window.start is None else seconds(window.start)
        found = self._find(recipe, start, end)
        for low in range(0, len(found.codes), PAGE_ROWS):
            page = slice(low, low + PAGE_ROWS)
            codes, number = found.codes[page], found.number[page]
            twice = recipe.dice.happens("twice", TWICE_SHARE, codes, number)
            both = _Found(np.concatenate([codes, codes[twice]]), np.concatenate([number, number[twice]]))
            yield self._frame(table, recipe, both, window.end)

    def _find(self, recipe: Recipe, start: int | None, end: int) -> _Found:
        """Records whose newest version visible before ``end`` arrived at ``start`` or later."""
        last = int(day_of(end))
        found = [
            _newest(recipe, codes, timeline, start, end) for codes, timeline in _candidates(recipe, start, last)
        ]
        codes = np.concatenate([f.codes for f in found]) if found else np.empty(0, np.int64)
        number = np.concatenate([f.number for f in found]) if found else np.empty(0, np.int64)
        return _Found(codes, number)

    def _frame(self, table: SalesforceObject, recipe: Recipe, found: _Found, end: datetime) -> pl.DataFrame:
        """The rows of the versions found, typed by the catalogue, with the columns that the source has then."""
        timeline = recipe.timelines(found.codes, int(day_of(seconds(end))))
        versions = Versions(found.codes, found.number, timeline)
        made = recipe.columns(versions)
        made |= _system_columns(table, recipe, versions, made)
        names = list(table.types)
        if table.name == "lead" and end > LEGACY_SCORE_UNTIL:
            names.remove("legacy_score_c")
        if table.name == "opportunity" and end > COMPETITOR_SINCE:
            names.append("competitor_c")
        return pl.DataFrame([made[name].alias(name) for name in names])


def _candidates(recipe: Recipe, start: int | None, last: int) -> Iterator[tuple[Ints, Timeline]]:
    """Blocks of the records, and their timelines, that may have a version of the window."""
    if recipe.ages is None:
        codes, timeline = recipe.whole(last)
        for low in range(0, len(codes), PAGE_ROWS):
            rows = slice(low, low + PAGE_ROWS)
            yield codes[rows], Timeline(timeline.at[rows], timeline.kind[rows])
        return
    spans = [(0, last)]
    if start is not None:
        # A version may be late, and what came a day ago may come again.
        first = int(day_of(start)) - LATEST_DAYS - 2
        spans = [(first - oldest, last - youngest) for youngest, oldest in recipe.ages]
    parts = [recipe.codes(max(low, 0), high) for low, high in spans if high >= 0]
    codes = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    for low in range(0, len(codes), PAGE_ROWS):
        block = codes[low : low + PAGE_ROWS]
        yield block, recipe.timeline(block, last)


def _newest(recipe: Recipe, codes: Ints, timeline: Timeline, start: int | None, end: int) -> _Found:
    """Of a block of records: those whose newest visible version arrived in the window, or came again."""
    rows = np.flatnonzero(timeline.at[:, 0] < end)
    if start is not None:
        # A version is late by LATEST_DAYS at most, and may come again a day later: older ones are not found.
        reach = start - (LATEST_DAYS + 1) * DAY - 1
        rows = rows[((timeline.at[rows] < end) & (timeline.at[rows] >= reach)).any(axis=1)]
    codes, at = codes[rows], timeline.at[rows]
    arrival = at + _delay(recipe, codes, at.shape[1])
    visible = arrival < end
    number = at.shape[1] - 1 - visible[:, ::-1].argmax(axis=1)
    arrived = np.take_along_axis(arrival, number[:, None], axis=1)[:, 0]
    wanted = visible.any(axis=1)
    if start is not None:
        again = recipe.dice.happens("again", AGAIN_SHARE, codes, number)
        comes_again = again & (arrived < start) & (arrived + DAY >= start) & (arrived + DAY < end)
        wanted &= (arrived >= start) | comes_again
    return _Found(codes[wanted], number[wanted])


def _delay(recipe: Recipe, codes: Ints, versions: int) -> Ints:
    """Seconds from each version's stamp to its appearance (n × versions): mostly 0, else 3 hours to 3 days."""
    numbers = np.arange(versions)[None, :]
    draw = recipe.dice.unit("late", codes[:, None], numbers)
    late = draw < LATE_SHARE
    if recipe.referenced:
        late[:, 0] = False
    shortest = 3 * 3600
    length = shortest + (draw / LATE_SHARE * (LATEST_DAYS * DAY - shortest)).astype(np.int64)
    return np.where(late, length, 0)


def _system_columns(
    table: SalesforceObject, recipe: Recipe, versions: Versions, made: dict[str, pl.Series]
) -> dict[str, pl.Series]:
    """Id, who and when, delete mark and currency: what most objects have alike."""
    n = len(versions.codes)
    columns = {
        "id": ids(table.key_prefix, recipe.id_code(versions.codes)),
        "created_date": series.moment(versions.created),
        "last_modified_date": series.moment(versions.modified),
        "system_modstamp": series.moment(versions.stamp),
        "is_deleted": series.flag(versions.deleted),
        "_fivetran_deleted": series.constant(False, n),
        "currency_iso_code": series.constant("USD", n),
    }
    return {name: column for name, column in columns.items() if name in table.types and name not in made}
