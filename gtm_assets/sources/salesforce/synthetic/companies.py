"""Contacts and leads, and what follows from the code of a company: its name, size, people and owner."""

from __future__ import annotations

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Bits, Floats, Ints
from gtm_assets.sources.salesforce.synthetic.clock import NEVER, day_of, workday, working_instant
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.names import (
    DEPARTMENTS,
    INDUSTRIES,
    LEAD_SOURCE_WEIGHTS,
    LEAD_SOURCES,
    RATINGS,
    TITLES,
)
from gtm_assets.sources.salesforce.synthetic.people import pick_user, user_ids
from gtm_assets.sources.salesforce.synthetic.recipe import NOBODY, Columns, Recipe, with_deletion
from gtm_assets.sources.salesforce.synthetic.timeline import TOUCHED, Happening, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import CONVERSIONS_PER, Members, World

_MOVED, _TITLE, _DEPARTMENT, _PHONE = 8, 9, 10, 11
LEAD_STATUSES = ["New", "Working", "Nurturing", "Qualified", "Unqualified"]
_WORKED, _PARKED, _CONVERTED, _DROPPED, _RATED = 8, 9, 10, 11, 12


# These follow from a code alone. Other modules need them too.


def lead_company(world: World, lead: Ints) -> Bits:
    """64 bits that name the lead's company. If it joins an account that exists, they are the account's."""
    dice = world.dice("lead")
    conversion = world.conversion_of(lead)
    joins = (conversion >= 0) & (conversion % CONVERSIONS_PER["account"] != 0)
    joined = company(world, lead_account(world, lead))
    return np.where(joins, joined, dice.bits("company", lead))


def lead_account(world: World, lead: Ints) -> Ints:
    """The account, older than the lead, that a conversion would use (always of an even code)."""
    known = world.arrivals["account"].known(world.arrivals["lead"].day(lead))
    return world.dice("lead").below("account", known, lead) * 2


def company(world: World, account: Ints) -> Bits:
    """64 bits that name the company of an account."""
    lead = world.converting_lead(world.conversion_behind("account", account))
    own = world.dice("account").bits("company", account)
    return np.where(world.is_converted(account), world.dice("lead").bits("company", lead), own)


def company_size(world: World, account: Ints) -> Floats:
    """Employees of an account when it is created: log-normal, 3 to 200,000."""
    lead = world.converting_lead(world.conversion_behind("account", account))
    own = world.dice("account").normal("size", account)
    normal = np.where(world.is_converted(account), world.dice("lead").normal("size", lead), own)
    return np.clip(np.exp(4.6 + 1.7 * normal), 3, 200_000)


def person(world: World, contact: Ints) -> Bits:
    """64 bits that name a contact: the lead's, where it was one."""
    lead = world.converting_lead(world.conversion_behind("contact", contact))
    own = world.dice("contact").bits("person", contact)
    return np.where(world.is_converted(contact), world.dice("lead").bits("person", lead), own)


def account_of_conversion(world: World, conversion: Ints) -> Ints:
    """The account of each conversion: a new one every tenth time."""
    each = CONVERSIONS_PER["account"]
    existing = lead_account(world, world.converting_lead(conversion))
    return np.where(conversion % each == 0, conversion // each * 2 + 1, existing)


def contact_account(world: World, contact: Ints) -> Ints:
    """The account at which a contact works at first."""
    day = world.arrivals["contact"].day(contact >> 1)
    own = world.pick("account", day, world.dice("contact").unit("account", contact))
    converted = account_of_conversion(world, world.conversion_behind("contact", contact))
    return np.where(world.is_converted(contact), converted, own)


def contact_email(world: World, contact: Ints) -> pl.Series:
    """Email address of each contact."""
    firm = company(world, contact_account(world, contact))
    return world.names.mailbox(person(world, contact)) + "@" + world.names.domain(firm)


def account_owner(world: World, account: Ints, turn: Ints | int = 0) -> Ints:
    """The user who owns an account after ``turn`` changes of owner."""
    return pick_user(world, "account", "owner", world.created_day("account", account), account, turn)


def colleagues(world: World, until: int) -> Members:
    """Contacts by account, complete to day ``until``."""
    until = world.horizon(until)

    def make() -> Members:
        codes = world.codes_between("contact", 0, until)
        return Members(contact_account(world, codes), world.created_day("contact", codes), codes)

    return world.kept(("colleagues", until), make)


class Contacts(Recipe):
    """Contacts. One that was a lead keeps the lead's name and address."""

    name = "contact"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """Contacts of both sources."""
        return self.world.codes_between("contact", first, last)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """About 1 % of the contacts change in a day."""
        created = self.world.created_at("contact", codes)
        kinds = {_TITLE: 22, _DEPARTMENT: 10, _MOVED: 6, _PHONE: 22, TOUCHED: 40}
        slow = self.slow_changes(codes, created, until, 100, kinds)
        span = self.deletion(codes, created, 0.012, 500)
        return with_deletion([slow], created, span)

    def columns(self, versions: Versions) -> Columns:
        """Title, department and account change now and then."""
        code, world, names = versions.codes, self.world, self.world.names
        who = person(world, code)
        account = self._account(versions)
        owner = self.owner(versions)
        place = self.dice.below("place", len(names.cities), code)
        boss = colleagues(world, int(world.created_day("contact", code).max(initial=0))).pick(
            contact_account(world, code), world.created_day("contact", code), self.dice.unit("boss", code)
        )
        lead = world.converting_lead(world.conversion_behind("contact", code))
        source = np.where(
            world.is_converted(code),
            lead_source(world, lead),
            self.dice.one_of("source", LEAD_SOURCE_WEIGHTS, code),
        )
        return {
            "account_id": ids("001", account),
            "owner_id": user_ids(owner),
            "reports_to_id": ids("003", np.where(self.dice.happens("has boss", 0.25, code), boss, NOBODY)),
            "first_name": names.first_name(who),
            "last_name": names.last_name(who),
            "name": names.full_name(who),
            "email": contact_email(world, code),
            "phone": names.phone(
                self.dice.bits("phone", code, versions.count(_PHONE)), self.dice.happens("no phone", 0.2, code)
            ),
            "mobile_phone": names.phone(
                self.dice.bits("mobile", code), self.dice.happens("no mobile", 0.55, code)
            ),
            "title": self._title(versions),
            "department": self._department(versions),
            "lead_source": series.text(
                LEAD_SOURCES, source, self.dice.happens("no source", 0.2, code) & ~world.is_converted(code)
            ),
            "mailing_city": series.text(names.cities, place, self.dice.happens("no address", 0.2, code)),
            "mailing_state": series.text(names.states, place, self.dice.happens("no address", 0.2, code)),
            "mailing_country": series.text(names.countries, place, self.dice.happens("no address", 0.2, code)),
            "has_opted_out_of_email": series.flag(self.dice.happens("opted out", 0.05, code)),
            "last_activity_date": series.day(
                np.maximum(day_of(versions.stamp) - self.dice.below("idle", 20, code, versions.number), 0),
                versions.number == 0,
            ),
            "created_by_id": user_ids(owner),
            "last_modified_by_id": user_ids(owner),
        }

    def owner(self, versions: Versions) -> Ints:
        """The user who owns the contact: the first owner of its first account."""
        return account_owner(self.world, contact_account(self.world, versions.codes))

    def _account(self, versions: Versions) -> Ints:
        code, turn = versions.codes, versions.count(_MOVED)
        first = contact_account(self.world, code)
        day = self.world.created_day("contact", code)
        other = self.world.pick("account", day, self.dice.unit("next account", code, turn))
        return np.where(turn > 0, other, first)

    def _title(self, versions: Versions) -> pl.Series:
        turn = versions.count(_TITLE)
        first = self.dice.below("title", len(TITLES), versions.codes)
        missing = self.dice.happens("no title", 0.12, versions.codes) & (turn == 0)
        return series.text(TITLES, (first + 7 * turn) % len(TITLES), missing)

    def _department(self, versions: Versions) -> pl.Series:
        turn = versions.count(_DEPARTMENT)
        first = self.dice.below("department", len(DEPARTMENTS), versions.codes)
        missing = self.dice.happens("no department", 0.25, versions.codes) & (turn == 0)
        return series.text(DEPARTMENTS, (first + 3 * turn) % len(DEPARTMENTS), missing)


def lead_source(world: World, lead: Ints) -> Ints:
    """Position in ``LEAD_SOURCES``."""
    return world.dice("lead").one_of("source", LEAD_SOURCE_WEIGHTS, lead)


class Leads(Recipe):
    """Leads. One in five converts; then it is not changed any more."""

    name = "lead"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """Leads in the order in which they came."""
        return self.world.arrivals["lead"].between(first, last)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """Worked within days; then parked, dropped or converted; else changed about once in 100 days."""
        created = self.world.arrivals["lead"].created(codes, self.dice.bits("created", codes))
        day = day_of(created)
        converted = self.world.conversion_at(self.world.conversion_of(codes))
        converts = converted < NEVER

        def soon(field: str, days_from: int, days: int, share: float) -> Ints:
            at = working_instant(
                workday(day + days_from + self.dice.below(f"{field} day", days, codes)),
                self.dice.bits(field, codes),
            )
            return np.where(self.dice.happens(f"is {field}", share, codes), at, NEVER)

        worked = soon("worked", 1, 4, 0.85)
        parked = np.where(converts, NEVER, soon("parked", 8, 25, 0.35))
        dropped = np.where(converts, NEVER, soon("dropped", 20, 60, 0.4))
        slow = self.slow_changes(codes, created, until, 100, {TOUCHED: 60, _RATED: 40})
        span = self.deletion(codes, created, 0.012, 400, may=~converts)
        events: list[Happening] = [(_WORKED, worked), (_PARKED, parked), (_DROPPED, dropped), slow]
        silenced: list[Happening] = [
            (kind, np.where(at > _as(at, converted) - 120, NEVER, at)) for kind, at in events
        ]
        return with_deletion([*silenced, (_CONVERTED, converted)], created, span)

    def columns(self, versions: Versions) -> Columns:
        """Status follows what was done with the lead; the converted ids appear with the conversion."""
        code, world, names = versions.codes, self.world, self.world.names
        who = self.dice.bits("person", code)
        firm = lead_company(world, code)
        size = np.clip(np.exp(4.6 + 1.7 * self.dice.normal("size", code)), 3, 200_000).astype(np.int64)
        owner = pick_user(world, "lead", "owner", world.arrivals["lead"].day(code), code)
        converted = versions.has(_CONVERTED)
        conversion = np.where(converted, world.conversion_of(code), NOBODY)
        return {
            "first_name": names.first_name(who),
            "last_name": names.last_name(who),
            "name": names.full_name(who),
            "company": names.company(firm),
            "email": names.mailbox(who) + "@" + names.domain(firm),
            "phone": names.phone(self.dice.bits("phone", code), self.dice.happens("no phone", 0.25, code)),
            "title": series.text(
                TITLES, self.dice.below("title", len(TITLES), code), self.dice.happens("no title", 0.15, code)
            ),
            "lead_source": series.text(LEAD_SOURCES, lead_source(world, code)),
            "status": series.text(LEAD_STATUSES, self._status(versions)),
            "rating": series.text(
                RATINGS,
                self.dice.below("rating", 3, code, versions.count(_RATED)),
                self.dice.happens("no rating", 0.3, code),
            ),
            "industry": series.text(
                INDUSTRIES,
                self.dice.below("industry", len(INDUSTRIES), code),
                self.dice.happens("no industry", 0.2, code),
            ),
            "number_of_employees": series.integer(size, self.dice.happens("no size", 0.15, code)),
            "annual_revenue": series.money(size * 150_000 * 100, self.dice.happens("no revenue", 0.4, code)),
            "country": series.text(names.countries, self.dice.below("place", len(names.countries), code)),
            "owner_id": user_ids(owner),
            "is_converted": series.flag(converted),
            "converted_date": series.day(world.conversion_day(np.maximum(conversion, 0)), ~converted),
            "converted_account_id": ids(
                "001", np.where(converted, account_of_conversion(world, np.maximum(conversion, 0)), NOBODY)
            ),
            "converted_contact_id": ids("003", np.where(converted, conversion * 2 + 1, NOBODY)),
            "converted_opportunity_id": ids("006", self._opportunity(conversion)),
            "legacy_score_c": series.integer(
                self.dice.below("score", 100, code), self.dice.happens("no score", 0.3, code)
            ),
            "created_by_id": user_ids(owner),
            "last_modified_by_id": user_ids(owner),
        }

    @staticmethod
    def _opportunity(conversion: Ints) -> Ints:
        each = CONVERSIONS_PER["opportunity"]
        makes_one = (conversion >= 0) & (conversion % each == 0)
        return np.where(makes_one, conversion // each * 2 + 1, NOBODY)

    @staticmethod
    def _status(versions: Versions) -> Ints:
        """Position in ``LEAD_STATUSES``."""
        status = np.where(versions.has(_WORKED), 1, 0)
        status = np.where(versions.has(_PARKED), 2, status)
        status = np.where(versions.has(_DROPPED), 4, status)
        return np.where(versions.has(_CONVERTED), 3, status)


def _as(shape_of: Ints, instants: Ints) -> Ints:
    return instants if shape_of.ndim == 1 else instants[:, None]
