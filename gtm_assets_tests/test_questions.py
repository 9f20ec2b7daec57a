"""The questions of docs/questions.md are answered by what is published, each by one query or by metrics."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from gtm_assets.dbt.project import manifest_path
from gtm_assets.dbt.semantic_layer import Question, SemanticLayer
from gtm_assets.explaining.published import PublishedFile
from gtm_assets.settings import PROJECT_DIR

pytestmark = pytest.mark.slow

SECTION = re.compile(r"^## (\d+)\. (.+?)\n(.*?)(?=^## |\Z)", flags=re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"```(sql|metrics)\n(.+?)```", flags=re.DOTALL)
PAGE = (PROJECT_DIR / "docs" / "questions.md").read_text()
QUESTIONS = {int(number): BLOCK.findall(text) for number, _, text in SECTION.findall(PAGE)}
MAY_BE_EMPTY = {3, 10, 11}
"""In a small organisation no deal need have slipped, and no account be without a contact."""


@pytest.fixture(scope="module")
def published(built_home) -> PublishedFile:
    return PublishedFile.at(built_home.published)


def answer(published: PublishedFile, number: int) -> list[dict[str, Any]]:
    ((kind, text),) = QUESTIONS[number]
    if kind == "metrics":
        metrics, _, by = text.strip().partition(" by ")
        text = SemanticLayer(manifest_path()).sql(Question(metrics.split(","), by.split(",")))
    return [dict(row) for row in published.rows(text)]


def test_there_are_twelve_and_each_has_one_answer():
    assert sorted(QUESTIONS) == [*range(1, 13)]
    assert {number: len(blocks) for number, blocks in QUESTIONS.items() if len(blocks) != 1} == {}


@pytest.mark.parametrize("number", range(1, 13))
def test_a_question_is_answered(published, number):
    rows = answer(published, number)

    assert rows or number in MAY_BE_EMPTY
    if rows:
        empty = [name for name in rows[0] if all(row[name] is None for row in rows)]
        assert set(empty) <= {"quota_amount", "coverage", "bias", "actual_amount"}, empty


def test_answers_add_up_to_what_reports_say(published):
    (whole,) = published.rows(
        "select sum(won_amount) as won, sum(completed_task_count) as tasks from gtm_mart.rep_owner_performance"
    )
    by_segment, by_seller = answer(published, 2), answer(published, 6)
    assert sum(Decimal(row["bookings"]) for row in by_segment) == whole["won"] > 0
    assert sum(row["tasks_completed"] for row in by_seller) == whole["tasks"] > 0

    (arr,) = published.rows("select sum(arr_c) as arr from gtm_core.fct_opportunity where is_won")
    assert sum(row["arr_won"] or 0 for row in answer(published, 9)) == arr["arr"] > 0

    won = published.rows("select owner_user_key from gtm_core.fct_opportunity where is_won group by all")
    assert 0 < len(answer(published, 7)) <= len(won)
