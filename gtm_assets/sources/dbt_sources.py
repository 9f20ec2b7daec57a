"""The dbt source files and their descriptions, made from the catalogues, so that a table is described once.

``python -m gtm_assets.sources.dbt_sources`` (``make sources``) writes them. Each source has a yml and a file of
doc blocks, to which models refer: ``salesforce__account`` describes the table, ``salesforce__account__name`` a
column of it, and ``loader__batch_id`` a column that the loader adds to every table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gtm_assets.catalog.raw_table import Column, RawTable
from gtm_assets.lake.columns import LOADER_COLUMNS
from gtm_assets.settings import PROJECT_DIR
from gtm_assets.sources import registry

STAGING = PROJECT_DIR / "gtm_dbt/models/staging"
SOURCES: dict[str, tuple[str, tuple[RawTable, ...]]] = {
    source.name: (source.description, source.tables) for source in registry.SOURCES
}
"""Of each source its description and its tables."""

_MADE = "Made from the catalogue by `make sources`. Do not edit."
LOADER_DESCRIPTIONS = {
    "_fivetran_synced": "When the loader wrote the record, UTC.",
    "_batch_id": "Batch of the lake that brought the version.",
    "_known_at": "When the version was seen, UTC: at the earliest instant `as_of` at which it is known.",
    "_version_hash": "Hash of the source's columns. Tells one version of a record from another.",
}
"""What the columns mean that the loader adds to every table."""


def source_file(source: str) -> str:
    """The text of the dbt source file of one source."""
    description, tables = SOURCES[source]
    entry = {
        "name": source,
        "description": description,
        "loader": "gtm_assets",
        "tables": [_table(table) for table in tables],
    }
    body = yaml.dump(
        {"version": 2, "sources": [entry]}, Dumper=_Indented, sort_keys=False, allow_unicode=True, width=10_000
    )
    return f"# {_MADE}\n{body}"


def doc_blocks(source: str) -> str:
    """The text of the file with the descriptions of one source's tables and columns, as dbt's doc blocks."""
    paragraphs = []
    for table in SOURCES[source][1]:
        blocks = [_block(_doc_name(table), table.description)]
        blocks += [_block(_doc_name(table, column), column.description) for column in table.columns]
        paragraphs.append("\n".join(blocks))
    return f"<!-- {_MADE} -->\n\n" + "\n\n".join(paragraphs) + "\n"


def loader_doc_blocks() -> str:
    """The same for the columns that the loader adds to every table."""
    blocks = [_block(f"loader_{name}", LOADER_DESCRIPTIONS[name]) for name in LOADER_COLUMNS]
    return f"<!-- {_MADE} -->\n\n" + "\n".join(blocks) + "\n"


def files() -> dict[Path, str]:
    """All that is made from the catalogues: path to text."""
    texts = {STAGING / "_loader__columns.md": loader_doc_blocks()}
    for source in SOURCES:
        texts[STAGING / source / f"_{source}__sources.yml"] = source_file(source)
        texts[STAGING / source / f"_{source}__columns.md"] = doc_blocks(source)
    return texts


def write() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


def _doc_name(table: RawTable, column: Column | None = None) -> str:
    return "__".join([table.source, table.name, *([column.name] if column else [])])


def _block(name: str, text: str) -> str:
    return f"{{% docs {name} %}}{text}{{% enddocs %}}"


def _reference(name: str) -> str:
    return f"{{{{ doc('{name}') }}}}"


# Warn after a long weekend, fail after a week.
_FRESHNESS = {"warn_after": {"count": 96, "period": "hour"}, "error_after": {"count": 168, "period": "hour"}}


def _table(table: RawTable) -> dict[str, Any]:
    # partition=<day> and month=<month>
    files = f"lake/{table.source}/{table.name}/*=*/*.parquet"
    return {
        "name": table.name,
        "description": _reference(_doc_name(table)),
        "config": {
            # Run time finds the files below the state folder (file_search_path in profiles.yml).
            "external_location": f"read_parquet('{files}', union_by_name=true, hive_partitioning=false)",
            "loaded_at_field": "_fivetran_synced",
            "freshness": _FRESHNESS if table.expects_daily_rows else None,
            "meta": {
                "api_name": table.api_name,
                "cursor": table.cursor,
                "deletes": table.deletes.value,
                "dagster": {"asset_key": [table.source, table.name]},
            },
        },
        "columns": [_column(table, column) for column in table.columns]
        + [
            {"name": name, "data_type": type_.sql, "description": _reference(f"loader_{name}")}
            for name, type_ in LOADER_COLUMNS.items()
        ],
    }


def _column(table: RawTable, column: Column) -> dict[str, Any]:
    description = _reference(_doc_name(table, column))
    entry: dict[str, Any] = {"name": column.name, "data_type": column.type.sql, "description": description}
    meta = {}
    if column.api_name:
        meta["api_name"] = column.api_name
    if column.pii:
        meta["pii"] = column.pii.value
    if meta:
        entry["config"] = {"meta": meta}
    return entry


class _Indented(yaml.SafeDumper):
    """Lists are indented below their key, as everywhere in the project."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


if __name__ == "__main__":
    write()
