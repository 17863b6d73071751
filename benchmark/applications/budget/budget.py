"""Stage 7: a sampling budget spread over the questions by their confidences.

``policies`` says what each way of spreading it reaches; here they are compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from omegaconf import MISSING

from benchmark.applications.application import Study
from benchmark.applications.budget.policies import Run, Trial, run_policies
from benchmark.applications.budget.replay import first_success, outcome_matrix
from benchmark.applications.pass_at_k import share_with_correct
from benchmark.errors import ConfigError
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.records import BUDGET, CellResult
from benchmark.statistics.bootstrap import divide, row_blocks, value_and_interval
from benchmark.statistics.inputs import FloatArray

_MOST_DRAWS = 100  # of an estimator that is random; more would cost time and tell nothing new
_MOST_ORDERS = 100_000  # orders of the responses; more would fill the memory
_ROUNDING = 1e-12  # difference between successes that are equal


@dataclass
class Budget:
    """Sampling policies compared at equal budgets.

    Attributes:
        budgets: mean numbers of samples per question; those above the fewest responses that count
            for a question are left out.
        minimum: number of samples that every question gets.
        clip: least distance of a confidence from 0 and 1, so that no question is given up, or taken
            as solved, for good.
        prior_strength: number of responses that a confidence is worth, where failures update it.
        orders: number of orders of the responses in which policies that see outcomes are replayed;
            the first is the order of sampling, the others are random.
    """

    budgets: list[int] = MISSING
    minimum: int = 0
    clip: float = 1e-6
    prior_strength: float = 2.0
    orders: int = 10

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        rules = {
            f"budgets={self.budgets}: each must be at least 1": min(self.budgets, default=0) >= 1,
            f"minimum={self.minimum}: it must be from 0 to the smallest budget": (
                0 <= self.minimum <= min(self.budgets, default=0)
            ),
            f"clip={self.clip:g}: it must be above 0 and below 0.5": 0 < self.clip < 0.5,
            f"prior_strength={self.prior_strength:g}: it must be above 0 and finite": (
                0 < self.prior_strength < np.inf
            ),
            f"orders={self.orders}: it must be from 1 to {_MOST_ORDERS:,}": (
                1 <= self.orders <= _MOST_ORDERS
            ),
        }
        for rule, kept in rules.items():
            if not kept:
                raise ConfigError(f"budget: {rule}.")

    def evaluate(self, result: CellResult, study: Study) -> dict[str, pl.DataFrame]:
        """Return the success of each policy with each estimator's confidences at each budget.

        ================ ===========================================================================
        uniform          the same number of samples for every question
        greedy           as `greedy_budget_allocation` allocates them
        uniform_stopping rounds over the questions that are not solved yet
        posterior        always the unsolved question whose next sample is most probably correct
        thompson         the same, with a draw from each question's posterior (`posterior_draws`)
        ================ ===========================================================================

        The first two are exact in expectation over which responses are drawn, averaged over at most
        100 draws of an estimator that is random. The others are averaged over replays in ``orders``
        orders of the responses, each with the next draw of the estimator. Responses that made the
        confidence are left out throughout. All policies are evaluated on the questions that the
        estimator answered in any draw; the missing draws of a question repeat its other ones.

        Intervals are bootstrapped over questions, the same resamples for all policies, so that
        gains are paired. Allocations stay as they were made for the questions as they are.

        Returns:
            Table ``budget`` of schema ``BUDGET``, NaN where no question was answered.

        Raises:
            DataError: for a table that breaks its contract.
        """
        seed = int(study.rng.integers(2**32))  # every estimator meets the same orders of responses
        orders: dict[int, FloatArray] = {}  # by the number of responses that are left out
        rows: list[tuple[float | str, ...]] = []
        for name, paired in pair_estimates(
            result.estimates, result.grades, study.rng, study.resamples
        ):
            used = result.estimates[name].samples_used
            if used not in orders:
                outcomes = outcome_matrix(result.grades, used)
                rng = np.random.default_rng(seed)
                orders[used] = _first_successes(outcomes, self.orders, rng)
            trial = _trial(paired, orders[used], self)
            runs = run_policies(trial, self.prior_strength, study.rng)
            weights = paired.weights[:, paired.answers]
            rows += [(policy, name, *row) for policy, *row in _rows(runs, trial, weights)]
        return {"budget": pl.DataFrame(rows, schema=BUDGET, orient="row")}


def _first_successes(outcomes: FloatArray, orders: int, rng: np.random.Generator) -> FloatArray:
    """Return `first_success` in the order of sampling and in random ones, [orders, N]."""
    return np.stack([first_success(outcomes, rng if order else None) for order in range(orders)])


def _trial(paired: PairedEstimate, first: FloatArray, settings: Budget) -> Trial:
    """Return the answered questions with the confidences and responses that policies meet."""
    answered = paired.answers
    draws = paired.evened().confidences[:_MOST_DRAWS, answered]
    counts = np.stack([paired.n, paired.c])[:, answered]
    (n, c), kind = np.unique(counts, axis=1, return_inverse=True)
    budgets = np.array(sorted(set(settings.budgets)))
    samples = np.arange(max(budgets[-1], n.max(initial=0)) + 1)
    return Trial(
        draws=np.clip(draws, settings.clip, 1 - settings.clip),
        n=paired.n[answered],
        first=first[:, answered],
        kind=kind,
        shares=share_with_correct(n, c, np.minimum(samples[:, None], n)),
        budgets=budgets[budgets <= n.min(initial=np.inf)],
        minimum=settings.minimum,
    )


def _rows(
    runs: dict[str, Run], trial: Trial, weights: NDArray[np.uint16]
) -> Iterator[tuple[float | str, ...]]:
    """Yield each policy's name and its numbers of ``BUDGET`` for each budget."""
    shares = trial.shares[:, trial.kind]
    solved = np.concatenate([shares, *(run.solved for run in runs.values())])
    means = _resampled_means(solved, weights)
    uniform, *successes = np.split(
        means, len(shares) + len(trial.budgets) * np.arange(len(runs)), axis=1
    )
    for (policy, run), success in zip(runs.items(), successes, strict=True):
        for column, budget in enumerate(trial.budgets):
            own, spent = success[:, column], float(run.spent[column])
            yield (
                policy,
                int(budget),
                *value_and_interval(own),
                float(run.deviation[column]),
                *value_and_interval(own - uniform[:, budget]),
                *value_and_interval(_samples_for(own, uniform) - spent),
                spent,
                len(trial.n),
            )


def _samples_for(success: FloatArray, uniform: FloatArray) -> FloatArray:
    """Return with how many samples per question uniform sampling has the same success, [R].

    Between whole numbers, a part of the questions gets one sample more. No policy succeeds more
    often than uniform sampling of all responses.

    Args:
        success: [R].
        uniform: success of uniform sampling with 0 to K samples per question, [R, K + 1].
    """
    reached = np.argmax(uniform >= success[:, None] - _ROUNDING, axis=1)
    rows, before = np.arange(len(success)), np.maximum(reached - 1, 0)
    start, end = uniform[rows, before], uniform[rows, reached]
    part = np.where(reached > 0, np.clip(divide(success - start, end - start), 0, 1), 0)
    return np.where(np.isnan(success), np.nan, before + part)


def _resampled_means(values: FloatArray, weights: NDArray[np.uint16]) -> FloatArray:
    """Return the means of V rows of values [V, N] over the resampled questions, [R, V]."""
    means = np.empty((len(weights), len(values)))
    for rows in row_blocks(len(weights)):
        block = weights[rows].astype(np.float64)
        means[rows] = divide(block @ values.T, block.sum(axis=1, keepdims=True))
    return means
