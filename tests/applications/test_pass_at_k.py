from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmark.applications import (
    pass_at_k_table,
    simulate_pass_at_k,
    simulate_question_pass_at_k,
    unbiased_pass_at_k,
)
from benchmark.errors import DataError
from benchmark.metrics.evaluate import evaluate
from benchmark.records import CONFIDENCE, GRADE, PASS_AT_K, Estimate

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "math500_gpt-oss-20b_per_question.csv"
K_VALUES = (1, 4, 16, 64)


def grades_of(ids, correct):
    """Grades of a matrix [N, K] of correctness."""
    return pl.DataFrame(
        {
            "question_id": np.repeat(ids, correct.shape[1]),
            "sample_index": np.tile(np.arange(correct.shape[1]), len(ids)),
            "answer": [None] * correct.size,
            "outcome": np.where(correct.ravel(), "correct", "incorrect"),
            "reason": [None] * correct.size,
            "grader": ["exact"] * correct.size,
        },
        schema=GRADE,
    )


def estimate_of(ids, draws, **attributes):
    """An estimate from draws [D, N]; NaN becomes an error row."""
    draws = np.atleast_2d(draws)
    table = pl.DataFrame(
        {
            "question_id": np.tile(ids, len(draws)),
            "sample_index": np.repeat(np.arange(len(draws)), len(ids)),
            "confidence": draws.ravel(),
            "status": np.where(np.isnan(draws.ravel()), "error", "ok"),
            "prompt_tokens": [0] * draws.size,
            "completion_tokens": [0] * draws.size,
        },
        schema=CONFIDENCE,
    )
    return Estimate(table.with_columns(pl.col("confidence").fill_nan(None)), **attributes)


def test_simulation_is_the_mean_over_questions():
    assert simulate_pass_at_k([0.5, 0.0], 2) == pytest.approx(0.375)
    assert simulate_pass_at_k([0.3, 0.3], [1, 2]) == pytest.approx([0.3, 0.51])
    assert simulate_question_pass_at_k([0.0, 0.3, 1.0], 2) == pytest.approx([0, 0.51, 1])
    assert simulate_question_pass_at_k([0.5, 1.0], [1, 2]).tolist() == [[0.5, 1], [0.75, 1]]


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


@pytest.mark.filterwarnings("error")
def test_unbiased_estimate_at_the_ends():
    assert unbiased_pass_at_k([5, 5, 5], [0, 1, 5], 5).tolist() == [0, 1, 1]
    assert unbiased_pass_at_k([10**9], [1], 1) == pytest.approx(1e-9, rel=1e-12)


def test_unbiased_estimate_beyond_the_responses_is_refused_with_k_and_n():
    with pytest.raises(DataError, match=r"k is 9 but a question has only n = 8 responses"):
        unbiased_pass_at_k([10, 8], [3, 3], 9)


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


def test_table_averages_the_draws_each_on_its_own_questions():
    correct = np.array([[1, 0], [1, 1]])
    estimate = estimate_of(["a", "b"], [[0.0, 1.0], [0.5, np.nan]])
    row = pass_at_k_table(
        {"drawn": estimate}, grades_of(["a", "b"], correct), [1], np.random.default_rng(0)
    ).row(0, named=True)
    assert row["predicted"] == pytest.approx((0.5 + 0.5) / 2)
    assert row["observed"] == pytest.approx((0.75 + 0.5) / 2)
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
    """The published cell: its grades, and the probe and the two oracles as estimates."""
    if not PAPER.exists():
        pytest.skip(f"the paper's per-question values are not there: shared/paper/{PAPER.name}")
    table = pl.read_csv(PAPER)
    ids = table["example_id"].to_list()
    n, c = table["num_samples"].to_numpy(), table["num_correct"].to_numpy()
    assert set(n) == {100}
    correct = np.arange(100) < c[:, None]
    estimates = {
        "probe": estimate_of(ids, table["probe_confidence"].to_numpy()),
        "oracle_cc": estimate_of(ids, c / n, oracle=True),
        "oracle_rc": estimate_of(ids, correct.T.astype(float), oracle=True),
    }
    return estimates, grades_of(ids, correct)


def test_errors_of_the_published_cell(paper):
    estimates, grades = paper
    table = pass_at_k_table(estimates, grades, K_VALUES, np.random.default_rng(0), resamples=0)
    errors = {
        name: rows["mse"].round(4).to_list()
        for (name,), rows in table.group_by("estimator", maintain_order=True)
    }
    assert errors == {
        "probe": [0.0267, 0.0175, 0.0099, 0.0063],
        "oracle_cc": [0.0000, 0.0000, 0.0000, 0.0001],
        # the exact expectation; the paper averages five seeds: 0.0271, 0.0402, 0.0545, 0.0629
        "oracle_rc": [0.0271, 0.0391, 0.0522, 0.0602],
    }


def test_accuracy_and_brier_score_of_the_published_cell(paper):
    estimates, grades = paper
    rng = np.random.default_rng(0)
    observed = pass_at_k_table(estimates, grades, [1], rng, resamples=0)["observed"]
    assert observed.round(4).to_list() == [0.9319] * 3
    metrics = evaluate({"probe": estimates["probe"]}, grades, rng, resamples=0)
    assert round(metrics.filter(pl.col("metric") == "brier")["value"][0], 4) == 0.0267
