"""The dbt source files, made from the catalogues, so that a table is described once.

``python -m gtm_assets.sources.dbt_sources`` (``make sources``) writes them.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from gtm_assets.catalog.raw_table import Column, RawTable
from gtm_assets.lake.store import LOADER_COLUMNS
from gtm_assets.settings import PROJECT_DIR
from gtm_assets.sources.pipedrive.catalog import TABLES
from gtm_assets.sources.salesforce.catalog import OBJECTS

STAGING = PROJECT_DIR / "gtm_dbt/models/staging"
SOURCES: dict[str, tuple[str, tuple[RawTable, ...]]] = {
    "salesforce": ("Salesforce records as the lake holds them: every landed version of every record.", OBJECTS),
    "pipedrive": (
        "Rows of Pipedrive's export as the lake holds them: every landed version of every record.",
        TABLES,
    ),
}
"""Of each source its description and its tables."""

_HEADER = "# Made from the catalogue by `make sources`. Do not edit.\n"
_LOADER_DESCRIPTIONS = {
    "_fivetran_synced": "When the loader wrote the record, UTC.",
    "_batch_id": "Batch of the lake that brought the version.",
    "_known_at": "When the version was seen, UTC: at the earliest instant `as_of` at which it is known.",
    "_version_hash": "Hash of the source's columns. Tells one version of a record from another.",
}


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
    return _HEADER + body


def source_path(source: str) -> Path:
    """Where that file lies."""
    return STAGING / source / f"_{source}__sources.yml"


def write() -> None:
    """Write the source files."""
    for source in SOURCES:
        source_path(source).write_text(source_file(source), encoding="utf-8")


# A long weekend, and a week.
_FRESHNESS = {"warn_after": {"count": 96, "period": "hour"}, "error_after": {"count": 168, "period": "hour"}}


def _table(table: RawTable) -> dict:
    # partition=<day> and month=<month>
    files = f"lake/{table.source}/{table.name}/*=*/*.parquet"
    return {
        "name": table.name,
        "description": table.description,
        "config": {
            # Run time finds the files below the state folder (file_search_path in profiles.yml).
            "external_location": f"read_parquet('{files}', union_by_name=true, hive_partitioning=false)",
            "loaded_at_field": "_fivetran_synced",
            "freshness": _FRESHNESS if table.busy else None,
            "meta": {
                "api_name": table.api_name,
                "cursor": table.cursor,
                "deletes": table.deletes.value,
                "dagster": {"asset_key": [table.source, table.name]},
            },
        },
        "columns": [_column(column) for column in table.columns]
        + [
            {"name": name, "data_type": type_.sql, "description": _LOADER_DESCRIPTIONS[name]}
            for name, type_ in LOADER_COLUMNS.items()
        ],
    }


def _column(column: Column) -> dict:
    entry: dict = {"name": column.name, "data_type": column.type.sql, "description": column.description}
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

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data):
        return True


if __name__ == "__main__":
    write()
