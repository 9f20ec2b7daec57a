"""Users and their roles: a tree of representatives, managers, vice presidents and one chief."""

from __future__ import annotations

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Flags, Ints
from gtm_assets.sources.salesforce.synthetic.clock import DAY, NEVER, day_of, morning, workday, working_instant
from gtm_assets.sources.salesforce.synthetic.ids import HIDDEN, ids
from gtm_assets.sources.salesforce.synthetic.recipe import NOBODY, Columns, Recipe
from gtm_assets.sources.salesforce.synthetic.timeline import TOUCHED, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

TEAM = 8
"""A manager and seven representatives."""
REGION = 64
"""A vice president's part of the tree."""
DIVISIONS = ["North", "South", "East", "West", "Central", "Northeast", "EMEA"]
DIVISION_WEIGHTS = (20, 20, 20, 20, 12, 5, 3)
PHASES = ["Phase1", "Phase2", "Phase3", "Complete", "Phase4", "In Review"]
"""The last values of both lists are not in the picklists: old orgs have such values."""
DEPARTMENTS = ["Sales", "Customer Success", "Marketing", "Support", "Operations"]
ROLES = [
    # name, role above, user who stands for its forecast
    ("Chief Revenue Officer", NOBODY, 0),
    ("VP Sales", 0, NOBODY),
    ("Sales Manager", 1, 1),
    ("Account Executive", 2, NOBODY),
    ("VP Customer Success", 0, NOBODY),
    ("Customer Success Manager", 4, NOBODY),
    ("Marketing Manager", 0, NOBODY),
    ("Marketing Specialist", 6, NOBODY),
    ("Support Manager", 4, NOBODY),
    ("Support Engineer", 8, NOBODY),
    ("Operations Manager", 0, NOBODY),
    ("Operations Analyst", 10, NOBODY),
]
_MANAGER_ROLE = np.array([2, 5, 6, 8, 10])
_REP_ROLE = np.array([3, 5, 7, 9, 11])
_TITLES = ["Chief Revenue Officer", "Vice President", "Manager", "Representative", "Senior Representative"]
_DIVISION, _PHASE, _TITLE, _MANAGER, _LEFT = 8, 9, 10, 11, 12


def is_chief(user: Ints) -> Flags:
    """True for the chief and the vice presidents."""
    chief: Flags = user % REGION == 0
    return chief


def is_manager(user: Ints) -> Flags:
    """True for those who lead a team."""
    manager: Flags = user % TEAM == 1
    return manager


def department_of(user: Ints) -> Ints:
    """Position in ``DEPARTMENTS``: the first teams sell; later, one team in eight does."""
    team = np.maximum(user - 1, 0) // TEAM
    sells = (team < 4) | (team % 8 == 0) | is_chief(user)
    return np.where(sells, 0, 1 + team % 4)


def sells(user: Ints) -> Flags:
    """True for sales representatives: those who own deals and have a quota."""
    representative: Flags = (department_of(user) == 0) & ~is_chief(user) & ~is_manager(user)
    return representative


def left_at(world: World, user: Ints) -> Ints:
    """Instant at which a user becomes inactive; NEVER for those who stay. Managers stay."""
    dice = world.dice("user")
    day = workday(world.arrivals["user"].day(user) + 150 + dice.below("leaving day", 700, user))
    leaves = dice.happens("leaves", 0.14, user) & ~is_manager(user) & ~is_chief(user) & (user > 2)
    return np.where(leaves, working_instant(day, dice.bits("leaving", user)), NEVER)


def pick_user(world: World, table: str, field: str, day: Ints, key: Ints, turn: Ints | int = 0) -> Ints:
    """A sales representative who exists when ``day`` begins and is, as a rule, still active."""
    sellers, gone_day = world.kept("sellers", lambda: _sellers(world))
    n = np.maximum(np.searchsorted(sellers, world.arrivals["user"].known(day)), 1)
    dice = world.dice(table)
    turn = np.broadcast_to(np.asarray(turn), np.shape(key))
    chosen = dice.below(field, n, key, turn)
    for attempt in (1, 2, 3):
        gone = gone_day[chosen] <= day
        again = dice.below(f"{field} {attempt}", n, key, turn)
        chosen = np.where(gone, again, chosen)
    return sellers[chosen]


def _sellers(world: World) -> tuple[Ints, Ints]:
    """All sales representatives there will ever be, and the day on which each leaves."""
    users = np.arange(200_000)
    users = users[sells(users)]
    left = left_at(world, users)
    return users, np.where(left >= NEVER, NEVER, day_of(left))


def hide(world: World, table: str, field: str, codes: Ints, keys: Ints, share: float) -> Ints:
    """The codes, of which a small share is replaced by those of records that the org does not show to us."""
    dice = world.dice(table)
    hidden = dice.happens(field, share, keys) & (codes >= 0)
    return np.where(hidden, HIDDEN + dice.below(f"{field} who", 20, keys), codes)


def user_ids(codes: Ints) -> pl.Series:
    """Ids of users."""
    return ids("005", codes)


class Users(Recipe):
    """Users. In a region, its chief or vice president comes first. Those who leave become inactive."""

    name = "user"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """Users in the order in which they came."""
        return self.world.arrivals["user"].between(first, last)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """A change about every six weeks, until the user leaves."""
        created = self.world.arrivals["user"].created(codes, self.dice.bits("created", codes))
        kinds = {_DIVISION: 30, _PHASE: 35, _TITLE: 8, _MANAGER: 7, TOUCHED: 20}
        slow = self.slow_changes(codes, created, until, 45, kinds)
        left = left_at(self.world, codes)
        return Timeline.of(created, [slow, (_LEFT, left)], silent=(left, np.full(len(codes), NEVER)))

    def columns(self, versions: Versions) -> Columns:
        """Division and audit phase change most."""
        code, n = versions.codes, len(versions.codes)
        names = self.world.names
        person = self.dice.bits("person", code)
        mailbox = names.mailbox(person) + pl.Series(code).cast(pl.String) + "@gtm.example"
        return {
            "username": mailbox,
            "first_name": names.first_name(person),
            "last_name": names.last_name(person),
            "name": names.full_name(person),
            "email": mailbox,
            "title": series.text(_TITLES, self._title(versions)),
            "department": series.text(DEPARTMENTS, department_of(code)),
            "division": self._division(versions),
            "audit_phase_c": self._phase(versions),
            "manager_id": user_ids(self._manager(versions)),
            "user_role_id": ids("00E", self._role(code)),
            "user_type": series.constant("Standard", n),
            "is_active": series.flag(~versions.has(_LEFT)),
            "time_zone_sid_key": series.text(
                ["America/Los_Angeles", "America/New_York", "Europe/London"],
                self.dice.one_of("zone", (60, 25, 15), code),
            ),
            "last_login_date": series.moment(versions.stamp - 3 * 3600, versions.number == 0),
            "default_currency_iso_code": series.constant("USD", n),
            "created_by_id": user_ids(np.zeros(n, np.int64)),
            "last_modified_by_id": user_ids(np.zeros(n, np.int64)),
        }

    def _division(self, versions: Versions) -> pl.Series:
        turn = versions.count(_DIVISION)
        # A change never gives the same value again: the step from one to the next is 1 or 2.
        start = self.dice.one_of("division", DIVISION_WEIGHTS, versions.codes)
        odd = self.dice.happens("odd division", 0.12, versions.codes, turn) & (turn > 0)
        value = (start % 5 + turn * (1 + start % 2)) % 5
        return series.text(DIVISIONS, np.where(odd, 5 + turn % 2, value), is_chief(versions.codes))

    def _phase(self, versions: Versions) -> pl.Series:
        turn = versions.count(_PHASE)
        start = self.dice.below("phase", 4, versions.codes)
        odd = self.dice.happens("odd phase", 0.12, versions.codes, turn) & (turn > 0)
        value = np.where(odd, 4 + turn % 2, (start + turn) % 4)
        return series.text(PHASES, value, self.dice.happens("no phase", 0.05, versions.codes) & (turn == 0))

    def _title(self, versions: Versions) -> Ints:
        code = versions.codes
        own = np.where(versions.count(_TITLE) > 0, 4, 3)
        own = np.where(is_manager(code), 2, own)
        return np.where(code == 0, 0, np.where(is_chief(code), 1, own))

    def _manager(self, versions: Versions) -> Ints:
        code, turn = versions.codes, versions.count(_MANAGER)
        own = (np.maximum(code - 1, 0) // TEAM) * TEAM + 1
        teams = own // TEAM + 1
        # Those who change go to a team that is older than theirs.
        other = self.dice.below("manager", teams, code, turn) * TEAM + 1
        rep = np.where(turn > 0, other, own)
        above = np.where(is_manager(code), code // REGION * REGION, rep)
        return np.where(code == 0, NOBODY, np.where(is_chief(code), 0, above))

    @staticmethod
    def _role(code: Ints) -> Ints:
        department = department_of(code)
        own = np.where(is_manager(code), _MANAGER_ROLE[department], _REP_ROLE[department])
        return np.where(code == 0, 0, np.where(is_chief(code), 1, own))


class Roles(Recipe):
    """User roles: a fixed tree. The user who stands for a role's forecast is entered a day later."""

    name = "user_role"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """The roles of ``ROLES``."""
        return np.arange(len(ROLES)) if first <= 0 <= last else np.empty(0, np.int64)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """The roles are made before anything else, and changed once."""
        created = np.full(len(codes), morning(0, -7.95))
        return Timeline.of(created, [(8, created + DAY + 3600 * codes)])

    def columns(self, versions: Versions) -> Columns:
        """Name, role above and forecast user."""
        code = versions.codes
        names = [name for name, _, _ in ROLES]
        forecast = np.array([user for _, _, user in ROLES])[code]
        return {
            "name": series.text(names, code),
            "developer_name": series.text([name.replace(" ", "_") for name in names], code),
            "parent_role_id": ids("00E", np.array([above for _, above, _ in ROLES])[code]),
            "forecast_user_id": user_ids(np.where(versions.number > 0, forecast, NOBODY)),
            "rollup_description": series.text(names, code),
            "last_modified_by_id": user_ids(np.where(versions.number > 0, 0, NOBODY)),
        }
