"""Stage 7: what each sampling policy does with a budget, on questions whose responses are graded.

A policy that fixes its allocation beforehand has an exact expectation (``allocation``); one that
sees whether a sample is correct is replayed in several orders of the responses (``replay``).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.applications.budget.greedy_allocation import greedy_budget_allocation
from benchmark.applications.budget.replay import (
    Steps,
    posterior_draws,
    posterior_means,
    rounds,
    samples_until_solved,
    steps_of,
)
from benchmark.statistics.bootstrap import divide
from benchmark.statistics.inputs import FloatArray


class Trial(NamedTuple):
    """N questions with their graded responses, to try policies on."""

    draws: FloatArray  # [D, N], confidences in (0, 1)
    n: FloatArray  # [N], responses
    first: FloatArray  # [orders, N], which sample is the first correct one, or infinite
    kind: NDArray[np.intp]  # [N], which pair (n, c) the question has
    shares: FloatArray  # [K + 1, kinds], probability that 0 to K samples solve it
    budgets: NDArray[np.int64]  # [M], samples per question, at most the fewest responses
    minimum: int  # samples that every question gets

    @property
    def totals(self) -> NDArray[np.int64]:
        """Samples of all questions together, [M]."""
        return self.budgets * len(self.n)


class Run(NamedTuple):
    """What a policy reaches with each of M budgets."""

    solved: FloatArray  # [M, N], probability that each question is solved
    spent: FloatArray  # [M], samples per question
    deviation: FloatArray  # [M], standard deviation of the share of solved questions


def run_policies(trial: Trial, strength: float, rng: np.random.Generator) -> dict[str, Run]:
    """Return what each policy reaches, by name.

    Args:
        trial: questions with their graded responses.
        strength: number of responses that a confidence is worth, where failures update it.
        rng: generator of the order of the questions in rounds, and of draws from the posteriors.
    """
    return {
        "uniform": _uniform(trial),
        "greedy": _greedy(trial),
        "uniform_stopping": _replay(trial, lambda conf, steps: rounds(conf, steps, rng)),
        "posterior": _replay(trial, lambda conf, steps: posterior_means(conf, steps, strength)),
        "thompson": _replay(trial, lambda conf, steps: posterior_draws(conf, steps, strength, rng)),
    }


def _uniform(trial: Trial) -> Run:
    """Give every question the same number of samples, exactly."""
    solved = trial.shares[trial.budgets][:, trial.kind]
    return Run(solved, trial.budgets.astype(np.float64), np.sqrt(_variance(solved)))


def _greedy(trial: Trial) -> Run:
    """Run the greedy allocation of every draw of the confidences, exactly."""
    solved = np.empty((len(trial.draws), len(trial.budgets), len(trial.n)))
    spent = np.empty(solved.shape[:2])
    for draw, conf in enumerate(trial.draws):
        for row, total in enumerate(trial.totals):
            samples = greedy_budget_allocation(conf, int(total), trial.minimum, trial.n)
            solved[draw, row] = trial.shares[samples, trial.kind]
            spent[draw, row] = _mean(samples)
    variance = _variance(solved).mean(axis=0) + _mean(solved).var(axis=0)
    return Run(solved.mean(axis=0), spent.mean(axis=0), np.sqrt(variance))


def _replay(trial: Trial, priorities: Callable[[FloatArray, Steps], FloatArray]) -> Run:
    """Replay a policy in every order; ``priorities`` makes its priorities of confidences."""
    solved = np.empty((len(trial.first), len(trial.budgets), len(trial.n)), dtype=np.bool_)
    spent = np.empty(solved.shape[:2])
    for order, first in enumerate(trial.first):
        steps = steps_of(first, trial.n)
        ranks = priorities(trial.draws[order % len(trial.draws)], steps)
        ranks[steps.failures < trial.minimum] = np.inf
        until = samples_until_solved(ranks, steps, first)
        solved[order] = until <= trial.totals[:, None]
        spent[order] = divide(np.minimum(trial.totals, len(steps.question)), _count(trial.n))
    deviation = np.full(len(trial.budgets), np.nan)
    if len(solved) > 1:
        deviation = _mean(solved).std(axis=0, ddof=1)
    return Run(solved.mean(axis=0), spent.mean(axis=0), deviation)


def _mean(values: NDArray[np.generic]) -> FloatArray:
    """Return the mean over questions, NaN without any."""
    return divide(values.sum(axis=-1), _count(values))


def _variance(solved: FloatArray) -> FloatArray:
    """Return the variance of the share of solved questions, over which responses are drawn."""
    return divide((solved * (1 - solved)).sum(axis=-1), _count(solved) ** 2)


def _count(values: NDArray[np.generic]) -> FloatArray:
    return np.asarray(float(values.shape[-1]))
