from pathlib import Path

import numpy as np
import polars as pl
import pytest
from questions import random_questions, single_responses
from sklearn.metrics import brier_score_loss, r2_score

from benchmark.metrics.brier import (
    brier_score,
    r_squared,
    response_brier_score,
    signed_calibration_error,
    unbiased_brier_score,
)


def test_brier_of_single_responses_equals_sklearn():
    rng = np.random.default_rng(1)
    confidences, correct = rng.random(50), rng.integers(0, 2, 50)
    expected = brier_score_loss(correct, confidences)
    assert brier_score(confidences, np.ones(50), correct) == pytest.approx(expected)
    assert response_brier_score(confidences, np.ones(50), correct) == pytest.approx(expected)


def test_response_brier_equals_sklearn_over_the_single_responses():
    questions = random_questions(60)
    scores, correct, share = single_responses(*questions)
    expected = brier_score_loss(correct, scores, sample_weight=share)
    assert response_brier_score(*questions) == pytest.approx(expected)


def test_response_brier_is_brier_plus_the_variance_of_correctness():
    confidences, n, c = random_questions(60)
    variance = np.mean(c / n * (1 - c / n))
    difference = response_brier_score(confidences, n, c) - brier_score(confidences, n, c)
    assert difference == pytest.approx(variance)


def test_unbiased_brier_averages_to_the_error_against_the_true_accuracy():
    rng = np.random.default_rng(2)
    p, confidences, n = rng.random(40), rng.random(40), rng.integers(2, 6, 40)
    counts = rng.binomial(n, p, (4000, 40))
    true = np.mean((confidences - p) ** 2)
    unbiased = [unbiased_brier_score(confidences, n, c) for c in counts]
    plain = [brier_score(confidences, n, c) for c in counts]
    standard_error = np.std(unbiased) / np.sqrt(len(counts))
    assert abs(np.mean(unbiased) - true) < 4 * standard_error
    assert abs(np.mean(plain) - true) > 20 * standard_error


def test_unbiased_brier_is_undefined_with_a_single_response():
    assert np.isnan(unbiased_brier_score([0.5, 0.5], n=[9, 1], c=[3, 1]))
    assert not np.isnan(unbiased_brier_score([0.5, 0.5], n=[9, 2], c=[3, 1]))


def test_signed_error_is_positive_for_overconfidence():
    assert signed_calibration_error([0.9, 0.7], n=[10, 10], c=[5, 5]) == pytest.approx(0.3)
    assert signed_calibration_error([0.1, 0.3], n=[10, 10], c=[5, 5]) == pytest.approx(-0.3)


def test_brier_scores_at_the_ends():
    ends = {"confidences": [0.0, 1.0], "n": [3, 3]}
    assert brier_score(**ends, c=[0, 3]) == unbiased_brier_score(**ends, c=[0, 3]) == 0
    assert brier_score(**ends, c=[3, 0]) == response_brier_score(**ends, c=[3, 0]) == 1
    # one response of three is wrong each: (1/3)^2, less 1/3 2/3 / 2
    assert brier_score(**ends, c=[1, 2]) == pytest.approx(1 / 9)
    assert unbiased_brier_score(**ends, c=[1, 2]) == pytest.approx(0)


def test_r_squared_equals_sklearn():
    confidences, n, c = random_questions(60)
    assert r_squared(confidences, n, c) == pytest.approx(r2_score(c / n, confidences))


def test_r_squared_is_the_skill_over_the_best_constant():
    confidences, n, c = random_questions(60)
    best = brier_score(np.full(60, np.mean(c / n)), n, c)
    assert r_squared(confidences, n, c) == pytest.approx(1 - brier_score(confidences, n, c) / best)
    assert r_squared(np.full(60, np.mean(c / n)), n, c) == pytest.approx(0)


@pytest.mark.filterwarnings("error")
def test_r_squared_of_a_constant_target_is_undefined_in_spite_of_rounding():
    weights = np.random.default_rng(0).random((50, 7))
    assert np.isnan(r_squared(np.arange(7) / 7, [3] * 7, [1] * 7, weights)).all()


def test_scores_of_the_papers_counts():
    """The paper's probe for gpt-oss-20b on MATH-500."""
    shared = Path(__file__).parents[2].parent / "shared"
    file = shared / "paper" / "math500_gpt-oss-20b_per_question.csv"
    if not file.is_file():
        pytest.skip(f"the paper's counts are not there: {file.name}")
    table = pl.read_csv(file)
    n, c = table["num_samples"].to_numpy(), table["num_correct"].to_numpy()
    confidences = table["probe_confidence"].to_numpy()
    assert brier_score(confidences, n, c) == pytest.approx(0.0267, abs=5e-5)
    signed = signed_calibration_error(confidences, n, c)
    assert confidences.mean() - signed == pytest.approx(0.9319, abs=5e-5)
