"""Campaigns, the people in them, and their share in deals."""

from __future__ import annotations

import numpy as np

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints
from gtm_assets.sources.salesforce.synthetic.clock import NEVER, day_of, workday, working_instant
from gtm_assets.sources.salesforce.synthetic.companies import colleagues
from gtm_assets.sources.salesforce.synthetic.deals import all_deals, deals_of, final_amount
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.people import pick_user, user_ids
from gtm_assets.sources.salesforce.synthetic.recipe import NOBODY, Columns, Recipe, with_deletion
from gtm_assets.sources.salesforce.synthetic.timeline import TOUCHED, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

CAMPAIGN_TYPES = ["Webinar", "Conference", "Email", "Advertisement", "Partners", "Content", "Other"]
CAMPAIGN_STATUSES = ["Planned", "In Progress", "Completed", "Aborted"]
MODELS = 2
"""Influence models: credit by touch, and even credit."""
_STARTED, _ENDED, _SPENT = 8, 9, 10
_RESPONDED = 8
_TOUCHES = 3
_PLACES = 8
_INFLUENCED_SHARE = 0.055
_CREDIT = np.array([[100, 0, 0], [60, 40, 0], [50, 30, 20]])
_EVEN_CREDIT = np.array([[100, 0, 0], [50, 50, 0], [34, 33, 33]])


def campaign_days(world: World, codes: Ints) -> tuple[Ints, Ints]:
    """First and last day of each campaign."""
    dice = world.dice("campaign")
    start = world.arrivals["campaign"].day(codes) + 7 + dice.below("start", 30, codes)
    return start, start + 3 + dice.below("length", 75, codes)


def _campaign_type(world: World, codes: Ints) -> Ints:
    return world.dice("campaign").one_of("type", (25, 12, 28, 14, 6, 12, 3), codes)


class Campaigns(Recipe):
    """Campaigns. They are planned, run and end; their costs grow while they run."""

    name = "campaign"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """Campaigns in the order in which they were planned."""
        return self.world.arrivals["campaign"].between(first, last)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """A campaign starts and ends, and changes about once in 100 days."""
        created = self.world.arrivals["campaign"].created(codes, self.dice.bits("created", codes))
        start, end = campaign_days(self.world, codes)
        started = working_instant(workday(start), self.dice.bits("started", codes))
        ended = working_instant(workday(end) + 7, self.dice.bits("ended", codes))
        slow = self.slow_changes(codes, created, until, 100, {_SPENT: 1, TOUCHED: 1})
        span = self.deletion(codes, created, 0.012, 300)
        return with_deletion([(_STARTED, started), (_ENDED, ended), slow], created, span)

    def columns(self, versions: Versions) -> Columns:
        """Status, whether active, costs."""
        code, n, world, names = versions.codes, len(versions.codes), self.world, self.world.names
        start, end = campaign_days(world, code)
        kind = _campaign_type(world, code)
        started, ended = versions.has(_STARTED), versions.has(_ENDED)
        aborted = ended & self.dice.happens("aborted", 0.06, code)
        status = np.where(ended, np.where(aborted, 3, 2), started * 1)
        budget = (np.exp(9.3 + 0.9 * self.dice.normal("budget", code))).astype(np.int64) // 100 * 100
        spent_share = np.minimum(started * 30 + versions.count(_SPENT) * 20 + ended * 40, 115)
        day = world.arrivals["campaign"].day(code)
        parent = self.dice.below("parent", np.maximum(code // 2, 1), code)
        has_parent = (
            self.dice.happens("has parent", 0.15, code)
            & (day > 0)
            & (parent < world.arrivals["campaign"].known(day))
        )
        owner = user_ids(pick_user(world, "campaign", "owner", day, code))
        word = series.text(names.catchwords, self.dice.below("name", len(names.catchwords), code))
        return {
            "name": word + ", " + series.text(CAMPAIGN_TYPES, kind) + " " + series.day(start).dt.strftime("%Y-%m"),
            "parent_id": ids("701", np.where(has_parent, parent, NOBODY)),
            "owner_id": owner,
            "type": series.text(CAMPAIGN_TYPES, kind),
            "status": series.text(CAMPAIGN_STATUSES, status),
            "is_active": series.flag(started & ~ended),
            "start_date": series.day(start),
            "end_date": series.day(end, self.dice.happens("no end", 0.05, code)),
            "budgeted_cost": series.money(budget * 100, self.dice.happens("no budget", 0.1, code)),
            "actual_cost": series.money(budget * spent_share, ~started),
            "expected_revenue": series.money(
                budget * 100 * (3 + self.dice.below("return", 12, code)), self.dice.happens("no plan", 0.2, code)
            ),
            "expected_response": series.number(5 + self.dice.below("response", 30, code)),
            "number_sent": series.integer(np.where(started, 50 + self.dice.below("sent", 5000, code), 0)),
            "description": series.text(
                names.sentences,
                self.dice.below("text", len(names.sentences), code),
                self.dice.happens("no text", 0.3, code),
            ),
            "created_by_id": owner,
            "last_modified_by_id": user_ids(np.zeros(n, np.int64)),
        }


class CampaignMembers(Recipe):
    """People in campaigns: each person once in a campaign, a lead or a contact."""

    name = "campaign_member"
    ages = ((0, 65),)

    def codes(self, first: int, last: int) -> Ints:
        """Members in the order in which they joined; who would join a campaign again does not."""
        codes = self.world.arrivals["campaign_member"].between(first, last)
        return codes[self._joins(last)[codes]] if len(codes) else codes

    def _joins(self, until: int) -> Flags:
        """Of every member's code up to a day: True where none before it is the same person in that campaign."""
        until = self.world.horizon(until)

        def make() -> Flags:
            codes = self.world.arrivals["campaign_member"].between(0, until)
            campaign, lead, contact = self._who(codes)
            people = campaign * (1 << 42) + np.where(lead >= 0, lead * 2, contact * 2 + 1)
            joins = np.zeros(len(codes), bool)
            joins[np.unique(people, return_index=True)[1]] = True
            return joins

        return self.world.kept(("joins", until), make)

    def _who(self, codes: Ints) -> tuple[Ints, Ints, Ints]:
        """Campaign, lead and contact of each member (one of the last two is -1). Newer campaigns are fuller."""
        day = self.world.arrivals["campaign_member"].day(codes)
        known = self.world.arrivals["campaign"].known(day)
        age = self.dice.unit("campaign", codes) ** 2.5
        campaign = np.maximum(known - 1 - (age * known).astype(np.int64), 0)
        is_lead = self.dice.happens("is lead", 0.6, codes)
        lead = self.dice.below("lead", self.world.arrivals["lead"].known(day), codes)
        contact = self.world.pick("contact", day, self.dice.unit("contact", codes))
        return campaign, np.where(is_lead, lead, NOBODY), np.where(is_lead, NOBODY, contact)

    def _responds(self, codes: Ints) -> Ints:
        """Day of the first response, NEVER for those who do not respond."""
        day = self.world.arrivals["campaign_member"].day(codes)
        day = workday(day + 1 + (self.dice.unit("response", codes) ** 2 * 30).astype(np.int64))
        campaign, *_ = self._who(codes)
        share = np.array([0.4, 0.5, 0.18, 0.1, 0.3, 0.25, 0.2])[_campaign_type(self.world, campaign)]
        return np.where(self.dice.happens("responds", share, codes), day, NEVER)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """Something is sent to the member, who may respond within a month."""
        created = self.world.arrivals["campaign_member"].created(codes, self.dice.bits("created", codes))
        day = self._responds(codes)
        answered = working_instant(np.minimum(day, 10**6), self.dice.bits("answered", codes))
        answered = np.where(day < NEVER, answered, NEVER)
        span = self.deletion(codes, created, 0.01, 45)
        return with_deletion([(_RESPONDED, answered)], created, span)

    def columns(self, versions: Versions) -> Columns:
        """Person and response."""
        code = versions.codes
        campaign, lead, contact = self._who(code)
        responded = versions.has(_RESPONDED)
        by = user_ids(pick_user(self.world, self.name, "by", self.world.arrivals[self.name].day(code), code))
        return {
            "campaign_id": ids("701", campaign),
            "lead_id": ids("00Q", lead),
            "contact_id": ids("003", contact),
            "status": series.text(["Sent", "Responded"], responded.astype(np.int64)),
            "has_responded": series.flag(responded),
            "first_responded_date": series.day(day_of(versions.last(_RESPONDED)), ~responded),
            "created_by_id": by,
            "last_modified_by_id": by,
        }


class CampaignInfluences(Recipe):
    """Shares of won deals that are credited to campaigns: they add up to 100 per cent for a deal and model."""

    name = "campaign_influence"
    ages = ((0, 600),)

    def codes(self, first: int, last: int) -> Ints:
        """The shares of the few influenced deals: one to three campaigns each, in one or two models."""
        deals = all_deals(self.world, last)
        touched = (
            deals.won
            & (deals.deleted == NEVER)
            & (deals.created_day >= first)
            & (deals.created_day <= last)
            & self._is_influenced(deals.codes)
        )
        deals = deals.take(touched)
        touches = self._touches(deals.codes, deals.created_day)
        models = 1 + self.dice.happens("two models", 0.5, deals.codes)
        place = np.arange(_PLACES)[None, :]
        real = (place % 4 < touches[:, None]) & (place // 4 < models[:, None])
        rows, places = np.nonzero(real)
        return deals.codes[rows] * _PLACES + places

    def _is_influenced(self, codes: Ints) -> Flags:
        return self.dice.happens("influenced", _INFLUENCED_SHARE, codes)

    def _touches(self, deal: Ints, day: Ints) -> Ints:
        campaigns = self.world.arrivals["campaign"].known(day)
        return np.minimum(1 + self.dice.one_of("touches", (50, 30, 20), deal), campaigns)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """It is made within the hour after the deal was won. Afterwards only the system touches it."""
        closed = deals_of(self.world, codes // _PLACES).closed
        created = closed + 300 + self.dice.below("wait", 3000, codes)
        again = working_instant(
            day_of(closed) + 1 + self.dice.below("touch", 20, codes), self.dice.bits("touched", codes)
        )
        return Timeline.of(
            created, [(TOUCHED, np.where(self.dice.happens("has touch", 0.2, codes), again, NEVER))]
        )

    def columns(self, versions: Versions) -> Columns:
        """Campaign, contact, per cent and amount; the last share takes what rounding leaves."""
        code, n, world = versions.codes, len(versions.codes), self.world
        deal, place, model = code // _PLACES, code % 4, code % _PLACES // 4
        deals = deals_of(world, deal)
        touches = self._touches(deal, deals.created_day)
        credit = np.where(model[:, None] == 0, _CREDIT[touches - 1], _EVEN_CREDIT[touches - 1])
        percent = credit[np.arange(n), place]
        amount = final_amount(world, deals)
        shares = amount[:, None] * credit // 100
        rest = amount - np.where(np.arange(_TOUCHES)[None, :] < place[:, None], shares, 0).sum(axis=1)
        cents = np.where(place == touches - 1, rest, shares[np.arange(n), place])
        known = world.arrivals["campaign"].known(deals.created_day)
        campaign = (self.dice.below("campaign", known, deal) + place) % known
        contact = colleagues(world, int(deals.created_day.max(initial=0))).pick(
            deals.account, deals.created_day, self.dice.unit("contact", deal, place)
        )
        return {
            "campaign_id": ids("701", campaign),
            "opportunity_id": ids("006", deal),
            "contact_id": ids("003", contact),
            "model_id": ids("03V", model),
            "influence": series.number(percent),
            "revenue_share": series.money(cents),
            "created_by_id": user_ids(np.zeros(n, np.int64)),
            "last_modified_by_id": user_ids(np.zeros(n, np.int64)),
        }
