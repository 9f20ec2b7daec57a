"""Random change logs, drawn by hypothesis: few records, few instants and few values, so that what is rare in life
abounds. Versions with an equal time, values that change and change back, nulls, deletes and returns, versions
found days late or of a day that is not over, versions that come again, formula fields changed under the same
cursor, dangling references.

A build costs seconds, a history next to nothing: :func:`examples` draws thousands, which share one build.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.lake.landing import Landing
from gtm_assets_tests.dbt_harness import CREATED, PIPEDRIVE, TABLES, Home, at, partition, with_ancestors

T = TypeVar("T")
Record = dict[str, object]

ALL_TABLES = TABLES | PIPEDRIVE
"""The raw tables of both sources."""

_PREFIXES = {
    "account": "001",
    "contact": "003",
    "user": "005",
    "opportunity": "006",
    "lead": "00Q",
    "task": "00T",
    "event": "00U",
    "campaign": "701",
}
IDS = {"account": 12, "user": 6, "contact": 8, "opportunity": 20, "task": 30, "event": 20, "email_message": 20}
"""How many records of a table there are."""
_OTHERS = 30
"""How many of another: so many that the newest version of some changes under its cursor and back."""


def examples(what: st.SearchStrategy[T], count: int, salt: str) -> list[T]:
    """So many examples of a strategy, in random order; in each run the same, unless exploring."""
    found: list[T] = []

    @seed(zlib.crc32(salt.encode()) if settings.default.derandomize else random.SystemRandom().getrandbits(64))
    @settings(
        max_examples=max(count, 200),
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(what)
    def draw(example: T) -> None:
        found.append(example)

    # A strategy with few different examples ends early.
    while len(found) < count:
        draw()
    # Neighbours resemble each other, and the first ones are poor.
    random.Random(salt).shuffle(found)
    return found[:count]


def id_of(table: str, number: int | None) -> str | None:
    """A record's id, with the first characters that tell its table; None for no record."""
    return None if number is None else f"{_PREFIXES.get(table, table[:3])}{number:015d}"


def _ids(table: str) -> list[str | None]:
    """References to the table's records, to one that never comes, and to none."""
    return [*(id_of(table, number) for number in range(IDS.get(table, _OTHERS))), id_of(table, 999), None]


def _column(name: str, *values: object) -> list[Record]:
    return [{name: value} for value in values]


_HAPPENED = (None, CREATED, *(at(day, hours) for day in (3, 8, 15, 22) for hours in (1, 3, 8)))
_VARIANTS: dict[str, list[list[Record]]] = {
    "account": [
        _column("industry", "a", "b", None),
        _column("annual_revenue", None, 5, 6, 2_000_000),
        _column("rating", "Hot", "Cold"),
        _column("name", "Acme", "Birch", *[None] * 6),
        _column("created_date", CREATED, CREATED, at(4), None),
    ],
    "user": [_column("division", "a", "b", None), _column("email", "x", "y")],
    "contact": [
        _column("title", "a", "b", None),
        _column("account_id", *_ids("account")),
        _column("email", "x", "y"),
    ],
    "opportunity": [
        [
            {"stage_name": "A", "forecast_category": "Pipeline", "is_closed": False, "is_won": False},
            {"stage_name": "B", "forecast_category": "Omitted", "is_closed": False, "is_won": False},
            {"stage_name": "C", "forecast_category": None, "is_closed": None, "is_won": None},
            {"stage_name": "Won", "forecast_category": "Closed", "is_closed": True, "is_won": True},
            {"stage_name": "Lost", "forecast_category": "Omitted", "is_closed": True, "is_won": False},
        ],
        _column("owner_id", *_ids("user")),
        _column("amount", None, 100, 200),
        _column("created_date", CREATED, at(3), at(9), None),
        _column("close_date", *(date(2026, 1, day) for day in (4, 9, 16, 30))),
        _column("last_stage_change_date", None, at(2), at(10)),
    ],
    "opportunity_field_history": [
        _column("opportunity_id", *_ids("opportunity")),
        _column("created_by_id", *_ids("user")),
        [
            *(
                {"field": "StageName", "old_value": old, "new_value": new}
                for old, new in ("AB", "BC", ("Won", "A"))
            ),
            {"field": "Amount", "old_value": None, "new_value": "100"},
            {"field": "CloseDate", "old_value": "2026-01-04", "new_value": "2026-01-30"},
            {"field": "OwnerId", "data_type": "EntityId", "old_value": id_of("user", 1), "new_value": None},
            {"field": "created"},
        ],
    ],
    "opportunity_stage": [
        _column("api_name", "A", "B", "Won"),
        _column("forecast_category", "Pipeline", "Omitted"),
        _column("default_probability", 10.0, 20.0),
        _column("sort_order", 1, 2),
        _column("is_closed", True, False),
        _column("is_active", True, False),
    ],
    "task": [
        _column("owner_id", *_ids("user")),
        _column("account_id", *_ids("account")),
        _column("who_id", *_ids("contact"), id_of("lead", 1)),
        [{"is_closed": False}, *({"is_closed": True, "completed_date_time": when} for when in _HAPPENED)],
    ],
    "event": [
        _column("owner_id", *_ids("user")),
        _column("account_id", *_ids("account")),
        _column("who_id", *_ids("contact"), id_of("lead", 1)),
        _column("start_date_time", *_HAPPENED),
        _column("is_all_day_event", True, False, None),
        _column("activity_date", None, date(2026, 1, 5)),
    ],
    "email_message": [
        _column("created_by_id", *_ids("user")),
        _column("related_to_id", *_ids("account"), id_of("opportunity", 1), id_of("campaign", 1)),
        _column("message_date", *_HAPPENED),
    ],
    "pipedrive.deal_changes": [
        _column("deal_id", 1, 2, 3, 4),
        [
            *({"changed_field_key": "org_name", "new_value": name} for name in ("Acme", "birch inc", "Cedar", "")),
            {"changed_field_key": "stage_id", "new_value": "1"},
            {"changed_field_key": "stage_id", "new_value": "8"},
        ],
    ],
    "forecasting_item": [
        _column("owner_id", *_ids("user")),
        _column("forecast_amount", None, 1, 2),
        _column("forecast_category_name", "Commit", None),
    ],
}


def _variants(table: str) -> list[list[Record]]:
    """The columns that vary in a table and their values. Where nothing is listed, its first texts and numbers."""
    if table in _VARIANTS:
        return _VARIANTS[table]
    values = {
        ColumnType.STRING: ("a", "b", None),
        ColumnType.INTEGER: (1, 2, None),
        ColumnType.DATE: (None, date(2026, 1, 5)),
    }
    types = {name: type_ for name, type_ in ALL_TABLES[table].types.items() if name != "id" and type_ in values}
    return [_column(name, *values[type_]) for name, type_ in list(types.items())[:3]]


@dataclass(frozen=True)
class Version:
    """A version of a record, as it is found on some day."""

    number: int
    """Which of the table's records."""
    days_ago: int
    hours: int
    """When it was modified: so many days before the day whose partition finds it, or after it where the source's
    clock is ahead, at an hour of few."""
    values: Record
    deleted: bool | None
    again: tuple[str, int] | None
    """Not a new version, but one of those drawn before, counted from the last: the 'same', or with its cursor
    and other values ('formula'), or as it was before such a change ('back'), or with its cursor and 'deleted'."""

    def record(self, table: str, day: int, earlier: Sequence[Record]) -> Record:
        """As the source returns it on a day, where it returned the records in ``earlier`` before."""
        raw = ALL_TABLES[table]
        if self.again and earlier:
            how, back = self.again
            first: dict[object, Record] = {}
            for record in earlier:
                first.setdefault((record["id"], record[raw.cursor]), record)
            if how == "back":
                earlier = [r for r in earlier if r != first[r["id"], r[raw.cursor]]] or earlier
            before = earlier[-1 - back % len(earlier)]
            if how == "back":
                return first[before["id"], before[raw.cursor]]
            if how == "same":
                return before
            if how == "deleted":
                return before | {raw.deletes.value: True}
            return before | self.values
        created = {"created_date": CREATED} if "created_date" in raw.types else {}
        # A change's own cursor is the time of its creation: it has but one version, and marks.
        days_ago = self.days_ago if day > self.days_ago else 0
        return {
            "id": id_of(table, self.number),
            **created,
            **self.values,
            raw.cursor: at(day - days_ago, self.hours),
            raw.deletes.value: self.deleted,
        }


def versions(table: str) -> st.SearchStrategy[Version]:
    """Versions of the table's few records."""
    again = st.tuples(st.sampled_from(["same", "formula", "back", "back", "deleted"]), st.integers(0, 30))
    values = [st.sampled_from(variant) for variant in _variants(table)]
    return st.builds(
        Version,
        number=st.integers(0, IDS.get(table, _OTHERS) - 1),
        days_ago=st.sampled_from([0, 0, 0, 0, 0, 0, 1, 1, 5, -1]),
        hours=st.sampled_from([0, 1, 3, 8]),
        values=st.tuples(*values).map(lambda chosen: dict(chain.from_iterable(c.items() for c in chosen))),
        deleted=st.sampled_from([False, False, False, False, None, True]),
        again=st.one_of(st.none(), again),
    )


@dataclass
class ChangeLog:
    """What was landed in a home, and what was built in it, in order: for a failure's message."""

    home: Home
    salt: str
    """Of two logs with the same one the same versions are drawn."""
    drawn: dict[str, list[Record]] = field(default_factory=dict)
    told: list[tuple[str | set[str], str]] = field(default_factory=list)
    """What happened, with the id of the record that was landed, or with the models that were built."""
    _feeds: dict[str, Iterator[Version]] = field(default_factory=dict)

    def draw(self, table: str, day: int, count: int) -> list[Record]:
        """The next versions of a table, as the source returns them for a day's partition."""
        before = self.drawn.setdefault(table, [])
        for _ in range(count):
            before.append(self._next(table).record(table, day, before))
        return before[len(before) - count :]

    def land(
        self,
        table: str,
        day: int,
        records: Sequence[Record],
        known_at: datetime | None = None,
        until: datetime | None = None,
    ) -> Landing:
        """Land records in a day's partition; with ``until`` early, those that there were by then."""
        landing = self.home.land(table, partition(day), *records, known_at=known_at, until=until)
        for record in records:
            said = ", ".join(f"{k}={_short(v)}" for k, v in record.items() if k != "id")
            self.told.append((str(record["id"]), f"landed {partition(day)} as {landing.batch_id}: {said}"))
        return landing

    def build(self, *models: str, note: str = "") -> None:
        """Build the models."""
        self.told.append((set(models), f"built {note or ' '.join(models)}"))
        self.home.build(*models)

    def explain(self, model: str, found: Counter[tuple], expected: Counter[tuple]) -> str:
        """Where a table differs: the differing record with the shortest story, its rows and that story."""
        rows = {"found": found - expected, "expected": expected - found}
        ids = {id_ for id_, _ in self.told if isinstance(id_, str)}
        about: dict[str | None, list[tuple[str, tuple]]] = {}
        for name, row in ((name, row) for name, those in rows.items() for row in those):
            about.setdefault(next((v for _, v in row if v in ids), None), []).append((name, row))
        landings = Counter(id_ for id_, _ in self.told if isinstance(id_, str))
        record = min(about, key=lambda id_: landings[id_])
        read = {*with_ancestors(model)}
        lines = [f"{model} differs in {len(about)} records. What happened to {record}:"]
        lines += [
            f"  {told}" for what, told in self.told if (read & what if isinstance(what, set) else what == record)
        ]
        lines += [f"{name}: {dict(row)}" for name, row in about[record]]
        return "\n".join(lines)

    def _next(self, table: str) -> Version:
        if table not in self._feeds:
            draws = (examples(versions(table), 200, f"{self.salt} {table} {again}") for again in itertools.count())
            self._feeds[table] = chain.from_iterable(draws)
        return next(self._feeds[table])


def assert_equal(log: ChangeLog, found: Home, expected: Mapping[str, Counter[tuple]]) -> None:
    """A home's tables are the expected ones, bookkeeping aside; else the story of a record that differs."""
    tables = found.tables(*expected)
    differing = [model for model in expected if tables[model] != expected[model]]
    story = [log.explain(model, tables[model], expected[model]) for model in differing[:1]]
    assert not differing, "\n".join([f"different: {', '.join(differing)}", *story])


def _short(value: object) -> str:
    return f"{value:%m-%d %H:%M}" if isinstance(value, datetime) else str(value)
