"""The pipeline's waterfall: what dbt builds of random histories is what plain Python makes of their days."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import strategies as st

from gtm_assets.engines.files import connect
from gtm_assets.partitions import boundary
from gtm_assets_tests.change_logs import Record, examples
from gtm_assets_tests.dbt_harness import CREATED, Home, account, describe, opportunity, user, with_ancestors

pytestmark = pytest.mark.slow

FIRST = date(2026, 1, 27)
"""Partition that lands first: weeks end on 1 and 8 February, a month and a fiscal quarter on 31 January."""
DAYS = 11
MODELS = ("rep_pipeline_waterfall", "rep_slipped_deals", "fct_pipeline_snapshot")
VARIABLES = {"reporting_currency": "USD", "fiscal_year_start_month": 2}
TESTS = (
    "pipeline_changes_between_owners_and_dates_come_to_nothing",
    "pipeline_changes_explain_the_snapshots",
    "pipeline_waterfalls_balance",
    "pipeline_waterfalls_start_and_end_with_the_snapshots",
    "slipped_deals_are_the_pushes_of_the_history",
)
RATES = [("EUR", date(2026, 1, 1), Decimal("1.1")), ("EUR", date(2026, 2, 1), Decimal("1.234567"))]
STATES: dict[str, Record] = {
    "pipeline": {"stage_name": "A", "forecast_category": "Pipeline", "is_closed": False, "is_won": False},
    "omitted": {"stage_name": "B", "forecast_category": "Omitted", "is_closed": False, "is_won": False},
    "won": {"stage_name": "Won", "forecast_category": "Closed", "is_closed": True, "is_won": True},
    "lost": {"stage_name": "Lost", "forecast_category": "Omitted", "is_closed": True, "is_won": False},
    "deleted": {"is_deleted": True},
}
AMOUNTS = (*map(Decimal, ("100", "100.01", "0.333333", "-50", "0")), None)
CLOSE_DATES = (
    *(date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 2), date(2026, 2, 8)),
    *(date(2026, 3, 31), date(2026, 4, 30), date(2026, 5, 1), None),
)
MOVEMENTS = {
    *("Created", "First seen", "Reopened", "Restored", "Included", "Transferred in", "Transferred out"),
    *("Increased", "Decreased", "Pulled in", "Pushed out", "Revalued", "Won", "Lost", "Omitted", "Deleted"),
}


def moment(number: int, hours: float = 6):
    """An instant of a partition: so many hours after its beginning."""
    return boundary(FIRST + timedelta(days=number)) + timedelta(hours=hours)


def deals() -> st.SearchStrategy[list[tuple[int, Record]]]:
    """Versions of one deal: how many partitions after the first each was made, and what it says.

    Several may be of one day, of which the last counts.
    """
    version = st.fixed_dictionaries(
        {
            "state": st.sampled_from(["pipeline"] * 5 + list(STATES)),
            "owner": st.sampled_from([1, 1, 2, 3, None]),
            "amount": st.sampled_from(AMOUNTS),
            "close_date": st.sampled_from(CLOSE_DATES),
            "currency_iso_code": st.sampled_from(["EUR", "EUR", "USD"]),
        }
    )
    keep = st.sets(st.sampled_from(["state", "owner", "amount", "close_date", "currency_iso_code"]), max_size=4)
    step = st.tuples(st.integers(0, DAYS - 1), version, keep)

    def put_together(drawn) -> list[tuple[int, Record]]:
        is_old, account_number, steps = drawn
        steps = sorted(steps, key=lambda step: step[0])
        created = CREATED if is_old else moment(steps[0][0])
        made, said = [], {}
        for number, (day, version, kept) in enumerate(steps):
            said = version | {name: said[name] for name in kept if name in said}
            owner = said["owner"] and f"005{said['owner']:015d}"
            values = {name: said[name] for name in ("amount", "close_date", "currency_iso_code")}
            changes = {"owner_id": owner, "account_id": f"001{account_number:015d}", "created_date": created}
            record = opportunity(0, moment(day, 6 + number / 10), **values, **changes, **STATES[said["state"]])
            made.append((day, record))
        return made

    return st.tuples(st.booleans(), st.integers(1, 3), st.lists(step, min_size=1, max_size=7)).map(put_together)


def land(home: Home, count: int) -> None:
    log: dict[int, list[Record]] = {day: [] for day in range(DAYS)}
    for number, made in enumerate(examples(deals(), count, "waterfall")):
        for day, version in made:
            log[day].append(version | {"id": opportunity(number, CREATED)["id"]})
    first = moment(0)
    # The third owner is nobody's: a user who has not landed.
    for table, records in {
        "user": [user(1, first), user(2, first, manager_id=user(1, first)["id"])],
        "account": [account(1, first), account(2, first, segment_c="SMB"), account(3, first, segment_c=None)],
    }.items():
        home.land(table, FIRST.isoformat(), *records)
    for day, records in log.items():
        home.land("opportunity", (FIRST + timedelta(days=day)).isoformat(), *records)


@pytest.fixture(scope="module", params=[200, pytest.param(3000, marks=pytest.mark.nightly)])
def home(request, tmp_path_factory) -> Home:
    """Random histories. With February the rate of a currency changes, and a fiscal year begins."""
    home = Home(tmp_path_factory.mktemp("pipeline") / "gtm").seed()
    with connect(home.path / "warehouse.duckdb", read_only=False) as warehouse:
        warehouse.execute("delete from gtm_staging.currency_rates")
        warehouse.executemany("insert into gtm_staging.currency_rates values (?, ?, ?)", RATES)
    land(home, request.param)
    home.build(*with_ancestors(*MODELS), variables=VARIABLES)
    return home


@dataclass(frozen=True)
class Day:
    """A deal at the end of a day on which it was open, or closed."""

    deal: str
    date_day: date
    owner: str
    is_pipeline: bool
    is_closed: bool
    is_won: bool
    currency: str | None
    amount: Decimal | None
    converted: Decimal | None
    close_date: date | None
    created: date

    @property
    def worth(self) -> Decimal:
        return self.converted or Decimal(0)

    def worth_if_due(self, close_date: date | None) -> Decimal:
        """The amount by the rate of another close date."""
        if self.currency != "EUR" or self.amount is None:
            return self.amount or Decimal(0)
        rates = [rate for _, since, rate in RATES if close_date and since <= close_date]
        return (self.amount * rates[-1]).quantize(Decimal("0.000001"), "ROUND_HALF_UP") if rates else Decimal(0)


def histories(home: Home) -> dict[str, list[Day]]:
    found: dict[str, list[Day]] = defaultdict(list)
    for row in home.rows(
        "select opportunity_id, date_day, owner_user_key, is_open_pipeline, is_closed, is_won, currency_iso_code,"
        " amount, amount_converted, close_date, created_date"
        " from staging.gtm_intermediate.int_opportunity_days order by 1, 2"
    ):
        found[row[0]].append(Day(*row))
    return found


Change = tuple[date, str, str, date | None, Decimal]
"""Day, movement, owner, close date and amount."""


def changes_of(days: list[Day], first: date, last: date) -> Iterator[Change]:
    """What an accountant would write down of one deal, who holds the amount of one owner due on one date."""
    by_day = {day.date_day: day for day in days}
    held: Day | None = by_day.get(first)
    held = held if held and held.is_pipeline else None
    for today in (first + timedelta(days=number) for number in range(1, (last - first).days + 1)):
        day = by_day.get(today)
        past = [d for d in days if d.date_day < today]
        if held is None and day is not None:
            comes = None
            if not past and day.created >= today and (day.is_pipeline or day.is_closed):
                comes = "Created"
            elif day.is_pipeline and not past:
                comes = "First seen"
            elif day.is_pipeline and past[-1].is_closed:
                comes = "Reopened"
            elif day.is_pipeline and past[-1].date_day < today - timedelta(days=1):
                comes = "Restored"
            elif day.is_pipeline:
                comes = "Included"
            if comes:
                yield today, comes, day.owner, day.close_date, day.worth
                held = day
        elif held is not None and day is not None:
            amount, at_old_rate = held.worth, day.worth_if_due(held.close_date)
            if day.owner != held.owner:
                yield today, "Transferred out", held.owner, held.close_date, -amount
                yield today, "Transferred in", day.owner, held.close_date, amount
            if at_old_rate != amount:
                movement = "Increased" if at_old_rate > amount else "Decreased"
                yield today, movement, day.owner, held.close_date, at_old_rate - amount
            if day.close_date != held.close_date:
                never = date.max
                earlier = (day.close_date or never) < (held.close_date or never)
                movement = "Pulled in" if earlier else "Pushed out"
                yield today, movement, day.owner, held.close_date, -at_old_rate
                yield today, movement, day.owner, day.close_date, at_old_rate
            if day.worth != at_old_rate:
                yield today, "Revalued", day.owner, day.close_date, day.worth - at_old_rate
            held = day
        elif held is not None:
            yield today, "Deleted", held.owner, held.close_date, -held.worth
            held = None
        if held is not None and not held.is_pipeline:
            leaves = "Omitted" if not held.is_closed else "Won" if held.is_won else "Lost"
            yield today, leaves, held.owner, held.close_date, -held.worth
            held = None


def bounds(home: Home) -> tuple[date, date]:
    ((first, last),) = home.rows(
        "select min(date_day), max(date_day) from staging.gtm_intermediate.int_opportunity_days"
    )
    return first, last


def test_changes_of_random_histories_are_what_their_days_say(home):
    first, last = bounds(home)
    expected = {deal: sorted(changes_of(days, first, last), key=str) for deal, days in histories(home).items()}
    built: dict[str, list[Change]] = defaultdict(list)
    for deal, *change in home.rows(
        "select opportunity_id, date_day, movement, owner_user_key, close_date, amount"
        " from gtm_core.fct_pipeline_change"
    ):
        built[deal].append(tuple(change))

    wrong = [deal for deal in expected if sorted(built[deal], key=str) != expected[deal]]
    shortest = min(wrong, key=lambda deal: len(expected[deal]), default="")
    assert not wrong, f"{len(wrong)} deals, such as {built[shortest]}, expected {expected[shortest]}"
    assert built.keys() <= expected.keys()
    assert {movement for those in built.values() for _, movement, *_ in those} == MOVEMENTS


def test_waterfalls_of_random_histories_are_their_changes_and_balance(home):
    """Start, each movement and end of each period, by owner and side of its end, from the days alone."""
    first, last = bounds(home)
    days = histories(home)
    periods = home.rows(
        "select pipeline_period_key, period_type, period_end_date, opening_day, closing_day"
        " from staging.gtm_intermediate.int_pipeline_periods"
    )
    expected: Counter[tuple] = Counter()
    for those in days.values():
        changes = list(changes_of(those, first, last))
        for key, _, end, opening, closing in periods:

            def due(close_date: date | None, end: date = end) -> bool:
                return close_date is not None and close_date <= end

            for day in those:
                for which, boundary_day in (("start", opening), ("end", closing)):
                    if day.is_pipeline and day.date_day == boundary_day:
                        expected[key, day.owner, due(day.close_date), which] += day.worth
            for today, movement, owner, close_date, amount in changes:
                if opening < today <= closing:
                    name = movement.lower().replace(" ", "_")
                    expected[key, owner, due(close_date), name] += amount
    names = ("start", *(m.lower().replace(" ", "_") for m in sorted(MOVEMENTS)), "end")
    sums = ", ".join(f"sum({name}_amount)" for name in names)
    rows = home.rows(
        f"select pipeline_period_key, owner_user_key, is_due, {sums}"
        " from gtm_mart.rep_pipeline_waterfall group by all"
    )
    built = {(*row[:3], name): value for row in rows for name, value in zip(names, row[3:], strict=True)}

    assert {key: value for key, value in built.items() if value} == {k: v for k, v in expected.items() if v}
    assert [row for row in rows if sum(row[3:-1]) != row[-1]] == []
    assert Counter(period[1] for period in periods) == {"Week": 10, "Month": 3, "Quarter": 2}
    pulled = [row for row in built if row[3] == "pulled_in" and built[row]]
    assert {row[2] for row in pulled} == {True, False}


def test_a_quarter_is_the_sum_of_its_months(home):
    """Only the side of the end differs, and so what is pulled in and pushed out over it."""
    names = [m.lower().replace(" ", "_") for m in sorted(MOVEMENTS - {"Pulled in", "Pushed out"})]
    sums = ", ".join(f"sum({name}_amount)" for name in ("start", "end", *names))
    months, quarters = (
        home.rows(
            "select period_start_date, period_end_date, opening_day, closing_day, owner_user_key,"
            f" coalesce(segment, ''), {sums} from gtm_mart.rep_pipeline_waterfall"
            f" where period_type = '{kind}' group by all order by opening_day"
        )
        for kind in ("Month", "Quarter")
    )
    told = {(*row[2:6],): row[6:] for row in quarters}
    expected: dict[tuple, list[Decimal]] = {}
    for start, end, opening, closing in {row[:4] for row in quarters}:
        within = [row for row in months if start <= row[0] <= end]
        for *_, owner, segment in {row[:6] for row in within}:
            own = [row for row in within if row[4:6] == (owner, segment)]
            began = sum((row[6] for row in own if row[2] == opening), Decimal(0))
            ended = sum((row[7] for row in own if row[3] == closing), Decimal(0))
            moved = [sum(column) for column in zip(*(row[8:] for row in own), strict=True)]
            expected[opening, closing, owner, segment] = [began, ended, *moved]

    assert {key: [*values] for key, values in told.items()} == expected
    assert {row[1] for row in quarters} == {date(2026, 1, 31), date(2026, 4, 30)}
    assert len({row[1] for row in months}) == 3


FAULTS = {
    "update gtm_core.fct_pipeline_movement set amount = amount + 0.01"
    " where pipeline_movement_key = (select min(pipeline_movement_key) from gtm_core.fct_pipeline_movement)": {
        "pipeline_waterfalls_balance",
    },
    "update gtm_mart.rep_pipeline_waterfall set end_amount = end_amount + 0.01"
    " where pipeline_waterfall_key = (select min(pipeline_waterfall_key) from gtm_mart.rep_pipeline_waterfall)": {
        "pipeline_waterfalls_balance",
        "pipeline_waterfalls_start_and_end_with_the_snapshots",
    },
    # One cent goes from an owner's start to another's: in all it balances.
    """update gtm_mart.rep_pipeline_waterfall as row
    set start_amount = start_amount + moved.amount
    from (
        select min_by(pipeline_waterfall_key, owner_user_key) as key, 0.01 as amount
        from gtm_mart.rep_pipeline_waterfall where period_type = 'Quarter' and is_latest
        union all
        select max_by(pipeline_waterfall_key, owner_user_key), -0.01
        from gtm_mart.rep_pipeline_waterfall where period_type = 'Quarter' and is_latest
    ) as moved
    where row.pipeline_waterfall_key = moved.key""": {
        "pipeline_waterfalls_balance",
        "pipeline_waterfalls_start_and_end_with_the_snapshots",
    },
    "delete from gtm_core.fct_pipeline_change where movement = 'Lost'": {"pipeline_changes_explain_the_snapshots"},
    "update gtm_core.fct_pipeline_change set amount = 2 * amount where movement = 'Pushed out' and amount > 0": {
        "pipeline_changes_between_owners_and_dates_come_to_nothing",
        "pipeline_changes_explain_the_snapshots",
    },
    "delete from gtm_mart.rep_slipped_deals where is_last_push": {"slipped_deals_are_the_pushes_of_the_history"},
    "update gtm_core.fct_pipeline_snapshot set amount = amount + 0.01 where date_day = '2026-02-01'": {
        "pipeline_changes_explain_the_snapshots",
        "pipeline_waterfalls_start_and_end_with_the_snapshots",
    },
}


def test_a_cent_that_does_not_balance_fails_the_tests_of_dbt(home):
    result = home.dbt("test", "--select", *TESTS, variables=VARIABLES)
    ran = {test.node.name: test for test in result.result.results if test.node.resource_type == "test"}
    assert {name: test.status for name, test in ran.items()} == dict.fromkeys(TESTS, "pass"), describe(result)

    found = {}
    with connect(home.path / "warehouse.duckdb", read_only=False) as warehouse:
        for fault in FAULTS:
            warehouse.execute("begin")
            warehouse.execute(fault)
            found[fault] = {
                name for name, test in ran.items() if warehouse.execute(test.node.compiled_code).fetchall()
            }
            warehouse.execute("rollback")

    assert found == FAULTS
