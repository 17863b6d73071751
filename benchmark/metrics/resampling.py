"""Every metric of one estimator, in resamples of the questions and with other responses."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.brier import (
    brier_loss,
    correctness_variance,
    r_squared,
    response_brier_loss,
    signed_error,
    unbiased_brier_loss,
)
from benchmark.metrics.ece import equal_mass_calibration_error, expected_calibration_error
from benchmark.metrics.murphy import murphy_decomposition
from benchmark.metrics.pairing import PairedEstimate
from benchmark.metrics.rank import pearson, response_auroc, spearman
from benchmark.metrics.smooth_ece import smooth_calibration_error
from benchmark.records import COSTS
from benchmark.statistics.bootstrap import (
    mean_of_defined,
    mean_over_draws,
    row_blocks,
    weighted_mean,
)
from benchmark.statistics.inputs import FloatArray
from benchmark.statistics.intervals import UNBOUNDED

_UNIT = (0.0, 1.0)
_UNBIASED = UNBOUNDED  # what noise adds is subtracted, so that values can leave the unit interval
BOUNDS = {  # lowest and highest value of each metric, in the order of the table
    "brier": _UNIT,
    "brier_unbiased": _UNBIASED,
    "brier_response": _UNIT,
    "variance": _UNIT,
    "reliability": _UNBIASED,
    "resolution": _UNBIASED,
    "uncertainty": _UNIT,
    "r2": (-np.inf, 1.0),
    "r2_ceiling": (-np.inf, 1.0),
    "ece": _UNIT,
    "ece_equal_mass": _UNIT,
    "smooth_ece": _UNIT,
    "signed_error": (-1.0, 1.0),
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "auroc": _UNIT,
    **dict.fromkeys(COSTS, UNBOUNDED),
}
_LOSSES: dict[str, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "brier": brier_loss,
    "brier_unbiased": unbiased_brier_loss,
    "brier_response": response_brier_loss,
    "variance": correctness_variance,
    "signed_error": signed_error,
}
_OF_ALL_QUESTIONS: dict[tuple[str, ...], Callable[..., Any]] = {  # not means over questions
    ("r2",): r_squared,
    ("reliability", "resolution", "uncertainty"): murphy_decomposition,
    ("ece",): expected_calibration_error,
    ("ece_equal_mass",): equal_mass_calibration_error,
    ("smooth_ece",): smooth_calibration_error,
    ("pearson",): pearson,
    ("spearman",): spearman,
    ("auroc",): response_auroc,
}
_NAMES_OF_ALL_QUESTIONS = tuple(name for names in _OF_ALL_QUESTIONS for name in names)
_RANK_METRICS = ("pearson", "spearman", "auroc")
_FEWEST_RANKED = 5  # questions; fewer take so few orders that resamples say nothing of the spread
_BLOCK_WEIGHTS = 700_000  # resamples times questions of a block, but at least 50 resamples
_BLOCK_CONFIDENCES = 8_000  # draws times questions that enter a block, but 4 to 20 draws
_MOST_THREADS = 4  # each holds a few blocks in memory


def costs_of(paired: PairedEstimate) -> dict[str, FloatArray]:
    """Return the tokens of one draw of each question [N], by metric: both kinds and their sum."""
    return dict(zip(COSTS, (paired.tokens.sum(axis=0), *paired.tokens), strict=True))


def resample_questions(paired: PairedEstimate) -> dict[str, FloatArray]:
    """Return every metric, then its value in each resample of the questions: [1 + resamples].

    A resampled question brings its counts with it, and they their sampling noise, so the values
    spread as they would with other questions and other responses to them.

    Means over questions average each question's draws first, and their resamples do, too. The other
    metrics are averaged over draws of all questions: see `PairedEstimate.evened` and, for their
    resamples, `_average_draws`. Correlations and the AUROC of fewer than five questions are
    undefined in the resamples.
    """
    given = paired.given
    resampled = {
        metric: mean_over_draws(loss(paired.confidences, paired.n, paired.c), given, paired.weights)
        for metric, loss in _LOSSES.items()
    }
    even = paired.evened().confidences
    for cost, tokens in costs_of(paired).items():
        known = ~np.isnan(tokens[None])
        resampled[cost] = mean_over_draws(tokens[None], known, paired.weights)

    def of_all_questions(draw: int, weights: NDArray[np.uint16]) -> FloatArray:
        order = _by_confidence(even[draw])
        arrays = even[draw, order], paired.n[order], paired.c[order]
        return _stack(_OF_ALL_QUESTIONS.values(), *arrays, weights[:, order].astype(np.float64))

    values = _average_draws(of_all_questions, paired.weights[:1], paired.weights[1:], len(given))
    resampled |= dict(zip(_NAMES_OF_ALL_QUESTIONS, values, strict=True))
    if paired.answered < _FEWEST_RANKED:
        for metric in _RANK_METRICS:
            resampled[metric][1:] = np.nan
    return resampled


def redraw_responses(paired: PairedEstimate, redrawn: NDArray[np.uint32]) -> dict[str, FloatArray]:
    """Return every metric, then its value with other responses to the questions: [1 + B].

    The confidences stay as they are, and so does every question. Draws are evened out and averaged
    as by `_average_draws`. Tokens, which the responses don't change, are left out.

    Args:
        paired: the confidences and their target.
        redrawn: correct ones of the other responses, [B, N].
    """
    even = paired.evened().confidences

    def means(f: FloatArray, n: FloatArray, c: FloatArray) -> tuple[FloatArray, ...]:
        return tuple(weighted_mean(loss(f, n, c), np.ones(len(n))) for loss in _LOSSES.values())

    def every(draw: int, counts: NDArray[Any]) -> FloatArray:
        order = _by_confidence(even[draw])
        arrays = even[draw, order], paired.n[order]
        drawn = counts[:, order].astype(np.float64)
        return _stack([means, *_OF_ALL_QUESTIONS.values()], *arrays, drawn)

    values = _average_draws(every, paired.c[None], redrawn, len(even))
    return dict(zip((*_LOSSES, *_NAMES_OF_ALL_QUESTIONS), values, strict=True))


def _average_draws(
    evaluate: Callable[[int, NDArray[Any]], FloatArray],
    plain: NDArray[Any],
    resamples: NDArray[Any],
    draws: int,
) -> FloatArray:
    """Return M metrics without and with resampling, averaged over the draws: [M, 1 + B].

    Each block of resamples takes the next 8,000 / N draws in turn, 4 to 20. Where these aren't all,
    how far they move from their own values is added to the value of all draws. This leaves
    out how the draws differ, and makes intervals wider rather than narrower.

    Args:
        evaluate: returns the metrics [M, B] of a draw in a block of resamples.
        plain: what stands for no resampling, [1, N].
        resamples: [B, N].
        draws: their number.
    """
    every = list(range(draws))
    alone = np.stack([evaluate(draw, plain) for draw in every])
    value = mean_of_defined(alone, axis=0)
    questions = max(1, plain.shape[1])
    share = min(max(4, _BLOCK_CONFIDENCES // questions), 20)
    size = max(50, _BLOCK_WEIGHTS // questions)

    def resampled(index: int, rows: slice) -> FloatArray:
        chosen = every if share >= draws else [(index * share + i) % draws for i in range(share)]
        moved = np.stack([evaluate(draw, resamples[rows]) for draw in chosen])
        if len(chosen) == draws:
            return mean_of_defined(moved, axis=0)
        return value + mean_of_defined(moved - alone[chosen], axis=0)

    workers = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:  # NumPy lets threads run side by side
        blocks = pool.map(resampled, count(), row_blocks(len(resamples), size))
        return np.concatenate([value, *blocks], axis=-1)


def _by_confidence(confidences: FloatArray) -> NDArray[np.intp]:
    """Return the questions with a confidence from the lowest up: metrics needn't sort them."""
    return np.argsort(confidences, kind="stable")[: np.count_nonzero(~np.isnan(confidences))]


def _stack(functions: Iterable[Callable[..., Any]], *arguments: FloatArray) -> FloatArray:
    """Return the results of the functions, of which some return several, below each other."""
    results = (function(*arguments) for function in functions)
    parts = [result if isinstance(result, tuple) else (result,) for result in results]
    return np.concatenate([np.stack(part) for part in parts])
