"""Tasks, events and emails. Most of them are near the days on which deals close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints
from gtm_assets.sources.salesforce.synthetic.clock import (
    NEVER,
    day_of,
    morning,
    workday,
    working_instant,
)
from gtm_assets.sources.salesforce.synthetic.companies import (
    colleagues,
    company,
    contact_email,
    lead_company,
)
from gtm_assets.sources.salesforce.synthetic.deals import all_deals, deal_owner
from gtm_assets.sources.salesforce.synthetic.ids import HIDDEN, ids
from gtm_assets.sources.salesforce.synthetic.people import hide, pick_user, user_ids
from gtm_assets.sources.salesforce.synthetic.recipe import NOBODY, Columns, Recipe, with_deletion
from gtm_assets.sources.salesforce.synthetic.timeline import ARCHIVED, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

_WEEK = 7
_HIDDEN_SHARE = 0.002
ABOUT_DEAL, ABOUT_ACCOUNT, ABOUT_CAMPAIGN, ABOUT_NOTHING = 0, 1, 2, 3
_WHAT_PREFIX = np.array([b"006", b"001", b"701", b"000"])
SUBJECTS = [
    "Call",
    "Follow up",
    "Send quote",
    "Discovery call",
    "Demo, part 1",
    "Security review",
    "Q&A with the buyer's team",
    "Contract review",
    "Renewal 🎉",
    'Re: "Pricing"',
    "Kick-off 🚀",
    "Café meeting",
    "Check in",
]


@dataclass(frozen=True)
class Links:
    """Whom n activities are with and what they are about. Codes are -1 where there is none."""

    about: Ints
    what: Ints
    who: Ints
    who_is_lead: Flags
    account: Ints
    owner: Ints

    def what_ids(self) -> pl.Series:
        """Ids of accounts, opportunities or campaigns."""
        return ids(_WHAT_PREFIX[self.about], self.what)

    def who_ids(self) -> pl.Series:
        """Ids of contacts or leads."""
        return ids(np.where(self.who_is_lead, b"00Q", b"003"), self.who)


def links(world: World, table: str, codes: Ints, day: Ints) -> Links:
    """Whom and what the activities of a table are about, given the day on which each is made."""
    dice = world.dice(table)
    deal = _deal_near_close(world, table, codes, day)
    drawn = dice.one_of("about", (62, 24, 4, 10), codes)
    about = np.where((drawn == ABOUT_DEAL) & (deal < 0), ABOUT_ACCOUNT, drawn)
    is_deal, is_account = about == ABOUT_DEAL, about == ABOUT_ACCOUNT
    account, owner = _parties(world, table, codes, day, deal, is_deal, is_account)
    contact = colleagues(world, int(day.max(initial=0))).pick(account, day, dice.unit("contact", codes))
    contact = np.where(account < 0, NOBODY, contact)
    lead = _recent_lead(world, table, codes, day)
    who_is_lead = (about == ABOUT_NOTHING) | ((about == ABOUT_CAMPAIGN) & (lead % 2 == 0))
    campaign_contact = world.pick("contact", day, dice.unit("campaign contact", codes))
    who = np.where(who_is_lead, lead, np.where(about == ABOUT_CAMPAIGN, campaign_contact, contact))
    who = np.where(dice.happens("no who", 0.1, codes), NOBODY, who)
    campaign = dice.below("campaign", world.arrivals["campaign"].known(day), codes)
    account = hide(world, table, "hidden account", account, codes, _HIDDEN_SHARE / 2)
    what = np.where(
        is_deal, deal, np.where(is_account, account, np.where(about == ABOUT_CAMPAIGN, campaign, NOBODY))
    )
    # The org does not show us the contacts of a hidden account.
    who = np.where(account >= HIDDEN, NOBODY, who)
    return Links(about, what, who, who_is_lead, account, owner)


def _parties(
    world: World,
    table: str,
    codes: Ints,
    day: Ints,
    deal: Ints,
    is_deal: Flags,
    is_account: Flags,
) -> tuple[Ints, Ints]:
    """Account and owner: the deal's, the account's, or anybody."""
    dice = world.dice(table)
    deals = all_deals(world, _known_until(day))
    place = np.minimum(np.searchsorted(deals.codes, deal), len(deals.codes) - 1)
    owners = world.kept(("deal owners", len(deals.codes)), lambda: deal_owner(world, deals, 0))
    own_account = world.pick("account", day, dice.unit("account", codes))
    account = np.where(is_deal, deals.account[place], np.where(is_account, own_account, NOBODY))
    anybody = pick_user(world, table, "owner", day, codes)
    owner = np.where(is_deal, owners[place], anybody)
    # Where a deal's owner is hidden, anybody owns its activities: else too many would have a hidden owner.
    owner = np.where(dice.happens("by another", 0.15, codes), anybody, owner)
    stranger = np.where(owner >= HIDDEN, anybody, owner)
    return account, hide(world, table, "hidden owner", stranger, codes, _HIDDEN_SHARE / 2)


def _known_until(day: Ints) -> int:
    return int(day.max(initial=0)) + 120


def _deal_near_close(world: World, table: str, codes: Ints, day: Ints) -> Ints:
    """A deal that exists on ``day`` and closes about then, mostly in the next weeks; -1 where none is found."""
    dice = world.dice(table)
    weeks, order, created_day, deal_codes = _deals_by_close(world, _known_until(day))
    found = np.full(len(codes), NOBODY)
    for attempt, spread in enumerate((6.0, 12.0, 25.0, 40.0)):
        draw = dice.unit(f"days to close {attempt}", codes)
        ahead = np.minimum(-spread * np.log1p(-draw), 90).astype(np.int64) - 3
        week = (day + ahead) // _WEEK
        low, high = np.searchsorted(weeks, week), np.searchsorted(weeks, week + 1)
        rank = low + dice.below(f"deal {attempt}", high - low, codes)
        candidate = order[np.minimum(rank, len(order) - 1)]
        fits = (high > low) & (created_day[candidate] < day)
        found = np.where((found < 0) & fits, deal_codes[candidate], found)
    return found


def _deals_by_close(world: World, until: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Weeks of closing, rising, with the deals in that order; and each deal's day of creation and code."""
    until = world.horizon(until)

    def make() -> tuple[Ints, Ints, Ints, Ints]:
        deals = all_deals(world, until)
        week = deals.closed_day // _WEEK
        # A week is complete only where its last day is known.
        order = np.lexsort((deals.codes, week))
        order = order[week[order] * _WEEK + _WEEK <= until]
        return week[order], order, deals.created_day, deals.codes

    return world.kept(("by close", until), make)


def _recent_lead(world: World, table: str, codes: Ints, day: Ints) -> Ints:
    """A lead that exists on ``day``, most often one of the newest fifth."""
    known = world.arrivals["lead"].known(day)
    age = world.dice(table).unit("lead", codes) ** 3
    return np.maximum(known - 1 - (age * known).astype(np.int64), 0)


class EmailMessages(Recipe):
    """Emails. Those that were sent may be opened and clicked; those received are read."""

    name = "email_message"
    ages = ((0, 40),)
    _OPENED, _CLICKED, _READ, _REPLIED = 8, 9, 10, 11

    def codes(self, first: int, last: int) -> Ints:
        """Emails in the order of their dates."""
        return self.world.arrivals["email_message"].between(first, last)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """A sent email may be opened and clicked, up to three times. A received one is read, maybe answered."""
        created = email_created(self.world, codes)
        incoming = is_incoming(self.world, codes)
        turns = np.arange(3)[None, :]
        opens = np.where(self._tracked(codes), self.dice.one_of("opens", (50, 28, 14, 8), codes), 0)
        wait = np.exp(9.5 + 1.4 * self.dice.normal("open", codes[:, None], turns))
        opened = created[:, None] + 90 + np.clip(wait, 0, 12 * 86_400).astype(np.int64)
        opened = np.where(turns < opens[:, None], opened, NEVER)
        clicks = self.dice.happens("clicks", 0.25, codes[:, None], turns)
        clicked = np.where(
            clicks & (opened < NEVER), opened + 5 + self.dice.below("click", 60, codes[:, None], turns), NEVER
        )
        read = np.where(incoming, created + 120 + self.dice.below("read", 20_000, codes), NEVER)
        replied = read + 300 + self.dice.below("reply", 80_000, codes)
        replied = np.where(incoming & self.dice.happens("replies", 0.5, codes), replied, NEVER)
        events = [(self._OPENED, opened), (self._CLICKED, clicked), (self._READ, read), (self._REPLIED, replied)]
        return with_deletion(events, created, self.deletion(codes, created, 0.01, 30))

    def _tracked(self, codes: Ints) -> Flags:
        return ~is_incoming(self.world, codes) & self.dice.happens("tracked", 0.85, codes)

    def columns(self, versions: Versions) -> Columns:
        """Parties, subject, opens and clicks."""
        code, n, world = versions.codes, len(versions.codes), self.world
        incoming = is_incoming(world, code)
        link = links(world, self.name, code, world.arrivals[self.name].day(code))
        user = "user" + pl.Series(np.minimum(link.owner, 10**6)).cast(pl.String) + "@gtm.example"
        them = self._address(link)
        tracked, opens = self._tracked(code), versions.count(self._OPENED)
        first_open = _first(versions, self._OPENED)
        status = np.where(versions.has(self._REPLIED), 2, np.where(versions.has(self._READ), 1, 0))
        return {
            "parent_id": series.constant(None, n, pl.String()),
            "activity_id": ids("00T", np.where(has_task(code), code // 2 * 2 + 1, NOBODY)),
            "related_to_id": link.what_ids(),
            "subject": _subject(self, code),
            "from_address": them.zip_with(pl.Series(incoming), user),
            "to_address": user.zip_with(pl.Series(incoming), them),
            "status": series.text(["0", "1", "2", "3"], np.where(incoming, status, 3)),
            "incoming": series.flag(incoming),
            "message_date": series.moment(versions.created),
            "is_tracked": series.flag(tracked),
            "is_opened": series.flag(opens > 0),
            "first_opened_date": series.moment(first_open),
            "last_opened_date": series.moment(versions.last(self._OPENED)),
            "open_count_c": series.integer(opens, incoming),
            "click_count_c": series.integer(np.minimum(versions.count(self._CLICKED), opens), incoming),
            "created_by_id": user_ids(link.owner),
            "last_modified_by_id": user_ids(link.owner),
        }

    def _address(self, link: Links) -> pl.Series:
        """Address of the other side: the contact's or the lead's."""
        who = np.maximum(link.who, 0)
        names, world = self.world.names, self.world
        lead = names.mailbox(world.dice("lead").bits("person", who)) + "@" + names.domain(lead_company(world, who))
        contact = contact_email(world, who)
        address = lead.zip_with(pl.Series(link.who_is_lead), contact)
        info = "info@" + names.domain(
            company(world, np.where(link.account >= HIDDEN, 0, np.maximum(link.account, 0)))
        )
        return info.zip_with(pl.Series(link.who < 0), address)


def is_incoming(world: World, email: Ints) -> Flags:
    """True for emails that were received."""
    return world.dice("email_message").happens("incoming", 0.35, email)


def has_task(email: Ints) -> Flags:
    """True for the emails that a task stands for: every other one."""
    even: Flags = email % 2 == 0
    return even


def email_created(world: World, email: Ints) -> Ints:
    """Instant of each email."""
    return world.arrivals["email_message"].created(email, world.dice("email_message").bits("created", email))


def _first(versions: Versions, kind: int) -> Ints:
    """Instant of the first event of a kind so far, NEVER where there is none."""
    number = np.arange(versions.timeline.at.shape[1])[None, :]
    so_far = (number <= versions.number[:, None]) & (versions.timeline.kind == kind)
    first: Ints = np.where(so_far, versions.timeline.at, NEVER).min(axis=1)
    return first


def _subject(recipe: Recipe, codes: Ints) -> pl.Series:
    return series.text(
        SUBJECTS,
        recipe.dice.below("subject", len(SUBJECTS), codes),
        recipe.dice.happens("no subject", 0.01, codes),
    )


_ARCHIVED_AFTER, _ARCHIVED_BY = 380, 400


def _archived(recipe: Recipe, codes: Ints, created: Ints) -> Ints:
    """Salesforce archives activities after about a year."""
    day = day_of(created) + _ARCHIVED_AFTER + recipe.dice.below("archived", _ARCHIVED_BY - _ARCHIVED_AFTER, codes)
    return morning(day, 2) + recipe.dice.below("archived at", 3600, codes)


class Tasks(Recipe):
    """Tasks: those that people plan (even codes), and those that stand for emails (odd codes)."""

    name = "task"
    referenced = True
    ages = ((0, 80), (_ARCHIVED_AFTER, _ARCHIVED_BY))
    _STARTED, _COMPLETED, _PUT_OFF, _STALLED = 8, 9, 10, 11

    def codes(self, first: int, last: int) -> Ints:
        """Tasks of both sources."""
        own = self.world.arrivals["task"].between(first, last) * 2
        emails = self.world.arrivals["email_message"].between(first, last)
        return np.sort(np.concatenate([own, emails[has_task(emails)] + 1]))

    @staticmethod
    def _email(codes: Ints) -> Ints:
        """The email of each task that stands for one, -1 for the others."""
        return np.where(codes % 2 == 1, codes - 1, NOBODY)

    def _created(self, codes: Ints) -> Ints:
        own = self.world.arrivals["task"].created(codes >> 1, self.dice.bits("created", codes))
        email = self._email(codes)
        return np.where(email >= 0, email_created(self.world, np.maximum(email, 0)), own)

    def _day(self, codes: Ints) -> Ints:
        email = self._email(codes)
        of_email = self.world.arrivals["email_message"].day(np.maximum(email, 0))
        return np.where(email >= 0, of_email, self.world.arrivals["task"].day(codes >> 1))

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """A task is begun, put off or done within some weeks, and archived after a year."""
        created, day = self._created(codes), self._day(codes)
        planned = self._email(codes) < 0
        put_off = self.dice.happens("put off", 0.15, codes) & planned
        due = day + self._days_to_due(codes)
        done_day = workday(np.maximum(due + self.dice.below("done", 9, codes) - 5 + put_off * 7, day))
        done = working_instant(done_day, self.dice.bits("done at", codes))
        completes = self.dice.happens("completes", 0.84, codes) & planned
        started = working_instant(workday((day + done_day) // 2), self.dice.bits("started", codes))
        stalls = self.dice.happens("stalls", 0.5, codes) & planned & ~completes
        stalled = working_instant(workday(due + 2), self.dice.bits("stalled", codes))
        put_off_at = working_instant(workday(due), self.dice.bits("put off at", codes))
        done = np.where(completes, np.maximum(done, created + 900), NEVER)
        events = [
            (
                self._STARTED,
                np.where(self.dice.happens("starts", 0.3, codes) & planned & (started < done), started, NEVER),
            ),
            (self._PUT_OFF, np.where(put_off & (put_off_at < done), put_off_at, NEVER)),
            (self._STALLED, np.where(stalls, stalled, NEVER)),
            (self._COMPLETED, done),
            (ARCHIVED, _archived(self, codes, created)),
        ]
        return with_deletion(events, created, self.deletion(codes, created, 0.01, 60))

    def _days_to_due(self, codes: Ints) -> Ints:
        return (self.dice.unit("due", codes) ** 2 * 24).astype(np.int64)

    def columns(self, versions: Versions) -> Columns:
        """Kind, status, due date, calls."""
        code = versions.codes
        email = self._email(code) >= 0
        subtype = np.where(email, 1, np.array([0, 2, 3, 4])[self.dice.one_of("subtype", (52, 40, 5, 3), code)])
        is_call = subtype == 2
        kind = np.where(email, 1, np.where(is_call, 0, 2 + self.dice.one_of("type", (40, 60), code)))
        done = email | versions.has(self._COMPLETED)
        link = self._links(code)
        due = workday(self._day(code) + np.where(email, 0, self._days_to_due(code))) + 7 * versions.count(
            self._PUT_OFF
        )
        high = self.dice.happens("high", 0.12, code)
        return {
            "who_id": link.who_ids(),
            "what_id": link.what_ids(),
            "account_id": ids("001", link.account),
            "owner_id": user_ids(link.owner),
            "subject": self._subject(code, email),
            "type": series.text(
                ["Call", "Email", "Meeting", "Other"], kind, self.dice.happens("no type", 0.05, code)
            ),
            "task_subtype": series.text(["Task", "Email", "Call", "Cadence", "LinkedIn"], subtype),
            "status": self._status(versions, done),
            "priority": series.text(
                ["High", "Normal", "Low"], np.where(high, 0, 1 + self.dice.happens("low", 0.1, code))
            ),
            "activity_date": series.day(due, ~email & self.dice.happens("no due date", 0.05, code)),
            "completed_date_time": series.moment(
                np.where(email, versions.created, versions.last(self._COMPLETED))
            ),
            "is_closed": series.flag(done),
            "is_high_priority": series.flag(high),
            "call_duration_in_seconds": series.integer(
                30 + (np.exp(5.2 + 0.9 * self.dice.normal("call", code))).astype(np.int64), ~(is_call & done)
            ),
            "call_type": series.text(
                ["Outbound", "Inbound", "Internal"], self.dice.one_of("call type", (75, 20, 5), code), ~is_call
            ),
            "call_disposition": series.text(
                ["Connected", "Left voicemail", "No answer", "Busy"],
                self.dice.one_of("outcome", (45, 25, 25, 5), code),
                ~(is_call & done) | self.dice.happens("no outcome", 0.15, code),
            ),
            "is_archived": series.flag(versions.has(ARCHIVED)),
            "created_by_id": user_ids(link.owner),
            "last_modified_by_id": user_ids(link.owner),
        }

    def _links(self, codes: Ints) -> Links:
        """A task that stands for an email is about what the email is about."""
        day = self._day(codes)
        email = self._email(codes)
        rows = np.flatnonzero(email >= 0)
        own = links(self.world, self.name, codes, day)
        if not len(rows):
            return own
        of_email = links(self.world, "email_message", email[rows], day[rows])
        for field in own.__dataclass_fields__:
            getattr(own, field)[rows] = getattr(of_email, field)
        return own

    def _subject(self, codes: Ints, email: Flags) -> pl.Series:
        own = _subject(self, codes)
        of_email = "Email: " + series.text(
            SUBJECTS, self.world.dice("email_message").below("subject", len(SUBJECTS), np.maximum(codes - 1, 0))
        )
        return of_email.zip_with(pl.Series(email), own)

    def _status(self, versions: Versions, done: Flags) -> pl.Series:
        status = np.where(versions.has(self._STARTED), 1, 0)
        stalled = np.where(self.dice.happens("waits", 0.5, versions.codes), 3, 4)
        status = np.where(versions.has(self._STALLED), stalled, status)
        names = ["Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred"]
        return series.text(names, np.where(done, 2, status))


class Events(Recipe):
    """Meetings and calls in the calendar; some are put off."""

    name = "event"
    ages = ((0, 80), (_ARCHIVED_AFTER, _ARCHIVED_BY))
    _PUT_OFF, _NOTED = 8, 9

    def codes(self, first: int, last: int) -> Ints:
        """Events in the order in which they were entered."""
        return self.world.arrivals["event"].between(first, last)

    def _planned_day(self, codes: Ints) -> Ints:
        """The first day planned: mostly within two weeks of the entry."""
        day = self.world.arrivals["event"].day(codes)
        ahead = 1 + (self.dice.unit("ahead", codes) ** 2 * 20).astype(np.int64)
        return np.maximum(workday(day + ahead), day)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """An event may be put off by a week and noted afterwards. It is archived after a year."""
        created = self.world.arrivals["event"].created(codes, self.dice.bits("created", codes))
        planned = self._planned_day(codes)
        put_off = self.dice.happens("put off", 0.2, codes)
        put_off_at = working_instant(np.maximum(workday(planned - 1), 0), self.dice.bits("put off at", codes))
        noted = working_instant(workday(planned + put_off * 7 + 3), self.dice.bits("noted", codes))
        noted = np.where(self.dice.happens("is noted", 0.5, codes), noted, NEVER)
        events = [
            (self._PUT_OFF, np.where(put_off, put_off_at, NEVER)),
            (self._NOTED, noted),
            (ARCHIVED, _archived(self, codes, created)),
        ]
        return with_deletion(events, created, self.deletion(codes, created, 0.01, 60))

    def columns(self, versions: Versions) -> Columns:
        """Parties, times, place."""
        code, world = versions.codes, self.world
        link = links(world, self.name, code, world.arrivals[self.name].day(code))
        day = self._planned_day(code) + 7 * versions.count(self._PUT_OFF)
        all_day = self.dice.happens("all day", 0.02, code)
        minutes = np.array([15, 30, 45, 60, 90, 120])[self.dice.one_of("length", (8, 38, 12, 30, 8, 4), code)]
        minutes = np.where(all_day, 1440, minutes)
        start = working_instant(day, self.dice.bits("start", code)) // 900 * 900
        # Salesforce keeps an all-day event from midnight UTC of its day.
        start = np.where(all_day, morning(day, -8), start)
        places = ["Zoom", "Customer's office", "Phone", 'Our office, room "B"', "Teams"]
        kind = self.dice.one_of("type", (22, 52, 20, 6), code)
        return {
            "who_id": link.who_ids(),
            "what_id": link.what_ids(),
            "account_id": ids("001", link.account),
            "owner_id": user_ids(link.owner),
            "subject": _subject(self, code),
            "type": series.text(
                ["Call", "Meeting", "Demo", "Other"], kind, self.dice.happens("no type", 0.06, code)
            ),
            "event_subtype": series.text(["Scheduled Call", "Event"], (kind != 0).astype(np.int64)),
            "location": series.text(
                places, self.dice.below("place", len(places), code), self.dice.happens("no place", 0.3, code)
            ),
            "is_all_day_event": series.flag(all_day),
            "start_date_time": series.moment(start),
            "end_date_time": series.moment(start + minutes * 60),
            "activity_date": series.day(day),
            "duration_in_minutes": series.integer(minutes),
            "is_archived": series.flag(versions.has(ARCHIVED)),
            "created_by_id": user_ids(link.owner),
            "last_modified_by_id": user_ids(link.owner),
        }
