"""Made-up questions, grades and estimates for the tests of the metrics."""

import numpy as np
import polars as pl

from benchmark.metrics.brier import (
    brier_score,
    r_squared,
    response_brier_score,
    signed_calibration_error,
    unbiased_brier_score,
)
from benchmark.metrics.ece import equal_mass_calibration_error, expected_calibration_error
from benchmark.metrics.murphy import murphy_decomposition
from benchmark.metrics.noise_ceiling import r2_ceiling
from benchmark.metrics.rank import pearson, response_auroc, spearman
from benchmark.metrics.smooth_ece import smooth_calibration_error
from benchmark.records import CONFIDENCE, GRADE, Estimate

METRICS = {  # of questions (confidences, n, c) and optional weights
    "brier": brier_score,
    "brier_unbiased": unbiased_brier_score,
    "brier_response": response_brier_score,
    "signed_error": signed_calibration_error,
    "r2": r_squared,
    "ece": expected_calibration_error,
    "ece_equal_mass": equal_mass_calibration_error,
    "smooth_ece": smooth_calibration_error,
    "reliability": lambda *questions: murphy_decomposition(*questions).reliability,
    "resolution": lambda *questions: murphy_decomposition(*questions).resolution,
    "uncertainty": lambda *questions: murphy_decomposition(*questions).uncertainty,
    "pearson": pearson,
    "spearman": spearman,
    "auroc": response_auroc,
    "r2_ceiling": lambda _, *questions: r2_ceiling(*questions),
}


def random_questions(size, seed=0, digits=1, least=1):
    """Confidences with many ties, of some use for the accuracy, and counts: conf, n, c."""
    rng = np.random.default_rng(seed)
    n, p = rng.integers(least, 12, size), rng.random(size)
    confidences = np.clip(p + rng.normal(0, 0.3, size), 0, 1).round(digits)
    return confidences, n, rng.binomial(n, p)


def single_responses(confidences, n, c):
    """Every graded response on its own: its question's confidence, correctness and share."""
    correct = np.concatenate([np.arange(m) < hit for m, hit in zip(n, c, strict=True)])
    return np.repeat(confidences, n), correct, np.repeat(1 / n, n)


def ids(size):
    return [f"made/test/{number:03d}" for number in range(size)]


def grades_of(correct):
    """Grades of a matrix [N, K] of correctness, shuffled."""
    size, k = correct.shape
    table = pl.DataFrame(
        {
            "question_id": np.repeat(ids(size), k),
            "sample_index": np.tile(np.arange(k), size),
            "answer": [None] * correct.size,
            "outcome": np.where(correct.ravel(), "correct", "incorrect"),
            "reason": [None] * correct.size,
            "grader": ["exact"] * correct.size,
        },
        schema=GRADE,
    )
    return table.sample(fraction=1, shuffle=True, seed=0)


def estimate_of(draws, tokens=0, **attributes):
    """An estimate from draws [D, N]; NaN becomes an unparsed row; shuffled."""
    draws = np.atleast_2d(draws)
    missing = np.isnan(draws.ravel())
    table = pl.DataFrame(
        {
            "question_id": np.tile(ids(draws.shape[1]), len(draws)),
            "sample_index": np.repeat(np.arange(len(draws)), draws.shape[1]),
            "confidence": draws.ravel(),
            "status": np.where(missing, "unparsed", "ok"),
            "prompt_tokens": [tokens] * draws.size,
            "completion_tokens": [1] * draws.size,
        },
        schema=CONFIDENCE,
    ).with_columns(pl.col("confidence").fill_nan(None))
    return Estimate(table.sample(fraction=1, shuffle=True, seed=1), **attributes)
