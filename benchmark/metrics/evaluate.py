"""Stage 6: estimates and grades -> the table of metrics, each with its interval over questions."""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmark.metrics.calibration import (
    brier_loss,
    expected_calibration_error,
    response_brier_loss,
    signed_error,
    unbiased_brier_loss,
)
from benchmark.metrics.discrimination import pearson, response_auroc, spearman
from benchmark.metrics.inputs import FloatArray
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.metrics.statistics import (
    mean_of_defined,
    mean_over_draws,
    row_blocks,
    value_and_interval,
)
from benchmark.records import METRIC, Estimate

_LOSSES: dict[str, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "brier": brier_loss,
    "brier_unbiased": unbiased_brier_loss,
    "brier_response": response_brier_loss,
    "signed_error": signed_error,
}
_NOT_MEANS: dict[str, Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "ece": expected_calibration_error,
    "pearson": pearson,
    "spearman": spearman,
    "auroc": response_auroc,
}
_ORDER = (
    "brier",
    "brier_unbiased",
    "brier_response",
    "ece",
    "signed_error",
    "pearson",
    "spearman",
    "auroc",
    "tokens",
)
_CONFIDENCES_PER_BLOCK = 8_000
_LEAST_DRAWS_PER_BLOCK = 4


def evaluate(
    estimates: dict[str, Estimate],
    grades: pl.DataFrame,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> pl.DataFrame:
    """Return every metric of every estimator, with a 95 % bootstrap interval over questions.

    The target of an estimator is counted from the responses that did not make its confidence.
    A metric is computed on the questions with a confidence (``answered`` of ``questions``), for
    each draw on its own, and averaged over the draws where it is defined. ``tokens`` is the mean
    spent on one confidence, over all questions for which it is known, answered or not.
    ``brier_unbiased`` is undefined for an oracle, whose error can't be told from its target's.

    The resampled questions are the same for all estimators. Values average all draws, and so do
    the intervals of the Brier scores, the signed error and the tokens; those of ``ece``,
    ``pearson``, ``spearman`` and ``auroc`` take, for each block of 50 resamples in turn, the next
    8,000 / N draws (at least 4), which makes them wider rather than narrower.

    Args:
        estimates: by estimator.
        grades: table of schema ``GRADE``.
        rng: draws the bootstrap resamples.
        resamples: how many of them; with 0 the intervals are NaN.

    Returns:
        Table of schema ``METRIC``: nine rows for each estimator, in its order.

    Raises:
        DataError: where a table breaks its contract, or an estimator used all responses.
    """
    rows = []
    for name, paired in pair_estimates(estimates, grades, rng, resamples):
        resampled = resampled_metrics(paired)
        if estimates[name].oracle:
            resampled["brier_unbiased"] = np.full(1 + resamples, np.nan)
        rows += [
            (name, metric, *value_and_interval(resampled[metric]), paired.answered, len(paired.n))
            for metric in _ORDER
        ]
    return pl.DataFrame(rows, schema=METRIC, orient="row")


def resampled_metrics(paired: PairedEstimate) -> dict[str, FloatArray]:
    """Return every metric of an estimator, then of each resample: [1 + resamples] each."""
    return _resampled_means(paired) | _resampled_others(paired)


def _resampled_means(paired: PairedEstimate) -> dict[str, FloatArray]:
    """Return the metrics that are means over questions, each [1 + resamples]."""
    given = paired.given
    resampled = {
        metric: mean_over_draws(loss(paired.confidences, paired.n, paired.c), given, paired.weights)
        for metric, loss in _LOSSES.items()
    }
    tokens = paired.tokens[None]
    return resampled | {"tokens": mean_over_draws(tokens, ~np.isnan(tokens), paired.weights)}


def _resampled_others(paired: PairedEstimate) -> dict[str, FloatArray]:
    """Return the metrics that are not means over questions, each [1 + resamples]."""
    draws = len(paired.confidences)
    every = np.arange(draws)
    share = max(_LEAST_DRAWS_PER_BLOCK, _CONFIDENCES_PER_BLOCK // len(paired.n))
    blocks = [_average(paired, paired.weights[:1], every)]
    for index, rows in enumerate(row_blocks(len(paired.weights) - 1)):
        chosen = every if share >= draws else (index * share + np.arange(share)) % draws
        blocks.append(_average(paired, paired.weights[1:][rows], chosen))
    return {
        metric: np.concatenate([block[number] for block in blocks])
        for number, metric in enumerate(_NOT_MEANS)
    }


def _average(
    paired: PairedEstimate, weights: NDArray[np.uint16], draws: NDArray[np.intp]
) -> FloatArray:
    """Return the metrics that are not means, averaged over the draws: [metrics, B]."""
    values = np.empty((len(draws), len(_NOT_MEANS), len(weights)))
    for row, draw in enumerate(draws):
        given = ~np.isnan(paired.confidences[draw])
        arrays = (paired.confidences[draw, given], paired.n[given], paired.c[given])
        resampled = weights[:, given].astype(np.float64)
        for number, metric in enumerate(_NOT_MEANS.values()):
            values[row, number] = metric(*arrays, resampled)
    return mean_of_defined(values, axis=0)
