"""Opportunities: what a deal is from the start (``Deals``), how it moves (timeline), what it shows (columns)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints
from gtm_assets.sources.salesforce.synthetic.clock import (
    NEVER,
    day_of,
    instant_of,
    morning,
    quarter_of,
    quarter_start,
    unix_day,
    workday,
    working_instant,
)
from gtm_assets.sources.salesforce.synthetic.companies import (
    account_of_conversion,
    colleagues,
    company,
    company_size,
    lead_source,
)
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.names import LEAD_SOURCE_WEIGHTS, LEAD_SOURCES
from gtm_assets.sources.salesforce.synthetic.people import hide, pick_user, user_ids
from gtm_assets.sources.salesforce.synthetic.products import list_price
from gtm_assets.sources.salesforce.synthetic.randomness import Dice
from gtm_assets.sources.salesforce.synthetic.recipe import NOBODY, Columns, Recipe, with_deletion
from gtm_assets.sources.salesforce.synthetic.timeline import TOUCHED, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

STAGES = [
    # name, probability, API forecast category, displayed category
    ("Prospecting", 10, "Pipeline", "Pipeline"),
    ("Qualification", 10, "Pipeline", "Pipeline"),
    ("Needs Analysis", 20, "Pipeline", "Pipeline"),
    ("Value Proposition", 50, "Pipeline", "Pipeline"),
    ("Id. Decision Makers", 60, "Pipeline", "Pipeline"),
    ("Perception Analysis", 70, "Pipeline", "Pipeline"),
    ("Proposal/Price Quote", 75, "Pipeline", "Pipeline"),
    ("Negotiation/Review", 90, "Pipeline", "Pipeline"),
    ("Closed Won", 100, "Closed", "Closed"),
    ("Closed Lost", 0, "Omitted", "Omitted"),
]
STAGE_NAMES = [name for name, *_ in STAGES]
PROBABILITIES = np.array([probability for _, probability, *_ in STAGES])
WON, LOST = 8, 9
TYPES = ["New Business", "Renewal", "Upsell"]
NEW, RENEWAL, UPSELL = 0, 1, 2
COMPETITOR_SINCE = datetime(2026, 9, 11, tzinfo=UTC)
"""When the field ``competitor_c`` is added: extractions that end later have it."""
LOSS_REASONS = ["Price", "Competitor", "No Decision", "No Budget", "Timing", "Product Gap"]
MOVED, REPRICED, POSTPONED, CHANGED_HANDS, CLOSED = 8, 9, 10, 11, 12
"""Kinds of event in a deal's life."""

_WIN_RATE = np.array([0.24, 0.72, 0.42])
_CYCLE = np.array([52.0, 58.0, 30.0])
_QUARTER_END_RUSH = 0.26
_LONGEST_CYCLE = 540
_MOST_MOVES, _MOST_PRICES, _MOST_DELAYS, _MOST_TOUCHES = 9, 10, 8, 3
LINES = 3
"""Lines of a deal at most."""
_HIDDEN_SHARE = 0.002


@dataclass(frozen=True)
class Deals:
    """What is settled about n deals from the start. Days are the org's, instants are UTC seconds."""

    codes: Ints
    created: Ints
    account: Ints
    type: Ints
    won: Flags
    """True where the deal will be won."""
    closed: Ints
    """Instant at which it will be won or lost."""
    moves: Ints
    """How often it changes stage before it closes."""
    prices: Ints
    """How often its amount changes; the last change makes it final."""
    delays: Ints
    """How often its close date is put off."""
    hands: Ints
    """How often its owner changes (0 or 1)."""
    deleted: Ints
    restored: Ints

    @property
    def created_day(self) -> Ints:
        """Day of creation."""
        return day_of(self.created)

    @property
    def closed_day(self) -> Ints:
        """Day on which it is won or lost."""
        return day_of(self.closed)

    def take(self, rows: Ints | Flags) -> Deals:
        """Some of the deals."""
        return Deals(*(getattr(self, field)[rows] for field in self.__dataclass_fields__))


def all_deals(world: World, until: int) -> Deals:
    """All deals created by day ``until`` and some later ones, by rising code."""
    until = world.horizon(until)
    return world.kept(("deals", until), lambda: _deals(world, world.codes_between("opportunity", 0, until)))


def deals_of(world: World, codes: Ints) -> Deals:
    """The deals of some codes."""
    return _deals(world, codes)


def _deals(world: World, codes: Ints) -> Deals:
    dice = world.dice("opportunity")
    created = world.created_at("opportunity", codes)
    created_day = world.created_day("opportunity", codes)
    account = deal_account(world, codes)
    type_ = _type(world, codes, account, created_day)
    won = dice.happens("won", _WIN_RATE[type_], codes)
    closed = working_instant(_close_day(world, codes, account, type_, created_day), dice.bits("close time", codes))
    deleted, restored = _deletion(dice, codes, created)
    return Deals(
        codes=codes,
        created=created,
        account=account,
        type=type_,
        won=won,
        closed=closed,
        moves=np.where(won, 3, 1) + dice.below("moves", np.where(won, 7, 8), codes),
        prices=np.maximum(dice.below("prices", _MOST_PRICES + 1, codes), (line_count(world, codes) > 0) * 1),
        delays=dice.below("delays", _MOST_DELAYS + 1, codes),
        hands=dice.happens("changes hands", 0.25, codes).astype(np.int64),
        deleted=deleted,
        restored=restored,
    )


def deal_account(world: World, codes: Ints) -> Ints:
    """The account of each deal: the larger of two, so that large companies buy more often."""
    dice = world.dice("opportunity")
    day = world.arrivals["opportunity"].day(codes >> 1)
    one = world.pick("account", day, dice.unit("account", codes))
    two = world.pick("account", day, dice.unit("other account", codes))
    own = np.where(company_size(world, two) > company_size(world, one), two, one)
    converted = account_of_conversion(world, world.conversion_behind("opportunity", codes))
    return np.where(world.is_converted(codes), converted, own)


def _type(world: World, codes: Ints, account: Ints, day: Ints) -> Ints:
    """Renewals and upsells are for accounts that have been there for a while."""
    drawn = world.dice("opportunity").one_of("type", (45, 30, 25), codes)
    young = day - world.created_day("account", account) < 120
    return np.where(young | world.is_converted(codes), NEW, drawn)


def _close_day(world: World, codes: Ints, account: Ints, type_: Ints, created_day: Ints) -> Ints:
    """The cycle is log-normal, and longer for larger companies. Many deals wait for a quarter's end."""
    dice = world.dice("opportunity")
    size = (company_size(world, account) / 100) ** 0.08
    cycle = _CYCLE[type_] * size * np.exp(0.6 * dice.normal("cycle", codes))
    day = created_day + np.clip(cycle, 5, _LONGEST_CYCLE).astype(np.int64)
    quarter_ends = quarter_start(quarter_of(day) + 1)
    rush_day = quarter_ends - 1 - dice.below("rush day", 7, codes)
    weekday = rush_day % 7
    # A day of the weekend becomes the Monday or the Friday that is among the quarter's last seven days.
    rush_day = np.where(weekday == 6, np.where(quarter_ends - rush_day >= 7, rush_day + 2, rush_day - 1), rush_day)
    rush_day = np.where(weekday == 0, np.where(quarter_ends - rush_day >= 6, rush_day + 1, rush_day - 2), rush_day)
    rushes = dice.happens("rush", _QUARTER_END_RUSH, codes) & (rush_day >= day)
    return np.maximum(np.where(rushes, rush_day, workday(day)), created_day + 2)


def _deletion(dice: Dice, codes: Ints, created: Ints) -> tuple[Ints, Ints]:
    """Duplicates and mistakes are deleted within two months; a third of them come back."""
    goes = dice.happens("is deleted", 0.012, codes)
    deleted = working_instant(
        workday(day_of(created) + 3 + dice.below("deletion day", 60, codes)), dice.bits("deleted", codes)
    )
    deleted = np.maximum(deleted, created + 3600)
    restored_day = day_of(deleted) + 1 + dice.below("restoration day", 4, codes)
    restored = np.maximum(working_instant(restored_day, dice.bits("restored", codes)), deleted + 3600)
    comes_back = goes & dice.happens("is restored", 0.35, codes)
    return np.where(goes, deleted, NEVER), np.where(comes_back, restored, NEVER)


# Owner, stage, amount and close date after so many events of a kind


def deal_owner(world: World, deals: Deals, turn: Ints | int) -> Ints:
    """The owner after ``turn`` changes of hands; a few are users that nobody shows to us."""
    owner = pick_user(world, "opportunity", "owner", deals.created_day, deals.codes, turn)
    return hide(world, "opportunity", "hidden owner", owner, deals.codes, _HIDDEN_SHARE)


def open_stage(world: World, deals: Deals, moves: Ints) -> Ints:
    """The stage after so many moves: mostly one on, sometimes two, now and then one back."""
    dice = world.dice("opportunity")
    stage = dice.one_of("first stage", (62, 25, 13), deals.codes)
    for turn in range(1, int(moves.max(initial=0)) + 1):
        step = np.array([1, 2, -1])[dice.one_of("step", (68, 18, 14), deals.codes, np.array(turn))]
        # Each move changes the stage: at either end of the path it goes the other way.
        ahead = stage + step
        ahead = np.where(ahead > 7, np.where(stage == 7, 6, 7), np.where(ahead < 0, stage + 1, ahead))
        stage = np.where(turn <= moves, ahead, stage)
    return stage


def deal_amount(world: World, deals: Deals, prices: Ints) -> Ints:
    """The amount in cents after so many changes; -1 where it is not known yet."""
    dice = world.dice("opportunity")
    final = final_amount(world, deals)
    guess = final * dice.between("guess", 0.7, 1.4, deals.codes, prices) // 10_000 * 10_000
    amount = np.where(prices >= deals.prices, final, np.maximum(guess, 50_000)).astype(np.int64)
    unknown = (prices == 0) & (deals.prices > 0) & dice.happens("no amount", 0.12, deals.codes)
    return np.where(unknown, -1, amount)


def final_amount(world: World, deals: Deals) -> Ints:
    """The amount in cents at the end: the sum of the lines where there are any."""
    lines = deal_lines(world, deals)
    return np.where(lines.count > 0, lines.cents.sum(axis=1), _size(world, deals) * 100)


def _size(world: World, deals: Deals) -> Ints:
    """About how large the deal is, in whole dollars: log-normal, larger for larger companies."""
    employees = company_size(world, deals.account)
    typical = 9_000 * (employees / 100) ** 0.55 * np.array([1.0, 0.9, 0.45])[deals.type]
    normal = world.dice("opportunity").normal("amount", deals.codes)
    dollars: Ints = np.clip(np.rint(typical * np.exp(0.8 * normal)), 500, 20_000_000).astype(np.int64)
    return dollars


def close_date(world: World, deals: Deals, delays: Ints) -> Ints:
    """The day on which an open deal is expected to close after so many delays: each adds one to six weeks."""
    dice = world.dice("opportunity")
    left = deals.delays - delays
    step = 7 + dice.below("delay", 35, deals.codes)
    miss = dice.below("miss", 18, deals.codes) - 4
    planned = deals.closed_day + miss - left * step
    # Nobody expects a deal to close at once: the earliest day is a week after its creation, and one more for
    # each delay.
    expected: Ints = np.maximum(planned, deals.created_day + 7 + delays)
    return expected


# Lines


@dataclass(frozen=True)
class Lines:
    """The lines of n deals, as n × LINES arrays; of a deal the first ``count`` are real."""

    count: Ints
    product: Ints
    quantity: Ints
    unit_dollars: Ints
    discount: Ints
    cents: Ints
    """Quantity × unit price less discount; 0 for lines that are not real."""


def line_count(world: World, codes: Ints) -> Ints:
    """How many lines each deal has: a third have none."""
    return world.dice("opportunity").one_of("lines", (32, 30, 24, 14), codes)


def deal_lines(world: World, deals: Deals) -> Lines:
    """The lines of each deal. They are made when its amount becomes final."""
    dice = world.dice("opportunity_line_item")
    turns = np.arange(LINES)[None, :]
    codes = deals.codes[:, None]
    count = line_count(world, deals.codes)
    known = world.arrivals["product_2"].known(deals.created_day)[:, None]
    product = (dice.below("product", known, codes) + turns) % known
    price = list_price(world, product)
    share = np.array([[1, 0, 0], [1, 0, 0], [0.7, 0.3, 0], [0.55, 0.3, 0.15]])[count]
    wanted = np.maximum(_size(world, deals)[:, None] * share, 20)
    quantity = np.maximum(np.rint(wanted / price), 1).astype(np.int64)
    unit = np.where(wanted < price, wanted, price).astype(np.int64)
    discount = np.array([0, 5, 10, 15, 20])[dice.one_of("discount", (60, 12, 14, 8, 6), codes, turns)]
    cents = np.where(turns < count[:, None], quantity * unit * (100 - discount), 0)
    return Lines(count, product, quantity, unit, discount, cents)


# What other modules ask for


def first_wins(world: World, accounts: Ints, until: int) -> Ints:
    """Instant at which each account's first deal is won, NEVER where none is by day ``until``."""
    deals = all_deals(world, until)
    counts = deals.won & (deals.deleted == NEVER)
    order = np.lexsort((deals.closed[counts], deals.account[counts]))
    account, closed = deals.account[counts][order], deals.closed[counts][order]
    if not len(account):
        return np.full(len(accounts), NEVER)
    place = np.minimum(np.searchsorted(account, accounts), len(account) - 1)
    return np.where(account[place] == accounts, closed[place], NEVER)


def primary_contact(world: World, deals: Deals, skip: int = 0) -> Ints:
    """The contact of each deal, -1 where the account has none. ``skip`` gives further ones."""
    until = int(deals.created_day.max(initial=0))
    unit = world.dice("opportunity").unit("contact", deals.codes)
    found = colleagues(world, until).pick(deals.account, deals.created_day, unit, skip)
    if skip:
        return np.where(world.is_converted(deals.codes), NOBODY, found)
    converted = world.conversion_behind("opportunity", deals.codes) * 2 + 1
    return np.where(world.is_converted(deals.codes), converted, found)


@dataclass(frozen=True)
class DealState:
    """What the tracked fields of n deals hold in a version."""

    stage: Ints
    cents: Ints
    close_day: Ints
    owner: Ints


def state(world: World, deals: Deals, versions: Versions) -> DealState:
    """The tracked fields: the only place where they are worked out, for the deals and for their history."""
    closed = versions.has(CLOSED)
    stage = open_stage(world, deals, versions.count(MOVED))
    expected = close_date(world, deals, versions.count(POSTPONED))
    return DealState(
        stage=np.where(closed, np.where(deals.won, WON, LOST), stage),
        cents=deal_amount(world, deals, versions.count(REPRICED)),
        close_day=np.where(closed, deals.closed_day, expected),
        owner=deal_owner(world, deals, versions.count(CHANGED_HANDS)),
    )


class Opportunities(Recipe):
    """Opportunities."""

    name = "opportunity"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """Deals of both sources."""
        return self.world.codes_between("opportunity", first, last)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """Moves, new amounts and delays come before the close. Little happens afterwards."""
        deals = deals_of(self.world, codes)
        before_close = [
            self._in_life(deals, MOVED, "move", deals.moves, _MOST_MOVES),
            self._in_life(deals, REPRICED, "reprice", deals.prices, _MOST_PRICES),
            self._in_life(deals, POSTPONED, "postpone", deals.delays, _MOST_DELAYS),
            self._in_life(deals, CHANGED_HANDS, "hand over", deals.hands, 1),
            self._in_life(deals, TOUCHED, "touch", self.dice.below("touches", 4, codes), _MOST_TOUCHES),
        ]
        later = working_instant(
            workday(deals.closed_day + 4 + self.dice.below("later", 120, codes)), self.dice.bits("later", codes)
        )
        later = np.where(self.dice.happens("has later", 0.5, codes), later, NEVER)
        events = [*before_close, (CLOSED, deals.closed), (TOUCHED, later)]
        return with_deletion(events, deals.created, (deals.deleted, deals.restored))

    def _in_life(self, deals: Deals, kind: int, field: str, count: Ints, most: int) -> tuple[int, Ints]:
        """``count`` events spread over the deal's life, all before it closes."""
        turns = np.arange(most)[None, :]
        codes = deals.codes[:, None]
        life = (deals.closed_day - deals.created_day)[:, None]
        day = deals.created_day[:, None] + (self.dice.unit(field, codes, turns) * life).astype(np.int64)
        at = working_instant(workday(day), self.dice.bits(f"{field} time", codes, turns))
        at = np.minimum(at, deals.closed[:, None] - 120)
        return kind, np.where(turns < count[:, None], at, NEVER)

    def columns(self, versions: Versions) -> Columns:
        """All fields but the tracked ones are settled from the start, or follow from the tracked ones."""
        deals = deals_of(self.world, versions.codes)
        now = state(self.world, deals, versions)
        return {
            **self._who(deals, now),
            **self._what(deals, versions),
            **self._stage(deals, now, versions),
            **self._money(deals, now, versions),
        }

    def _who(self, deals: Deals, now: DealState) -> Columns:
        code, world = deals.codes, self.world
        account = hide(world, "opportunity", "hidden account", deals.account, code, _HIDDEN_SHARE)
        campaign = self.dice.below("campaign", world.arrivals["campaign"].known(deals.created_day), code)
        first_owner = deal_owner(world, deals, 0)
        return {
            "account_id": ids("001", account),
            "owner_id": user_ids(now.owner),
            "contact_id": ids(
                "003", np.where(self.dice.happens("no contact", 0.2, code), NOBODY, primary_contact(world, deals))
            ),
            "campaign_id": ids("701", np.where(self.dice.happens("has campaign", 0.3, code), campaign, NOBODY)),
            "pricebook_2_id": ids("01s", np.where(line_count(world, code) > 0, pricebook(world, code), NOBODY)),
            "record_type_id": ids("012", 2 + deals.type),
            "created_by_id": user_ids(first_owner),
            "last_modified_by_id": user_ids(now.owner),
        }

    def _what(self, deals: Deals, versions: Versions) -> Columns:
        code, names = deals.codes, self.world.names
        steps = [
            "Call the buyer",
            "Send the proposal",
            "Legal's review",
            "Demo, with IT",
            "Get the budget",
            "Sign",
        ]
        lead = self.world.converting_lead(self.world.conversion_behind("opportunity", code))
        converted = self.world.is_converted(code)
        source = np.where(
            converted, lead_source(self.world, lead), self.dice.one_of("source", LEAD_SOURCE_WEIGHTS, code)
        )
        competitors = ["Initech", "Globex", "Umbrella", "Hooli", "Vandelay & Sons"]
        unasked = versions.stamp < instant_of(COMPETITOR_SINCE)
        return {
            "name": names.company(company(self.world, deals.account)) + " – " + series.text(TYPES, deals.type),
            "description": series.text(
                names.sentences,
                self.dice.below("text", len(names.sentences), code),
                self.dice.happens("no text", 0.5, code),
            ),
            "type": series.text(TYPES, deals.type),
            "lead_source": series.text(
                LEAD_SOURCES, source, self.dice.happens("no source", 0.15, code) & ~converted
            ),
            "next_step": series.text(
                steps,
                self.dice.below("step text", len(steps), code, versions.number),
                self.dice.happens("no step", 0.3, code, versions.number) | versions.has(CLOSED),
            ),
            "last_activity_date": series.day(
                np.maximum(day_of(versions.stamp) - self.dice.below("idle", 8, code, versions.number), 0),
                versions.number == 0,
            ),
            "competitor_c": series.text(
                competitors, self.dice.below("competitor", 5, code), unasked | self.dice.happens("none", 0.3, code)
            ),
        }

    def _stage(self, deals: Deals, now: DealState, versions: Versions) -> Columns:
        closed = now.stage >= WON
        moved = np.where(closed, versions.last(CLOSED), versions.last(MOVED))
        months = unix_day(now.close_day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return {
            "stage_name": series.text(STAGE_NAMES, now.stage),
            "probability": series.number(PROBABILITIES[now.stage]),
            "forecast_category": series.text([api for *_, api, _ in STAGES], now.stage),
            "forecast_category_name": series.text([shown for *_, shown in STAGES], now.stage),
            "close_date": series.day(now.close_day),
            "is_closed": series.flag(closed),
            "is_won": series.flag(now.stage == WON),
            "loss_reason_c": series.text(
                LOSS_REASONS,
                self.dice.below("loss reason", len(LOSS_REASONS), deals.codes),
                (now.stage != LOST) | self.dice.happens("no reason", 0.15, deals.codes),
            ),
            "last_stage_change_date": series.moment(moved),
            "fiscal_quarter": series.integer(months % 12 // 3 + 1),
            "fiscal_year": series.integer(1970 + months // 12),
        }

    def _money(self, deals: Deals, now: DealState, versions: Versions) -> Columns:
        unknown = now.cents < 0
        cents = np.where(unknown, 0, now.cents)
        lines = deal_lines(self.world, deals)
        has_lines = (lines.count > 0) & (versions.count(REPRICED) >= deals.prices)
        quantity = (lines.quantity * (lines.cents > 0)).sum(axis=1)
        return {
            "amount": series.money(cents, unknown),
            # Half a cent is rounded up.
            "expected_revenue": series.money((cents * PROBABILITIES[now.stage] + 50) // 100, unknown),
            "total_opportunity_quantity": series.number(quantity, ~has_lines),
            "arr_c": series.money(self._gained(deals, cents), unknown),
            "arr_churn_c": series.money(self._churned(deals, now, cents), unknown | (deals.type == NEW)),
        }

    def _gained(self, deals: Deals, cents: Ints) -> Ints:
        """Recurring revenue that the deal adds: most of a new deal, little of a renewal."""
        share = np.where(
            deals.type == RENEWAL,
            self.dice.between("uplift", 0, 15, deals.codes),
            self.dice.between("recurring", 60, 100, deals.codes),
        ).astype(np.int64)
        return cents * share // 100

    def _churned(self, deals: Deals, now: DealState, cents: Ints) -> Ints:
        """Recurring revenue that the deal loses: all of a lost renewal, some of one that shrinks."""
        shrinks = self.dice.happens("shrinks", np.array([0, 0.2, 0.04])[deals.type], deals.codes)
        part = np.where(shrinks, self.dice.between("shrink", 5, 35, deals.codes), 0).astype(np.int64)
        won = np.where(now.stage == WON, cents * part // 100, 0)
        return np.where((now.stage == LOST) & (deals.type == RENEWAL), cents, won)


def pricebook(world: World, codes: Ints) -> Ints:
    """The price book of each deal."""
    return world.dice("opportunity").one_of("pricebook", (70, 20, 10), codes)


class Stages(Recipe):
    """The stages, as the admin set them up."""

    name = "opportunity_stage"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """The ten stages."""
        return np.arange(len(STAGES)) if first <= 0 <= last else np.empty(0, np.int64)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """Made on the first day."""
        return Timeline.of(morning(0, -7.0) + codes * 5, [])

    def columns(self, versions: Versions) -> Columns:
        """Name, position, probability, category."""
        code, n = versions.codes, len(versions.codes)
        return {
            "api_name": series.text(STAGE_NAMES, code),
            "master_label": series.text(STAGE_NAMES, code),
            "sort_order": series.integer(code + 1),
            "default_probability": series.number(PROBABILITIES[code]),
            "forecast_category": series.text([api for *_, api, _ in STAGES], code),
            "forecast_category_name": series.text([shown for *_, shown in STAGES], code),
            "is_active": series.constant(True, n),
            "is_closed": series.flag(code >= WON),
            "is_won": series.flag(code == WON),
            "description": series.constant(None, n, pl.String()),
            "created_by_id": user_ids(np.zeros(n, np.int64)),
            "last_modified_by_id": user_ids(np.zeros(n, np.int64)),
        }
