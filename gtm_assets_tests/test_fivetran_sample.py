"""Real input: tables that Fivetran loaded come through the lake with every value of every row."""

import csv
import dataclasses
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gtm_assets.catalog.raw_table import Column, ColumnType, Deletes, RawTable
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.sources.salesforce.catalog import OBJECTS

SAMPLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "fivetran_landing"
TABLES = "account contact event lead opportunity opportunity_line_item order product_2 task user user_role"
CURSORS = ("system_modstamp", "last_modified_date", "created_date", "_fivetran_synced")
"""The first that a table has orders its versions."""

# The catalogue's type of these is date, as in Salesforce. Fivetran lands dates as timestamps, at midnight; but in
# this sample all dates were overwritten with one instant in the afternoon. As dates they would be cut off.
NOT_AT_MIDNIGHT = {"event": ["activity_date"], "task": ["activity_date"], "lead": ["converted_date"]}

pytestmark = pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the sample is not at {SAMPLE}")


def read_texts(name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a sample file, all texts."""
    with (SAMPLE / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def sample_table(name: str, header: list[str]) -> RawTable:
    """The table of a sample file: the catalogue's where it has one, else texts and a delete mark."""
    catalogued = next((table for table in OBJECTS if table.name == name), None)
    cursor = next(column for column in CURSORS if column in header)
    deletes = Deletes.SOFT if "is_deleted" in header else Deletes.SNAPSHOT
    if catalogued is None:
        types = {column: ColumnType.STRING for column in header if column != "_fivetran_synced"}
    else:
        types = dict(catalogued.types)
    types |= dict.fromkeys([cursor, *NOT_AT_MIDNIGHT.get(name, [])], ColumnType.TIMESTAMP)
    types[deletes.value] = ColumnType.BOOLEAN
    columns = tuple(Column(column, type_, "A column of the sample.", column) for column, type_ in types.items())
    if catalogued is None:
        return RawTable("salesforce", name, name, "A table of the sample.", columns, cursor, deletes)
    return dataclasses.replace(catalogued, columns=columns, cursor=cursor, deletes=deletes)


def parsed(text: str, type_: ColumnType) -> object:
    """The value that a text of the sample stands for, found without the lake's own typing."""
    if type_ is ColumnType.STRING:
        return text
    if text == "":
        return None
    match type_:
        case ColumnType.BOOLEAN:
            return {"true": True, "false": False}[text.lower()]
        case ColumnType.INTEGER:
            assert Decimal(text) == int(Decimal(text))
            return int(Decimal(text))
        case ColumnType.DOUBLE:
            return float(text)
        case ColumnType.CURRENCY:
            return Decimal(text)
        case ColumnType.DATE:
            instant = datetime.fromisoformat(text)
            assert instant == datetime(instant.year, instant.month, instant.day)
            return date(instant.year, instant.month, instant.day)
        case ColumnType.TIMESTAMP:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_every_file_of_the_sample_is_landed_by_a_test():
    assert sorted(path.stem for path in SAMPLE.glob("*.csv")) == sorted(TABLES.split())


@pytest.mark.parametrize("name", TABLES.split())
def test_a_table_that_fivetran_loaded_is_read_back_row_by_row(name, tmp_path):
    header, rows = read_texts(name)
    table = sample_table(name, header)
    types = dict.fromkeys(header, ColumnType.STRING) | {"_fivetran_synced": ColumnType.TIMESTAMP}
    types |= {column: type_ for column, type_ in table.types.items() if column in header}
    # The first partition takes all history. Three rows a page, so that most tables come in several.
    window = Calendar(date(2026, 1, 1), None).window("2026-01-01")
    schema = dict.fromkeys(header, pl.String)
    pages = [pl.DataFrame(rows[i : i + 3], schema=schema, orient="row") for i in range(0, len(rows), 3)]
    lake = Lake(tmp_path)

    landed = lake.land(table, window, pages, window.end)

    assert rows
    assert (landed.received, landed.quarantined, landed.problems) == (len(rows), 0, ())
    back = lake.read(table).collect()
    expected = [
        tuple(parsed(text, types[column]) for column, text in zip(header, row, strict=True)) for row in rows
    ]
    # A row that is there twice, column by column, is one version.
    expected = list(dict.fromkeys(expected))
    assert landed.added == back.height == len(expected)
    for row, (found, wanted) in enumerate(zip(back.select(header).iter_rows(), expected, strict=True)):
        for column, value, wanted_value in zip(header, found, wanted, strict=True):
            assert value == wanted_value, f"{name} row {row}: {column}"
            assert type(value) is type(wanted_value), f"{name} row {row}: {column}"
    assert set(landed.unknown_columns) == set(header) - set(table.types) - {"_fivetran_synced"}
    absent = set(table.types) - set(header)
    assert set(landed.missing_columns) == absent
    assert all(back[column].null_count() == back.height for column in absent)


@pytest.mark.parametrize("name", TABLES.split())
def test_a_table_that_fivetran_loaded_adds_nothing_when_it_lands_again(name, tmp_path):
    header, rows = read_texts(name)
    table = sample_table(name, header)
    window = Calendar(date(2026, 1, 1), None).window("2026-01-01")
    page = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
    lake = Lake(tmp_path)
    lake.land(table, window, [page], window.end)

    again = lake.land(table, window, [page.reverse()], window.end)

    assert (again.added, again.batch_id) == (0, None)


@pytest.mark.parametrize("name", NOT_AT_MIDNIGHT)
def test_dates_of_the_sample_that_hold_a_time_of_day_would_wait_in_quarantine_and_not_be_cut_off(name, tmp_path):
    header, rows = read_texts(name)
    declared = dict(json.loads((SAMPLE / "_schema.json").read_text())[name])
    (catalogued,) = [table for table in OBJECTS if table.name == name]
    window = Calendar(date(2026, 1, 1), None).window("2026-01-01")
    page = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")

    landed = Lake(tmp_path).land(catalogued, window, [page], window.end)

    assert [declared[column] for column in NOT_AT_MIDNIGHT[name]] == ["TIMESTAMP"]
    assert [(p.column, p.problem) for p in landed.problems] == [(NOT_AT_MIDNIGHT[name][0], "is not a date")]
    assert landed.added + landed.quarantined == len(rows)
