"""Small cells made from counts, for values that are computed by hand."""

import numpy as np
import polars as pl
from cells import confidence_table

from benchmark.applications import validation_half
from benchmark.applications.application import Study
from benchmark.capability.counts import count_outcomes
from benchmark.errors import StoreError
from benchmark.records import (
    DISAGREEMENT,
    GRADE,
    METRIC,
    RESPONSE,
    CellResult,
    Estimate,
    Question,
    question_table,
)


def no_other_cell(model):
    raise StoreError(f"no finished cell of {model}")


def study(resamples=50, seed=0, stored_cell=no_other_cell):
    return Study(np.random.default_rng(seed), resamples, stored_cell)


def ids_by_half(count):
    """``count`` ids that thresholds are chosen on, then as many that verify them."""
    ids = np.array([f"q{number}" for number in range(8 * count)])
    half = validation_half(ids)
    return np.concatenate([ids[half][:count], ids[~half][:count]])


def counted_cell(ids, n, c, estimates=None, model="small", tokens=(10, 20), prompt="What is {}?"):
    """A cell with n responses to each question, the first c of them correct.

    ``estimates`` are arrays [N] or [N, D] of confidences by estimator, or estimates.
    """
    n, c = np.broadcast_to(n, len(ids)), np.broadcast_to(c, len(ids))
    indices = np.concatenate([np.arange(number) for number in n])
    rows = {"question_id": np.repeat(ids, n), "sample_index": indices}
    outcomes = np.where(indices < np.repeat(c, n), "correct", "incorrect")
    grades = pl.DataFrame(
        {**rows, "answer": None, "outcome": outcomes, "reason": None, "grader": "exact"},
        schema_overrides=GRADE,
    )
    responses = pl.DataFrame(
        {
            **rows, "text": "", "reasoning": None, "finish_reason": "stop",
            "prompt_tokens": tokens[0], "completion_tokens": tokens[1], "seed": 0, "error": None,
        },
        schema_overrides=RESPONSE,
    )  # fmt: skip
    return CellResult(
        model=model, dataset="basics", split="test",
        questions=question_table([Question(i, prompt.format(i), i, ("x",)) for i in ids]),
        responses=responses, grades=grades, left_out=GRADE.to_frame(),
        disagreements=DISAGREEMENT.to_frame(), capability=count_outcomes(grades),
        estimates={
            name: e if isinstance(e, Estimate) else Estimate(confidence_table(ids, e))
            for name, e in (estimates or {}).items()
        },
        metrics=METRIC.to_frame(),
    )  # fmt: skip
