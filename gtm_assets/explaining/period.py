"""The days that a number is of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from gtm_assets.dbt.project import project_variables
from gtm_assets.dbt.semantic_layer import MetricError
from gtm_assets.explaining.published import Published, publication


@dataclass(frozen=True)
class Period:
    """Days from first to last, both included; all days where there are none."""

    name: str
    first: date | None = None
    last: date | None = None


ALL_DAYS = Period("all days")


def period_of(
    published: Published, month: str | None = None, quarter: str | None = None, day: str | None = None
) -> Period:
    """The period that is named: ``2026-09``, ``2026-Q3`` (of the fiscal year) or ``2026-09-30``.

    Each may also be counted back from the last published day's: ``-1m``, ``-1q``, ``-1d``.

    Raises:
        MetricError: several are named, one is not written so, or the quarter lies outside of the dates.
    """
    named = [one for one in (month, quarter, day) if one]
    if len(named) > 1:
        raise MetricError("a number is of one period: give --month, --quarter or --day")
    if month:
        return month_of(_counted_back(published, month, "m"))
    if quarter:
        return _quarter(published, _counted_back(published, quarter, "q"))
    if day:
        day = _counted_back(published, day, "d")
        try:
            only = date.fromisoformat(day)
        except ValueError as error:
            raise MetricError(f"{day} is not a day. Write it as in 2026-09-30") from error
        return Period(day, only, only)
    return ALL_DAYS


def _counted_back(published: Published, text: str, unit: str) -> str:
    """The name of a period that is counted back; the text itself where it is not."""
    counted = re.fullmatch(rf"-(\d+){unit}", text)
    if not counted:
        return text
    back, last = int(counted[1]), last_day(published)
    if unit == "d":
        return (last - timedelta(days=back)).isoformat()
    months = last.year * 12 + last.month - 1 - back * (1 if unit == "m" else 3)
    first = date(months // 12, months % 12 + 1, 1)
    return f"{first:%Y-%m}" if unit == "m" else _quarter_of(published, first)


def last_day(published: Published) -> date:
    """The last day of which records count, in the reporting time zone."""
    as_of: datetime = publication(published)["as_of"]
    until = as_of.astimezone(ZoneInfo(project_variables()["reporting_timezone"]))
    return (until - timedelta(microseconds=1)).date()


def _quarter_of(published: Published, day: date) -> str:
    """The fiscal quarter of a day."""
    rows = published.rows(
        f"select fiscal_year, fiscal_quarter from {published.relation('gtm_core', 'dim_date')}"
        f" where date_day = '{day.isoformat()}'"
    )
    if not rows:
        raise MetricError(f"the quarter of {day} lies outside of what is published")
    return f"{rows[0]['fiscal_year']}-Q{rows[0]['fiscal_quarter']}"


def month_of(month: str) -> Period:
    """A month, by its name ``2026-09``.

    Raises:
        MetricError: it is not written so.
    """
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError as error:
        raise MetricError(f"{month} is not a month. Write it as in 2026-09") from error
    return Period(month, first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))


def _quarter(published: Published, quarter: str) -> Period:
    written = re.fullmatch(r"(\d{4})-?Q([1-4])", quarter, flags=re.IGNORECASE)
    if not written:
        raise MetricError(f"{quarter} is not a quarter. Write it as in 2026-Q3, of the fiscal year")
    year, number = map(int, written.groups())
    dates = published.relation("gtm_core", "dim_date")
    (row,) = published.rows(
        f"select min(date_day) as first_day, max(date_day) as last_day from {dates}"
        f" where fiscal_year = {year} and fiscal_quarter = {number}"
    )
    if row["first_day"] is None:
        (known,) = published.rows(
            f"select min(fiscal_year) as first_year, max(fiscal_year) as last_year from {dates}"
        )
        raise MetricError(
            f"{quarter} lies outside of what is published: fiscal years {known['first_year']} to "
            f"{known['last_year']}"
        )
    return Period(f"{year}-Q{number}", row["first_day"], row["last_day"])
