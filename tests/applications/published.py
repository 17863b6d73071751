"""The paper's published cell, gpt-oss-20b on MATH-500, and tables made of arrays like its own."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmark.records import CONFIDENCE, GRADE, Estimate

PAPER = Path(__file__).parents[3] / "shared" / "paper"
CELL = PAPER / "math500_gpt-oss-20b_per_question.csv"


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


def published_cell():
    """The cell's estimates, the probe's and both oracles', and its grades in a random order."""
    if not CELL.exists():
        pytest.skip(f"the paper's per-question values are not there: shared/paper/{CELL.name}")
    table = pl.read_csv(CELL)
    ids = table["example_id"].to_list()
    n, c = table["num_samples"].to_numpy(), table["num_correct"].to_numpy()
    assert set(n) == {100}
    correct = np.random.default_rng(0).permuted(np.arange(100) < c[:, None], axis=1)
    estimates = {
        "probe_math": estimate_of(ids, table["probe_confidence"].to_numpy()),
        "oracle_cc": estimate_of(ids, c / n, oracle=True),
        "oracle_rc": estimate_of(ids, correct.T.astype(float), oracle=True),
    }
    return estimates, grades_of(ids, correct)
