"""What the published file says of itself: the tables of its schema ``gtm_meta``, described."""

from collections.abc import Mapping
from types import MappingProxyType

from gtm_assets.engines.engine import Table

_SOURCE = "The source that the raw table is of."
_TABLE = "Name of the raw table."

META_TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "gtm_meta.publication": Table(
            "One row: this publication, what it was made of and how it was proven.",
            {
                "run_id": "Dagster's id of the run that published.",
                "published_at": "When it was published, UTC.",
                "as_of": "The instant that the models took for now, UTC: up to here records count.",
                "built_from": "A digest of the code, settings and batches that the warehouse was built from.",
                "read_from": "lake, or external where another loader fills the raw tables.",
                "checks_passed": "Number of checks that passed.",
                "checks_warned": "Number of checks that warned, or failed without stopping the publication.",
                "first_partition": "First landed partition: the day that it begins on.",
                "last_partition": "Last landed partition: the day that it begins on.",
                "open_partition": "The partition that is not over yet, where it was landed up to a minute of it.",
                "partition_count": "Number of landed partitions.",
                "batch_count": "Number of batches that were read.",
            },
        ),
        "gtm_meta.published_partitions": Table(
            "One row per batch of records that was read.",
            {
                "source_name": _SOURCE,
                "table_name": _TABLE,
                "partition_key": "The partition: the day that it begins on.",
                "batch_id": "Id of the batch. Its file in the lake is named by it.",
                "read_until": "The source was read up to this instant, UTC.",
            },
        ),
        "gtm_meta.external_tables": Table(
            "One row per raw table that another loader fills; none where the platform lands records itself.",
            {
                "source_name": _SOURCE,
                "table_name": _TABLE,
                "external_name": "Schema and name of the table in the external database; null where it has none.",
                "has_history": "Whether it keeps versions of records (Fivetran's history mode).",
                "row_count": "Number of its rows.",
                "newest_synced_at": "When its newest row was loaded, UTC.",
                "missing_columns": "Columns of the catalogue that it lacks, by commas.",
                "unknown_columns": "Its columns that the catalogue lacks, by commas.",
            },
        ),
        "gtm_meta.tables_not_read": Table(
            "One row per table of the external database that no model reads.",
            {
                "table_name": "Schema and name of the table.",
                "loaded_until": "When its newest row was loaded, UTC.",
            },
        ),
        "gtm_meta.unreadable_tables": Table(
            "One row per raw table that the source does not let us read: records of it may lack.",
            {"source_name": _SOURCE, "table_name": _TABLE, "reason": "What the source said."},
        ),
        "gtm_meta.findings": Table(
            "One row per check that warned, or that failed without stopping the publication.",
            {
                "asset": "The asset that was checked.",
                "check_name": "The check.",
                "outcome": "warned or failed.",
                "sentence": "What it found.",
            },
        ),
        "gtm_meta.checks": Table(
            "One row per check: how it stands for what is published.",
            {
                "asset": "The asset that is checked: schema or source, and table.",
                "check_name": "The check.",
                "is_blocking": "Whether nothing is published where it fails or has not run.",
                "outcome": "passed, warned, failed, or missing: it has not run since its asset was built.",
                "checked_at": "When it last ran, UTC; null where it never did.",
                "sentence": "What it found.",
                "figures": "The numbers that it found, by name, as JSON.",
            },
        ),
        "gtm_meta.certified_datasets": Table(
            "One row per certified dataset: who vouches for it, and whether its badge stands.",
            {
                "dataset": "Name of the view in schema gtm_certified.",
                "owner": "Who answers for it.",
                "service_level": "By when it is there, in the owner's words.",
                "certified_by": "Who certified it last; null where nobody has.",
                "certified_at": "When, UTC.",
                "is_certified": "Whether it is as it was certified, and all its tests pass.",
                "reason": "Why it is not certified.",
            },
        ),
        "gtm_meta.cost_daily": Table(
            "One row per day and model: what building it took.",
            {
                "day": "The day.",
                "model": "The model.",
                "builds": "How often it was built.",
                "seconds": "Seconds of the clock that this took in all.",
            },
        ),
        "gtm_meta.quarantine": Table(
            "One row per raw table of which records wait in quarantine.",
            {"source_name": _SOURCE, "table_name": _TABLE, "record_count": "Records that wait."},
        ),
        "gtm_meta.keys": Table(
            "One row per key of a published table: by which columns tables are joined. Each build tests them.",
            {
                "table_name": "Schema and name of the table.",
                "column_name": "The column.",
                "key_type": "primary: unique and never null. foreign: its values are those of another column.",
                "refers_to_table": "Of a foreign key: schema and name of the table it refers to.",
                "refers_to_column": "Of a foreign key: the column it refers to.",
            },
        ),
    }
)
"""By ``schema.table``."""
