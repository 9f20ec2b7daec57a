"""Accounts: companies that grow, change hands and become customers."""

from __future__ import annotations

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints
from gtm_assets.sources.salesforce.synthetic.clock import NEVER, day_of, workday, working_instant
from gtm_assets.sources.salesforce.synthetic.companies import account_owner, company, company_size
from gtm_assets.sources.salesforce.synthetic.deals import first_wins
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.names import INDUSTRIES, LEAD_SOURCE_WEIGHTS, LEAD_SOURCES, RATINGS
from gtm_assets.sources.salesforce.synthetic.people import user_ids
from gtm_assets.sources.salesforce.synthetic.recipe import NOBODY, Columns, Recipe, with_deletion
from gtm_assets.sources.salesforce.synthetic.timeline import TOUCHED, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import office_day

SEGMENTS = ["Startup", "SMB", "Mid-Market", "Enterprise"]
_SEGMENT_FROM = np.array([50, 250, 2000])
"""Employees from which a company is in the next segment."""
ACCOUNT_TYPES = ["Prospect", "Customer", "Former Customer", "Partner"]
_GREW, _OWNER, _INDUSTRY, _RATED, _WON, _LAPSED = 8, 9, 10, 11, 12, 13


class Accounts(Recipe):
    """Accounts. They grow, change hands, and become customers with their first won deal."""

    name = "account"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """Accounts of both sources."""
        return self.world.codes_between("account", first, last)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """About 1 % of the accounts change in a day."""
        created = self.world.created_at("account", codes)
        kinds = {_GREW: 42, _OWNER: 14, _INDUSTRY: 5, _RATED: 14, TOUCHED: 25}
        slow = self.slow_changes(codes, created, until, 100, kinds)
        won = first_wins(self.world, codes, until)
        lapse_day = office_day(won) + 380 + self.dice.below("lapse", 300, codes)
        lapses = (won < NEVER) & self.dice.happens("lapses", 0.15, codes)
        lapsed = np.where(lapses, working_instant(workday(lapse_day), self.dice.bits("lapsed", codes)), NEVER)
        span = self.deletion(codes, created, 0.012, 500)
        won = np.where(won < NEVER, won + 300, NEVER)
        return with_deletion([slow, (_WON, won), (_LAPSED, lapsed)], created, span)

    def columns(self, versions: Versions) -> Columns:
        """Employees, revenue, segment and industry change as the company grows."""
        code, world, names = versions.codes, self.world, self.world.names
        firm = company(world, code)
        employees = self._employees(versions)
        place = self.dice.below("place", len(names.cities), code)
        owner = self.owner(versions)
        first_owner = account_owner(world, code)
        revenue = (employees * self.dice.between("revenue", 60, 300, code)).astype(np.int64) * 1000 * 100
        day = world.created_day("account", code)
        older = world.pick("account", day, self.dice.unit("parent", code))
        nothing = ~self.dice.happens("has parent", 0.06, code) | (older == code) | (day == 0)
        return {
            "name": names.company(firm),
            "type": series.text(ACCOUNT_TYPES, self._type(versions)),
            "parent_id": ids("001", np.where(nothing, NOBODY, older)),
            "owner_id": user_ids(owner),
            "record_type_id": ids("012", self._is_partner(code).astype(np.int64)),
            "industry": self._industry(versions),
            "segment_c": series.text(SEGMENTS, np.searchsorted(_SEGMENT_FROM, employees, side="right")),
            "annual_revenue": series.money(revenue, self.dice.happens("no revenue", 0.12, code)),
            "number_of_employees": series.integer(employees, self.dice.happens("no employees", 0.04, code)),
            "rating": series.text(
                RATINGS,
                self.dice.below("rating", 3, code, versions.count(_RATED)),
                self.dice.happens("no rating", 0.3, code),
            ),
            "account_source": series.text(
                LEAD_SOURCES,
                self.dice.one_of("source", LEAD_SOURCE_WEIGHTS, code),
                self.dice.happens("no source", 0.25, code),
            ),
            "website": "https://www." + names.domain(firm),
            "phone": names.phone(self.dice.bits("phone", code), self.dice.happens("no phone", 0.1, code)),
            "billing_street": series.text(names.streets, self.dice.below("street", len(names.streets), code)),
            "billing_city": series.text(names.cities, place),
            "billing_state": series.text(names.states, place),
            "billing_postal_code": pl.Series(10_000 + self.dice.below("post code", 89_999, code)).cast(pl.String),
            "billing_country": series.text(names.countries, place),
            "description": series.text(
                names.sentences,
                self.dice.below("text", len(names.sentences), code),
                self.dice.happens("no text", 0.6, code),
            ),
            "last_activity_date": series.day(
                np.maximum(day_of(versions.stamp) - self.dice.below("idle", 12, code, versions.number), 0),
                versions.number == 0,
            ),
            "created_by_id": user_ids(first_owner),
            "last_modified_by_id": user_ids(owner),
        }

    def owner(self, versions: Versions) -> Ints:
        """The user who owns the account in the version."""
        return account_owner(self.world, versions.codes, versions.count(_OWNER))

    def _employees(self, versions: Versions) -> Ints:
        """Each step of growth is −6 % to +25 %, the same for one company."""
        step = self.dice.between("growth", -0.06, 0.22, versions.codes)
        size = company_size(self.world, versions.codes) * np.exp(step * versions.count(_GREW))
        return np.clip(np.rint(size), 2, 900_000).astype(np.int64)

    def _industry(self, versions: Versions) -> pl.Series:
        first = self.dice.below("industry", len(INDUSTRIES), versions.codes)
        now = (first + 5 * versions.count(_INDUSTRY)) % len(INDUSTRIES)
        return series.text(INDUSTRIES, now, self.dice.happens("no industry", 0.06, versions.codes))

    def _is_partner(self, codes: Ints) -> Flags:
        return self.dice.happens("is partner", 0.06, codes)

    def _type(self, versions: Versions) -> Ints:
        """Position in ``ACCOUNT_TYPES``."""
        kind = np.where(versions.has(_WON), 1, 0)
        kind = np.where(versions.has(_LAPSED), 2, kind)
        return np.where(self._is_partner(versions.codes), 3, kind)
