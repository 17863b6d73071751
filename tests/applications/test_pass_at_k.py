from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
import polars as pl
import pytest
from cells import simulate_cell

from benchmark.applications import (
    PassAtK,
    Study,
    extrapolate_pass_at_k,
    fit_beta_binomial,
    simulate_pass_at_k,
    unbiased_pass_at_k,
)
from benchmark.applications.pass_at_k import pass_at_k_extrapolation_table, pass_at_k_table
from benchmark.capability.counts import count_outcomes
from benchmark.errors import ConfigError, DataError
from benchmark.metrics.evaluate import evaluate
from benchmark.records import PASS_AT_K, PASS_AT_K_EXTRAPOLATION
from tests.applications.published import estimate_of, grades_of, published_cell

K_VALUES = (1, 4, 16, 64)


def test_simulation_is_the_mean_over_questions():
    assert simulate_pass_at_k([0.5, 0.0], 2) == pytest.approx(0.375)
    assert simulate_pass_at_k([0.3, 0.3], [1, 2]) == pytest.approx([0.3, 0.51])
    assert [simulate_pass_at_k([conf], 2) for conf in (0.0, 0.3, 1.0)] == pytest.approx(
        [0, 0.51, 1]
    )


def test_simulation_keeps_its_precision_for_small_confidences():
    assert simulate_pass_at_k([1e-9], 1_000_000) == pytest.approx(9.995001666e-4, rel=1e-9)
    assert simulate_pass_at_k([1e-18], 3) == pytest.approx(3e-18, rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_simulation_at_the_ends():
    assert simulate_pass_at_k([0.0], 1000) == 0
    assert simulate_pass_at_k([1.0], [1, 1000]).tolist() == [1, 1]
    assert np.isnan(simulate_pass_at_k([], 3))


@pytest.mark.parametrize("k", [0, -1, 1.5, float("nan"), [1, 0]])
def test_k_below_one_or_broken_is_refused(k):
    with pytest.raises(DataError, match="it must be a whole number of at least 1"):
        simulate_pass_at_k([0.5], k)
    if not isinstance(k, list):
        with pytest.raises(DataError, match=f"k is {k:g}"):
            unbiased_pass_at_k([4], [2], k)


def test_simulation_refuses_confidences_out_of_range():
    with pytest.raises(DataError, match=r"confidences\[1\] is 1\.5"):
        simulate_pass_at_k([0.5, 1.5], 2)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_unbiased_estimate_equals_exact_binomials(n):
    for k in range(1, n + 1):
        exact = [float(1 - comb(n - c, k) / comb(n, k)) for c in range(n + 1)]
        ours = unbiased_pass_at_k([n] * (n + 1), range(n + 1), k)
        np.testing.assert_allclose(ours, exact, rtol=1e-12, atol=1e-14)


def test_unbiased_estimate_is_the_share_of_subsets_with_a_correct_response():
    responses = [1, 0, 0, 1, 0, 0]
    subsets = [any(chosen) for chosen in combinations(responses, 3)]
    assert unbiased_pass_at_k([6], [2], 3) == pytest.approx(np.mean(subsets))


def test_unbiased_estimates_for_several_k_at_once():
    ours = unbiased_pass_at_k([6, 9], [2, 1], [1, 3, 6])
    assert ours.shape == (3, 2)
    for row, k in zip(ours, [1, 3, 6], strict=True):
        assert row.tolist() == unbiased_pass_at_k([6, 9], [2, 1], k).tolist()


def test_unbiased_estimate_is_unbiased():
    rng = np.random.default_rng(0)
    c = rng.binomial(10, 0.2, 100_000)
    estimate = unbiased_pass_at_k(np.full(len(c), 10), c, 4).mean()
    plug_in = (1 - (1 - c / 10) ** 4).mean()
    assert estimate == pytest.approx(1 - 0.8**4, abs=0.004)
    assert abs(plug_in - (1 - 0.8**4)) > 0.02


@pytest.mark.filterwarnings("error")
def test_unbiased_estimate_at_the_ends():
    assert unbiased_pass_at_k([5, 5, 5], [0, 1, 5], 5).tolist() == [0, 1, 1]
    assert unbiased_pass_at_k([10**9], [1], 1) == pytest.approx(1e-9, rel=1e-12)


def test_unbiased_estimate_beyond_the_responses_is_refused_with_k_and_n():
    with pytest.raises(DataError, match=r"k is 9 but a question has only n = 8 responses"):
        unbiased_pass_at_k([10, 8], [3, 3], [2, 9])


def test_table_compares_on_the_answered_questions():
    correct = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    estimate = estimate_of(["a", "b", "c"], [0.5, 0.75, np.nan])
    table = pass_at_k_table(
        {"probe": estimate}, grades_of(["a", "b", "c"], correct), [1, 2], np.random.default_rng(0)
    )
    assert table.schema == PASS_AT_K
    assert table["k"].to_list() == [1, 2]
    assert table["predicted"].to_list() == pytest.approx([0.625, (0.75 + 0.9375) / 2])
    assert table["observed"].to_list() == pytest.approx([0.5, 0.75])
    assert table["mse"].to_list() == pytest.approx([0.03125, (0.25**2 + 0.0625**2) / 2])


def test_bias_is_that_of_single_questions_with_an_interval_of_its_own():
    rng = np.random.default_rng(1)
    ids = [f"q{number:03d}" for number in range(300)]
    p = rng.beta(1, 1, 300)
    grades = grades_of(ids, rng.random((300, 8)) < p[:, None])
    high = estimate_of(ids, np.minimum(p + 0.1, 1))
    row = pass_at_k_table({"high": high}, grades, [2], np.random.default_rng(0)).row(0, named=True)
    assert row["bias"] == pytest.approx(row["predicted"] - row["observed"])
    assert 0 < row["bias_low"] < row["bias"] < row["bias_high"]
    # the error of single questions varies less over questions than their level does
    assert row["bias_high"] - row["bias_low"] < row["observed_high"] - row["observed_low"]
    assert row["mse_low"] < row["mse"] < row["mse_high"]
    assert row["mse"] > row["bias"] ** 2


def test_table_averages_a_question_s_draws_before_the_questions():
    correct = np.array([[1, 0], [1, 1]])
    estimate = estimate_of(["a", "b"], [[0.0, 1.0], [0.5, np.nan]])
    row = pass_at_k_table(
        {"drawn": estimate}, grades_of(["a", "b"], correct), [1], np.random.default_rng(0)
    ).row(0, named=True)
    assert row["predicted"] == pytest.approx((0.25 + 1) / 2)
    assert row["observed"] == pytest.approx((0.5 + 1) / 2)
    assert row["mse"] == pytest.approx((0.125 + 0) / 2)


def test_table_leaves_out_the_responses_that_made_the_confidence():
    grades = grades_of(["a", "b"], np.array([[1, 1, 0], [1, 1, 1]]))
    estimate = estimate_of(["a", "b"], [1.0, 1.0], samples_used=2)
    table = pass_at_k_table({"consistency": estimate}, grades, [1], np.random.default_rng(0))
    assert table["observed"].to_list() == [0.5]
    both = {"consistency": estimate, "probe": estimate_of(["a", "b"], [1.0, 1.0])}
    table = pass_at_k_table(both, grades, [1, 2], np.random.default_rng(0))
    assert table["estimator", "k"].rows() == [("consistency", 1), ("probe", 1), ("probe", 2)]


@pytest.mark.filterwarnings("error")
def test_table_of_an_estimator_without_an_answer_is_undefined():
    grades = grades_of(["a", "b"], np.array([[1, 0], [1, 1]]))
    silent = estimate_of(["a", "b"], [np.nan, np.nan])
    row = pass_at_k_table({"silent": silent}, grades, [1], np.random.default_rng(0)).row(0)
    assert row[:2] == ("silent", 1)
    assert np.isnan(row[2:]).all()


def test_intervals_are_those_of_the_means_over_questions():
    rng = np.random.default_rng(0)
    ids = [f"q{number:03d}" for number in range(200)]
    confidences = rng.random(200)
    grades = grades_of(ids, rng.random((200, 4)) < confidences[:, None])
    row = pass_at_k_table(
        {"probe": estimate_of(ids, confidences)}, grades, [1], np.random.default_rng(0)
    ).row(0, named=True)
    half = 1.96 * confidences.std() / np.sqrt(200)
    assert row["predicted_low"] == pytest.approx(row["predicted"] - half, abs=0.006)
    assert row["predicted_high"] == pytest.approx(row["predicted"] + half, abs=0.006)
    assert row["observed_low"] < row["observed"] < row["observed_high"]


@pytest.fixture(scope="module")
def paper():
    return published_cell()


@pytest.fixture
def study():
    return Study(np.random.default_rng(0), 100, None)


def cell_of(estimates, grades):
    return replace(simulate_cell(12, 12), estimates=estimates, grades=grades)


def test_errors_of_the_published_cell(paper):
    estimates, grades = paper
    table = pass_at_k_table(estimates, grades, K_VALUES, np.random.default_rng(0), resamples=0)
    errors = {
        name: rows["mse"].round(4).to_list()
        for (name,), rows in table.group_by("estimator", maintain_order=True)
    }
    assert errors == {
        "probe_math": [0.0267, 0.0175, 0.0099, 0.0063],
        "oracle_cc": [0.0000, 0.0000, 0.0000, 0.0001],
        # the exact expectation; the paper averages five seeds: 0.0271, 0.0402, 0.0545, 0.0629
        "oracle_rc": [0.0271, 0.0391, 0.0522, 0.0602],
    }


def test_accuracy_and_brier_score_of_the_published_cell(paper):
    estimates, grades = paper
    rng = np.random.default_rng(0)
    observed = pass_at_k_table(estimates, grades, [1], rng, resamples=0)["observed"]
    assert observed.round(4).to_list() == [0.9319] * 3
    metrics = evaluate({"probe": estimates["probe_math"]}, grades, rng, resamples=0).metrics
    assert round(metrics.filter(pl.col("metric") == "brier")["value"][0], 4) == 0.0267


def test_extrapolation_is_made_only_where_it_is_asked_for_and_needed(study):
    rng = np.random.default_rng(0)
    ids = [f"q{number:03d}" for number in range(60)]
    grades = grades_of(ids, rng.random((60, 8)) < rng.beta(0.5, 1, (60, 1)))
    result = cell_of({"probe": estimate_of(ids, rng.random(60))}, grades)
    assert set(PassAtK(k_values=[1, 8]).evaluate(result, study)) == {"pass_at_k"}
    tables = PassAtK(k_values=[1, 8, 32], extrapolate_to=[32, 4, 100]).evaluate(result, study)
    assert tables["pass_at_k"]["k"].to_list() == [1, 8]
    beyond = tables["pass_at_k_extrapolation"]
    assert beyond.schema == PASS_AT_K_EXTRAPOLATION
    assert beyond["k"].to_list() == [32, 100]
    assert (beyond["extrapolated_low"] < beyond["extrapolated"]).all()
    assert (beyond["extrapolated"] < beyond["extrapolated_high"]).all()
    assert beyond["extrapolated"].is_sorted()


def test_extrapolation_is_the_mean_over_the_answered_questions():
    rng = np.random.default_rng(0)
    ids = [f"q{number:03d}" for number in range(60)]
    correct = rng.random((60, 8)) < rng.beta(0.5, 1, (60, 1))
    confidences = np.where(np.arange(60) < 40, 0.25, np.nan)
    table = pass_at_k_extrapolation_table(
        {"some": estimate_of(ids, confidences), "none": estimate_of(ids, np.full(60, np.nan))},
        grades_of(ids, correct), [20], rng, resamples=3,
    )  # fmt: skip
    some, none = table.rows(named=True)
    n, c = np.full(40, 8), correct[:40].sum(axis=1)
    assert some["extrapolated"] == pytest.approx(extrapolate_pass_at_k(n, c, 20).mean(), rel=1e-5)
    assert some["predicted"] == pytest.approx(1 - 0.75**20)
    assert (some["alpha"], some["beta"]) == pytest.approx(fit_beta_binomial(n, c), rel=1e-3)
    assert np.isnan([none["extrapolated"], none["predicted"], none["alpha"]]).all()


def test_half_of_the_published_responses_foretell_what_all_of_them_show(paper):
    _, grades = paper
    half = count_outcomes(grades.filter(pl.col("sample_index") < 50))
    whole = count_outcomes(grades)
    foretold = extrapolate_pass_at_k(half["n"], half["c"], 100).mean()
    assert foretold == pytest.approx(
        unbiased_pass_at_k(whole["n"], whole["c"], 100).mean(), abs=0.01
    )


@pytest.mark.parametrize("k", [0, -1, 10**9 + 1, 10**21])
def test_tries_out_of_range_are_not_extrapolated_to(k):
    with pytest.raises(ConfigError, match=rf"extrapolate_to=\[4, {k}\].*at most 1,000,000,000"):
        PassAtK(k_values=[1], extrapolate_to=[4, k])
