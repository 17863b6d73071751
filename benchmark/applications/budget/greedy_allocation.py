"""Stage 7: how many samples of a budget each question gets, and what that is worth.

A question is solved when one of its samples is correct.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.applications.pass_at_k import share_with_correct
from benchmark.errors import DataError
from benchmark.statistics.inputs import FloatArray, check_confidences, check_counts

_MOST_SAMPLES = 2**53  # up to here a double counts every one
_BITS_OF_INFINITY = int(np.float64(np.inf).view(np.int64))  # above those of all finite numbers


class _Demand(NamedTuple):
    """What decides how many samples each of N questions gets at a threshold of the gain."""

    first: FloatArray  # [N], logarithm of the first sample's gain
    step: FloatArray  # [N], what each further sample adds to it, not positive
    least: FloatArray  # [N]
    most: FloatArray  # [N]

    def at(self, bits: int) -> FloatArray:
        """Return the number of samples whose log gain is at least a threshold, [N].

        The threshold is minus the double with these bits: bits are ordered as the non-negative
        doubles that they stand for, so that thresholds can be bisected like whole numbers.
        """
        if bits < 0:
            return self.least
        if bits == _BITS_OF_INFINITY:  # the logarithm of 0: samples that gain nothing, too
            return self.most
        threshold = -np.int64(bits).view(np.float64)
        with np.errstate(divide="ignore", over="ignore"):
            samples = np.floor((threshold - self.first) / self.step) + 1
        return np.asarray(np.clip(samples, self.least, self.most))


def greedy_budget_allocation(
    confidences: ArrayLike,
    total_budget: int,
    minimum: int = 1,
    maximum: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Return how many samples each question gets, so that the most are expected to be solved.

    Sample j (from 0) of a question adds ``conf (1 - conf)^j`` to the expected number of solved
    questions. That falls with j, so that always taking the sample with the largest gain maximises
    ``sum(1 - (1 - conf)^b)`` (Damani et al., arXiv 2410.04707). Here all samples whose gain is
    above a threshold are taken at once, and the threshold is bisected down to neighbouring doubles:
    64 passes over the questions for any budget. Of equal gains (in double precision, as
    logarithms), those of the lower index are taken first, also where there is nothing to gain.

    Args:
        confidences: [N], in [0, 1].
        total_budget: samples of all questions together. What is left when every question has its
            maximum stays unspent.
        minimum: samples that every question gets: 1 in Damani et al., 0 in the experiments of
            arXiv 2602.13540.
        maximum: most samples of a question, a number or [N]; None for no limit.

    Returns:
        [N], with the sum ``total_budget`` unless the maxima sum to less.

    Raises:
        DataError: for a confidence out of range, a number of samples that is not whole or is
            negative, a budget below the minimum of all questions or above 2^53, or a maximum below
            the minimum.

    Examples:
        >>> greedy_budget_allocation([0.9, 0.5, 0.2], total_budget=6).tolist()
        [1, 2, 3]
        >>> greedy_budget_allocation([0.9, 0.5, 0.0], total_budget=4, minimum=0).tolist()
        [1, 3, 0]
    """
    confidences = check_confidences(confidences)
    least, most = _limits(len(confidences), total_budget, minimum, maximum)
    with np.errstate(divide="ignore"):  # log 0 for confidences of 0 and 1
        demand = _Demand(np.log(confidences), np.log1p(-confidences), least, most)
    budget = min(total_budget, most.sum())
    below, reached = -1, _BITS_OF_INFINITY
    while reached - below > 1:
        middle = (below + reached) // 2
        if demand.at(middle).sum() < budget:
            below = middle
        else:
            reached = middle
    taken = demand.at(below)
    tied = demand.at(reached) - taken
    rest = budget - taken.sum() - (np.cumsum(tied) - tied)
    return np.asarray(taken + np.clip(rest, 0, tied), dtype=np.int64)


def _limits(
    questions: int, total_budget: int, minimum: int, maximum: ArrayLike | None
) -> tuple[FloatArray, FloatArray]:
    """Return the fewest and the most samples of each question, both [N]."""
    for name, value in (("total_budget", total_budget), ("minimum", minimum)):
        if not (value >= 0 and value == np.floor(value)):
            raise DataError(f"{name} is {value:g}; it must be a whole number of at least 0.")
    if total_budget > _MOST_SAMPLES:
        raise DataError(
            f"total_budget is {total_budget:g}; it must be at most 2^53 = {_MOST_SAMPLES:,}."
        )
    if total_budget < minimum * questions:
        raise DataError(
            f"total_budget is {total_budget}, but minimum = {minimum} for each of {questions} "
            f"questions takes {minimum * questions}; raise the budget or lower the minimum."
        )
    most = np.asarray(total_budget if maximum is None else maximum, dtype=np.float64)
    if most.shape not in ((), (questions,)):
        raise DataError(f"maximum has shape {most.shape}; it must be a number or [{questions}].")
    most = np.broadcast_to(most, questions)
    wrong = ~((most >= minimum) & (most == np.floor(most)))
    if wrong.any():
        where = int(np.argmax(wrong))
        raise DataError(
            f"maximum is {most[where]:g} for question {where}; it must be a whole number of at "
            f"least the minimum, {minimum}."
        )
    return np.full(questions, float(minimum)), np.minimum(most, total_budget)


def solved_probability(allocation: ArrayLike, n: ArrayLike, c: ArrayLike) -> FloatArray:
    """Return how probably each question is solved by samples drawn from its graded responses.

    ``1 - C(n - c, b) / C(n, b)`` for b of n responses drawn without replacement: exact, and an
    unbiased estimate of ``1 - (1 - p)^b`` for the expected accuracy p. Questions are solved
    independently of each other, so the mean over them is the expected share that is solved.

    Args:
        allocation: number b of samples of each question, [N].
        n: number of responses of each question, [N].
        c: number of correct ones among them, [N].

    Returns:
        [N], in [0, 1]; 0 for a question without samples.

    Raises:
        DataError: for counts out of range, or more samples than a question has responses.

    Examples:
        >>> solved_probability([0, 1, 2], n=[4, 4, 4], c=[4, 1, 1]).round(12).tolist()
        [0.0, 0.25, 0.5]
    """
    n, c = check_counts(n, c)
    samples = np.asarray(allocation, dtype=np.float64)
    if samples.shape != n.shape:
        raise DataError(f"allocation has shape {samples.shape}, but n and c have {n.shape}.")
    wrong = ~((samples >= 0) & (samples <= n) & (samples == np.floor(samples)))
    if wrong.any():
        where = int(np.argmax(wrong))
        raise DataError(
            f"allocation[{where}] is {samples[where]:g}; it must be a whole number from 0 to the "
            f"n = {n[where]:g} responses of the question: pass maximum=n to the allocation."
        )
    return share_with_correct(n, c, samples)
