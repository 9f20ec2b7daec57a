"""The asset ``served/postgres`` and the check that what is served is what is published."""

from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from adbc_driver_postgresql import dbapi

from gtm_assets.engines.engine import Table
from gtm_assets.engines.postgres_server import Server, in_one_line
from gtm_assets.finding import Finding
from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.runtime.retries import retried
from gtm_assets.serving.access import Enforcer
from gtm_assets.serving.copying import LAYERS, Copying
from gtm_assets.serving.names import ACCESS_CHECK, ASSET_KEY, EQUAL_CHECK, GROUP

_SUMMED = ("BIGINT", "INTEGER", "DECIMAL")
"""The types whose sums are exact, whatever the order of rows."""


_ACCESS = "Roles, rights, masks and policies on the server are those of the access file, and nothing more."


def access_check(asset: dg.AssetKey, enforcer: Enforcer) -> dg.AssetChecksDefinition:
    """The check of an asset on a server, that it gives what the access file says."""

    @dg.asset_check(asset=asset, name=ACCESS_CHECK, description=_ACCESS)
    def access() -> dg.AssetCheckResult:
        return enforcer.check().result(dg.AssetCheckKey(asset, ACCESS_CHECK))

    return access


def served_asset(
    copying: Copying,
    published: Path,
    described: Mapping[str, Table],
    enforcer: Enforcer,
    retry_seconds: float,
) -> dg.AssetsDefinition:
    """What is published, on a server."""
    server, prefix, kept = copying.server, copying.prefix, copying.kept
    equal, in_force = (dg.AssetCheckKey(ASSET_KEY, name) for name in (EQUAL_CHECK, ACCESS_CHECK))

    @dg.asset(
        key=ASSET_KEY,
        deps=[PUBLISHED],
        group_name=GROUP,
        kinds={"postgres"},
        tags={"layer": "served"},
        description=f"Core and mart on a server that a company shares: {server.place}, schemas "
        f"{prefix}published_*. All tables change in one transaction.",
        check_specs=[
            dg.AssetCheckSpec(
                EQUAL_CHECK,
                asset=ASSET_KEY,
                description="Each table on the server has the rows of the published file: as many, with the same "
                "sums in all columns of whole numbers and decimals.",
            ),
            dg.AssetCheckSpec(
                ACCESS_CHECK,
                asset=ASSET_KEY,
                description=_ACCESS,
            ),
        ],
    )
    def served(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with retried(context, retry_seconds):
            server.examine()
            done = copying.serve(published, described)
            finding = is_what_is_published(server, prefix, kept)
            if not finding.passed:
                kept.unlink()
            access = enforcer.check()
        return dg.MaterializeResult(
            metadata={
                "served_by": server.place,
                "tables": done.tables,
                "tables_changed": dg.MetadataValue.json({one.table: _as_json(one) for one in done.changed}),
                "rows_changed": done.rows_changed,
                "rows_sent": done.rows_sent,
                "seconds": done.seconds,
            },
            check_results=[finding.result(equal), access.result(in_force)],
        )

    return served


def _as_json(changed: Any) -> dict[str, int]:
    return {"deleted": changed.deleted, "updated": changed.updated, "inserted": changed.inserted}


def is_what_is_published(server: Server, prefix: str, published: Path) -> Finding:
    """Compare each table's rows and sums on a server with those of a published file."""
    differing, compared = [], 0
    with (
        closing(server.open(name="gtm: checking")) as connection,
        connection.cursor() as cursor,
        duckdb.connect(str(published), read_only=True) as file,
    ):
        for schema, table, columns in _tables(file):
            layer = schema.removeprefix("gtm_")
            if layer not in LAYERS:
                continue
            sums = ", ".join(["count(*)", *(f'sum("{column}")' for column in columns)])
            try:
                # Sums come as texts: the driver gives no decimals.
                of_server = ", ".join(
                    ["count(*)", *(f'cast(sum(cast("{column}" as numeric)) as text)' for column in columns)]
                )
                cursor.execute(f'select {of_server} from {prefix}published_{layer}."{table}"')
                [theirs] = cursor.fetchall()
            except dbapi.Error as error:
                return Finding(False, f"{schema}.{table} can't be read on {server.place} ({in_one_line(error)}).")
            [ours] = file.execute(f'select {sums} from {schema}."{table}"').fetchall()
            compared += len(ours)
            differing += [
                f"{schema}.{table} {what}: {_text(here)} published, {_text(there)} served"
                for what, here, there in zip(["rows", *columns], ours, theirs, strict=True)
                if _exact(here) != _exact(there)
            ]
    if differing:
        return Finding(
            False,
            f"{len(differing):,} of {compared:,} figures differ: {'; '.join(differing[:5])}. "
            "The next run compares all rows: gtm run.",
        )
    return Finding(True, f"{compared:,} figures are equal.")


def _tables(file: duckdb.DuckDBPyConnection) -> list[tuple[str, str, list[str]]]:
    """The tables of a file with the columns that can be summed."""
    return file.execute(
        "select schema_name, table_name, coalesce(list(column_name order by column_index)"
        " filter (regexp_extract(data_type, '^[A-Z]+') in $1), []) from duckdb_columns()"
        " where not internal group by all order by all",
        [list(_SUMMED)],
    ).fetchall()


def _exact(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value)).normalize()


def _text(value: Any) -> str:
    return "none" if value is None else f"{_exact(value):,f}"
