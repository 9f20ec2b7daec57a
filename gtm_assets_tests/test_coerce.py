"""Fit: a value has its column's type exactly, or it is reported with its row."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal, localcontext

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.lake.coerce import as_text, coerce
from gtm_assets.lake.columns import SYNCED
from gtm_assets_tests.lake_builders import DEALS, deal, page
from gtm_assets_tests.properties import at_most

NO_NUL = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
VALUES = {
    ColumnType.STRING: NO_NUL,
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.INTEGER: st.integers(-(2**63), 2**63 - 1),
    ColumnType.DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    ColumnType.CURRENCY: st.decimals(
        Decimal("-999999999999999999.999999"), Decimal("999999999999999999.999999"), places=6
    ),
    ColumnType.DATE: st.dates(date(1, 1, 1), date(9999, 12, 31)),
    ColumnType.TIMESTAMP: st.datetimes(timezones=st.just(UTC)),
}
COLUMN_OF = {
    ColumnType.STRING: "name",
    ColumnType.BOOLEAN: "is_won",
    ColumnType.INTEGER: "lines",
    ColumnType.DOUBLE: "probability",
    ColumnType.CURRENCY: "amount",
    ColumnType.DATE: "close_date",
    ColumnType.TIMESTAMP: "system_modstamp",
}


def fitted(type_: ColumnType, values: list | pl.Series, dtype: pl.DataType | None = None) -> list:
    """Each value as its column holds it after typing; the word "rejected" where it did not fit.

    A value that was rounded and reported as that is a pair of the word "rounded" and what it became.
    """
    column = COLUMN_OF[type_]
    given_values = pl.Series(column, values, dtype=dtype)
    frame = page(*(deal(n) for n in range(len(given_values)))).with_columns(given_values)
    typed = coerce(DEALS, frame)
    reject = next((m.rows for m in typed.rejects if m.column == column and "missing" not in m.problem), None)
    cut = next((m.rows for m in typed.rounded if m.column == column), None)
    return [
        "rejected"
        if reject is not None and reject[row]
        else ("rounded", value)
        if cut is not None and cut[row]
        else value
        for row, value in enumerate(typed.frame[column])
    ]


@pytest.mark.parametrize("type_", ColumnType)
@settings(max_examples=at_most(25), deadline=None)
@given(st.data())
def test_a_value_written_as_text_is_read_back_as_itself(type_, data):
    values = data.draw(st.lists(st.none() | VALUES[type_], min_size=1, max_size=8))
    typed = pl.Series(values, dtype=type_.polars)

    read_back = fitted(type_, as_text(typed))

    assert read_back == typed.to_list()


@pytest.mark.parametrize("type_", ColumnType)
@settings(max_examples=at_most(15), deadline=None)
@given(st.data())
def test_a_value_of_the_columns_type_stays_as_it_is(type_, data):
    typed = pl.Series(data.draw(st.lists(st.none() | VALUES[type_], min_size=1, max_size=8)), dtype=type_.polars)

    assert fitted(type_, typed) == typed.to_list()


AMOUNTS = (
    st.decimals(-(10**20), 10**20, allow_nan=False, allow_infinity=False)
    | st.decimals(-(10**19), 10**19, places=6)
    | st.decimals(-1000, 1000, places=8)
)


@settings(max_examples=at_most(40), deadline=None)
@given(st.lists(AMOUNTS, min_size=1, max_size=20), st.sampled_from(["f", "E"]))
def test_an_amount_keeps_six_decimals_and_one_with_more_is_told(amounts, notation):
    values = fitted(ColumnType.CURRENCY, [f"{amount:{notation}}" for amount in amounts])

    def expected(amount: Decimal) -> object:
        with localcontext(prec=100):
            kept = amount.quantize(Decimal("0.000001"), ROUND_HALF_UP)
        if max(abs(amount), abs(kept)) >= 10**18:
            return "rejected"
        return kept if kept == amount else ("rounded", kept)

    assert values == [expected(amount) for amount in amounts]


def test_an_amount_that_was_rounded_is_reported_with_its_row_and_its_value():
    frame = page(deal(1), deal(2, amount="0.1234567"), deal(3, amount="0.1234567", lines="x"))

    typed = coerce(DEALS, frame)

    (cut,) = typed.rounded
    assert (cut.column, cut.problem) == ("amount", "has more than six decimals")
    # The third record waits in quarantine as it came.
    assert cut.rows.to_list() == [False, True, False]
    assert cut.values[1] == "0.1234567"
    assert typed.fits.to_list() == [True, True, False]


@pytest.mark.parametrize("form", ["{}", "{}.0", "{}.000", "{:+}", "{}E0", " {} "])
@settings(max_examples=at_most(10), deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_a_whole_number_is_taken_exactly_in_every_form(form, numbers):
    assert fitted(ColumnType.INTEGER, [form.format(number) for number in numbers]) == numbers


@settings(max_examples=at_most(20), deadline=None)
@given(st.lists(st.integers(-(10**16), 10**16), min_size=1, max_size=50))
def test_an_amount_in_a_double_is_the_one_it_was_written_as_or_refused(all_cents):
    amounts = [Decimal(cents) / 100 for cents in all_cents]

    values = fitted(ColumnType.CURRENCY, [float(amount) for amount in amounts])

    assert values == [amount if abs(amount) < 2**46 else "rejected" for amount in amounts]


@settings(max_examples=at_most(40), deadline=None)
@given(st.lists(st.sampled_from(["3", "0.0", "x", "", None, "1.5", "9e99"]), min_size=1, max_size=12))
def test_every_rejected_value_is_reported_with_its_row_and_its_value(texts):
    typed = coerce(DEALS, page(*(deal(n, lines=text) for n, text in enumerate(texts))))

    bad = [row for row, text in enumerate(texts) if text in ("x", "1.5", "9e99")]
    assert [row for row, fits in enumerate(typed.fits) if not fits] == bad
    assert len(typed.rejects) == (1 if bad else 0)
    for reject in typed.rejects:
        assert (reject.column, reject.problem) == ("lines", "is not a whole number")
        assert [reject.values[row] for row in bad] == [texts[row] for row in bad]


def test_a_record_with_two_rejected_values_is_reported_for_both():
    typed = coerce(DEALS, page(deal(1), deal(2, lines="x", close_date="2026-13-01")))

    assert [(m.column, m.rows.to_list()) for m in typed.rejects] == [
        ("lines", [False, True]),
        ("close_date", [False, True]),
    ]
    assert typed.fits.to_list() == [True, False]


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        # Salesforce writes whole numbers as 0.0 and large ones with an exponent.
        (ColumnType.INTEGER, "0.0", 0),
        (ColumnType.INTEGER, "1.6147805824397E13", 16147805824397),
        (ColumnType.INTEGER, "12.5", "rejected"),
        (ColumnType.INTEGER, "12.0000000000000001", "rejected"),
        (ColumnType.INTEGER, "9007199254740993.0", 9007199254740993),
        (ColumnType.INTEGER, "9223372036854775808", "rejected"),
        (ColumnType.INTEGER, "1E999", "rejected"),
        (ColumnType.INTEGER, "1_000", "rejected"),
        (ColumnType.INTEGER, "true", "rejected"),
        (ColumnType.CURRENCY, "1.6147805824397E13", Decimal("16147805824397.00")),
        (ColumnType.CURRENCY, "4.005", Decimal("4.005")),
        (ColumnType.CURRENCY, "254.9745", Decimal("254.9745")),
        (ColumnType.CURRENCY, "4.500000E-2", Decimal("0.045")),
        (ColumnType.CURRENCY, "4.0050000000000001", ("rounded", Decimal("4.005"))),
        (ColumnType.CURRENCY, "-0.0000005", ("rounded", Decimal("-0.000001"))),
        (ColumnType.CURRENCY, "4.50000", Decimal("4.50")),
        (ColumnType.CURRENCY, "0.30000000000000004", ("rounded", Decimal("0.3"))),
        (ColumnType.CURRENCY, "9999999999999999.99", Decimal("9999999999999999.99")),
        (ColumnType.CURRENCY, "10000000000000000", Decimal(10**16)),
        (ColumnType.CURRENCY, "999999999999999999.999999", Decimal("999999999999999999.999999")),
        (ColumnType.CURRENCY, "999999999999999999.9999999", "rejected"),
        (ColumnType.CURRENCY, "1000000000000000000", "rejected"),
        (ColumnType.CURRENCY, "120000000000000000000", "rejected"),
        (ColumnType.CURRENCY, "1,000.00", "rejected"),
        (ColumnType.CURRENCY, "€5", "rejected"),
        (ColumnType.CURRENCY, "NaN", "rejected"),
        (ColumnType.DOUBLE, "0.0", 0.0),
        (ColumnType.DOUBLE, "1.7976931348623157E308", 1.7976931348623157e308),
        (ColumnType.DOUBLE, "1E309", "rejected"),
        (ColumnType.DOUBLE, "NaN", "rejected"),
        (ColumnType.DOUBLE, "9007199254740993", "rejected"),
        (ColumnType.DOUBLE, "1" * 60, "rejected"),
        (ColumnType.BOOLEAN, "TRUE", True),
        (ColumnType.BOOLEAN, "false", False),
        (ColumnType.BOOLEAN, "yes", "rejected"),
        (ColumnType.BOOLEAN, "1", "rejected"),
        (ColumnType.DATE, "2026-02-28", date(2026, 2, 28)),
        (ColumnType.DATE, "2026-02-30", "rejected"),
        (ColumnType.DATE, "26-02-28", "rejected"),
        (ColumnType.DATE, "28/02/2026", "rejected"),
        (ColumnType.DATE, "2026-02-28 00:00:00", date(2026, 2, 28)),
        (ColumnType.DATE, "2026-02-28T00:00:00.000+0000", date(2026, 2, 28)),
        (ColumnType.DATE, "2026-02-28T00:00:00Z", date(2026, 2, 28)),
        (ColumnType.DATE, "2026-02-28 17:23:34", "rejected"),
        (ColumnType.DATE, "2026-02-28T00:00:00-0800", "rejected"),
        # Texts that mean nothing in CSV readers are texts here.
        (ColumnType.STRING, "NA", "NA"),
        (ColumnType.STRING, "null", "null"),
        (ColumnType.STRING, "", ""),
        (ColumnType.STRING, " padded ", " padded "),
        (ColumnType.STRING, "a\0b", "ab"),
        (ColumnType.INTEGER, "NA", "rejected"),
        (ColumnType.INTEGER, "1\0002", 12),
        (ColumnType.DATE, "null", "rejected"),
    ],
)
def test_a_text_is_taken_exactly_or_reported(type_, text, value):
    assert fitted(type_, [text]) == [value]


AT_TEN = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-05T10:00:00.000+0000", AT_TEN),
        ("2026-01-05T10:00:00.000Z", AT_TEN),
        ("2026-01-05T10:00:00Z", AT_TEN),
        ("2026-01-05 10:00:00", AT_TEN),
        ("2026-01-05 10:00", AT_TEN),
        ("2026-01-05T10:00Z", AT_TEN),
        ("2026-01-05T12:00+02:00", AT_TEN),
        ("2026-01-05 12:00:00 +0200", AT_TEN),
        ("2026-01-05 10:00:00 UTC", AT_TEN),
        ("2026-01-05 2:00 -08", AT_TEN),
        ("2026-01-05 10:00:00+00", AT_TEN),
        ("2026-01-05T10:00:00+00:00", AT_TEN),
        ("2026-01-05T02:00:00-08:00", AT_TEN),
        ("2026-01-05 10:00:00.123456", AT_TEN + timedelta(microseconds=123456)),
        ("2026-01-05T10:00:00.123456000Z", AT_TEN + timedelta(microseconds=123456)),
        ("2026-01-05", datetime(2026, 1, 5, tzinfo=UTC)),
        ("2026-01-05T10:00:00.1234567Z", "rejected"),
        ("2026-01-05T24:00:00Z", "rejected"),
        ("2026-01-05T23:59:60Z", "rejected"),
        ("2026-01-05 10:0", "rejected"),
        ("2026-01-05T10", "rejected"),
        ("2026-01-05 10:00:00 PM", "rejected"),
        ("26-01-05T10:00:00Z", "rejected"),
        ("1767607200", "rejected"),
    ],
)
def test_a_timestamp_is_the_same_instant_in_every_form_or_reported(text, instant):
    assert fitted(ColumnType.TIMESTAMP, [text]) == [instant]


@pytest.mark.parametrize("type_", [type_ for type_ in ColumnType if type_ is not ColumnType.STRING])
@pytest.mark.parametrize("nothing", ["", "   ", None])
def test_an_empty_text_is_null_where_the_column_is_no_text(type_, nothing):
    assert fitted(type_, [nothing]) == [None]


@pytest.mark.parametrize(
    ("type_", "dtype", "given_value", "value"),
    [
        (ColumnType.STRING, pl.Int64(), 7, "7"),
        (ColumnType.STRING, pl.Boolean(), True, "true"),
        (ColumnType.STRING, pl.Date(), date(2026, 1, 5), "2026-01-05"),
        (ColumnType.BOOLEAN, pl.Int64(), 1, "rejected"),
        (ColumnType.INTEGER, pl.Int8(), 7, 7),
        (ColumnType.INTEGER, pl.UInt64(), 2**63, "rejected"),
        (ColumnType.INTEGER, pl.Float64(), 7.0, 7),
        (ColumnType.INTEGER, pl.Float64(), 7.5, "rejected"),
        (ColumnType.INTEGER, pl.Float64(), 2.0**53, "rejected"),
        (ColumnType.INTEGER, pl.Decimal(38, 2), Decimal("9007199254740993.00"), 9007199254740993),
        (ColumnType.INTEGER, pl.Decimal(38, 20), Decimal("12.00000000000000000001"), "rejected"),
        (ColumnType.DOUBLE, pl.Int64(), 7, 7.0),
        (ColumnType.DOUBLE, pl.Int64(), 2**53 + 1, "rejected"),
        (ColumnType.DOUBLE, pl.Float64(), float("nan"), "rejected"),
        (ColumnType.DOUBLE, pl.Float64(), float("inf"), "rejected"),
        (ColumnType.CURRENCY, pl.Int64(), 7, Decimal("7.00")),
        (ColumnType.CURRENCY, pl.Int64(), 10**16, Decimal(10**16)),
        (ColumnType.CURRENCY, pl.Int64(), 10**18, "rejected"),
        (ColumnType.CURRENCY, pl.Float32(), 0.045, Decimal("0.045")),
        (ColumnType.CURRENCY, pl.Float64(), 0.1, Decimal("0.10")),
        (ColumnType.CURRENCY, pl.Float64(), 4.005, Decimal("4.005")),
        (ColumnType.CURRENCY, pl.Float64(), 0.1 + 0.2, ("rounded", Decimal("0.3"))),
        # A cent further on, the double would be the same.
        (ColumnType.CURRENCY, pl.Float64(), 80000000000000.01, "rejected"),
        (ColumnType.CURRENCY, pl.Float64(), 90071992547409.91, "rejected"),
        (ColumnType.CURRENCY, pl.Float64(), float("nan"), "rejected"),
        (ColumnType.CURRENCY, pl.Decimal(10, 4), Decimal("4.0050"), Decimal("4.005")),
        (ColumnType.CURRENCY, pl.Decimal(10, 7), Decimal("4.0000005"), ("rounded", Decimal("4.000001"))),
        (ColumnType.CURRENCY, pl.Decimal(10, 4), Decimal("4.0500"), Decimal("4.05")),
        (ColumnType.CURRENCY, pl.Decimal(38, 0), Decimal(10**30), "rejected"),
        (ColumnType.DATE, pl.Datetime("us"), datetime(2026, 1, 5), date(2026, 1, 5)),
        (ColumnType.DATE, pl.Datetime("us"), datetime(2026, 1, 5, 1), "rejected"),
        (ColumnType.DATE, pl.Int64(), 20000, "rejected"),
        (ColumnType.TIMESTAMP, pl.Datetime("ms"), datetime(2026, 1, 5, 10), AT_TEN),
        (ColumnType.TIMESTAMP, pl.Date(), date(2026, 1, 5), datetime(2026, 1, 5, tzinfo=UTC)),
        (ColumnType.TIMESTAMP, pl.Int64(), 1767607200, "rejected"),
        (ColumnType.TIMESTAMP, pl.Struct({"at": pl.Int64()}), {"at": 1}, "rejected"),
        (ColumnType.DATE, pl.Null(), None, None),
    ],
)
def test_a_typed_value_is_taken_exactly_or_reported(type_, dtype, given_value, value):
    assert fitted(type_, [given_value], dtype) == [value]


def test_a_timestamp_of_another_zone_is_the_same_instant_in_utc():
    there = datetime(2026, 1, 5, 2, tzinfo=timezone(timedelta(hours=-8)))

    assert fitted(ColumnType.TIMESTAMP, pl.Series([there]).dt.convert_time_zone("America/Los_Angeles")) == [AT_TEN]


@pytest.mark.parametrize("type_", [ColumnType.TIMESTAMP, ColumnType.DATE])
def test_nanoseconds_are_not_cut_off(type_):
    midnight = datetime(2026, 1, 5, tzinfo=UTC)
    exact = pl.Series([midnight]).dt.cast_time_unit("ns")
    a_nanosecond_more = (exact.dt.epoch("ns") + 1).cast(pl.Datetime("ns", "UTC"))

    assert fitted(type_, exact) == [midnight if type_ is ColumnType.TIMESTAMP else midnight.date()]
    assert fitted(type_, a_nanosecond_more) == ["rejected"]
    assert fitted(type_, as_text(a_nanosecond_more)) == ["rejected"]


@pytest.mark.parametrize("column", ["id", "system_modstamp"])
@pytest.mark.parametrize("nothing", ["", "  ", None])
def test_a_record_without_id_or_cursor_is_reported(column, nothing):
    typed = coerce(DEALS, page(deal(1), deal(2, **{column: nothing})))

    assert [(m.column, m.problem, m.rows.to_list()) for m in typed.rejects] == [
        (column, "is missing", [False, True])
    ]


def test_a_page_without_the_cursor_is_rejected_whole():
    typed = coerce(DEALS, page(deal(1), deal(2)).drop("system_modstamp"))

    assert not typed.fits.any()
    assert typed.missing_columns == ("system_modstamp",)


def test_a_malformed_cursor_is_reported_once():
    typed = coerce(DEALS, page(deal(1, system_modstamp="soon")))

    assert [(m.column, m.problem) for m in typed.rejects] == [("system_modstamp", "is not a timestamp")]


def test_columns_come_in_the_catalogues_order_and_those_that_lack_are_typed_nulls():
    typed = coerce(DEALS, page(deal(1)).select("system_modstamp", "id", "name"))

    assert list(typed.frame.schema.items()) == [(name, type_.polars) for name, type_ in DEALS.types.items()]
    assert typed.frame["amount"].to_list() == [None]
    assert set(typed.missing_columns) == set(DEALS.types) - {"system_modstamp", "id", "name"}


def test_unknown_columns_come_last_as_text():
    frame = page(deal(1)).with_columns(
        z_score=pl.lit(0.5),
        a_day=date(2026, 1, 5),
        an_instant=AT_TEN,
        a_span=pl.lit(timedelta(hours=1)),
        nothing=pl.lit(None),
    )

    typed = coerce(DEALS, frame)

    assert typed.unknown_columns == ("a_day", "a_span", "an_instant", "nothing", "z_score")
    assert typed.frame.columns == [*DEALS.types, *typed.unknown_columns]
    assert typed.frame.select(typed.unknown_columns).row(0) == (
        "2026-01-05",
        "1:00:00",
        "2026-01-05T10:00:00.000000+0000",
        None,
        "0.5",
    )


def test_a_nested_value_is_the_same_json_whatever_else_its_page_holds():
    address = {"city": "Zürich", "lines": ["Main St", "2nd floor"]}
    alone = pl.Series("billing_address", [address])
    all_members = pl.Struct({"city": pl.String(), "lines": pl.List(pl.String()), "country": pl.String()})
    beside_another = pl.Series("billing_address", [address, {"country": "CH"}], dtype=all_members)

    texts = as_text(beside_another)

    assert texts[0] == as_text(alone)[0] == '{"city": "Zürich", "lines": ["Main St", "2nd floor"]}'
    assert texts[1] == '{"country": "CH"}'


def test_a_pages_own_time_of_loading_is_typed_and_not_unknown():
    typed = coerce(DEALS, page(deal(1, _fivetran_synced="2026-01-05 10:00:00"), deal(2, _fivetran_synced="soon")))

    assert typed.unknown_columns == ()
    assert typed.frame[SYNCED].to_list() == [AT_TEN, None]
    assert [(m.column, m.rows.to_list()) for m in typed.rejects] == [(SYNCED, [False, True])]


@pytest.mark.parametrize("empty", [pl.DataFrame(), page(deal(1)).clear(), pl.DataFrame({"id": []})])
def test_a_page_without_records_is_typed_all_the_same(empty):
    typed = coerce(DEALS, empty)

    assert typed.frame.height == 0
    assert dict(typed.frame.schema) == {name: type_.polars for name, type_ in DEALS.types.items()}
    assert typed.rejects == ()
