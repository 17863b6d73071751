"""Consistency on answers written by hand."""

from types import SimpleNamespace

import polars as pl
import pytest

from benchmark.errors import ConfigError
from benchmark.estimators.consistency import Consistency
from benchmark.records import CONFIDENCE

ANSWERS = {  # per question, by sample; None is an answer that was not found
    "a": ["1", "1", "2", "1", "9"],
    "b": ["1", "2", "3", "3", "3"],
    "c": [None, None, None, None, "1"],
    "d": ["1", None, "2", None, "2"],
}


def split():
    rows = [
        (key, i, answer) for key, answers in ANSWERS.items() for i, answer in enumerate(answers)
    ]
    grades = pl.DataFrame(rows, schema=["question_id", "sample_index", "answer"], orient="row")
    responses = grades.select(
        "question_id", "sample_index", prompt_tokens=7, completion_tokens=pl.col("sample_index") + 1
    )
    return SimpleNamespace(grades=grades, responses=responses)


def estimate(**settings):
    cell = SimpleNamespace(split={"evaluation": split()}.get)
    result = Consistency(**settings).estimate(cell)
    assert result.samples_used == settings["m"]
    return result.confidences.sort("question_id", "sample_index").cast(CONFIDENCE)


def test_the_most_frequent_answers_share_of_the_first_m():
    table = estimate(m=4)
    assert table["confidence"].to_list() == [3 / 4, 2 / 4, 0, 1 / 4]
    assert set(table["prompt_tokens"]) == {7}
    assert set(table["completion_tokens"]) == {1 + 2 + 3 + 4}


def test_the_cost_is_unknown_where_a_response_s_is():
    unknown = split()
    tokens = pl.when(sample_index=2).then(None).otherwise("completion_tokens")
    unknown.responses = unknown.responses.with_columns(completion_tokens=tokens)
    cell = SimpleNamespace(split=lambda _: unknown)
    table = Consistency(m=4).estimate(cell).confidences
    assert set(table["completion_tokens"]) == {None}
    assert set(table["prompt_tokens"]) == {7}


def test_a_responses_own_share_of_the_first_m():
    assert estimate(m=4, responses=1)["confidence"].to_list() == [3 / 4, 1 / 4, 0, 1 / 4]


def test_each_response_is_a_draw():
    table = estimate(m=4, responses=3)
    assert table["sample_index"].to_list() == [0, 1, 2] * 4
    shares = table["confidence"].to_list()
    assert shares == [3 / 4, 3 / 4, 1 / 4, 1 / 4, 1 / 4, 2 / 4, 0, 0, 0, 1 / 4, 0, 1 / 4]
    assert set(table["completion_tokens"]) == {10}


def test_responses_that_were_left_out_neither_agree_nor_disagree():
    known = split()
    kept = pl.col("question_id").is_in(["a", "b"]) & (pl.col("sample_index") >= 1)
    last = (pl.col("question_id") == "d") & (pl.col("sample_index") == 4)
    left = SimpleNamespace(grades=known.grades.filter(kept | last), responses=known.responses)
    cell = SimpleNamespace(split={"evaluation": left}.get)
    table = Consistency(m=5).estimate(cell).confidences.sort("question_id")
    assert table["confidence"].to_list() == [2 / 4, 3 / 4, None, None]
    assert table["status"].to_list() == ["ok", "ok", "unparsed", "unparsed"]


@pytest.mark.parametrize(
    "settings", [{"m": 1}, {"m": 4, "responses": 5}, {"m": 4, "responses": -1}]
)
def test_settings_that_give_no_share_are_refused(settings):
    with pytest.raises(ConfigError, match="consistency: m="):
        Consistency(**settings)
