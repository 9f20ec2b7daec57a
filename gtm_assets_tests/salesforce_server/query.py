"""A query carried out on an object's records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce

import polars as pl

from gtm_assets.sources.salesforce.catalog import SalesforceObject
from gtm_assets_tests.salesforce_server import soql
from gtm_assets_tests.salesforce_server.errors import ApiError, unsupported
from gtm_assets_tests.salesforce_server.objects import CURRENCIES, Field, View, has_deletes

_ARCHIVED = ("Task", "Event")
"""Objects whose archived records only queryAll shows."""
_HIGHEST_OFFSET = 2000
_LITERALS = {
    "boolean": "boolean",
    "int": "number",
    "double": "number",
    "percent": "number",
    "currency": "number",
    "date": "date",
    "datetime": "datetime",
}
_TYPE_NAMES = {"datetime": "dateTime"}


@dataclass(frozen=True)
class Result:
    """What a query finds: ``fields`` in the order asked, and the frame with their columns and the id."""

    object: str
    total: int
    fields: tuple[Field, ...]
    frame: pl.DataFrame


def visible(table: SalesforceObject, all_records: bool) -> pl.Expr:
    """Which records a query sees; ``all_records`` is queryAll."""
    if all_records or not has_deletes(table):
        return pl.lit(True)
    seen = ~pl.col("is_deleted")
    return seen & ~pl.col("is_archived") if table.api_name in _ARCHIVED else seen


def run(query: soql.Query, view: View, all_records: bool) -> Result:
    """The result of a query.

    Raises:
        ApiError: a field is unknown or a value does not fit it.
    """
    finder = _Finder(query, view)
    condition = visible(view.table, all_records)
    if query.where is not None:
        condition &= finder.condition(query.where)
    fields = finder.selected()
    functions = [finder.aggregate(aggregate) for aggregate in query.aggregates]
    frame = view.frame.filter(condition)
    if query.order:
        keys = [finder.field(order.field).column for order in query.order]
        descending = [order.descending for order in query.order]
        last = [order.nulls_last for order in query.order]
        frame = frame.sort(keys, descending=descending, nulls_last=last, maintain_order=True)
    if query.offset is not None:
        if query.offset > _HIGHEST_OFFSET:
            message = f"Maximum SOQL offset allowed is {_HIGHEST_OFFSET}"
            raise ApiError(400, "NUMBER_OUTSIDE_VALID_RANGE", message)
        frame = frame.slice(query.offset)
    if query.limit is not None:
        frame = frame.head(query.limit)
    if query.count:
        return Result(view.name, frame.height, (), frame.clear())
    if functions:
        values = frame.select(functions)
        made = tuple(Field(name, name, _aggregate_type(values.schema[name])) for name in values.columns)
        return Result("AggregateResult", 1, made, values)
    columns = list(dict.fromkeys(["id", *(f.column for f in fields)]))
    return Result(view.name, frame.height, fields, frame.select(columns))


def _aggregate_type(type_: pl.DataType) -> str:
    if isinstance(type_, pl.Datetime):
        return "datetime"
    if isinstance(type_, pl.Date):
        return "date"
    if isinstance(type_, pl.Decimal):
        return "currency"
    return "double" if type_.is_float() else "int" if type_.is_integer() else "string"


class _Finder:
    def __init__(self, query: soql.Query, view: View) -> None:
        self.query = query
        self.view = view

    def _invalid(self, name: soql.Name, message: str) -> ApiError:
        return ApiError(400, "INVALID_FIELD", soql.at_position(self.query.text, name.at, message))

    def field(self, name: soql.Name) -> Field:
        found = self.view.by_name.get(name.text.lower())
        if found is not None:
            return found
        own, _, rest = name.text.partition(".")
        if rest and own.lower() == self.view.name.lower():
            return self.field(soql.Name(rest, name.at))
        if rest:
            raise unsupported(f"SOQL's relationships ({name.text})")
        raise self._invalid(
            name,
            f"No such column '{name.text}' on entity '{self.view.name}'. If you are attempting to use a custom "
            "field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the "
            "describe call for the appropriate names.",
        )

    def selected(self) -> tuple[Field, ...]:
        fields = []
        for name in self.query.fields:
            field = self.field(name)
            if field in fields:
                raise self._invalid(name, f"duplicate field selected: {field.name}")
            fields.append(field)
        return tuple(fields)

    def aggregate(self, aggregate: soql.Aggregate) -> pl.Expr:
        field = self.field(aggregate.field)
        column = pl.col(field.column)
        if field.type == "currency" and "currencyisocode" in self.view.by_name:
            # Amounts in several currencies are added up, and compared, in the org's own.
            rates = pl.col("currency_iso_code").replace_strict(CURRENCIES, default=1.0, return_dtype=pl.Float64)
            column = pl.when(rates == 1.0).then(column).otherwise((column / rates).cast(pl.Decimal(38, 2)))
        if aggregate.function in ("sum", "avg") and _LITERALS.get(field.type) != "number":
            raise self._invalid(aggregate.field, f"field {field.name} does not support aggregate operator SUM")
        made = {
            "count": column.count().cast(pl.Int64),
            "count_distinct": column.drop_nulls().n_unique().cast(pl.Int64),
            # Of no records there is no sum.
            "sum": pl.when(column.count() > 0).then(column.sum()),
            "min": column.min(),
            "max": column.max(),
            "avg": column.cast(pl.Float64).mean() if aggregate.function == "avg" else column,
        }[aggregate.function]
        return made.alias(aggregate.alias)

    def condition(self, condition: soql.Condition) -> pl.Expr:
        if isinstance(condition, soql.Comparison):
            return self.comparison(condition)
        parts = [self.condition(part) for part in condition.parts]
        if condition.operator == "not":
            return ~parts[0]
        return reduce((lambda a, b: a & b) if condition.operator == "and" else (lambda a, b: a | b), parts)

    def comparison(self, comparison: soql.Comparison) -> pl.Expr:
        """True or false, never null: SOQL has two values, and ``!=`` also finds what is null."""
        field = self.field(comparison.field)
        if field.type == "textarea":
            raise self._invalid(comparison.field, f"field '{field.name}' can not be filtered in a query call")
        column = self._folded(field)
        operator = comparison.operator
        values = [self._value(comparison.field, field, literal) for literal in comparison.values]
        if operator == "like":
            if _LITERALS.get(field.type) is not None or not isinstance(values[0], str):
                raise self._invalid(comparison.field, f"invalid operator on {field.type} field")
            pattern = re.escape(values[0]).replace("%", ".*").replace("_", ".")
            return column.str.contains(f"(?s)^{pattern}$").fill_null(False)
        if operator in ("in", "not in"):
            found = reduce(lambda a, b: a | b, (self._equal(column, value) for value in values))
            return found if operator == "in" else ~found
        value = values[0]
        if operator in ("=", "!="):
            return self._equal(column, value) if operator == "=" else ~self._equal(column, value)
        if value is None or field.type == "boolean":
            raise self._invalid(comparison.field, f"invalid operator on {field.type} field")
        other = pl.lit(value)
        made = {"<": column < other, "<=": column <= other, ">": column > other, ">=": column >= other}[operator]
        return made.fill_null(False)

    @staticmethod
    def _equal(column: pl.Expr, value: object) -> pl.Expr:
        return column.is_null() if value is None else (column == pl.lit(value)).fill_null(False)

    @staticmethod
    def _folded(field: Field) -> pl.Expr:
        """Texts are compared without regard to case, ids with it, by their first 15 characters."""
        column = pl.col(field.column)
        if field.is_id:
            return column.str.slice(0, 15)
        if field.type in ("currency",):
            return column.cast(pl.Float64)
        return column if field.type in _LITERALS else column.str.to_lowercase()

    def _value(self, name: soql.Name, field: Field, literal: soql.Literal) -> object:
        if literal.kind == "null":
            return None
        wanted = _LITERALS.get(field.type, "string")
        if literal.kind != wanted:
            quotes = "should be enclosed" if wanted == "string" else "should not be enclosed"
            raise self._invalid(
                name,
                f"value of filter criterion for field '{field.name}' must be of type "
                f"{_TYPE_NAMES.get(field.type, field.type)} and {quotes} in quotes",
            )
        value = literal.value
        if field.is_id:
            if not re.fullmatch(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?", value):
                message = f"invalid ID field: {value}"
                raise ApiError(
                    400, "INVALID_QUERY_FILTER_OPERATOR", soql.at_position(self.query.text, name.at, message)
                )
            return value[:15]
        return value.lower() if wanted == "string" else value
