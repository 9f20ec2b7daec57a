"""What descriptions say of a column's values is what is there.

A description that names all values of a column has them at its beginning or after a colon: ``Won, Lost or Open``.
One of a list that each organisation makes for itself says ``such as``. Numbers have their bounds as ``0 to 1``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import duckdb
import pytest
import yaml

from gtm_assets.engines.files import connect
from gtm_assets.sources.dbt_sources import LOADER_DESCRIPTIONS, SOURCES, files
from gtm_assets_tests.dbt_harness import DBT_DIR, parsed

_VALUE = r"(?:'[^']+'|[A-Z][\w-]*(?: [\w-]+){0,3})"
_LIST = re.compile(rf"(?:^|: )({_VALUE}(?:, {_VALUE})* or {_VALUE})(?=[.;:]|$)")
_BOUNDS = re.compile(r"\b(\d+) to (\d+)\b")
_NUMBERS = ("integer", "bigint", "double", "decimal")


def values_of(description: str) -> set[str]:
    """The values that a description says a column has; none where it does not name them all."""
    found = _LIST.search(re.sub(r" \([^)]*\)", "", " ".join(description.split())))
    return {value.strip("'") for value in re.split(r", | or ", found[1])} if found else set()


@pytest.mark.parametrize(
    ("description", "values"),
    [
        ("Won, Lost or Open. Won from stage 7 on.", {"Won", "Lost", "Open"}),
        ("Size: Startup, Mid-Market or 'other'; null where it is not known.", {"Startup", "Mid-Market", "other"}),
        ("Waiting on someone else or Deferred", {"Waiting on someone else", "Deferred"}),
        ("Where it went: Forward (in the order of stages) or Back.", {"Forward", "Back"}),
        ("Sales region, such as North or EMEA.", set()),
        ("Account or contact that it is about.", set()),
    ],
)
def test_the_values_that_a_description_names(description, values):
    assert values_of(description) == values


def _written() -> Iterator[tuple[str, str]]:
    """Every description that is written by hand or in the catalogue: its text, and where."""
    tables = [table for _, tables in SOURCES.values() for table in tables]
    entries = [entry.description for table in tables for entry in (table, *table.columns)]
    yield from ((text, "a catalogue") for text in {*entries, *LOADER_DESCRIPTIONS.values()})
    made = {path for path in files() if path.suffix == ".yml"}
    for path in sorted({*DBT_DIR.glob("models/**/*.yml"), *DBT_DIR.glob("seeds/*.yml")} - made):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for node in (*content.get("models", ()), *content.get("seeds", ())):
            yield node["description"], node["name"]
            yield from ((column["description"], f"{node['name']}.{column['name']}") for column in node["columns"])
    for name, text in _shared().items():
        yield text, f"the block {name}"


def _shared() -> dict[str, str]:
    """The doc blocks that are written by hand."""
    return dict(
        re.findall(r"{% docs (\w+) %}(.*?){% enddocs %}", (DBT_DIR / "models/columns.md").read_text("utf-8"))
    )


def test_no_description_is_written_twice():
    """What several say is one block of ``columns.md``, or of the catalogue: ``{{ doc('…') }}`` refers to it."""
    places: dict[str, list[str]] = {}
    for text, place in _written():
        if not re.fullmatch(r"(From [\w.]+: )?({{ doc\('\w+'\) }}( |$)?)+(Tracked\.)?", text):
            places.setdefault(" ".join(text.split()), []).append(place)

    assert len(places) > 500
    assert {text: those for text, those in places.items() if len(those) > 1} == {}


def test_each_block_that_is_shared_is_used_by_several():
    used = Counter(re.findall(r"{{ doc\('(\w+)'\) }}", "\n".join(text for text, _ in _written())))

    assert [name for name in _shared() if used[name] < 2] == []


@pytest.fixture(scope="module")
def warehouse(built_home) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(built_home.warehouse) as connection:
        yield connection


def columns(warehouse: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str, str, str]]:
    """Table, column, type and description of every column that is described and built."""
    built = {
        (f"{schema}.{table}", column): type_.lower()
        for schema, table, column, type_ in warehouse.execute(
            "select table_schema, table_name, column_name, data_type from information_schema.columns"
        ).fetchall()
    }
    described = [
        (f"{node.schema}.{node.name}", node.columns.values())
        for node in parsed().nodes.values()
        if node.resource_type in ("model", "seed") and not node.name.startswith("base_")
    ]
    # A raw table is what its base holds.
    described += [
        (f"gtm_staging.base_{source.source_name}__{source.name}", source.columns.values())
        for source in parsed().sources.values()
    ]
    for table, those in described:
        for column in those:
            if (table, column.name) in built:
                yield table, column.name, built[table, column.name], column.description


@pytest.mark.slow
def test_no_column_holds_values_that_its_description_denies(warehouse):
    lists = bounds = 0
    denied = []
    for table, column, type_, description in columns(warehouse):
        if type_ == "varchar" and (values := values_of(description)):
            lists += 1
            found = warehouse.execute(
                f"select distinct {column} from {table} where {column} is not null"
            ).fetchall()
            if others := {value for (value,) in found} - values:
                denied.append(f"{table}.{column}: {description} But: {', '.join(sorted(others)[:9])}")
        elif type_.startswith(_NUMBERS) and (found := _BOUNDS.search(description)):
            bounds += 1
            least, most = warehouse.execute(f"select min({column}), max({column}) from {table}").fetchone()
            if least is not None and not int(found[1]) <= least <= most <= int(found[2]):
                denied.append(f"{table}.{column}: {description} But: {least} to {most}")

    assert denied == []
    assert lists > 20 and bounds > 10


@pytest.mark.slow
def test_what_a_test_accepts_is_what_is_there_and_what_the_description_says(warehouse):
    described = {(table, column): description for table, column, _, description in columns(warehouse)}
    tests = [
        node
        for node in parsed().nodes.values()
        if node.resource_type == "test" and getattr(node, "test_metadata", None)
        if node.test_metadata.name == "accepted_values"
    ]
    assert len(tests) > 10

    wrong = []
    for test in tests:
        model, accepted = parsed().nodes[test.attached_node], set(test.test_metadata.kwargs["values"])
        table, column = f"{model.schema}.{model.name}", test.column_name
        found = warehouse.execute(f"select distinct {column} from {table} where {column} is not null").fetchall()
        others = {value for (value,) in found} - accepted
        named = values_of(described[table, column])
        if others or (named and named != accepted):
            wrong.append(f"{table}.{column}: accepted {sorted(accepted)}, named {sorted(named)}, others {others}")
    assert wrong == []
