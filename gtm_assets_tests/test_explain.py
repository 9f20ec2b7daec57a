"""Numbers explained: followed to the records of the lake, and added up again there by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gtm_assets.dbt.semantic_layer import MetricError, Question
from gtm_assets.explaining.explanation import Explainer
from gtm_assets.explaining.local import explainer_of, sources
from gtm_assets.explaining.period import period_of
from gtm_assets.explaining.published import PublishedFile
from gtm_assets.explaining.text import lines
from gtm_assets.explaining.trails import TRAILS
from gtm_assets.lake.reader import LakeReader
from gtm_assets.partitions import Calendar
from gtm_assets.settings import Settings
from gtm_assets_tests.gtm_process import GtmHome

pytestmark = pytest.mark.slow

TIMEZONE = "America/Los_Angeles"
OURS = "{{ Dimension('opportunity__source_system') }} = 'salesforce'"


# -- the same numbers by hand, of the lake's files alone --------------------------------------------------------


def records(lake: Path, table: str) -> pl.DataFrame:
    """Salesforce's records as they are, without those that were deleted."""
    files = [
        pl.read_parquet(file, hive_partitioning=False).with_columns(partition=pl.lit(file.parent.name))
        for file in sorted((lake / "salesforce" / table).rglob("*.parquet"))
    ]
    newest = pl.concat(files, how="diagonal_relaxed").sort("system_modstamp", "partition")
    (deleted,) = {"is_deleted", "_fivetran_deleted"} & {*newest.columns}
    return newest.unique("id", keep="last", maintain_order=True).filter(~pl.col(deleted).fill_null(False))


def day(column: str) -> pl.Expr:
    return pl.col(column).dt.convert_time_zone(TIMEZONE).dt.date()


def deals(condition: pl.Expr, value: str = "amount") -> Callable[[Path, date, date], pl.DataFrame]:
    def counted(lake: Path, first: date, last: date) -> pl.DataFrame:
        found = records(lake, "opportunity").filter(condition, pl.col("close_date").is_between(first, last))
        return found.select("id", value=pl.lit(1) if value == "1" else pl.col(value))

    return counted


WON = pl.col("is_won")
OPEN = ~pl.col("is_closed") & (pl.col("forecast_category").fill_null("Omitted") != "Omitted")


def created(table: str, instant: str, condition: pl.Expr) -> Callable[[Path, date, date], pl.DataFrame]:
    def counted(lake: Path, first: date, last: date) -> pl.DataFrame:
        found = records(lake, table).filter(condition, day(instant).is_between(first, last))
        return found.select("id", value=pl.lit(1))

    return counted


def costs(lake: Path, first: date, last: date) -> pl.DataFrame:
    found = records(lake, "campaign").filter(pl.col("start_date").is_between(first, last))
    return found.select("id", value="actual_cost")


def members(lake: Path, first: date, last: date) -> pl.DataFrame:
    begun = records(lake, "campaign").filter(pl.col("start_date").is_between(first, last))
    found = records(lake, "campaign_member").filter(pl.col("campaign_id").is_in(begun["id"].to_list()))
    return found.select("id", value=pl.lit(1))


def quotas(lake: Path, first: date, last: date) -> pl.DataFrame:
    begun = records(lake, "period").filter(pl.col("start_date").is_between(first, last))
    found = records(lake, "forecasting_quota").filter(pl.col("period_id").is_in(begun["id"].to_list()))
    return found.select("id", value="quota_amount")


def booked(lake: Path, first: date, last: date) -> pl.DataFrame:
    """What was won in periods for which somebody has a quota: once for each such period."""
    given = records(lake, "forecasting_quota")["period_id"].to_list()
    begun = records(lake, "period").filter(pl.col("start_date").is_between(first, last), pl.col("id").is_in(given))
    won = records(lake, "opportunity").filter(WON)
    found = won.join_where(
        begun.select("start_date", "end_date"),
        pl.col("close_date") >= pl.col("start_date"),
        pl.col("close_date") <= pl.col("end_date"),
    )
    return found.select("id", value="amount")


@dataclass(frozen=True)
class Number:
    metric: str
    period: dict[str, str]
    by_hand: Callable[[Path, date, date], pl.DataFrame]
    where: tuple[str, ...] = ()


NUMBERS = [
    Number("bookings", {"month": "2026-08"}, deals(WON)),
    Number("bookings", {"month": "2026-06"}, deals(WON)),
    Number("bookings", {"quarter": "2026-Q2"}, deals(WON)),
    Number("decided_amount", {"month": "2026-08"}, deals(pl.col("is_closed"))),
    Number("pipeline", {"month": "2026-10"}, deals(OPEN)),
    Number("won_deals", {"quarter": "2026-Q3"}, deals(WON, "1"), (OURS,)),
    Number("tasks_completed", {"month": "2026-07"}, created("task", "completed_date_time", pl.col("is_closed"))),
    Number("leads_created", {"month": "2026-08"}, created("lead", "created_date", pl.lit(True))),
    Number("campaign_cost", {"quarter": "2026-Q2"}, costs),
    Number("campaign_people", {"quarter": "2026-Q2"}, members),
    Number("quota", {"quarter": "2026-Q3"}, quotas),
    Number("quota_bookings", {"quarter": "2026-Q3"}, booked),
]


@pytest.fixture(scope="module")
def explainer(built_home) -> Explainer:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**dict(built_home.settings), "GTM_HOME": str(built_home.path)}.items():
            patch.setenv(name, value)
        return explainer_of(Settings())


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{n.metric}-{'-'.join(n.period.values())}")
def test_a_number_added_up_again_by_hand_from_the_lakes_files_is_the_same(built_home, explainer, number):
    period = period_of(explainer.published, **number.period)
    found = explainer.explain(number.metric, period, number.where, shown=None)
    by_hand = number.by_hand(built_home.path / "lake", period.first, period.last)
    (part,) = found.parts

    assert Decimal(found.value) == Decimal(by_hand["value"].sum()) > 0
    assert part.adds_up and part.record_count == len(part.records)
    versions = [version for record in part.records for version in record.versions if version.is_newest]
    # Deals of the other source have no amount.
    newest = [version for version in versions if version.table.startswith("salesforce.")]
    assert sorted(version.record_id for version in newest) == sorted(set(by_hand["id"]))
    for version in newest:
        file = pl.read_parquet(built_home.path / "lake" / version.file, hive_partitioning=False)
        (row,) = file.filter(id=version.record_id, _batch_id=version.batch_id).to_dicts()
        assert f"partition={version.partition}/" in version.file
        assert {name: row[name] for name in version.values} == version.values
        assert row["_known_at"] == version.known_at and not version.is_deleted


def test_a_record_that_is_missing_or_changed_in_the_file_is_seen(explainer, built_home, tmp_path):
    """What was published is damaged by hand: the report says more than its records."""
    file = tmp_path / "gtm.duckdb"
    file.write_bytes(built_home.published.read_bytes())
    with duckdb.connect(str(file)) as published:
        published.execute(
            "update gtm_mart.rep_quota_attainment set bookings_amount = bookings_amount + 0.01"
            " where quota_attainment_key = (select min(quota_attainment_key) from gtm_mart.rep_quota_attainment"
            " where bookings_amount > 0)"
        )
    damaged = Explainer(explainer.layer, PublishedFile.at(file))

    found = damaged.explain("quota_bookings", period_of(damaged.published))

    assert found.parts[0].adds_up is False and found.is_trusted is not True
    assert any("1 rows of gtm_mart.rep_quota_attainment are not the sum" in said for said in found.not_followed)
    assert "DO NOT ADD UP" in "\n".join(lines(found))


def test_a_ratio_is_explained_by_what_it_is_made_of(explainer):
    found = explainer.explain("win_rate_by_amount", period_of(explainer.published, quarter="2026-Q2"))

    won, decided = found.parts
    assert (won.metric, decided.metric) == ("bookings", "decided_amount")
    assert found.value == pytest.approx(float(won.value) / float(decided.value))


def test_every_metric_can_be_explained_and_what_is_not_followed_is_said(explainer):
    """All that stand on a measure which adds up must add up, whatever table it is of."""
    for name, metric in explainer.layer.metrics.items():
        try:
            found = explainer.explain(name, period_of(explainer.published), shown=2)
        except MetricError as error:
            # Not each thing that may happen to a deal has happened in so small an organisation.
            is_rare = name.startswith(("forecast_", "pipeline_")) or name.endswith("_arr")
            assert "has no record at all" in str(error) and is_rare, name
            continue
        for part in found.parts:
            leaf = explainer.layer.metric(part.metric)
            assert part.adds_up, f"{name}: {part}"
            table = leaf.measure.table
            is_followed = leaf.measure.schema == "gtm_core" or (table, leaf.measure.expression) in TRAILS
            assert is_followed == part.table.startswith("gtm_core."), name
            said = any(sentence.startswith(f"{part.metric}:") for sentence in found.not_followed)
            assert said != is_followed, name
            origins = {origin.core for source in explainer.sources for origin in source.origins}
            if part.table.removeprefix("gtm_core.") in origins:
                assert all(record.versions for record in part.records), name
            else:
                assert any(part.table in sentence for sentence in found.not_followed) or not is_followed, name
        assert metric.label in "\n".join(lines(found))


def test_origins_name_tables_and_columns_that_are_there(explainer):
    for source in sources():
        assert source.origins
        for origin in source.origins:
            raw = source.tables[origin.raw]
            assert origin.raw_column in {column.name for column in raw.columns}
            explainer.published.rows(
                f"select {origin.column} from gtm_core.{origin.core} where {origin.rows} limit 1"
            )


def test_a_number_is_that_of_the_command(built_home):
    asked = ("explain", "bookings", "--month", "2026-08", "--records", "1")
    said = built_home.command(*asked).check().output
    found = json.loads(built_home.command(*asked, "--json").check().output)

    assert f"Bookings in 2026-08: {Decimal(found['value']):,.2f}" in said
    assert found["parts"][0]["records"][0]["id"] in said and "more: --records all" in said
    assert {check["name"] for check in found["reconciled"]} >= {"reconciles_with_source"}
    figures = {(check["asset"], check["name"]): check["figures"] for check in found["reconciled"]}
    with duckdb.connect(str(built_home.published), read_only=True) as file:
        ((amount,),) = file.execute(
            "select sum(amount) from gtm_core.fct_opportunity where source_system = 'salesforce'"
        ).fetchall()
    assert Decimal(str(figures["gtm_core/fct_opportunity", "reconciles_with_source"]["amount"])) == amount > 0
    assert found["lineage"]["models"][0] == "gtm_core.fct_opportunity"
    assert "salesforce.opportunity" in found["lineage"]["raw_tables"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("booking",), "booking is not a metric. Did you mean bookings"),
        (("bookings", "--month", "2019-01"), "has no record in 2019-01. There are some from"),
        (("bookings", "--month", "2026-13"), "is not a month. Write it as in 2026-09"),
        (("bookings", "--quarter", "1999-Q1"), "lies outside of what is published: fiscal years"),
        (("bookings", "--day", "2026-09-31"), "is not a day"),
        (("bookings", "--day", "2026-09-30", "--month", "2026-09"), "one period"),
        (("bookings", "--where", "{{ Dimension('opportunity__colour') }} = 'red'"), "can't be asked so"),
    ],
)
def test_what_can_not_be_asked_is_said_in_a_sentence(built_home, asked, said):
    answer = built_home.in_process("explain", *asked)

    assert answer.code == 1 and said in " ".join(answer.output.split())


def test_before_anything_is_published_it_says_what_to_do_and_makes_no_state_folder(tmp_path):
    home = GtmHome(tmp_path / "gtm")
    answer = home.in_process("explain", "bookings")

    assert answer.code == 1 and "nothing is published" in answer.output and "gtm run" in answer.output
    assert not home.path.exists()


def test_what_is_missing_is_told_with_since_when(built_home, explainer, tmp_path):
    """A copy of the lake with a table that could not be read and a record in quarantine."""
    lake = tmp_path / "lake"
    folder = lake / "salesforce" / "opportunity"
    for name in ("2026-09-09", "2026-09-10", "2026-09-11"):
        target = folder / f"partition={name}"
        target.mkdir(parents=True)
        for file in (built_home.path / "lake/salesforce/opportunity" / target.name).glob("*.parquet"):
            (target / file.name).write_bytes(file.read_bytes())
    for name in ("2026-09-10", "2026-09-11"):
        (folder / f"partition={name}" / "owed").write_text("no right to read it")
    file = tmp_path / "gtm.duckdb"
    file.write_bytes(built_home.published.read_bytes())
    with duckdb.connect(str(file)) as published:
        published.execute(
            "insert into gtm_meta.unreadable_tables values ('salesforce', 'opportunity', 'no right to read it')"
        )
        published.execute(
            "delete from gtm_meta.published_partitions"
            " where partition_key = '2026-09-11' and table_name = 'account'"
        )
    calendar = Calendar(date(2026, 9, 9), date(2026, 9, 11))
    lacking = Explainer(explainer.layer, PublishedFile.at(file), sources(), LakeReader(lake), calendar)

    found = lacking.explain("bookings", period_of(lacking.published, month="2026-08"), shown=0)

    lacks = {lack.table: (lack.what, lack.since) for lack in found.lacks}
    assert lacks["salesforce.opportunity"] == (
        "The source does not let us read it: no right to read it",
        "2026-09-10",
    )
    what, since = lacks["salesforce.account"]
    assert since == "2026-09-11" and "1 partitions that are over are not in what is published" in what
    assert found.is_trusted is False


def test_a_check_that_failed_is_told_as_failed(built_home, explainer, tmp_path):
    file = tmp_path / "gtm.duckdb"
    file.write_bytes(built_home.published.read_bytes())
    with duckdb.connect(str(file)) as published:
        published.execute(
            "update gtm_meta.checks set outcome = 'failed', sentence = 'amount: 2 more than the records'"
            " where asset = 'gtm_core/fct_opportunity' and check_name = 'reconciles_with_source'"
        )
    failing = Explainer(explainer.layer, PublishedFile.at(file))

    found = failing.explain("bookings", period_of(failing.published))

    assert [check.name for check in found.troubled if check.outcome == "failed"] == ["reconciles_with_source"]
    assert "failed: gtm_core/fct_opportunity reconciles_with_source" in "\n".join(lines(found))
    assert found.is_trusted is False


def test_a_condition_that_reads_a_file_is_refused(explainer, tmp_path):
    """Conditions are SQL: what is asked reads what is published, and nothing beside it."""
    secret = tmp_path / "secret.csv"
    secret.write_text("secret\n1\n")
    where = f"{{{{ Dimension('opportunity__is_won') }}}} = (select true from '{secret}')"

    with pytest.raises(Exception, match="can't be asked"):
        explainer.explain("bookings", period_of(explainer.published), (where,))


def test_the_semantic_layers_sql_gives_what_metricflows_command_gives(built_home, explainer, tmp_path):
    answer = tmp_path / "answer.csv"
    by = ["account__segment", "metric_time__fiscal_quarter"]
    built_home.command(
        "metrics", "query", "--metrics", "bookings", "--group-by", ",".join(by), "--csv", str(answer)
    ).check()
    rows = explainer.published.rows(explainer.layer.sql(Question(["bookings"], by)))

    theirs = sorted(pl.read_csv(answer)["bookings"].to_list())
    assert theirs == pytest.approx(sorted(float(row["bookings"]) for row in rows)) and len(theirs) > 4
