"""Records as the API writes them: JSON objects for queries, CSV for Bulk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl

from gtm_assets_tests.salesforce_server.objects import Field

_CSV_ROWS = 20_000
"""Records turned into CSV at a time: what a download holds in memory."""
DELIMITERS = {"COMMA": ",", "TAB": "\t", "SEMICOLON": ";", "PIPE": "|", "CARET": "^", "BACKQUOTE": "`"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}


def moment(at: datetime) -> str:
    """An instant in JSON."""
    at = at.astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}+0000"


def json_records(fields: tuple[Field, ...], frame: pl.DataFrame, object_: str, base: str) -> list[dict[str, Any]]:
    """Records of a query's page, each with its attributes, values in the fields' order.

    ``base`` is the path of the API version.
    """
    records = frame.select(_json(field) for field in fields).to_dicts()
    if object_ == "AggregateResult":
        return [{"attributes": {"type": object_}} | record for record in records]
    path = f"{base}/sobjects/{object_}"
    return [
        {"attributes": {"type": object_, "url": f"{path}/{id_}"}} | record
        for id_, record in zip(frame["id"].to_list(), records, strict=True)
    ]


def _json(field: Field) -> pl.Expr:
    column = pl.col(field.column)
    if field.type == "datetime":
        column = column.dt.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000")
    elif field.type == "date":
        column = column.dt.strftime("%Y-%m-%d")
    elif field.type == "currency":
        column = column.cast(pl.Float64)
    return column.alias(field.name)


def csv_chunks(
    fields: tuple[Field, ...], frame: pl.DataFrame, delimiter: str, line_ending: str, zone: str
) -> Iterator[bytes]:
    """A page of Bulk results: the header, then the records, every value in quotes, null as nothing between them.

    ``zone`` ends a datetime.
    """
    options = {
        "separator": DELIMITERS[delimiter],
        "line_terminator": LINE_ENDINGS[line_ending],
        "quote_style": "always",
    }
    header = pl.DataFrame(schema=[field.name for field in fields])
    yield header.write_csv(**options).encode()
    for low in range(0, frame.height, _CSV_ROWS):
        rows = frame.slice(low, _CSV_ROWS).select(_csv(field, zone) for field in fields)
        buffer = io.BytesIO()
        rows.write_csv(buffer, include_header=False, **options)
        yield buffer.getvalue()


def _csv(field: Field, zone: str) -> pl.Expr:
    column = pl.col(field.column)
    if field.type == "datetime":
        column = column.dt.strftime(f"%Y-%m-%dT%H:%M:%S%.3f{zone}")
    elif field.type == "date":
        column = column.dt.strftime("%Y-%m-%d")
    elif field.type in ("currency", "double", "percent"):
        column = _java_double(column.cast(pl.Float64))
    return column.alias(field.name)


def _java_double(column: pl.Expr) -> pl.Expr:
    """As Java writes a double: 0.0, 1234.5, 1.6147805824397E13."""
    size = column.abs()
    scientific = (size >= 1e7) | ((size < 1e-3) & (size > 0))
    return (
        pl.when(scientific)
        .then(column.map_elements(java_double, return_dtype=pl.String))
        .otherwise(column.cast(pl.String))
    )


def java_double(value: float) -> str:
    """One double, as Java writes those that it writes with an exponent."""
    if not (abs(value) >= 1e7 or 0 < abs(value) < 1e-3):
        return repr(value)
    digits, _, exponent = f"{value:.17e}".partition("e")
    shortest = repr(value)
    for places in range(17):
        digits, _, exponent = f"{value:.{places}e}".partition("e")
        if float(f"{digits}e{exponent}") == float(shortest):
            break
    return f"{digits if '.' in digits else digits + '.0'}E{int(exponent)}"
