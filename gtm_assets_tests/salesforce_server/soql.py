"""SOQL: a query's text to a tree.

Known are fields and aggregates, one object, WHERE with AND, OR, NOT, parentheses, comparisons, IN and LIKE,
ORDER BY, LIMIT and OFFSET. What Salesforce has beyond that (relationships, GROUP BY, date literals ...) is
answered by an error that no client can take for Salesforce's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from gtm_assets_tests.salesforce_server.errors import ApiError, unsupported

AGGREGATES = ("count", "count_distinct", "sum", "min", "max", "avg")
_KEYWORDS = {
    "select", "from", "where", "and", "or", "not", "in", "like", "order", "by", "asc", "desc", "nulls", "first",
    "last", "limit", "offset", "null", "true", "false",
}  # fmt: skip
_BEYOND = {"group", "having", "using", "with", "for", "update", "typeof", "includes", "excludes"}
_DATE_LITERAL = re.compile(
    r"(today|yesterday|tomorrow|(last|this|next)_(week|month|quarter|year|90_days)"
    r"|(last|next)_n_\w+|n_\w+_ago|(last|this|next)_fiscal_\w+)$"
)
_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d))
  | (?P<date>\d{4}-\d\d-\d\d)
  | (?P<number>[+-]?\d+(\.\d+)?([eE][+-]?\d+)?)
  | (?P<string>'(\\.|[^'\\])*')
  | (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
  | (?P<sign><=|>=|!=|<>|=|<|>|\(|\)|,|:)
    """,
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


@dataclass(frozen=True)
class Token:
    """A word of the query and where it begins."""

    kind: str
    text: str
    at: int

    @property
    def lower(self) -> str:
        """The word in lower case."""
        return self.text.lower()


@dataclass(frozen=True)
class Literal:
    """A value: its kind (string, number, date, datetime, boolean, null) and itself."""

    kind: str
    value: str | float | int | date | datetime | bool | None


@dataclass(frozen=True)
class Name:
    """A field or object as the query names it, and where."""

    text: str
    at: int


@dataclass(frozen=True)
class Comparison:
    """``field operator values``; one value, but for IN and NOT IN."""

    field: Name
    operator: str
    values: tuple[Literal, ...]


@dataclass(frozen=True)
class Logic:
    """AND, OR or NOT over conditions."""

    operator: str
    parts: tuple[Condition, ...]


Condition = Comparison | Logic


@dataclass(frozen=True)
class Aggregate:
    """A function of a field (None: all records), under the name that the result has it."""

    function: str
    field: Name | None
    alias: str


@dataclass(frozen=True)
class Order:
    """One key of the order."""

    field: Name
    descending: bool
    nulls_last: bool


@dataclass(frozen=True)
class Query:
    """A query. ``count`` is the bare ``COUNT()``; else it has fields or aggregates."""

    text: str
    object: Name
    fields: tuple[Name, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    count: bool = False
    where: Condition | None = None
    order: tuple[Order, ...] = field(default=())
    limit: int | None = None
    offset: int | None = None


def at_position(text: str, at: int, message: str) -> str:
    """Salesforce's message for a fault at a place of the query."""
    row = text.count("\n", 0, at) + 1
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[begin : len(text) if end < 0 else end]
    column = at - begin
    shown = line[max(column - 40, 0) : column + 40]
    pointer = " " * min(column, 40) + "^"
    return f"\n{shown}\n{pointer}\nERROR at Row:{row}:Column:{column + 1}\n{message}"


def parse(text: str) -> Query:
    """The tree of a query.

    Raises:
        ApiError: MALFORMED_QUERY where it isn't SOQL.
    """
    return _Parser(text).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.place = 0

    def _tokens(self) -> list[Token]:
        found, at = [], 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                raise self._malformed(Token("", self.text[at], at))
            if match.lastgroup and match["space"] is None:
                kind = next(kind for kind, part in match.groupdict().items() if part is not None)
                found.append(Token(kind, match[0], at))
            at = match.end()
        return [*found, Token("end", "<EOF>", len(self.text))]

    def _malformed(self, token: Token) -> ApiError:
        message = at_position(self.text, token.at, f"unexpected token: '{token.text}'")
        return ApiError(400, "MALFORMED_QUERY", message)

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        token = self.next
        self.place += 1
        return token

    def have(self, *words: str) -> bool:
        """Takes the words, where they come next."""
        coming = self.tokens[self.place : self.place + len(words)]
        if [t.lower for t in coming] != list(words) or any(t.kind not in ("name", "sign") for t in coming):
            return False
        self.place += len(words)
        return True

    def need(self, *words: str) -> None:
        for word in words:
            if not self.have(word):
                self.refuse()

    def refuse(self) -> None:
        if self.place and self.next.kind == "name" and self.next.lower in _BEYOND:
            raise unsupported(f"SOQL's {self.next.text.upper()}")
        raise self._malformed(self.next)

    def name(self) -> Name:
        if self.next.kind != "name" or self.next.lower in _KEYWORDS | _BEYOND:
            self.refuse()
        token = self.take()
        return Name(token.text, token.at)

    def query(self) -> Query:
        self.need("select")
        fields: list[Name] = []
        aggregates: list[Aggregate] = []
        count = False
        while True:
            if self.next.text == "(":
                raise unsupported("SOQL's child queries")
            item = self.name()
            if self.next.text == "(":
                if item.text.lower() not in AGGREGATES:
                    raise unsupported(f"SOQL's function {item.text}")
                self.need("(")
                if item.text.lower() == "count" and self.have(")"):
                    count = True
                else:
                    of = self.name()
                    self.need(")")
                    alias = f"expr{len(aggregates)}"
                    if self.next.kind == "name" and self.next.lower not in _KEYWORDS:
                        alias = self.take().text
                    aggregates.append(Aggregate(item.text.lower(), of, alias))
            else:
                fields.append(item)
            if not self.have(","):
                break
        if count and (fields or aggregates):
            raise self._malformed(self.next)
        self.need("from")
        object_ = self.name()
        where = self.condition() if self.have("where") else None
        order = self.order() if self.have("order", "by") else ()
        limit = self.integer() if self.have("limit") else None
        offset = self.integer() if self.have("offset") else None
        if self.next.kind != "end":
            self.refuse()
        if fields and aggregates:
            message = f"Field must be grouped or aggregated: {fields[0].text}"
            raise ApiError(400, "MALFORMED_QUERY", at_position(self.text, fields[0].at, message))
        return Query(self.text, object_, tuple(fields), tuple(aggregates), count, where, order, limit, offset)

    def integer(self) -> int:
        if self.next.kind != "number" or not self.next.text.isdigit():
            self.refuse()
        return int(self.take().text)

    def order(self) -> tuple[Order, ...]:
        keys = []
        while True:
            name = self.name()
            descending = self.have("desc")
            if not descending:
                self.have("asc")
            nulls_last = False
            if self.have("nulls"):
                nulls_last = self.have("last")
                if not nulls_last:
                    self.need("first")
            keys.append(Order(name, descending, nulls_last))
            if not self.have(","):
                return tuple(keys)

    def condition(self) -> Condition:
        parts = [self.term()]
        operator = next((word for word in ("and", "or") if self.have(word)), None)
        # One operator only: SOQL wants parentheses where AND and OR meet.
        while operator is not None:
            parts.append(self.term())
            if not self.have(operator):
                break
        return parts[0] if operator is None else Logic(operator, tuple(parts))

    def term(self) -> Condition:
        if self.have("not"):
            return Logic("not", (self.term(),))
        if self.have("("):
            inner = self.condition()
            self.need(")")
            return inner
        name = self.name()
        if self.next.text == "(":
            raise unsupported(f"SOQL's function {name.text}")
        if self.have("not", "in"):
            return Comparison(name, "not in", self.values())
        if self.have("in"):
            return Comparison(name, "in", self.values())
        if self.have("like"):
            return Comparison(name, "like", (self.value(),))
        if self.next.text not in ("=", "!=", "<>", "<", "<=", ">", ">="):
            self.refuse()
        operator = self.take().text.replace("<>", "!=")
        return Comparison(name, operator, (self.value(),))

    def values(self) -> tuple[Literal, ...]:
        self.need("(")
        if self.next.lower == "select":
            raise unsupported("SOQL's semi-joins")
        found = [self.value()]
        while self.have(","):
            found.append(self.value())
        self.need(")")
        return tuple(found)

    def value(self) -> Literal:
        token = self.next
        if token.kind == "string":
            self.take()
            return Literal("string", re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), token.text[1:-1]))
        if token.kind == "number":
            self.take()
            return Literal(
                "number", int(token.text) if re.fullmatch(r"[+-]?\d+", token.text) else float(token.text)
            )
        try:
            if token.kind == "date":
                self.take()
                return Literal("date", date.fromisoformat(token.text))
            if token.kind == "datetime":
                self.take()
                return Literal("datetime", datetime.fromisoformat(token.text).astimezone(UTC))
        except ValueError:
            raise self._malformed(token) from None
        if token.kind == "name" and token.lower in ("true", "false", "null"):
            self.take()
            return {
                "true": Literal("boolean", True),
                "false": Literal("boolean", False),
                "null": Literal("null", None),
            }[token.lower]
        if token.kind == "name" and _DATE_LITERAL.match(token.lower):
            raise unsupported(f"SOQL's date literal {token.text}")
        self.refuse()
        raise AssertionError
