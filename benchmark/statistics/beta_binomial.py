"""Stage 7: pass@k beyond the number of responses, under an assumption: a Beta-Binomial fit."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import betaln, digamma

from benchmark.statistics.inputs import FloatArray, check_counts, check_tries, check_weights

_LARGEST_LOG = 12.0  # of alpha and beta; beyond it counts are binomial, or all or nothing


class BetaBinomial(NamedTuple):
    """The distribution of expected accuracies over questions, ``Beta(alpha, beta)``; both above 0.

    Both are NaN where no response or every response is correct, since any steep enough
    distribution fits those counts.
    """

    alpha: float
    beta: float


def fit_beta_binomial(n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None) -> BetaBinomial:
    """Return the Beta-Binomial distribution of greatest likelihood for the counts.

    A question's expected accuracy is taken as drawn from ``Beta(alpha, beta)``. The log-likelihood
    of c correct responses of n is ``log B(alpha + c, beta + n - c) - log B(alpha, beta)`` up to a
    constant. Both parameters are kept within ``exp(-12)`` and ``exp(12)``.

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: how often each question counts, [N], not negative; None for once.

    Raises:
        DataError: for counts out of range, or weights that don't belong to them.

    Examples:
        >>> fit = fit_beta_binomial(n=[10, 10, 10, 10], c=[2, 4, 6, 8])
        >>> round(fit.alpha / (fit.alpha + fit.beta), 6)
        0.5
    """
    n, c = check_counts(n, c)
    times, wrong = check_weights(weights, len(n)), n - c
    if not times @ c or not times @ wrong:
        return BetaBinomial(np.nan, np.nan)
    share = times / times.sum()

    def loss(log_parameters: FloatArray) -> tuple[float, FloatArray]:
        """Return the negative mean log-likelihood and its gradient."""
        alpha, beta = np.exp(log_parameters)
        likelihood = betaln(alpha + c, beta + wrong) - betaln(alpha, beta)
        both = digamma(alpha + beta) - digamma(alpha + beta + n)
        slope_alpha = share @ (digamma(alpha + c) - digamma(alpha) + both) * alpha
        slope_beta = share @ (digamma(beta + wrong) - digamma(beta) + both) * beta
        return -float(share @ likelihood), -np.array([slope_alpha, slope_beta])

    bounds = [(-_LARGEST_LOG, _LARGEST_LOG)] * 2
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
    return BetaBinomial(*(float(value) for value in np.exp(found.x)))


def extrapolate_pass_at_k(
    n: ArrayLike, c: ArrayLike, k: ArrayLike, fit: BetaBinomial | None = None
) -> FloatArray:
    """Return each question's expected pass@k given its counts, for any k.

    The fit is the prior of a question's expected accuracy, its counts make it
    ``Beta(alpha + c, beta + n - c)``, and the expectation of ``1 - (1 - p)^k`` under that is
    ``1 - B(alpha + c, beta + n - c + k) / B(alpha + c, beta + n - c)``. The mean over questions
    extrapolates the pass@k of the set; how far it holds rests on the Beta distribution's shape near
    0, of which n responses say little.

    Args:
        n: responses of each question, [N].
        c: correct ones among them, [N].
        k: how many responses may be tried, at least 1: a number or [K].
        fit: the prior; None fits it to these counts.

    Returns:
        [N], or [K, N] for several k; in [0, 1], NaN where the fit is undefined.

    Raises:
        DataError: for counts out of range or a ``k`` that is not a whole number >= 1.

    Examples:
        >>> extrapolate_pass_at_k([4], [1], k=8, fit=BetaBinomial(1, 1)).round(4).tolist()
        [0.8718]
    """
    n, c = check_counts(n, c)
    tries = check_tries(k)[..., None]
    alpha, beta = fit_beta_binomial(n, c) if fit is None else fit
    correct, wrong = alpha + c, beta + n - c
    return np.asarray(-np.expm1(betaln(correct, wrong + tries) - betaln(correct, wrong)))
