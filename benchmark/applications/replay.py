"""Stage 7: sampling policies that see whether a sample is correct, replayed on graded responses.

Every policy here stops a question at its first correct sample. Which question is sampled next is
decided by priorities that fall with the failures of a question, so that a whole run is one sort.
"""

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from benchmark.errors import DataError
from benchmark.metrics.inputs import FloatArray, check_confidences


def outcome_matrix(grades: pl.DataFrame, skip_samples: int = 0) -> FloatArray:
    """Return the correctness of each question's responses in sample order.

    Args:
        grades: table of schema ``GRADE``, each response once.
        skip_samples: leave out responses with ``sample_index < skip_samples``.

    Returns:
        [N, K] for N questions sorted by id, as `benchmark.capability.count_outcomes` has them: 1
        correct, 0 not correct, NaN after the last response of a question that has fewer than K.
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


def samples_until_solved(
    priorities: ArrayLike, first_success: ArrayLike, n: ArrayLike
) -> FloatArray:
    """Return how many samples of all questions were drawn when each question was solved.

    At every step the unsolved question whose next sample has the highest priority is sampled, the
    lower index first where they tie, until it is solved or out of responses.

    Args:
        priorities: of sample j of each question, after j failures: [N, K], not rising along K.
        first_success: which sample is the first correct one, [N]; infinite for none.
        n: responses of each question, [N], at most K.

    Returns:
        [N], from 1; infinite for questions that are never solved. With a budget of T samples those
        questions are solved whose value is at most T.

    Raises:
        DataError: where priorities rise, or are too few.

    Examples:
        >>> samples_until_solved([[0.9, 0.5], [0.7, 0.6]], first_success=[2, 1], n=[2, 2]).tolist()
        [3.0, 2.0]
    """
    priorities, first = np.asarray(priorities), np.asarray(first_success, dtype=np.float64)
    if np.any(priorities[:, 1:] > priorities[:, :-1]):
        raise DataError("priorities rise along a question's samples; they must fall or stay.")
    needed = np.minimum(first, n).astype(np.int64)
    if needed.max(initial=0) > priorities.shape[1]:
        raise DataError(
            f"priorities has {priorities.shape[1]} columns, but a question needs {needed.max()}."
        )
    drawn = np.arange(priorities.shape[1]) < needed[:, None]
    order = np.argsort(-priorities[drawn], kind="stable")
    time = np.empty(len(order))
    time[order] = np.arange(1.0, len(order) + 1)
    solved = np.isfinite(first)
    until = np.full(len(first), np.inf)
    until[solved] = time[np.cumsum(needed)[solved] - 1]
    return until


def rounds(questions: int, samples: int, rng: np.random.Generator) -> FloatArray:
    """Return priorities that give every question a sample before any gets its next one.

    Args:
        questions: N.
        samples: K of each.
        rng: draws the order of the questions, the same in all rounds.

    Returns:
        [N, K].
    """
    return -np.arange(float(samples)) - rng.random((questions, 1))


def marginal_gains(confidences: ArrayLike, samples: int) -> FloatArray:
    """Return the logarithm of ``conf (1 - conf)^j``, the order of the greedy allocation.

    Args:
        confidences: [N], in (0, 1).
        samples: K of each question.

    Returns:
        [N, K].
    """
    conf = check_confidences(confidences)[:, None]
    return np.log(conf) + np.arange(samples) * np.log1p(-conf)


def posterior_means(confidences: ArrayLike, samples: int, strength: float) -> FloatArray:
    """Return the posterior mean of the expected accuracy after each number of failures.

    The prior is ``Beta(s conf, s (1 - conf))``, worth as much as s responses; after j failures
    the mean is ``s conf / (s + j)``, the probability that the next sample is correct.

    Args:
        confidences: [N], in [0, 1].
        samples: K of each question.
        strength: s, above 0.

    Returns:
        [N, K], in [0, 1].

    Examples:
        >>> posterior_means([0.5], samples=3, strength=2).tolist()
        [[0.5, 0.3333333333333333, 0.25]]
    """
    return strength * check_confidences(confidences)[:, None] / (strength + np.arange(samples))


def posterior_draws(
    confidences: ArrayLike, samples: int, strength: float, rng: np.random.Generator
) -> FloatArray:
    """Return priorities of Thompson sampling with the posteriors of `posterior_means`.

    A question's expected accuracy is drawn at the start and again after each of its failures, and
    the highest draw is sampled next. A draw above the question's last one is taken at once, since
    no other question's was above that: its priority is the lowest draw so far. (Thompson's rule of
    1933 draws all questions anew at every step, which needs N times as many draws.)

    Args:
        confidences: [N], in (0, 1).
        samples: K of each question.
        strength: s, above 0.
        rng: draws.

    Returns:
        [N, K], in [0, 1].
    """
    conf = check_confidences(confidences)[:, None]
    draws = rng.beta(strength * conf, strength * (1 - conf) + np.arange(samples))
    return np.minimum.accumulate(draws, axis=1)
