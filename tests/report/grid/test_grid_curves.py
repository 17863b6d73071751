from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from cells import only

from benchmark.applications import Budget, Study
from benchmark.metrics.brier import brier_score, unbiased_brier_score
from benchmark.metrics.pairing import PairedEstimate
from benchmark.report import plotted as curves


def estimate(confidences, n, c):
    draws = np.atleast_2d(np.array(confidences, dtype=float))
    ones = np.ones((1, draws.shape[1]), dtype=np.uint16)
    tokens = np.zeros((2, draws.shape[1]))
    return PairedEstimate(draws, tokens, np.array(n, float), np.array(c, float), ones)


def test_convergence_is_the_mean_over_all_subsets_of_the_responses():
    outcomes = {0.3: [1, 0, 0, 1, 0], 0.9: [1, 1, 1, 0, 1]}
    line = curves.convergence(estimate([*outcomes], [5, 5], [2, 4]))
    assert line.samples.tolist() == [1, 2, 3, 5]
    for m, brier in zip((1, 2, 3, 5), line.brier, strict=True):
        means = [
            np.mean([(conf - np.mean(subset)) ** 2 for subset in combinations(drawn, m)])
            for conf, drawn in outcomes.items()
        ]
        assert brier == pytest.approx(np.mean(means))


def test_convergence_ends_at_the_brier_score_and_tends_to_the_unbiased_one():
    rng = np.random.default_rng(0)
    n, p = np.full(300, 40), rng.random(300)
    c, confidences = rng.binomial(n, p), rng.random(300)
    line = curves.convergence(estimate(confidences, n, c))
    assert line.samples[[0, -1]].tolist() == [1, 40]
    assert line.brier[-1] == pytest.approx(brier_score(confidences, n, c))
    assert line.limit == pytest.approx(unbiased_brier_score(confidences, n, c))
    assert (np.diff(line.brier) < 0).all()


def test_convergence_goes_up_to_the_fewest_responses_and_leaves_unanswered_questions_out():
    line = curves.convergence(estimate([0.5, 0.5, np.nan], [3, 6, 3], [3, 3, 0]))
    assert line.samples.tolist() == [1, 2, 3]
    # one sample: 0.25 and 0.25; three: 0.25 and 0.25 * (6 - 3) / (3 * 5)
    assert line.brier[[0, -1]] == pytest.approx([0.25, (0.25 + 0.05) / 2])


def test_the_two_targets_are_binned_with_one_in_the_last_bin():
    bars = curves.target_histogram(np.array([1.0, 0, 1, 0]), np.array([1.0, 0.3, 0.3, 0]))
    assert np.flatnonzero(bars.correct).tolist() == [6, 19]  # 0.3 is no exact float
    assert np.flatnonzero(bars.incorrect).tolist() == [0, 6]
    assert bars.correct.sum() + bars.incorrect.sum() == pytest.approx(1)


def test_layers_are_by_depth_and_poolings_left_out(cell):
    selection = cell.estimates["probe"].probes[""].selection
    rows = curves.brier_by_layer(selection)
    assert rows["depth"].to_list() == list(range(13))
    lowest = pl.col("validation_brier").min().over("feature")
    best = selection.filter(pl.col("validation_brier") == lowest)
    third = best.filter(feature="layer 3")["test_brier"].item()
    assert rows["test_brier"][3] == third


def test_cost_is_listed_where_tokens_are_known(cell):
    rows = {row["estimator"]: row for row in curves.cost_rows(only(cell, "oracle_cc", "p_true"))
            .iter_rows(named=True)}  # fmt: skip
    assert rows["p_true"]["tokens"] == 81
    assert not rows["p_true"]["oracle"]
    assert rows["oracle_cc"]["oracle"]


def test_the_observed_pass_at_k_is_that_of_the_most_k_and_the_most_questions(cell):
    silent = cell.metrics.with_columns(
        answered=pl.when(pl.col("estimator").is_in(["random", "oracle_cc"]))
        .then(3)
        .otherwise("answered")
    )
    rows = curves.observed_pass_at_k(replace(cell, metrics=silent))
    assert rows["estimator"].unique().to_list() == ["oracle_rc"]
    assert rows["k"].to_list() == [1, 2, 4, 8]


def test_budgets_have_uniform_once_and_greedy_for_each_estimator(cell):
    study = Study(np.random.default_rng(0), 5, None)
    shown = only(cell, "verbalized", "probe")
    shown = replace(shown, applications=Budget(budgets=[1, 2], orders=1).evaluate(shown, study))
    rows = curves.budget_rows(shown)
    assert rows["method"].to_list() == ["uniform"] * 2 + ["verbalized"] * 2 + ["probe"] * 2
    assert rows["answered"][0] == 60  # the probe's, which answered all
    assert curves.budget_rows(only(cell, "probe")).is_empty()


def test_scaling_takes_the_latest_run_of_a_size_and_probes_with_several_sizes_only(cell):
    def run(own, math, brier):
        sizes = {"probe": own, "p_true": math}  # any estimator that is trained
        estimates = {n: replace(cell.estimates[n], trained_on=size) for n, size in sizes.items()}
        metrics = cell.metrics.filter(metric="brier").with_columns(value=pl.lit(brier))
        return replace(cell, estimates=cell.estimates | estimates, metrics=metrics)

    rows = curves.scaling_rows([run(500, 70, 0.3), run(100, 70, 0.4), run(500, 70, 0.2)])
    assert rows.select("estimator", "trained_on", "value").rows() == [
        ("probe", 100, 0.4), ("probe", 500, 0.2),
    ]  # fmt: skip
