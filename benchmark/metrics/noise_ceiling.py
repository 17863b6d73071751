"""Stage 6: what the noise of ``c / n`` leaves attainable, even for one who knows each p(x).

Both ceilings are properties of the target, so that they take no confidences.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import betaincinv, betaln, digamma, gammaln, xlog1py, xlogy
from scipy.stats import spearmanr

from benchmark.statistics.bootstrap import divide, weighted_mean, weighted_variance
from benchmark.statistics.inputs import FloatArray, check_inputs
from benchmark.statistics.ties import varies

_LEVELS = 200  # quantiles of the Beta distribution
_OUTCOMES = 3000  # of c, over all n: more are drawn, not listed
_DRAWS = 200_000
_ONE = [[0.0], [0.0]], (-6.0, 12.0)  # logarithms of alpha and beta to start from, and their bounds
_TWO = [[0.0, 1.5], [1.5, 0.0]], (-6.0, 5.0)  # so that none shrinks to a few questions' c / n
_LEAST = 8  # responses of a question that can tell two: their seven parameters
_SHARES = (-15.0, 15.0)  # bounds of the shares' logits
_EXTREME = (-1.0, -6.0)  # logits to start from, of many questions at 0 and at 1, and of few


class AccuracyDistribution(NamedTuple):
    """How expected accuracies are distributed over questions.

    A share of the questions is never solved, another always, and the others follow a mixture of K
    Beta distributions, one or two. K is 0 where every response has the same correctness.

    Attributes:
        alpha: of each Beta distribution, [K].
        beta: of each Beta distribution, [K].
        share: of the questions, [K + 2]: of each Beta distribution, with p = 0 and with p = 1.
    """

    alpha: FloatArray
    beta: FloatArray
    share: FloatArray


class _PairCounts(NamedTuple):
    """The J different pairs of n and c, and the share of the questions that have each."""

    n: FloatArray  # [J]
    c: FloatArray  # [J]
    share: FloatArray  # [J]; NaN without questions
    questions: float


def r2_ceiling(n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Return the R^2 that the true expected accuracies would have against ``c / n``.

    ``1 - mean(p (1 - p) / n) / variance of c / n``, the reliability of ``c / n``. The numerator is
    estimated without bias by ``(c / n) (1 - c / n) / (n - 1)`` and the variance is that of
    `benchmark.metrics.brier.r_squared`. Its square root is the ceiling of Pearson's
    correlation.

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [..., N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], at most 1; NaN where ``c / n`` is constant or a question has one response only.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> round(float(r2_ceiling(n=[5, 5, 5], c=[0, 2, 5])), 4)
        0.8816
    """
    x = check_inputs(np.zeros(np.shape(n)), n, c, weights)
    noise = weighted_mean(divide(x.accuracy * (1 - x.accuracy), x.n - 1), x.weights)
    variance = weighted_variance(x.accuracy, x.weights)
    return 1 - divide(noise, np.where(varies(x.accuracy, x.weights), variance, 0.0))


def spearman_ceiling(n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Return the Spearman correlation that the true expected accuracies would have with ``c / n``.

    The counts alone don't tell p apart from its noise (the correlation of ``c / n`` with counts
    redrawn from it is far too high), so a distribution of p is fitted to them by
    `fit_accuracy_distribution`; then p is correlated with ``c / n ~ Binomial(n, p) / n`` under it,
    with mean ranks for ties. Under the fit this is exact up to 3000 outcomes of c over all n, and
    of 200,000 draws where there are more: an error of about ``(1 - ceiling^2) / 450``. Questions
    that are never or always solved tie in p; how many they are is known as well as the fit. Where
    p gathers around more than two values between, or around two and n is below 8, the ceiling is
    too high: by 0.04 for half of the questions around 0.8, half around 0.2 and n = 5.

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: how often each question counts, [..., N]; one fit for each of the leading axes.

    Returns:
        [...], in [-1, 1]; NaN where every response has the same correctness, no question has two
        responses, which alone tell p from its noise, or there is one question.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> round(float(spearman_ceiling(n=[10] * 6, c=[0, 2, 4, 6, 8, 10])), 2)
        0.93
    """
    x = check_inputs(np.zeros(np.shape(n)), n, c, weights)
    leading = x.weights.shape[:-1]
    if len(x.n) < 2 or x.n.max() < 2:
        return np.full(leading, np.nan)
    rows = x.weights.reshape(int(np.prod(leading)), len(x.n))
    counted = [_count_pairs(x.n, x.c, row) for row in rows]
    found = [_ceiling(_fit(counts), counts) for counts in counted]
    return np.reshape(np.array(found, dtype=np.float64), leading)


def _ceiling(fit: AccuracyDistribution, counts: _PairCounts) -> float:
    if not len(fit.alpha):
        return np.nan
    levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
    middle = betaincinv(fit.alpha[:, None], fit.beta[:, None], levels)
    p = np.concatenate([middle.ravel(), [0.0, 1.0]])
    share = np.concatenate([np.repeat(fit.share[:-2] / _LEVELS, _LEVELS), fit.share[-2:]])
    order = np.argsort(p)
    p, share = p[order], share[order]
    n, same = np.unique(counts.n[counts.share > 0], return_inverse=True)
    share_of_n = np.bincount(same, counts.share[counts.share > 0]).astype(np.float64)
    if (n + 1).sum() > _OUTCOMES:
        return _drawn_correlation(p, share, n, share_of_n)
    values, joint = [], []
    for responses, of_these in zip(n, share_of_n, strict=True):
        correct = np.arange(responses + 1)
        values.append(correct / responses)
        joint.append(of_these * share[:, None] * _binomial(responses, correct, p[:, None]))
    accuracy, column = np.unique(np.concatenate(values), return_inverse=True)
    table = np.zeros((len(accuracy), len(p)))
    np.add.at(table, column, np.concatenate(joint, axis=1).T)
    return _rank_correlation(table)


def fit_accuracy_distribution(
    n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> AccuracyDistribution:
    """Return a distribution of expected accuracies of greatest likelihood for the counts.

    The counts then follow a Beta-Binomial distribution with additional mass at c = 0 and c = n, or
    a mixture of two, where a question has 8 responses or more and that is worth its three
    parameters by the Bayesian information criterion (Schwarz, Ann. Statist. 6, 1978). Of two, none
    has parameters above 148.

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: how often each question counts, [N].

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> fit = fit_accuracy_distribution(n=[20] * 8, c=[0, 0, 20, 20, 20, 20, 10, 11])
        >>> fit.share.round(2).tolist()
        [0.25, 0.25, 0.5]
    """
    x = check_inputs(np.zeros(np.shape(n)), n, c, weights)
    return _fit(_count_pairs(x.n, x.c, x.weights))


def _count_pairs(n: FloatArray, c: FloatArray, weights: FloatArray) -> _PairCounts:
    key = n * (n.max(initial=0) + 1) + c
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    times = np.asarray(np.bincount(index, weights, len(first)), dtype=np.float64)
    return _PairCounts(n[first], c[first], divide(times, times.sum()), float(times.sum()))


def _fit(counts: _PairCounts) -> AccuracyDistribution:
    """Return the best fit that a search from any start finds."""
    accuracy = counts.share @ (counts.c / counts.n)
    if not 0 < accuracy < 1:
        return AccuracyDistribution(np.empty(0), np.empty(0), np.full(2, np.nan))
    best, least = np.empty(0), np.inf
    for start, bounds in [_ONE, _TWO] if counts.n.max() >= _LEAST else [_ONE]:
        found = [_search(np.array(start), bounds, extreme, counts) for extreme in _EXTREME]
        point, loss = min(found, key=lambda each: each[1])
        information = loss * counts.questions + len(point) / 2 * np.log(counts.questions)
        if information < least:
            best, least = point, information
    alpha, beta, share = _parameters(best)
    return AccuracyDistribution(alpha, beta, share)


def _search(
    start: FloatArray, bounds: tuple[float, float], extreme: float, counts: _PairCounts
) -> tuple[FloatArray, float]:
    """Return the most likely point from a start, and its loss."""
    size = start.shape[1]
    x = np.concatenate([start.ravel(), np.zeros(size - 1), [extreme, extreme]])
    within = [bounds] * (2 * size) + [_SHARES] * (size + 1)
    found = minimize(_loss, x, counts[:3], jac=True, method="L-BFGS-B", bounds=within)
    return found.x, float(found.fun)


def _parameters(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return alpha and beta, [K] each, and the shares [K + 2] that a point stands for."""
    size = (len(x) - 1) // 3
    odds = np.exp(np.concatenate([[0.0], x[2 * size :]]))
    return np.exp(x[:size]), np.exp(x[size : 2 * size]), odds / odds.sum()


def _loss(
    x: FloatArray, n: FloatArray, c: FloatArray, share: FloatArray
) -> tuple[float, FloatArray]:
    """Return the negative mean log-likelihood of the parameters, and its gradient."""
    alpha, beta, mass = _parameters(x)
    a, b, wrong = alpha[:, None], beta[:, None], n - c
    log_middle = _log_choose(n, c) + betaln(a + c, b + wrong) - betaln(a, b)
    parts = mass[:, None] * np.vstack([np.exp(log_middle), c == 0, wrong == 0])
    likelihood = np.maximum(parts.sum(axis=0), np.finfo(np.float64).tiny)
    belongs = share * parts / likelihood
    both, middle = digamma(a + b) - digamma(a + b + n), belongs[:-2]
    slopes = [
        alpha * (middle * (digamma(a + c) - digamma(a) + both)).sum(axis=1),
        beta * (middle * (digamma(b + wrong) - digamma(b) + both)).sum(axis=1),
        belongs[1:].sum(axis=1) - mass[1:],
    ]
    return -float(share @ np.log(likelihood)), -np.concatenate(slopes)


def _log_choose(n: FloatArray, c: FloatArray) -> FloatArray:
    return np.asarray(gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1))


def _binomial(n: float, c: FloatArray, p: FloatArray) -> FloatArray:
    """Return the probability of c correct responses of n."""
    n_each = np.full(c.shape, n)
    return np.asarray(np.exp(_log_choose(n_each, c) + xlogy(c, p) + xlog1py(n - c, -p)))


def _drawn_correlation(
    p: FloatArray, share: FloatArray, n: FloatArray, share_of_n: FloatArray
) -> float:
    """Return Spearman's correlation of p and c / n in draws that are the same every time."""
    rng = np.random.default_rng(0)
    levels = (np.arange(_DRAWS) + 0.5) / _DRAWS * share.sum()
    drawn_p = p[np.searchsorted(np.cumsum(share)[:-1], levels)]
    drawn_n = rng.choice(n, _DRAWS, p=share_of_n / share_of_n.sum())
    c = rng.binomial(drawn_n.astype(np.int64), drawn_p)
    return float(spearmanr(drawn_p, c / drawn_n).statistic)


def _rank_correlation(table: FloatArray) -> float:
    """Return Spearman's correlation of the row and the column under probabilities [R, C]."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    ranks = (np.cumsum(rows) - (rows + 1) / 2, np.cumsum(columns) - (columns + 1) / 2)
    variances = rows @ ranks[0] ** 2, columns @ ranks[1] ** 2
    return float(ranks[0] @ table @ ranks[1] / np.sqrt(variances[0] * variances[1]))
