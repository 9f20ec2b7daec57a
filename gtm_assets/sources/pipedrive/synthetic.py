"""A synthetic export, in step with the synthetic Salesforce org: some of its people and companies are here too.

It is a pure function of (seed, scale, instant) and takes the same way as an export in a folder: as CSV. Like a
real one it has repeated rows, activities that share an id, activities of deals of which no change is known, deals
that enter a stage again or have two times of creation, and companies in another spelling or not in Salesforce.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random
from typing import Literal

import polars as pl

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.partitions import Window
from gtm_assets.sources.pipedrive.export import Extract, extract
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets.sources.salesforce.synthetic.clock import EPOCH

STAGES = (
    "Lead Generation",
    "Qualified Lead",
    "Needs Assessment",
    "Proposal/Quote Preparation",
    "Negotiation",
    "Closing",
    "Implementation/Onboarding",
    "Follow-up/Customer Success",
    "Renewal/Expansion",
)
TYPES = (
    ("meeting", "Sales Call 1", "Yes"),
    ("sc_2", "Sales Call 2", "Yes"),
    ("follow_up", "Follow Up Call", "Yes"),
    ("after_close_call", "After Close Call", "No"),
)
LOST_REASONS = (
    "Customer Not Ready",
    "Pricing Issues",
    "Unreachable Customer",
    "Product Mismatch",
    "Duplicate Entry",
)
FIELDS = (
    ("add_time", "Deal created", ()),
    ("user_id", "Owner", ()),
    ("stage_id", "Stage", STAGES),
    ("lost_reason", "Lost Reason", LOST_REASONS),
    ("org_name", "Organization", ()),
    ("person_name", "Contact person", ()),
    ("person_email", "Email", ()),
)
DEALS = (15_000, 300, 1_000)
"""Deals of the first two years by scale, and the fewest and most at any scale: each extraction makes all anew."""
SPAN = timedelta(days=731)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)

_GOES_ON = 0.72
_GOES_BACK = 0.08
_LOST = 0.6
"""Shares: of stays in a stage that go on, that go back first; of those that do not go on, that are lost."""
_REPEATED = 0.01
_ADDED_TWICE = 0.04
_SHARED_ID = 0.01
_RESCHEDULED = 0.1
_OWN_COMPANY = 0.15
_OTHER_SPELLING = 0.25
_STRAY = 1.5
"""Activities of unknown deals for each of a known one."""


@dataclass(frozen=True)
class _Change:
    deal_id: int
    at: datetime
    key: str
    value: str


@dataclass(frozen=True)
class _Activity:
    id: int
    deal_id: int
    type: str
    user: int
    made_at: datetime
    due: datetime
    moved_at: datetime
    moved_due: datetime
    done_at: datetime


class SyntheticExport:
    """Exports that are a pure function of (seed, scale, instant). A later one holds all of an earlier one."""

    origin: Literal["synthetic"] = "synthetic"

    def __init__(self, seed: int = 1, scale: float = 0.01) -> None:
        """Nothing is made before it is asked for."""
        self.seed, self.scale = seed, scale
        self._kept: tuple[int, list[_Change], list[_Activity]] = (0, [], [])

    def known_at(self, window: Window) -> datetime:
        """The window's end: made-up records are seen when their day is over."""
        return window.end

    def extract(self, table: RawTable, window: Window) -> Extract:
        """All rows of a table, exported at the window's end."""
        content = self.csv(table, window.end)
        fingerprint = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return extract(table, content, window.end, fingerprint, f"the synthetic {table.api_name}")

    def csv(self, table: RawTable, instant: datetime) -> bytes:
        """The file of a table as exported at an instant."""
        rows = list(getattr(self, f"_{table.name}")(instant))
        header = [column.api_name for column in table.columns if column.api_name]
        texts = io.BytesIO()
        pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row").write_csv(texts)
        return texts.getvalue()

    # -- the files ----------------------------------------------------------------------------------------------

    def _activity(self, instant: datetime) -> Iterator[tuple[str, ...]]:
        for activity in self._story(instant)[1]:
            if activity.made_at < instant:
                due = activity.moved_due if activity.moved_at < instant else activity.due
                yield (
                    str(activity.id),
                    activity.type,
                    str(activity.user),
                    str(activity.deal_id),
                    str(activity.done_at < instant),
                    f"{due:%Y-%m-%dT%H:%M:%S}",
                )

    def _activity_types(self, _instant: datetime) -> Iterator[tuple[str, ...]]:
        yield from ((str(n), name, active, type_) for n, (type_, name, active) in enumerate(TYPES, 1))

    def _deal_changes(self, instant: datetime) -> Iterator[tuple[str, ...]]:
        for change in self._story(instant)[0]:
            if change.at < instant:
                row = (str(change.deal_id), f"{change.at:%Y-%m-%d %H:%M:%S}", change.key, change.value)
                yield row
                if self._dice(*row).random() < _REPEATED:
                    yield row

    def _fields(self, _instant: datetime) -> Iterator[tuple[str | None, ...]]:
        for n, (key, name, labels) in enumerate(FIELDS, 1):
            options = ", ".join(f'{{"id": {i}, "label": "{label}"}}' for i, label in enumerate(labels, 1))
            yield str(n), key, name, f"[{options}]" if labels else None

    def _stages(self, _instant: datetime) -> Iterator[tuple[str, ...]]:
        yield from ((str(n), name) for n, name in enumerate(STAGES, 1))

    def _users(self, _instant: datetime) -> Iterator[tuple[str, ...]]:
        modified = f"{EPOCH:%Y-%m-%d %H:%M:%S}"
        for n, (name, email) in enumerate(self._people_who_sell, 1):
            yield str(n), name, email, modified

    # -- the story ----------------------------------------------------------------------------------------------

    def _dice(self, *of: object) -> Random:
        return Random(f"{self.seed} {of}")

    def _story(self, instant: datetime) -> tuple[list[_Change], list[_Activity]]:
        """The changes and activities of all deals made before an instant, with what comes of them later."""
        per_scale, fewest, most = DEALS
        total = min(max(round(per_scale * self.scale), fewest), most)
        deals = max(0, int((instant - EPOCH) / SPAN * total) + 1)
        made, changes, activities = self._kept
        for deal in range(made, deals):
            self._add_deal(deal, EPOCH + SPAN * (deal / total), changes, activities)
        self._kept = (max(made, deals), changes, activities)
        return changes, activities

    def _add_deal(self, deal: int, at: datetime, changes: list[_Change], activities: list[_Activity]) -> None:
        dice, deal_id = self._dice("deal", deal), 100_001 + deal
        created = at = (at + timedelta(minutes=dice.randrange(600))).replace(microsecond=0)
        user = 1 + dice.randrange(len(self._people_who_sell))
        company, person, email = self._buyer(dice, deal)

        def change(key: str, value: object) -> None:
            changes.append(_Change(deal_id, at, key, str(value)))

        change("add_time", f"{created:%Y-%m-%d %H:%M:%S}")
        for key, value in (
            *(("user_id", user), ("org_name", company), ("person_name", person), ("person_email", email)),
            ("stage_id", 1),
        ):
            change(key, value)
        self._meet(dice, activities, deal_id, user, at, "follow_up")
        stage = 1
        while stage < len(STAGES):
            at += timedelta(hours=dice.randrange(12, 24 * 30))
            if dice.random() < _ADDED_TWICE:
                change("add_time", f"{created:%Y-%m-%d %H:%M:%S}")
            if stage > 1 and dice.random() < _GOES_BACK:
                change("stage_id", stage - 1)
                at += timedelta(hours=dice.randrange(12, 24 * 10))
                change("stage_id", stage)
                continue
            if dice.random() >= _GOES_ON:
                if dice.random() < _LOST:
                    change("lost_reason", 1 + dice.randrange(len(LOST_REASONS)))
                return
            stage += 1
            change("stage_id", stage)
            if stage in (2, 3, 7):
                type_ = {2: "meeting", 3: "sc_2", 7: "after_close_call"}[stage]
                self._meet(dice, activities, deal_id, user, at, type_)

    def _meet(
        self, dice: Random, activities: list[_Activity], deal_id: int, user: int, at: datetime, type_: str
    ) -> None:
        """An activity of a deal, and others of deals of which nothing else is known."""
        self._add_activity(dice, activities, deal_id, user, at, type_)
        for _ in range(int(_STRAY + dice.random())):
            unknown, kind = 900_000 + dice.randrange(90_000), TYPES[dice.randrange(len(TYPES))][0]
            self._add_activity(dice, activities, unknown, user, at, kind)

    def _add_activity(
        self, dice: Random, activities: list[_Activity], deal_id: int, user: int, at: datetime, type_: str
    ) -> None:
        id_ = 500_001 + len(activities)
        if activities and dice.random() < _SHARED_ID and activities[-1].deal_id != deal_id:
            id_ = activities[-1].id
        due = at + timedelta(minutes=dice.randrange(60, 60 * 24 * 7))
        is_moved = dice.random() < _RESCHEDULED
        moved_at = due - timedelta(minutes=30) if is_moved else NEVER
        moved_due = due + timedelta(days=1 + dice.randrange(20)) if is_moved else due
        done_at = moved_due + timedelta(hours=1) if dice.random() < 0.8 else NEVER
        activities.append(_Activity(id_, deal_id, type_, user, at, due, moved_at, moved_due, done_at))

    # -- who sells and who buys ---------------------------------------------------------------------------------

    def _buyer(self, dice: Random, deal: int) -> tuple[str, str, str]:
        """Company, person and email address."""
        if dice.random() < _OWN_COMPANY or not self._people_who_buy:
            return f"Pipeworks {deal}", f"Robin Walker {deal}", f"robin.walker@pipeworks-{deal}.example"
        company, person, email = self._people_who_buy[dice.randrange(len(self._people_who_buy))]
        if dice.random() < _OTHER_SPELLING:
            company = dice.choice((company.upper(), f"{company}, Inc.", f"  {company.lower()}"))
        return company, person, email

    @cached_property
    def _org(self) -> dict[str, pl.DataFrame]:
        """Users, accounts and contacts that the org has from the first day on."""
        org = SyntheticOrg(self.seed, self.scale)
        first = Window("", None, EPOCH + timedelta(days=1))
        tables = {table.name: table for table in OBJECTS}
        return {
            name: pl.concat(org.snapshot(tables[name], first)).sort("id")
            for name in ("user", "account", "contact")
        }

    @cached_property
    def _people_who_sell(self) -> list[tuple[str, str]]:
        users = self._org["user"].filter(pl.col("department") == "Sales", pl.col("email").is_not_null())
        return [*users.select("name", "email").iter_rows(), ("Sam Rivers", "sam.rivers@pipedrive-only.example")]

    @cached_property
    def _people_who_buy(self) -> list[tuple[str, str, str]]:
        accounts = self._org["account"].filter(~pl.col("is_deleted")).select("id", account_name="name")
        contacts = self._org["contact"].filter(~pl.col("is_deleted"), pl.col("email").is_not_null())
        both = contacts.join(accounts, left_on="account_id", right_on="id", maintain_order="left")
        return list(both.select("account_name", "name", "email").iter_rows())
