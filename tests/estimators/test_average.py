"""Averages: hand-computed means, draws that repeat, and what one member lacks."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from cells import confidence_table

from benchmark.errors import ConfigError
from benchmark.estimators.average import Average
from benchmark.estimators.baselines import FamilyMean
from benchmark.estimators.estimator import Estimator
from benchmark.records import Estimate

IDS = ["a", "b", "c"]


@dataclass
class Stated(Estimator):
    made: Estimate
    hidden_states: bool = False

    def estimate(self, cell, role="evaluation"):
        cell.append((self.hidden_states, role))
        return self.made


def stated(confidences, prompt_tokens=0, completion_tokens=0, ids=IDS, **settings):
    table = confidence_table(ids, confidences, prompt_tokens, completion_tokens)
    return Stated(Estimate(table, **settings))


def mean(*members):
    average = Average(of={f"member {i}": member for i, member in enumerate(members)})
    return average.estimate([])


def test_confidences_are_averaged_and_costs_added():
    estimate = mean(
        stated([0.1, 0.5, 1.0], 40, 3, samples_used=2), stated([0.3, 0.5, 0.0], 30, 1),
        stated([0.2, 0.2, 1.0], 0, 5, samples_used=5),
    )  # fmt: skip
    assert estimate.confidences["confidence"].to_list() == pytest.approx([0.2, 0.4, 2 / 3])
    assert set(estimate.confidences["prompt_tokens"]) == {70}
    assert set(estimate.confidences["completion_tokens"]) == {9}
    assert estimate.samples_used == 5
    assert not estimate.oracle
    assert estimate.confidences.schema == confidence_table(IDS, [0, 0, 0]).schema


def test_a_question_that_one_left_unanswered_has_no_mean_but_its_cost():
    failed = stated([0.1, 0.2, 0.3], 5)
    table = failed.made.confidences.with_columns(
        confidence=pl.when(question_id="c").then(None).otherwise("confidence"),
        status=pl.when(question_id="c").then(pl.lit("error")).otherwise("status"),
    )
    rows = mean(stated([0.3, np.nan, np.nan], 10), Stated(Estimate(table))).confidences
    assert rows["confidence"].to_list() == [pytest.approx(0.2), None, None]
    assert rows["status"].to_list() == ["ok", "unparsed", "error"]
    assert rows["prompt_tokens"].to_list() == [15, 15, 15]


def test_a_cost_that_one_does_not_know_is_unknown():
    unknown = stated([0.1, 0.2, 0.3], 5, 1)
    tokens = pl.when(pl.col("question_id") != "b").then("prompt_tokens")
    unknown.made = Estimate(unknown.made.confidences.with_columns(prompt_tokens=tokens))
    rows = mean(stated([0.3, 0.2, 0.1], 10, 1), unknown).confidences
    assert rows["prompt_tokens"].to_list() == [15, None, 15]
    assert rows["completion_tokens"].to_list() == [2, 2, 2]


def test_a_question_that_one_has_no_row_for_has_none():
    rows = mean(stated([0.1, 0.2, 0.3]), stated([0.5, 0.5], ids=["a", "c"])).confidences
    assert rows["question_id"].to_list() == ["a", "c"]


def test_draws_are_paired_and_those_of_a_single_draw_repeated():
    draws = np.array([[0.0, 0.2, 0.4, 0.6], [0.1, 0.3, 0.5, 0.7], [1.0, 0.8, 0.6, 0.4]])
    rows = mean(stated(draws), stated([0.0, 0.5, 1.0]), stated(draws[:, :2])).confidences
    assert rows["sample_index"].to_list() == [0, 1, 2, 3] * 3
    again = draws[:, [0, 1, 0, 1]]
    expected = (draws + np.array([[0.0], [0.5], [1.0]]) + again) / 3
    assert rows["confidence"].to_numpy() == pytest.approx(expected.ravel())


def test_an_oracle_in_it_makes_it_an_oracle():
    assert mean(stated([0, 0, 0], oracle=True), stated([1, 1, 1])).oracle


def test_hidden_states_are_read_last_and_the_role_is_handed_on():
    reader, asked = stated([0, 0, 0]), []
    reader.hidden_states = True
    average = Average(of={"reader": reader, "other": stated([1, 1, 1])})
    assert average.hidden_states
    average.estimate(asked, "train")
    assert asked == [(False, "train"), (True, "train")]


def test_it_needs_the_splits_of_all():
    assert Average(of={"a": FamilyMean(), "b": stated([0, 0, 0])}).roles == ("train",)


@pytest.mark.parametrize("of", [{}, {"a": FamilyMean()}, None, "verbalized"])
def test_fewer_than_two_are_refused(of):
    with pytest.raises(ConfigError, match="at least two"):
        Average(of=of)
