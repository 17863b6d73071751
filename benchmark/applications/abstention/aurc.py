"""Stage 7: selective prediction, pure functions: area under risk over coverage, and thresholds.

Questions are answered from the highest confidence down: *coverage* is the share that is answered,
*risk* is 1 minus the mean expected accuracy of those. Ties are broken at random and every value is
the expectation over that, so that the order of rows changes nothing. The oracle ranks questions by
``c / n`` itself. It is judged by the same ``c / n``, noise included, so that no confidence can be
expected to reach it with few responses.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from benchmark.errors import DataError
from benchmark.statistics.bootstrap import divide, weighted_mean
from benchmark.statistics.inputs import FloatArray, check_inputs

ROUNDING = 1e-12  # by which a mean of c / n may miss a target that it equals


class Answered(NamedTuple):
    """What is answered at a threshold, each [...].

    Attributes:
        coverage: share of the questions that are answered, in [0, 1].
        accuracy: their mean expected accuracy, in [0, 1]; NaN where none is answered.
    """

    coverage: FloatArray
    accuracy: FloatArray


def aurc(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the area under the risk-coverage curve, in [0, 1]; lower is better.

    ``mean over k = 1 .. N of risk(k / N)`` (Geifman et al., ICLR 2019, arXiv 1805.08206), in
    closed form over runs of equal confidences. A weight of w counts a question w times.

    Args:
        confidences: [N], in [0, 1].
        n: responses of each question, [N].
        c: correct ones among them, [N].
        weights: non-negative question weights, [..., N].

    Returns:
        [...], NaN without questions.

    Raises:
        DataError: where an argument breaks its range or the lengths differ.

    Examples:
        >>> round(float(aurc([0.9, 0.5, 0.1], n=[2, 2, 2], c=[2, 1, 0])), 3)
        0.25
    """
    x = check_inputs(confidences, n, c, weights)
    return area_under(rank(x.confidences, x.accuracy, x.weights))


def normalised_aurc(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the excess area relative to that of a confidence that says nothing.

    ``(AURC - AURC of the oracle) / (1 - mean accuracy - AURC of the oracle)``: 0 for the oracle, 1
    in expectation for a random ranking, above 1 for a worse one (NAURC of Cattelan and Silva, UAI
    2024, arXiv 2305.15508). The numerator is the excess area (E-AURC of Geifman et al.), with the
    oracle's area exact.

    Arguments and errors are those of `aurc`.

    Returns:
        [...], NaN where all questions have the same expected accuracy.

    Examples:
        >>> float(normalised_aurc([0.5, 0.5, 0.5], n=[2, 2, 2], c=[2, 1, 0]))
        1.0
    """
    x = check_inputs(confidences, n, c, weights)
    own = area_under(rank(x.confidences, x.accuracy, x.weights))
    oracle = area_under(rank(x.accuracy, x.accuracy, x.weights))
    return normalise_area(own, oracle, 1 - weighted_mean(x.accuracy, x.weights))


def accuracy_at_coverage(
    confidences: ArrayLike,
    n: ArrayLike,
    c: ArrayLike,
    coverages: ArrayLike,
    weights: ArrayLike | None = None,
) -> FloatArray:
    """Return the mean expected accuracy of the most confident share of the questions.

    A share that cuts through a question, or through a run of equal confidences, takes the part of
    it, as answering it with that probability does.

    ``coverages`` are Q shares in (0, 1]; the other arguments and the errors are those of `aurc`.

    Returns:
        [..., Q], NaN without questions.

    Examples:
        >>> accuracy_at_coverage([0.9, 0.5], n=[4, 4], c=[4, 2], coverages=[0.5, 1.0]).tolist()
        [1.0, 0.75]
    """
    x = check_inputs(confidences, n, c, weights)
    shares = np.asarray(coverages, dtype=np.float64)
    for share in shares.flat:
        _check_share("coverage", share)
    return ranked_accuracy(rank(x.confidences, x.accuracy, x.weights), shares)


def lowest_threshold(confidences: ArrayLike, n: ArrayLike, c: ArrayLike, target: float) -> float:
    """Return the threshold with the largest coverage whose accuracy reaches the target.

    A question is answered where its confidence is at least the threshold. Every confidence is
    tried, in one pass over the sorted ones. The best of so many is optimistic on the questions it
    was chosen on: verify it on others with `answered_at`.

    ``target`` is the mean expected accuracy of the answered questions, in (0, 1]; the other
    arguments and the errors are those of `aurc`.

    Returns:
        One of the confidences; NaN where none reaches the target.

    Examples:
        >>> lowest_threshold([0.9, 0.8, 0.3], n=[4, 4, 4], c=[4, 3, 0], target=0.8)
        0.8
    """
    x = check_inputs(confidences, n, c)
    _check_share("target accuracy", target)
    return passing_threshold(x.confidences, x.accuracy, target)


def answered_at(
    confidences: ArrayLike,
    n: ArrayLike,
    c: ArrayLike,
    threshold: float,
    weights: ArrayLike | None = None,
) -> Answered:
    """Return coverage and accuracy where confidences of at least ``threshold`` are answered.

    A threshold of NaN answers nothing. The other arguments and the errors are those of `aurc`.

    Examples:
        >>> both = answered_at([0.9, 0.8, 0.3], n=[4, 4, 4], c=[4, 3, 0], threshold=0.8)
        >>> round(float(both.coverage), 3), float(both.accuracy)
        (0.667, 0.875)
    """
    x = check_inputs(confidences, n, c, weights)
    return answered_share((x.confidences >= threshold).astype(np.float64), x.accuracy, x.weights)


class Ranked(NamedTuple):
    """Running sums over G runs of equal scores, from the highest down, behind a 0: [..., 1 + G]."""

    answered: FloatArray  # weight
    correct: FloatArray  # expected correct answers


def rank(scores: FloatArray, accuracy: FloatArray, weights: FloatArray) -> Ranked:
    """Return the running sums of questions with scores and accuracies [N], weights [..., N]."""
    _, sizes = np.unique(-scores, return_counts=True)
    order = np.argsort(-scores, kind="stable")
    ends = np.concatenate([[0], np.cumsum(sizes)])
    in_order = np.take(weights, order, axis=-1)

    def running(values: FloatArray) -> FloatArray:
        sums = np.zeros((*values.shape[:-1], 1 + values.shape[-1]))
        np.cumsum(values, axis=-1, out=sums[..., 1:])
        return np.take(sums, ends, axis=-1)

    return Ranked(running(in_order), running(in_order * accuracy[order]))


def ranked_accuracy(ranked: Ranked, coverages: FloatArray) -> FloatArray:
    """Return the accuracy of each share [Q] of the questions: [..., Q]."""
    accuracies = np.empty((*ranked.answered.shape[:-1], len(coverages)))
    for row in np.ndindex(accuracies.shape[:-1]):
        answered = coverages * ranked.answered[row][-1]
        correct = np.interp(answered, ranked.answered[row], ranked.correct[row])
        accuracies[row] = divide(correct, answered)
    return accuracies


def area_under(ranked: Ranked) -> FloatArray:
    """Return the mean risk over k = 1 .. N: [...].

    Behind k0 questions of which s0 are expected to be right, a run up to k1 of mean accuracy m has
    risk ``1 - (s0 + (k - k0) m) / k`` at k, which sums to
    ``(k1 - k0) (1 - m) - (s0 - k0 m) (H(k1) - H(k0))`` with the harmonic numbers H.
    """
    size = np.diff(ranked.answered, axis=-1)
    mean = np.nan_to_num(divide(np.diff(ranked.correct, axis=-1), size))
    head = ranked.correct[..., :-1] - ranked.answered[..., :-1] * mean
    harmonic = np.diff(digamma(ranked.answered + 1), axis=-1)
    risks = (size * (1 - mean) - head * harmonic).sum(axis=-1)
    return divide(risks, ranked.answered[..., -1])


def normalise_area(own: FloatArray, oracle: FloatArray, full_risk: FloatArray) -> FloatArray:
    """Return the `normalised_aurc` of areas and risks at full coverage, [...] each."""
    room = full_risk - oracle
    return divide(own - oracle, np.where(room > ROUNDING, room, 0.0))


def passing_threshold(scores: FloatArray, accuracy: FloatArray, target: float) -> float:
    """Return the `lowest_threshold` of scores and accuracies [N]; unchecked."""
    ranked = rank(scores, accuracy, np.ones(len(scores)))
    reached = ranked.correct[1:] >= (target - ROUNDING) * ranked.answered[1:]
    values = np.unique(scores)[::-1]
    return float(values[np.flatnonzero(reached)[-1]]) if reached.any() else np.nan


def answered_share(passed: FloatArray, accuracy: FloatArray, weights: FloatArray) -> Answered:
    """Return what is answered where each question passes with a probability, [N]."""
    share = weights @ passed
    return Answered(
        divide(share, weights.sum(axis=-1)), divide(weights @ (passed * accuracy), share)
    )


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise DataError(f"{name} is {value:g}; it must be in (0, 1].")
