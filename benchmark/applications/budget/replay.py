"""Stage 7: sampling policies that see whether a sample is correct, replayed on graded responses.

Every policy here stops a question at its first correct sample. Which question is sampled next is
decided by priorities that fall with the failures of a question, so that a whole run is one sort.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import DataError
from benchmark.statistics.inputs import FloatArray


def outcome_matrix(grades: pl.DataFrame, skip_samples: int = 0) -> FloatArray:
    """Return the correctness of each question's responses in sample order.

    Args:
        grades: table of schema ``GRADE``, each response once.
        skip_samples: leave out responses with ``sample_index < skip_samples``.

    Returns:
        [N, K] for N questions sorted by id, as `benchmark.capability.counts.count_outcomes` has
        them: 1 correct, 0 not correct, NaN after the last response of one that has fewer than K.
    """
    rows = grades.filter(pl.col("sample_index") >= skip_samples).sort("question_id", "sample_index")
    n = rows.group_by("question_id", maintain_order=True).len()["len"].to_numpy()
    outcomes = np.full((len(n), n.max(initial=0)), np.nan)
    outcomes[np.arange(outcomes.shape[1]) < n[:, None]] = (rows["outcome"] == "correct").to_numpy()
    return outcomes


def first_success(outcomes: ArrayLike, rng: np.random.Generator | None = None) -> FloatArray:
    """Return how many samples each question takes up to and with its first correct one.

    Args:
        outcomes: [N, K], 1 correct, 0 not correct, NaN no response.
        rng: draws a random order of each question's responses; None keeps theirs.

    Returns:
        [N], from 1 to K; infinite for a question without a correct response.

    Examples:
        >>> first_success([[0, 1, 1], [0, 0, np.nan]]).tolist()
        [2.0, inf]
    """
    outcomes = np.asarray(outcomes, dtype=np.float64)
    place = np.broadcast_to(np.arange(outcomes.shape[1], dtype=np.float64), outcomes.shape)
    if rng is not None:
        place = rng.random(outcomes.shape)
    first = np.where(outcomes == 1, place, np.inf).min(axis=1, initial=np.inf)
    before = ((outcomes == 0) & (place < first[:, None])).sum(axis=1)
    return np.where(np.isfinite(first), before + 1.0, np.inf)


class Steps(NamedTuple):
    """The S samples that a replay draws if its budget allows, question after question."""

    question: NDArray[np.intp]  # [S], rising
    failures: NDArray[np.intp]  # [S], of the question before the sample: 0, 1, ..


def steps_of(first_success: ArrayLike, n: ArrayLike) -> Steps:
    """Return the samples up to each question's first correct one, or to its last response.

    Args:
        first_success: which sample is the first correct one, [N]; infinite for none.
        n: responses of each question, [N].

    Examples:
        >>> steps_of([2, np.inf], n=[3, 1]).question.tolist()
        [0, 0, 1]
    """
    drawn = np.minimum(first_success, n).astype(np.intp)
    question = np.repeat(np.arange(len(drawn)), drawn)
    return Steps(question, np.arange(len(question)) - (np.cumsum(drawn) - drawn)[question])


def samples_until_solved(
    priorities: FloatArray, steps: Steps, first_success: FloatArray
) -> FloatArray:
    """Return how many samples of all questions were drawn when each question was solved.

    The unsolved question whose next sample has the highest priority is sampled next, of several
    the one with the lowest index, until it is solved or out of responses.

    Args:
        priorities: of each sample, [S], not rising within a question.
        steps: the samples.
        first_success: which sample of each question is the first correct one, [N]; infinite for
            none.

    Returns:
        [N], from 1; infinite for questions that are never solved. With a budget of T samples those
        questions are solved whose value is at most T.

    Raises:
        DataError: where priorities rise within a question.

    Examples:
        >>> first = np.array([2.0, 1.0])
        >>> samples_until_solved(np.array([0.9, 0.5, 0.7]), steps_of(first, [2, 2]), first).tolist()
        [3.0, 2.0]
    """
    rises = (priorities[1:] > priorities[:-1]) & (steps.failures[1:] > 0)
    if rises.any():
        raise DataError("priorities rise within the samples of a question; they must fall or stay.")
    drawn = np.empty(len(priorities))
    drawn[np.argsort(-priorities, kind="stable")] = np.arange(1.0, len(priorities) + 1)
    last = steps.failures + 1 == first_success[steps.question]
    until = np.full(len(first_success), np.inf)
    until[steps.question[last]] = drawn[last]
    return until


def rounds(confidences: FloatArray, steps: Steps, rng: np.random.Generator) -> FloatArray:
    """Return priorities [S] that give every question a sample before any gets its next one.

    Within a round, questions come in a random order, the same in all rounds.
    """
    return -steps.failures - rng.random(len(confidences))[steps.question]


def posterior_means(confidences: FloatArray, steps: Steps, strength: float) -> FloatArray:
    """Return the posterior mean of the expected accuracy before each sample, [S].

    The prior is ``Beta(s conf, s (1 - conf))``, worth as much as s responses; after j failures
    the mean is ``s conf / (s + j)``, the probability that the next sample is correct.

    Args:
        confidences: [N], in [0, 1].
        steps: the samples.
        strength: s, above 0.

    Examples:
        >>> steps = steps_of([np.inf], n=[3])
        >>> posterior_means(np.array([0.5]), steps, strength=2).round(3).tolist()
        [0.5, 0.333, 0.25]
    """
    return np.asarray(strength * confidences[steps.question] / (strength + steps.failures))


def posterior_draws(
    confidences: FloatArray, steps: Steps, strength: float, rng: np.random.Generator
) -> FloatArray:
    """Return priorities [S] of Thompson sampling with the posteriors of `posterior_means`.

    A question's expected accuracy is drawn at the start and again after each of its failures, and
    the highest draw is sampled next. A draw above the question's last one is taken at once, since
    no other question's was above that: its priority is the question's lowest draw so far.
    (Thompson's rule of 1933 draws all questions anew at every step, N times as many draws.)

    Args:
        confidences: [N], in (0, 1).
        steps: the samples.
        strength: s, above 0.
        rng: draws.
    """
    alpha, beta = strength * confidences, strength * (1 - confidences)
    draws = rng.beta(alpha[steps.question], beta[steps.question] + steps.failures)
    floor = -2.0 * steps.question  # puts each question's draws below those of all before it
    return np.asarray(np.minimum.accumulate(draws + floor) - floor)
