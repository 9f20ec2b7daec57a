"""The page of the platform's own state: how fresh it is, what its checks say, and what its builds take."""

from __future__ import annotations

from gtm_assets.reporting.charts import by_name, over_time
from gtm_assets.reporting.page import Chart, Content, Page, Section, Table, Tile
from gtm_assets.reporting.published import Published
from gtm_assets.reporting.rows import Column, Measure

DAYS = 31
"""How many days of landings, versions and builds are shown."""
SLOWEST = 15


def _standing(published: Published) -> Section:
    standing = published.rows(
        "standing",
        """
        select
            as_of, checks_passed, checks_warned, partition_count, last_partition,
            (select coalesce(sum(record_count), 0) from gtm_meta.quarantine) as quarantined,
            (select count(*) from gtm_meta.unreadable_tables) as unreadable
        from gtm_meta.publication
        """,
        Column("as_of", "Read up to", "instant"),
        Column("checks_passed", "Checks passed", "count"),
        Column("checks_warned", "Checks that did not pass", "count"),
        Column("partition_count", "Days landed", "count"),
        Column("last_partition", "Last day landed"),
        Column("quarantined", "Records in quarantine", "count"),
        Column("unreadable", "Tables that can't be read", "count"),
        report="gtm_meta.publication",
    )

    def tile(name: str, note: str = "") -> Tile:
        column = standing.column(name)
        return Tile(column.label, standing, Measure(column.label, name, column.kind), better="", note=note)

    return Section(
        "How it stands",
        [
            tile("as_of"),
            tile("last_partition"),
            tile("checks_passed"),
            tile("checks_warned", "None of them blocks publishing."),
            tile("quarantined"),
            tile("unreadable"),
        ],
    )


def _checks(published: Published) -> Section:
    found = published.rows(
        "findings",
        """
        select
            check_name, asset, outcome,
            regexp_extract(sentence, 'Rows against it: ([0-9,]+)', 1) as rows_against
        from gtm_meta.findings
        order by outcome, asset, check_name
        """,
        Column("check_name", "Check"),
        Column("asset", "Asset"),
        Column("outcome", "Verdict"),
        Column("rows_against", "Rows against it"),
    )
    datasets = published.rows(
        "datasets",
        """
        select
            dataset, owner, case when is_certified then 'certified' else 'not certified' end as badge,
            service_level, coalesce(reason, '') as reason
        from gtm_meta.certified_datasets
        order by dataset
        """,
        Column("dataset", "Dataset"),
        Column("owner", "Owner"),
        Column("badge", "Badge"),
        Column("service_level", "Promised"),
        Column("reason", "Why not"),
    )
    return Section(
        "Checks",
        [
            Table(
                "Checks that did not pass",
                found,
                ["check_name", "asset", "outcome", "rows_against"],
                # A sentence may quote a record.
                note="What each found is said in gtm_meta.findings of the published file.",
                if_missing="Every check passed.",
                wide=True,
            ),
            Table(
                "Certified datasets",
                datasets,
                ["dataset", "badge", "reason", "service_level"],
                if_missing="No dataset is there to be certified.",
                wide=True,
            ),
        ],
    )


def _freshness(published: Published) -> Section:
    landed = published.rows(
        "landed",
        f"""
        select
            cast(partition_key as date) as day, source_name, count(distinct table_name) as tables
        from gtm_meta.published_partitions
        where cast(partition_key as date) > (
            select max(cast(partition_key as date)) from gtm_meta.published_partitions
        ) - {DAYS}
        group by all
        order by day, source_name
        """,
        Column("day", "Day", "day"),
        Column("source_name", "Source"),
        Column("tables", "Tables", "count"),
    )
    tables = published.rows(
        "tables",
        """
        select source_name, table_name, max(read_until) as read_until, count(distinct partition_key) as days
        from gtm_meta.published_partitions
        group by all
        union all
        select source_name, table_name, newest_synced_at, null
        from gtm_meta.external_tables
        where external_name is not null
        order by source_name desc, table_name
        """,
        Column("source_name", "Source"),
        Column("table_name", "Table"),
        Column("read_until", "Read up to", "instant"),
        Column("days", "Days landed", "count"),
    )
    unreadable = published.rows(
        "unreadable",
        "select source_name, table_name, reason from gtm_meta.unreadable_tables order by all",
        Column("source_name", "Source"),
        Column("table_name", "Table"),
        Column("reason", "Reason"),
    )
    quarantine = published.rows(
        "quarantine",
        "select source_name, table_name, record_count from gtm_meta.quarantine order by record_count desc, 1, 2",
        Column("source_name", "Source"),
        Column("table_name", "Table"),
        Column("record_count", "Records", "count"),
    )
    return Section(
        "Freshness",
        [
            Chart(
                "Tables landed of each day",
                landed,
                ["day", "source_name"],
                [Measure("Tables", "tables", "count")],
                drawn=over_time(),
                if_missing="No day lands here: another loader fills the tables.",
            ),
            Table(
                "Tables, and up to when they were read",
                tables,
                ["source_name", "table_name"],
                [Measure("Read up to", "read_until", "instant"), Measure("Days landed", "days", "count")],
            ),
            Table(
                "Records in quarantine",
                quarantine,
                ["source_name", "table_name"],
                [Measure("Records", "record_count", "count")],
                if_missing="No record waits in quarantine.",
            ),
            Table(
                "Tables that the source does not let us read",
                unreadable,
                ["source_name", "table_name", "reason"],
                if_missing="Every table can be read.",
            ),
        ],
    )


def _history(published: Published) -> Section:
    """Versions of each history of core: those of the days that have landed, and what is deleted."""
    histories = [
        (table, f"{table.removeprefix('dim_').removesuffix('_scd2')}_id")
        for (table,) in published.values(
            "select table_name from duckdb_tables() where schema_name = 'gtm_core'"
            " and table_name like 'dim@_%@_scd2' escape '@' order by table_name"
        )
    ]
    versions = " union all ".join(
        f"""
        select
            '{table.removeprefix("dim_").removesuffix("_scd2")}' as history, valid_from, is_current, is_deleted,
            row_number() over (partition by source_system, {key} order by valid_from) as version
        from gtm_core.{table}
        where source_system <> 'unknown'
        """
        for table, key in histories
    )
    kept = published.rows(
        "histories",
        f"""
        select
            history,
            count(*) filter (is_current) as records,
            count(*) as versions,
            count(*) filter (version > 1) as changes,
            count(*) filter (is_current and is_deleted) as deleted
        from ({versions})
        group by history
        order by history
        """,
        Column("history", "History of"),
        Column("records", "Records", "count"),
        Column("versions", "Versions", "count"),
        Column("changes", "Changes", "count"),
        Column("deleted", "Deleted", "count"),
    )
    by_day = published.rows(
        "versions",
        f"""
        select
            cast(valid_from as date) as day, history, count(*) filter (version = 1) as added,
            count(*) filter (version > 1) as changed
        from ({versions})
        where valid_from >= (select as_of from gtm_meta.publication) - interval {DAYS} day
        group by all
        order by day, history
        """,
        Column("day", "Day", "day"),
        Column("history", "History of"),
        Column("added", "New", "count"),
        Column("changed", "Changed", "count"),
    )
    return Section(
        "History",
        [
            Chart(
                "New and changed records by day",
                by_day,
                ["day"],
                [Measure("New", "added", "count"), Measure("Changed", "changed", "count")],
                drawn=over_time(),
                note=f"By the day of the change, UTC, of the last {DAYS} days.",
            ),
            Table(
                "Records and their versions",
                kept,
                ["history"],
                [
                    Measure("Records", "records", "count"),
                    Measure("Versions", "versions", "count"),
                    Measure("Changes", "changes", "count"),
                    Measure("Deleted", "deleted", "count"),
                ],
            ),
        ],
    )


def _builds(published: Published) -> Section:
    """What builds took. It alone is no reason to write the pages anew."""
    recent = f"day > (select max(day) from gtm_meta.cost_daily) - {DAYS}"
    days = published.rows(
        "build_days",
        f"""
        select day, cast(round(sum(seconds)) as bigint) as seconds, cast(sum(builds) as bigint) as builds
        from gtm_meta.cost_daily
        where {recent}
        group by day
        order by day
        """,
        Column("day", "Day", "day"),
        Column("seconds", "Seconds", "count"),
        Column("builds", "Builds", "count"),
        written_anew=False,
    )
    slowest = published.rows(
        "slowest",
        f"""
        select model, sum(seconds) / sum(builds) as seconds_per_build, cast(sum(builds) as bigint) as builds
        from gtm_meta.cost_daily
        where {recent}
        group by model
        order by 2 desc, model
        limit {SLOWEST}
        """,
        Column("model", "Model"),
        Column("seconds_per_build", "Seconds a build", "number"),
        Column("builds", "Builds", "count"),
        written_anew=False,
    )
    return Section(
        "Run times",
        [
            Chart(
                "Seconds of building by day, all models together",
                days,
                ["day"],
                [Measure("Seconds", "seconds", "count"), Measure("Builds", "builds", "count")],
                drawn=over_time(only_first=True),
                note="Several models are built at a time: a run is shorter. Up to the publication named above.",
                if_missing="No build has been timed yet.",
            ),
            Chart(
                f"The {SLOWEST} slowest models, a build each",
                slowest,
                ["model"],
                [Measure("Seconds", "seconds_per_build", "number"), Measure("Builds", "builds", "count")],
                drawn=by_name(),
                if_missing="No build has been timed yet.",
            ),
        ],
    )


def _content(published: Published) -> Content:
    return Content(
        [
            _standing(published),
            _checks(published),
            _freshness(published),
            _history(published),
            _builds(published),
        ]
    )


PAGE = Page(
    "operations", "Operations", "How fresh the platform is, what its checks say and what it takes.", _content
)
