"""Stage 6: which estimators differ, on the same questions, target and resamples."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmark.metrics.pairing import PairedEstimate
from benchmark.metrics.resampling import resample_questions
from benchmark.records import COSTS, DIFFERENCE
from benchmark.statistics.inputs import FloatArray
from benchmark.statistics.intervals import holm, p_value, t_interval

_NOT_COMPARED = (
    "variance", "uncertainty", *COSTS,  # the target's, or neither good nor bad
    "reliability", "resolution",  # bins of few questions resample otherwise than they are drawn
)  # fmt: skip
_BY_SIZE = ("signed_error",)  # best at zero


def compare_estimators(
    pairs: Mapping[str, PairedEstimate], known: Mapping[str, dict[str, FloatArray]]
) -> pl.DataFrame:
    """Return the difference of each two estimators in each metric but Murphy's parts and costs.

    Both are evaluated on the questions that both answered. Their values come from the same
    resamples, so what is hard or noisy about a question cancels as far as both suffer from it.
    P-values are adjusted by Holm over all pairs of a metric: which estimator is the best is known
    from the data only, so that comparing it is choosing among all pairs. Signed errors are compared
    by their size.

    Args:
        pairs: estimators by name, all beside one target.
        known: results of `resample_questions` for some of them, to save time.

    Returns:
        Table of schema ``DIFFERENCE``: each pair once, in the order of ``pairs``.
    """
    scores = {(name, pairs[name].answers.tobytes()): values for name, values in known.items()}

    def metrics_of(name: str, questions: NDArray[np.bool_]) -> dict[str, FloatArray]:
        key = name, questions.tobytes()
        if key not in scores:
            scores[key] = resample_questions(pairs[name].among(questions))
        return scores[key]

    rows = []
    for estimator, other in combinations(pairs, 2):
        common = pairs[estimator].answers & pairs[other].answers
        theirs, questions = metrics_of(other, common), int(common.sum())
        for metric, values in metrics_of(estimator, common).items():
            if metric not in _NOT_COMPARED:
                tested = _test(metric, values, theirs[metric], questions)
                rows.append((metric, estimator, other, *tested, np.nan, questions))
    table = pl.DataFrame(rows, schema=DIFFERENCE, orient="row")
    adjusted = pl.col("p_value").map_batches(holm, return_dtype=pl.Float64, is_elementwise=False)
    return table.with_columns(p_holm=adjusted.over("metric"))


def _test(
    metric: str, values: FloatArray, others: FloatArray, questions: int
) -> tuple[float, float, float, float]:
    """Return the difference of two metrics [1 + B], its interval and its p-value."""
    if metric in _BY_SIZE:
        values, others = np.abs(values), np.abs(others)
    difference, *resampled = values - others
    moved = np.array(resampled)
    interval = t_interval(difference, moved, questions)
    return float(difference), *interval, p_value(difference, moved, questions)
