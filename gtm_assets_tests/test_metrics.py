"""Metrics: MetricFlow's command line on the published file answers what the reports say, to the cent."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from math import isclose
from pathlib import Path

import duckdb
import pytest
import yaml

from gtm_assets_tests.dbt_harness import DBT_DIR
from gtm_assets_tests.gtm_process import SMALL, GtmHome

pytestmark = pytest.mark.slow

MF = Path(sys.executable).with_name("mf")
EXACT, NEAR = Decimal, float
"""How figures are compared: amounts to the cent and counts exactly, doubles to the twelfth digit."""
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Question:
    """What is asked of MetricFlow and of the reports."""

    figures: dict[str, type]
    """How each metric is compared."""
    keys: dict[str, str]
    """By what they are grouped, and the report's column that holds it."""
    query: str
    """Of the reports: it names its columns as the metrics, and as the values of ``keys``."""


FORECASTS = "forecasts"
QUESTIONS: dict[str, Question] = {
    "deals_of_an_owner": Question(
        {
            "bookings": EXACT,
            "pipeline": EXACT,
            "weighted_pipeline": EXACT,
            "won_deals": EXACT,
            "win_rate_by_amount": NEAR,
            "win_rate_by_count": NEAR,
            "average_days_to_close": NEAR,
            "tasks_completed": EXACT,
        },
        {"owner": "owner_user_key"},
        """select owner_user_key, won_amount as bookings, pipeline_amount as pipeline,
            weighted_pipeline_amount as weighted_pipeline, won_count as won_deals, win_rate_by_amount,
            win_rate_by_count, average_days_to_close, completed_task_count as tasks_completed
        from gtm_mart.rep_owner_performance""",
    ),
    "activities_of_an_owner_in_a_month": Question(
        {"calls": EXACT, "emails": EXACT, "meetings": EXACT, "tasks_completed": EXACT},
        {"owner": "owner_user_key", "metric_time__month": "month"},
        """select owner_user_key, date_trunc('month', date_day)::date as month, sum(call_count) as calls,
            sum(email_count) as emails, sum(meeting_count) as meetings,
            sum(tasks_completed_count) as tasks_completed
        from gtm_mart.rep_daily_activity group by all""",
    ),
    "the_sales_cycle_by_stage": Question(
        {"average_days_in_stage": NEAR, "median_days_in_stage": NEAR},
        {"metric_time__month": "entry_month", "stage_interval__stage_name": "stage_name"},
        """select entry_month, stage_name, mean_days_in_stage as average_days_in_stage, median_days_in_stage
        from gtm_mart.rep_sales_velocity""",
    ),
    "the_waterfall_of_an_owner_in_a_month": Question(
        {"pipeline_start": EXACT, "pipeline_changed": EXACT, "pipeline_end": EXACT},
        {"owner": "owner_user_key", "metric_time__month": "period_start_date"},
        """select owner_user_key, period_start_date, sum(start_amount) as pipeline_start,
            sum(end_amount - start_amount) as pipeline_changed, sum(end_amount) as pipeline_end
        from gtm_mart.rep_pipeline_waterfall where period_type = 'Month' group by all""",
    ),
    "what_changed_the_pipeline": Question(
        {"pipeline_changed": EXACT},
        {"pipeline_change__movement": "movement", "metric_time__month": "period_start_date"},
        """select movement, period_start_date, sum(amount) as pipeline_changed
        from gtm_core.fct_pipeline_movement where period_type = 'Month' group by all""",
    ),
    "quotas": Question(
        {"quota": EXACT, "quota_bookings": EXACT, "quota_attainment": NEAR},
        {"owner": "owner_user_key", "quota__period_type": "period_type", "metric_time__day": "period_start_date"},
        """select owner_user_key, period_type, period_start_date, quota_amount as quota,
            bookings_amount as quota_bookings, attainment as quota_attainment
        from gtm_mart.rep_quota_attainment where period_type is not null""",
    ),
    "arr_of_an_account_in_a_month": Question(
        {
            "arr": EXACT,
            "new_arr": EXACT,
            "expansion_arr": EXACT,
            "reactivation_arr": EXACT,
            "contraction_arr": EXACT,
            "churn_arr": EXACT,
            "net_new_arr": EXACT,
        },
        {"arr_month__account_id": "account_id", "metric_time__month": "month_start_date"},
        """select account_id, month_start_date, closing_arr as arr, new_arr, expansion_arr, reactivation_arr,
            contraction_arr, churn_arr, closing_arr - opening_arr as net_new_arr
        from gtm_mart.rep_arr_monthly""",
    ),
    "retention": Question(
        {"nrr": NEAR, "grr": NEAR, "logo_churn_rate": NEAR},
        {"metric_time__month": "month_start_date"},
        "select month_start_date, nrr, grr, logo_churn_rate from gtm_mart.rep_arr_retention",
    ),
    FORECASTS: Question(
        {"forecast_bias": NEAR, "forecast_error_rate": NEAR, "forecast_accuracy": NEAR},
        {
            "owner": "owner_user_key",
            "forecast__period_name": "period_name",
            "forecast__forecast_category": "forecast_category",
            "forecast__weeks_before_end": "weeks_before_end",
        },
        """select owner_user_key, period_name, forecast_category, weeks_before_end, bias as forecast_bias,
            absolute_error_rate as forecast_error_rate, 1 - absolute_error_rate as forecast_accuracy
        from gtm_mart.rep_forecast_accuracy where is_period_over""",
    ),
    "leads": Question(
        {
            "leads_created": EXACT,
            "leads_converted": EXACT,
            "lead_conversion": NEAR,
            "average_days_to_convert": NEAR,
        },
        {"metric_time__month": "created_month", "lead__lead_source": "lead_source"},
        """select created_month, lead_source, lead_count as leads_created, converted_lead_count as leads_converted,
            conversion_rate as lead_conversion, average_days_to_convert
        from gtm_mart.rep_lead_conversion""",
    ),
    "campaigns": Question(
        {
            "campaign_influence": EXACT,
            "campaign_influence_first_touch": EXACT,
            "campaign_influence_last_touch": EXACT,
            "campaign_bookings": EXACT,
            "campaign_cost": EXACT,
            "campaign_return": NEAR,
            "campaign_response_rate": NEAR,
        },
        {"campaign": "campaign_key"},
        """select campaign_key, influenced_amount_even_touch as campaign_influence,
            influenced_amount_first_touch as campaign_influence_first_touch,
            influenced_amount_last_touch as campaign_influence_last_touch,
            won_amount_even_touch as campaign_bookings, actual_cost as campaign_cost,
            return_on_cost as campaign_return, response_rate as campaign_response_rate
        from gtm_mart.rep_campaign_attribution""",
    ),
}


@pytest.fixture(scope="module", params=["built_home", pytest.param("quarters_end", marks=pytest.mark.nightly)])
def home(request, built_home, tmp_path_factory) -> GtmHome:
    """What others have built, or a small organisation a few days after a quarter's end.

    Only the latter has forecasts that are finished. Both are copies: MetricFlow writes beside what it reads.
    """
    path = tmp_path_factory.mktemp("metrics") / "gtm"
    if request.param == "built_home":
        shutil.copytree(built_home.path, path)
        return GtmHome(path)
    days = {"GTM_START_DATE": "2026-09-28", "GTM_END_DATE": "2026-10-02"}
    home = GtmHome(path, tuple({**SMALL, **days}.items()))
    home.run().check()
    return home


ASK_ALL = """
import json, sys
from gtm_assets.cli.main import main
for arguments in json.load(sys.stdin):
    try:
        main(arguments)
    except SystemExit as ended:
        if ended.code:
            raise
"""
"""One process for all questions: MetricFlow takes seconds to import."""


@pytest.fixture(scope="module")
def answers(home, tmp_path_factory) -> dict[str, list[dict[str, str]]]:
    """The rows that the command gives for each question, as text. Without any row it writes no file."""
    folder = tmp_path_factory.mktemp("answers")
    asked = [
        ["metrics", *query(folder / f"{about}.csv", question.figures, question.keys)]
        for about, question in QUESTIONS.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", ASK_ALL],
        input=json.dumps(asked),
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: list(csv.DictReader(path.open())) for path in folder.glob("*.csv")}


def query(answer: Path, metrics: Iterable[str], group_by: Collection[str]) -> list[str]:
    by = ["--group-by", ",".join(group_by)] if group_by else []
    return ["query", "--metrics", ",".join(metrics), *by, "--csv", str(answer)]


def report(home: GtmHome, query: str) -> list[dict[str, object]]:
    with duckdb.connect(str(home.published), read_only=True) as connection:
        result = connection.execute(query)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def compare(home: GtmHome, asked: list[dict[str, str]], question: Question) -> None:
    """Where one of both has no row, its amounts and counts are 0 there and its ratios null."""
    keys, said = question.keys, report(home, question.query)
    metrics = {tuple(row[key].removesuffix(" 00:00:00") for key in keys): row for row in asked}
    reports = {tuple("" if row[c] is None else str(row[c]) for c in keys.values()): row for row in said}
    assert len(metrics) == len(asked) and len(reports) == len(said), "a key is there twice"
    for name, kind in question.figures.items():
        pairs = {
            key: (figure(metrics.get(key, {}).get(name), kind), figure(reports.get(key, {}).get(name), kind))
            for key in sorted(metrics.keys() | reports.keys())
        }
        wrong = [f"{key}: metric {one}, report {two}" for key, (one, two) in pairs.items() if not same(one, two)]
        assert not wrong, f"{name} differs in {len(wrong)} of {len(pairs)} rows:\n" + "\n".join(wrong[:5])
        assert sum(bool(two) for _, two in pairs.values()) > 1, f"{name}: the reports hold nothing to compare with"


def figure(value: object, kind: type) -> Decimal | float | None:
    """A figure as its kind; where there is none, 0 of an exact one.

    A metric is exact: a report rounds it to the cent, once.
    """
    if value in (None, ""):
        return Decimal(0) if kind is EXACT else None
    return Decimal(value).quantize(CENT, ROUND_HALF_UP) if kind is EXACT else kind(value)


def same(one: Decimal | float | None, two: Decimal | float | None) -> bool:
    return one == two or (isinstance(one, float) and isinstance(two, float) and isclose(one, two, rel_tol=1e-12))


@pytest.mark.parametrize("about", sorted(QUESTIONS.keys() - {FORECASTS}))
def test_metrics_are_what_the_reports_say(home, answers, about):
    compare(home, answers[about], QUESTIONS[about])


@pytest.mark.nightly
@pytest.mark.parametrize("home", ["quarters_end"], indirect=True)
def test_metrics_of_forecasts_are_what_the_report_says(home, answers):
    compare(home, answers[FORECASTS], QUESTIONS[FORECASTS])


@pytest.mark.parametrize("home", ["built_home"], indirect=True)
def test_segments_and_fiscal_quarters_add_up_to_the_whole(home, tmp_path):
    answer = tmp_path / "answer.csv"
    asked = query(answer, ["bookings"], ["account__segment", "metric_time__fiscal_quarter"])
    home.command("metrics", *asked).check()
    rows = list(csv.DictReader(answer.open()))
    (whole,) = report(home, "select sum(won_amount) as bookings from gtm_mart.rep_owner_performance")

    assert sum(Decimal(row["bookings"]) for row in rows) == whole["bookings"] > 0
    assert {"Startup", "Enterprise"} <= {row["account__segment"] for row in rows}
    assert len({row["metric_time__fiscal_quarter"] for row in rows}) > 4


@pytest.mark.parametrize("home", ["built_home"], indirect=True)
def test_the_waterfall_between_any_two_days_starts_and_ends_with_the_snapshots(home, tmp_path):
    answer = tmp_path / "answer.csv"
    days = "select date_day, sum(amount) as amount from gtm_core.fct_pipeline_snapshot group by 1 order by 1"
    pipeline = {row["date_day"]: row["amount"] for row in report(home, days)}
    before, first, *_, last = pipeline
    movements = yaml.safe_load((DBT_DIR / "models/core/facts/fct_pipeline_change.yml").read_text())
    (movement,) = (c for c in movements["models"][0]["columns"] if c["name"] == "movement")
    (values,) = (test["accepted_values"]["arguments"]["values"] for test in movement["data_tests"])
    named = [f"pipeline_{value.lower().replace(' ', '_')}" for value in values]
    asked = query(answer, ["pipeline_start", *named, "pipeline_changed", "pipeline_end"], [])
    home.command("metrics", *asked, "--start-time", str(first), "--end-time", str(last)).check()
    (row,) = csv.DictReader(answer.open())
    said = {name: Decimal(value) for name, value in row.items()}

    assert (said["pipeline_start"], said["pipeline_end"]) == (pipeline[before], pipeline[last])
    assert sum(said[name] for name in named) == said["pipeline_changed"] == pipeline[last] - pipeline[before] != 0


def test_arr_of_a_quarter_is_that_of_its_last_month(home, tmp_path):
    answer = tmp_path / "answer.csv"
    home.command("metrics", *query(answer, ["arr"], ["metric_time__quarter"])).check()
    rows = {row["metric_time__quarter"][:10]: Decimal(row["arr"]) for row in csv.DictReader(answer.open())}
    months = report(
        home,
        """select date_trunc('quarter', month_start_date)::date::varchar as quarter,
        arg_max(closing_arr, month_start_date) as arr from gtm_mart.rep_arr_retention group by all""",
    )

    assert rows == {month["quarter"]: month["arr"] for month in months}


@pytest.mark.parametrize("home", ["built_home"], indirect=True)
def test_metricflow_by_itself_answers_while_a_build_holds_the_warehouse(home, tmp_path):
    answer = tmp_path / "answer.csv"
    environment = {
        **home.environment,
        "DBT_TARGET": "published",
        "DBT_LOG_PATH": str(tmp_path),
        "TMPDIR": str(tmp_path),
        # It asks PyPI for a newer version of itself, and goes on without an answer.
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    command = [str(MF), *query(answer, ["bookings"], ["metric_time__month"])]
    with duckdb.connect(str(home.warehouse)):
        done = subprocess.run(command, cwd=DBT_DIR, env=environment, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    (whole,) = report(home, "select sum(won_amount) as bookings from gtm_mart.rep_owner_performance")
    assert sum(Decimal(row["bookings"]) for row in csv.DictReader(answer.open())) == whole["bookings"]


def test_before_anything_is_published_it_says_what_to_do(tmp_path):
    answer = GtmHome(tmp_path / "gtm").in_process("metrics", "list", "metrics")

    assert answer.code == 1
    assert "nothing is published" in answer.output and "gtm run" in answer.output


def test_nothing_else_imports_metricflow():
    """Only questions to metrics need it."""
    program = "import sys, gtm_assets.cli.main, gtm_assets.definitions, dbt.cli.main; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert not {"metricflow", "dbt_metricflow"} & set(imported.split())
