"""Periods, quotas and forecasts."""

from __future__ import annotations

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints
from gtm_assets.sources.salesforce.synthetic.clock import (
    NEVER,
    day_of,
    month_start,
    morning,
    quarter_of,
    quarter_start,
    workday,
)
from gtm_assets.sources.salesforce.synthetic.deals import all_deals, deal_owner, final_amount
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.people import (
    REGION,
    TEAM,
    department_of,
    is_chief,
    is_manager,
    sells,
    user_ids,
)
from gtm_assets.sources.salesforce.synthetic.recipe import NOBODY, Columns, Recipe
from gtm_assets.sources.salesforce.synthetic.timeline import TOUCHED, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

FIRST_YEAR = 2024
_FIRST_QUARTER = (FIRST_YEAR - 1970) * 4
_PUBLISHED_BEFORE = 100
"""The periods of a fiscal year are made this many days before it begins, before its first quotas."""
_QUOTA_BEFORE = 95
"""Quotas of a quarter are made this many days before it begins, and so are there all the quarter before."""
_FORECAST_BEFORE = 20
"""Forecasts of a quarter are made this many days before it begins."""
_MONTH, _QUARTER, _YEAR = 0, 1, 2
_KINDS = 4
_UPDATED = 8
_WEEKS = 15
CATEGORIES = [
    ("Pipeline", "PipelineOnly"),
    ("Best Case", "BestCaseOnly"),
    ("Commit", "CommitOnly"),
    ("Closed", "ClosedOnly"),
]
_CLOSED = 3
_QUARTERS = 1 << 10


def period_code(kind: int, number: Ints) -> Ints:
    """Code of a period: months, quarters or years since 1970."""
    return np.asarray(number) * _KINDS + kind


class Periods(Recipe):
    """Fiscal months, quarters and years; fiscal years are calendar years."""

    name = "period"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """All periods of the years that are published by the last day."""
        years = np.arange(FIRST_YEAR - 1970, self._last_year(last) - 1970 + 1)
        parts = [
            period_code(_YEAR, years),
            period_code(_QUARTER, (years[:, None] * 4 + np.arange(4)).ravel()),
            period_code(_MONTH, (years[:, None] * 12 + np.arange(12)).ravel()),
        ]
        return np.sort(np.concatenate(parts))

    @staticmethod
    def _last_year(day: int) -> int:
        return 1970 + int(quarter_of(np.array(day + _PUBLISHED_BEFORE + 1))) // 4

    @staticmethod
    def _months(codes: Ints) -> tuple[Ints, Ints]:
        """First month of each period, in months since 1970, and how many it has."""
        length = np.array([1, 3, 12])[codes % _KINDS]
        return codes // _KINDS * length, length

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """A period is made before its year begins. The system touches it when it is over."""
        first, length = self._months(codes)
        published = np.maximum(month_start(first // 12 * 12) - _PUBLISHED_BEFORE, 0)
        created = np.where(published > 0, morning(published, 6), morning(0, -7.0)) + codes % 60
        over = morning(month_start(first + length) + 1, 3)
        return Timeline.of(created, [(TOUCHED, np.where(over > created, over, NEVER))])

    def columns(self, versions: Versions) -> Columns:
        """Kind, number, first and last day, labels."""
        code, n = versions.codes, len(versions.codes)
        kind = code % _KINDS
        first, length = self._months(code)
        year, month = 1970 + first // 12, first % 12
        number = np.where(kind == _MONTH, month + 1, np.where(kind == _QUARTER, month // 3 + 1, 1))
        quarter = "Q" + pl.Series(month // 3 + 1).cast(pl.String)
        starts = series.day(month_start(first))
        words = starts.dt.strftime("%B").zip_with(pl.Series(kind == _MONTH), quarter)
        label = pl.Series(year).cast(pl.String).zip_with(pl.Series(kind == _YEAR), words)
        years = "FY " + pl.Series(year).cast(pl.String)
        return {
            "type": series.text(["Month", "Quarter", "Year"], kind),
            "period_label": label,
            "quarter_label": series.nulled(quarter, kind == _YEAR),
            "fully_qualified_label": years.zip_with(pl.Series(kind == _YEAR), label + " " + years),
            "number": series.integer(number),
            "start_date": starts,
            "end_date": series.day(month_start(first + length) - 1),
            "is_forecast_period": series.flag(kind == _QUARTER),
            "fiscal_year_settings_id": ids("022", np.full(n, 0) + year),
        }


def _quarters(last: int, before: int) -> Ints:
    """The quarters, since the first fiscal year, whose things are made by day ``last``, so many days before."""
    return np.arange(_FIRST_QUARTER, int(quarter_of(np.array(last + before + 1))) + 1) - _FIRST_QUARTER


def _made(world: World, user: Ints, quarter: Ints, before: int) -> Ints:
    """Day on which what a user has for a quarter is made, so many days before it begins."""
    return np.maximum(
        workday(np.maximum(quarter_start(quarter + _FIRST_QUARTER) - before, 1)),
        world.arrivals["user"].day(user) + 1,
    )


class Quotas(Recipe):
    """Quotas: an amount for each sales representative and quarter. One in six is raised or cut in mid-quarter."""

    name = "forecasting_quota"

    def codes(self, first: int, last: int) -> Ints:
        """All representatives and quarters."""
        users = self.world.arrivals["user"].between(0, last)
        users = users[sells(users)]
        return (users[:, None] * _QUARTERS + _quarters(last, _QUOTA_BEFORE)[None, :]).ravel()

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """A quota is made before its quarter, and changes at most once."""
        user, quarter = codes // _QUARTERS, codes % _QUARTERS
        made = _made(self.world, user, quarter, _QUOTA_BEFORE)
        created = morning(made, 9) + self.dice.below("made", 6 * 3600, codes)
        day = workday(quarter_start(quarter + _FIRST_QUARTER) + 30 + self.dice.below("changed", 30, codes))
        changed = morning(day, 10) + self.dice.below("changed at", 6 * 3600, codes)
        changes = self.dice.happens("is changed", 0.17, codes) & (changed > created)
        return Timeline.of(created, [(_UPDATED, np.where(changes, changed, NEVER))])

    def columns(self, versions: Versions) -> Columns:
        """Period and amount: the quarter's average bookings of a representative, and more each year."""
        code, n = versions.codes, len(versions.codes)
        user, quarter = code // _QUARTERS, code % _QUARTERS
        typical = self.dice.between("size", 0.75, 1.35, user) * (1 + 0.05 * quarter) * self._typical()
        raised = self.dice.between("raise", 0.85, 1.2, code)
        dollars = typical * np.where(versions.has(_UPDATED), raised, 1.0)
        thousands = np.maximum(np.rint(dollars / 1000), 5).astype(np.int64)
        return {
            "quota_owner_id": user_ids(user),
            "period_id": ids("026", period_code(_QUARTER, quarter + _FIRST_QUARTER)),
            "forecasting_type_id": ids("0Db", np.zeros(n, np.int64)),
            "start_date": series.day(quarter_start(quarter + _FIRST_QUARTER)),
            "quota_amount": series.money(thousands * 100_000),
            "quota_quantity": series.number(np.maximum(thousands // 20, 1)),
            "is_amount": series.constant(True, n),
            "is_quantity": series.constant(False, n),
            "created_by_id": user_ids(np.zeros(n, np.int64)),
            "last_modified_by_id": user_ids(np.zeros(n, np.int64)),
        }

    def _typical(self) -> float:
        """What a representative books in a quarter, in dollars: that of the org's second year."""

        def make() -> float:
            deals = all_deals(self.world, 640)
            in_year = deals.won & (deals.closed_day >= 240) & (deals.closed_day < 605)
            booked = final_amount(self.world, deals.take(in_year)).sum() / 100
            users = np.arange(int(self.world.arrivals["user"].known(np.array(420))))
            return float(booked) / 4 / max(int(sells(users).sum()), 1)

        return self.world.kept("typical quota", make)


class Bookings:
    """Amounts of the deals by owner and day of closing, for sums over a span of users and a span of days."""

    def __init__(self, owner: Ints, day: Ints, cents: Ints, users: int, days: int) -> None:
        """One entry for each deal: its owner, day and amount. Those outside ``users`` × ``days`` do not count."""
        table = np.zeros((users + 1, days + 1), np.int64)
        inside = (owner < users) & (day >= 0) & (day < days)
        np.add.at(table, (owner[inside] + 1, day[inside] + 1), cents[inside])
        self._sums: Ints = table.cumsum(axis=0).cumsum(axis=1)

    def between(self, first_user: Ints, end_user: Ints, first_day: Ints, end_day: Ints) -> Ints:
        """Sum over users and days; both ends are half-open."""
        users, days = self._sums.shape[0] - 1, self._sums.shape[1] - 1
        low, high = np.clip(first_user, 0, users), np.clip(end_user, 0, users)
        first = np.clip(first_day, 0, days)
        end = np.maximum(np.clip(end_day, 0, days), first)
        sums = self._sums
        return sums[high, end] - sums[low, end] - sums[high, first] + sums[low, first]


class ForecastItems(Recipe):
    """Forecasts of representatives, managers and chiefs for each quarter and category, renewed each Monday."""

    name = "forecasting_item"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """All who forecast, their quarters and the four categories."""
        users = self.world.arrivals["user"].between(0, last)
        users = users[(department_of(users) == 0)]
        cells: Ints = users[:, None] * _QUARTERS + _quarters(last, _FORECAST_BEFORE)[None, :]
        return (cells.ravel()[:, None] * len(CATEGORIES) + np.arange(len(CATEGORIES))).ravel()

    @staticmethod
    def _parts(codes: Ints) -> tuple[Ints, Ints, Ints]:
        """User, quarter and category."""
        cell = codes // len(CATEGORIES)
        return cell // _QUARTERS, cell % _QUARTERS, codes % len(CATEGORIES)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """One version for each Monday from the quarter's first to the one after its end."""
        user, quarter, _ = self._parts(codes)
        made = _made(self.world, user, quarter, _FORECAST_BEFORE)
        created = morning(made, 8) + self.dice.below("made", 3600, codes)
        start = quarter_start(quarter + _FIRST_QUARTER)
        end = quarter_start(quarter + _FIRST_QUARTER + 1)
        monday = (np.maximum(start, 0) + 5) // 7 * 7 + 1
        mondays = monday[:, None] + 7 * np.arange(_WEEKS)[None, :]
        runs = (mondays > made[:, None]) & (mondays >= 1) & (mondays < end[:, None] + 7)
        at = morning(mondays, 5) + self.dice.below("run", 1800, codes[:, None], np.arange(_WEEKS)[None, :])
        return Timeline.of(created, [(_UPDATED, np.where(runs, at, NEVER))])

    def columns(self, versions: Versions) -> Columns:
        """Amounts: what is closed is exact; the rest is a guess at what will close."""
        code, n = versions.codes, len(versions.codes)
        user, quarter, category = self._parts(code)
        adjusted = self.dice.happens("adjusted", 0.1, code, versions.number) & (category != _CLOSED)
        team = self._amount(versions, *self._span(user))
        own = self._amount(versions, user, user + 1)
        factor = np.where(adjusted, self.dice.below("adjustment", 30, code, versions.number) + 85, 100)
        forecast = team * factor // 100
        return {
            "owner_id": user_ids(user),
            "period_id": ids("026", period_code(_QUARTER, quarter + _FIRST_QUARTER)),
            "forecasting_type_id": ids("0Db", np.zeros(n, np.int64)),
            "parent_forecasting_item_id": ids("0G3", self._parent(code, versions.created)),
            "forecast_category_name": series.text([name for name, _ in CATEGORIES], category),
            "forecasting_item_category": series.text([api for _, api in CATEGORIES], category),
            "forecast_amount": series.money(forecast),
            "amount_without_adjustments": series.money(team),
            "owner_only_amount": series.money(own),
            "forecast_quantity": series.number(np.rint(forecast / 2_000_000)),
            "has_adjustment": series.flag(adjusted),
        }

    @staticmethod
    def _span(user: Ints) -> tuple[Ints, Ints]:
        """First user and end of the part of the tree below each user."""
        length = np.where(is_manager(user), TEAM, np.where(is_chief(user), REGION, 1))
        end = np.where(user == 0, 1 << 40, user + length)
        return user, end

    def _parent(self, codes: Ints, created: Ints) -> Ints:
        """The item of the one above, where it was made before this one."""
        user, quarter, category = self._parts(codes)
        manager = np.maximum(user - 1, 0) // TEAM * TEAM + 1
        above = np.where(is_manager(user), user // REGION * REGION, np.where(is_chief(user), 0, manager))
        parent = (above * _QUARTERS + quarter) * len(CATEGORIES) + category
        made = morning(_made(self.world, above, quarter, _FORECAST_BEFORE), 8) + self.dice.below(
            "made", 3600, parent
        )
        return np.where((user == 0) | (made > created), NOBODY, parent)

    def _amount(self, versions: Versions, first_user: Ints, end_user: Ints) -> Ints:
        """Cents of one category, for users ``first_user`` to ``end_user``, at the version's instant."""
        _, quarter, category = self._parts(versions.codes)
        start, end = quarter_start(quarter + _FIRST_QUARTER), quarter_start(quarter + _FIRST_QUARTER + 1)
        today = np.clip(day_of(versions.stamp), start, end)
        won, lost = self._bookings(int(end.max(initial=0)))
        closed = won.between(first_user, end_user, start, today)
        to_win = won.between(first_user, end_user, today, end)
        to_lose = lost.between(first_user, end_user, today, end)
        left = (end - today) / 92.0
        mood = 1 + 0.35 * left * self.dice.normal("mood", versions.codes, versions.number)
        open_amount = np.select(
            [category == 0, category == 1, category == 2],
            [to_win + to_lose, 0.8 * to_win + 0.15 * to_lose, 0.55 * to_win + 0.05 * to_lose],
        )
        guess = np.maximum(open_amount * np.clip(mood, 0.3, 2.0), 0).astype(np.int64) // 10_000 * 10_000
        return np.where(category == _CLOSED, closed, guess)

    def _bookings(self, until: int) -> tuple[Bookings, Bookings]:
        """Won and lost amounts, complete to day ``until``."""
        until = self.world.horizon(until)

        def make() -> tuple[Bookings, Bookings]:
            deals = all_deals(self.world, until)
            deals = deals.take((deals.deleted == NEVER) & (deals.closed_day < until))
            owner = deal_owner(self.world, deals, deals.hands)
            cents = final_amount(self.world, deals)
            users = int(self.world.arrivals["user"].known(np.array(until))) + 1

            def booked(of: Flags) -> Bookings:
                return Bookings(owner[of], deals.closed_day[of], cents[of], users, until)

            return booked(deals.won), booked(~deals.won)

        return self.world.kept(("bookings", until), make)
