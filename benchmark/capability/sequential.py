"""Stage 4, adaptive: unbiased estimates of expected accuracies from counts that stopped themselves.

A question that stops once its interval is narrow tends to stop while its responses agree, so that
``c / n`` lies too far from 1/2. All orders of responses that lead to the same (n, c) without
stopping before are equally probable whatever the expected accuracy is; the share of them that
begins with a correct response is therefore an unbiased estimate of it (Girshick, Mosteller and
Savage, Annals of Mathematical Statistics 17, 1946). Where the number of responses is fixed, it is
``c / n``.

Responses that don't count (left out, or failed) may end a question at ``k_max`` with any n: they
come independently of whether the others are correct, so that the same shares hold.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from benchmark.errors import DataError
from benchmark.sampling.adaptive import StoppingRule, is_narrow
from benchmark.statistics.inputs import FloatArray, check_counts


class SequentialEstimate(NamedTuple):
    """Unbiased estimates for N questions, each [N].

    Attributes:
        accuracy: of p, in [0, 1].
        squared: of p^2, in [0, 1]; NaN where a question may stop after one response.
    """

    accuracy: FloatArray
    squared: FloatArray


def sequential_estimate(
    n: ArrayLike,
    c: ArrayLike,
    rule: StoppingRule,
    skipped_n: ArrayLike = 0,
    skipped_c: ArrayLike = 0,
) -> SequentialEstimate:
    """Return unbiased estimates of each expected accuracy and of its square.

    Args:
        n: responses that count, of each question, [N].
        c: correct ones among them, [N].
        rule: that stopped them.
        skipped_n: how many of the first responses are left out, [N] or one number below ``k_min``,
            since a confidence was made from them: the estimates are unbiased given those.
        skipped_c: correct ones among those, [N] or one number.

    Raises:
        DataError: for counts out of range, or that the rule can't have stopped at.

    Examples:
        >>> rule = StoppingRule(k_min=2, k_max=6, round=2, width=0.5)
        >>> sequential_estimate([4, 6, 6], [4, 4, 3], rule).accuracy.round(3).tolist()
        [1.0, 0.643, 0.5]
    """
    n, c = check_counts(n, c)
    before = [np.broadcast_to(np.asarray(x, np.float64), n.shape) for x in (skipped_n, skipped_c)]
    if np.any((before[0] < 0) | (before[0] >= rule.k_min) | (before[1] < 0)):
        raise DataError(
            f"skipped_n and skipped_c must be at least 0 and skipped_n below k_min = {rule.k_min}; "
            f"skipped_n reaches {before[0].max():g}, the smallest is {min(map(np.min, before)):g}."
        )
    keys = zip(*(counts.astype(int).tolist() for counts in (n, c, *before)), strict=True)
    shares = [_shares(rule, *key) for key in keys]
    return SequentialEstimate(*np.array(shares, dtype=np.float64).reshape(-1, 2).T)


@cache
def _shares(rule: StoppingRule, n: int, c: int, skip: int, before: int) -> tuple[float, float]:
    """Return the shares of the ways to (n, c) that go on with one and with two correct ones."""
    every = _ways(rule, skip, before, n, c)
    if not every:
        raise DataError(
            f"n = {n} with c = {c}, {before} of them among the first {skip}, can't be reached with "
            f"{rule}: other settings stopped these responses."
        )
    one = _ways(rule, skip + 1, before + 1, n, c) / every
    two = _ways(rule, skip + 2, before + 2, n, c) / every if skip + 2 <= rule.k_min else np.nan
    return one, two


def _ways(rule: StoppingRule, start: int, correct: int, n: int, c: int) -> int:
    """Return in how many orders responses lead from (start, correct) to (n, c)."""
    if not (start <= n <= rule.k_max and correct <= c):
        return 0
    rows = _all_ways(rule, start, correct)
    return rows[n - start][c - correct] if c - correct <= n - start else 0


@cache
def _all_ways(rule: StoppingRule, start: int, correct: int) -> list[list[int]]:
    """Return the ways to every (n, c) from (start, correct), by n and by the added correct ones.

    Whole numbers, since they grow beyond what a float can tell apart.
    """
    rows = [[1]]
    for n in range(start, rule.k_max):
        going_on = rows[-1]
        if n in rule.checks:
            counts = correct + np.arange(len(going_on))
            stopped = is_narrow(np.full(len(counts), n), counts, rule)
            going_on = [0 if stop else w for w, stop in zip(going_on, stopped, strict=True)]
        rows.append([a + b for a, b in zip([*going_on, 0], [0, *going_on], strict=True)])
    return rows
