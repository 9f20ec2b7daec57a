"""Days: where they end in every time zone, what lies between two of them, and the weeks that they are in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from gtm_assets.partitions import boundary
from gtm_assets_tests.dbt_harness import (
    CREATED,
    PIPEDRIVE,
    TABLES,
    Home,
    at,
    empty_tables,
    opportunity,
    partition,
    user,
    with_ancestors,
)

FIRST_DAY, LAST_DAY = "2000-01-01", "2040-12-31"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("time") / "gtm")


@pytest.fixture(scope="module")
def clock(home):
    """A connection with the project's macros on days and zones."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        macros = {
            "end_of_day": "day, zone",
            "local_date": "instant, zone",
            "partition_boundary": "day",
            "partition_of": "instant",
        }
        for macro, arguments in macros.items():
            call = "{{ " + f"{macro}({', '.join(repr(name) for name in arguments.split(', '))})" + " }}"
            compiled = home.dbt("compile", "--inline", call).result.results[0].node.compiled_code
            connection.execute(f"create macro {macro}({arguments}) as ({compiled})")
        yield connection


@pytest.fixture(scope="module")
def days(clock):
    """The same with ``days``: of each zone each day, when it begins and when it ends."""
    clock.execute(
        f"""create table days as
        with calendar as (
            select unnest(generate_series(date '{FIRST_DAY}' - 1, date '{LAST_DAY}', interval 1 day))::date as day
        ),
        ends as (
            select zones.name as zone, calendar.day, end_of_day(calendar.day, zones.name) as ends_at
            from pg_timezone_names() as zones
            cross join calendar
        )
        select
            zone,
            day,
            lag(ends_at) over (partition by zone order by day) + interval 1 microsecond as begins_at,
            ends_at
        from ends
        qualify begins_at is not null
        """
    )
    return clock


@pytest.mark.slow
def test_days_follow_on_each_other_in_every_zone(days):
    """A day begins and ends with an instant of its date, and the next instant has a later one."""
    day_count, zone_count = days.execute("select count(*), count(distinct zone) from days").fetchone()
    assert zone_count > 500
    assert day_count == zone_count * 14_976

    wrong = days.execute(
        """
        select zone, day, begins_at, ends_at
        from days
        where not case
            -- Who moves over the date line skips a day: it ends before it begins.
            when ends_at < begins_at
                then
                    ends_at + interval 1 microsecond = begins_at
                    and local_date(ends_at, zone) < day
                    and local_date(begins_at, zone) > day
            else
                local_date(begins_at, zone) = day
                and local_date(ends_at, zone) = day
                and local_date(ends_at + interval 1 microsecond, zone) > day
        end
        """
    ).fetchall()
    assert wrong == []


@pytest.mark.slow
def test_an_instant_has_the_date_of_the_day_that_it_lies_in(days):
    """But where clocks are put back over midnight and show the former date once more: there since 2011 nowhere."""
    days.execute(
        """create table instants as
        with changes as (
            select * from days where begins_at < ends_at and date_diff('minute', begins_at, ends_at) <> 1439
        ),
        steps as (
            select interval 10 minute * unnest(generate_series(0, 23)) as step
        )
        select zone, day, begins_at + step as instant from changes cross join steps
        union all
        select zone, day, ends_at - step from changes cross join steps
        """
    )
    later = days.execute("select * from instants where local_date(instant, zone) > day").fetchall()
    assert later == []

    former = days.execute(
        """
        select zone, min(extract(year from day)), max(extract(year from day))
        from instants
        where local_date(instant, zone) < day
        group by all
        order by all
        """
    ).fetchall()
    newfoundland = ["America/Goose_Bay", "America/St_Johns", "CNT", "Canada/Newfoundland"]
    others = [("America/Moncton", 2000, 2006), ("Antarctica/Casey", 2010, 2010)]
    assert former == sorted([*((zone, 2000, 2010) for zone in newfoundland), *others])


@pytest.mark.parametrize(
    ("zone", "day", "ended_at"),
    [
        # Clocks are put back from 1:00 to 0:00: midnight is twice, and the day ends with the first.
        ("Atlantic/Azores", "2026-10-24", "2026-10-24 23:59:59.999999"),
        ("America/Havana", "2026-10-31", "2026-11-01 03:59:59.999999"),
        # From 0:01 to 23:01 of the day before.
        ("America/St_Johns", "2010-11-06", "2010-11-07 02:29:59.999999"),
        # From 0:00 to 23:00: midnight is once, after the second hour.
        ("America/Sao_Paulo", "2018-02-17", "2018-02-18 02:59:59.999999"),
        # Put forward from 0:00 to 1:00: the day begins with 1:00.
        ("America/Sao_Paulo", "2018-11-03", "2018-11-04 02:59:59.999999"),
        # The day that Samoa skipped ends with the one before.
        ("Pacific/Apia", "2011-12-29", "2011-12-30 09:59:59.999999"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30 09:59:59.999999"),
    ],
)
def test_the_end_of_a_day_on_which_clocks_change(clock, zone, day, ended_at):
    found = clock.execute("select end_of_day(?::date, ?)::varchar", [day, zone]).fetchone()

    assert found == (f"{ended_at}+00",)


def test_partitions_follow_on_each_other_in_sql_as_in_python(clock):
    """Their boundary is at no hour that clocks skip or show twice."""
    rows = clock.execute(
        f"""
        select
            day,
            partition_boundary(day) as begins_at,
            partition_of(begins_at) as its_own,
            partition_of(begins_at - interval 1 microsecond) as the_one_before
        from (select unnest(generate_series(date '{FIRST_DAY}', date '{LAST_DAY}', interval 1 day))::date as day)
        """
    ).fetchall()

    expected = [(day, boundary(day), day, day - timedelta(days=1)) for day, *_ in rows]
    assert rows == expected


HONOLULU, BERLIN, MARS = (f"005{number:015d}" for number in (1, 2, 3))
NIGHT = datetime(2026, 1, 10, 8, tzinfo=UTC)
"""The 10th, midnight in Los Angeles, where the reports are read; in Honolulu the 9th."""
EVENING = datetime(2026, 1, 9, 23, 30, tzinfo=UTC)
"""The 9th in Los Angeles, the 10th in Berlin."""
NOON = datetime(2026, 1, 10, 20, tzinfo=UTC)
"""The 10th in Los Angeles and wherever people live to the west of it."""
NINTH, TENTH, TWELFTH = (date(2026, 1, day) for day in (9, 10, 12))
CONVERSIONS: Mapping[tuple[str | None, datetime, date], int] = {
    # The owner's zone is not known: it may have been the 9th there.
    (None, NIGHT, NINTH): 0,
    (BERLIN, NIGHT, NINTH): 0,
    (HONOLULU, NIGHT, NINTH): 0,
    (HONOLULU, NIGHT, TENTH): 1,
    (BERLIN, EVENING, TENTH): 0,
    (None, EVENING, TENTH): 1,
    (MARS, NOON, TWELFTH): 2,
    # Nowhere was it the 9th: that is the source's own contradiction, of which a test tells.
    (None, NOON, NINTH): -1,
}
"""By owner, creation and date of conversion the days between them."""
CLOSES = CONVERSIONS | {
    # A deal may have been closed before it was written down.
    (None, NIGHT, NINTH): -1,
    (BERLIN, NIGHT, NINTH): -1,
}
"""The same of deals and their close dates."""
FAR = (date(2000, 1, 1), date(2040, 12, 31))


@pytest.fixture(scope="module")
def built(home) -> Home:
    """Leads and deals of owners around the world, and a deal at either end of a long calendar."""
    empty_tables(home, *TABLES, *PIPEDRIVE)
    zones = {1: "Pacific/Honolulu", 2: "Europe/Berlin", 3: "Mars/Olympus_Mons"}
    home.land("user", partition(2), *(user(n, at(2), time_zone_sid_key=zone) for n, zone in zones.items()))
    home.land(
        "lead",
        partition(2),
        *(
            {"id": f"00Q{n:015d}", "owner_id": owner, "created_date": created, "converted_date": day}
            | {"is_converted": True, "is_deleted": False, "system_modstamp": at(2)}
            for n, (owner, created, day) in enumerate(CONVERSIONS)
        ),
    )
    closed = [
        opportunity(n, at(2), owner_id=owner, created_date=created, close_date=day, is_closed=True)
        for n, (owner, created, day) in enumerate(CLOSES)
    ]
    far = [opportunity(100 + n, at(2), created_date=CREATED, close_date=day) for n, day in enumerate(FAR)]
    home.land("opportunity", partition(2), *closed, *far)
    home.seed().build(*with_ancestors("dim_lead", "fct_opportunity", "dim_date"))
    return home


def test_a_date_that_a_user_wrote_is_compared_with_the_date_of_that_users_zone(built):
    leads = built.rows("select lead_id, days_to_convert from gtm_core.dim_lead where lead_id <> 'unknown'")
    deals = built.rows("select opportunity_id, days_to_close from gtm_core.fct_opportunity where is_closed")

    assert dict(zip(CONVERSIONS, dict(sorted(leads)).values(), strict=True)) == CONVERSIONS
    assert dict(zip(CLOSES, dict(sorted(deals)).values(), strict=True)) == CLOSES


def test_each_week_has_its_year(built):
    weeks = built.rows(
        "select date_day, iso_year, iso_week_of_year, iso_week from gtm_core.dim_date where date_day is not null"
    )

    expected = []
    for day in (FAR[0] + timedelta(days=n) for n in range((FAR[1] - FAR[0]).days + 1)):
        year, week, _ = day.isocalendar()
        expected.append((day, year, week, f"{year}-W{week:02d}"))
    assert sorted(weeks) == expected
    labels = {day: label for day, _, _, label in weeks}
    assert (labels[date(2024, 12, 30)], labels[date(2027, 1, 1)]) == ("2025-W01", "2026-W53")
    assert [labels[day] for day in sorted(labels)] == sorted(labels.values())
