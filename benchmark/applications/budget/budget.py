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
from benchmark.records import BUDGET, CellResult, Estimate
from benchmark.statistics.bootstrap import divide, row_blocks, value_and_interval
from benchmark.statistics.inputs import FloatArray

MOST_DRAWS = 100  # of an estimator that is random
_MOST_ORDERS = 100_000  # more would fill the memory
_EQUAL = 1e-12  # successes that differ by rounding only


@dataclass
class Budget:
    """Sampling policies compared at equal budgets.

    Attributes:
        budgets: samples per question, on average; those above the fewest responses that count for a
            question are left out.
        minimum: samples that every question gets.
        clip: confidences are taken as at least this far from 0 and 1, so that no question is given
            up, or taken as solved, for good.
        prior_strength: how many responses a confidence counts as much as, where failures update it.
        orders: in how many orders of the responses the policies that see outcomes are replayed; the
            first is the order of sampling, the others are random.
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
        """Return the table ``budget``, of schema ``BUDGET``."""
        table = budget_table(result.estimates, result.grades, self, study.rng, study.resamples)
        return {"budget": table}


def budget_table(
    estimates: dict[str, Estimate],
    grades: pl.DataFrame,
    settings: Budget,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> pl.DataFrame:
    """Return the success of each policy with each estimator's confidences at each budget.

    ==================== ===========================================================================
    uniform              the same number of samples for every question
    greedy               as `greedy_budget_allocation` allocates them
    uniform_stopping     rounds over the questions that are not solved yet
    greedy_stopping      in the order of the greedy allocation, solved questions passed over
    posterior            always the unsolved question whose next sample is most probably correct
    thompson             the same, with a draw from each question's posterior (`posterior_draws`)
    ==================== ===========================================================================

    The first two are exact in expectation over which responses are drawn, averaged over at most
    ``MOST_DRAWS`` draws of an estimator that is random. The others are averaged over replays in
    ``settings.orders`` orders of the responses, each with the next draw of the estimator. Responses
    that made the confidence are left out throughout. All policies are evaluated on the questions
    that the estimator answered in any draw; the missing draws of a question are replaced by its
    other ones.

    Intervals are bootstrapped over questions, the same resamples for all policies, so that gains
    are paired. Allocations stay as they were made for the questions as they are.

    Args:
        estimates: by estimator.
        grades: table of schema ``GRADE``.
        settings: budgets and what the policies need.
        rng: draws the resamples, the orders and Thompson's draws.
        resamples: how many of them; with 0 the intervals are NaN.

    Returns:
        Table of schema ``BUDGET``, NaN where no question was answered.

    Raises:
        DataError: for a table that breaks its contract.
    """
    seed = int(rng.integers(2**32))  # every estimator meets the same orders of the responses
    orders: dict[int, FloatArray] = {}  # by the number of responses that are left out
    rows: list[tuple[float | str, ...]] = []
    for name, paired in pair_estimates(estimates, grades, rng, resamples):
        used = estimates[name].samples_used
        if used not in orders:
            outcomes = outcome_matrix(grades, used)
            orders[used] = _first_successes(outcomes, settings.orders, np.random.default_rng(seed))
        trial = _trial(paired, orders[used], settings)
        runs = run_policies(trial, settings.prior_strength, rng)
        weights = paired.weights[:, paired.given.any(axis=0)]
        rows += [(policy, name, *row) for policy, *row in _rows(runs, trial, weights)]
    return pl.DataFrame(rows, schema=BUDGET, orient="row")


def _first_successes(outcomes: FloatArray, orders: int, rng: np.random.Generator) -> FloatArray:
    """Return `first_success` in the order of sampling and in random ones, [orders, N]."""
    return np.stack([first_success(outcomes, rng if order else None) for order in range(orders)])


def _trial(paired: PairedEstimate, first: FloatArray, settings: Budget) -> Trial:
    """Return the answered questions with the confidences and responses that policies meet."""
    answered = paired.given.any(axis=0)
    counts = np.stack([paired.n, paired.c])[:, answered]
    (n, c), kind = np.unique(counts, axis=1, return_inverse=True)
    budgets = np.array(sorted(set(settings.budgets)))
    samples = np.arange(max(budgets[-1], n.max(initial=0)) + 1)
    return Trial(
        draws=np.clip(_draws(paired), settings.clip, 1 - settings.clip),
        n=paired.n[answered],
        first=first[:, answered],
        kind=kind,
        shares=share_with_correct(n, c, np.minimum(samples[:, None], n)),
        budgets=budgets[budgets <= n.min(initial=np.inf)],
        minimum=settings.minimum,
    )


def _draws(paired: PairedEstimate) -> FloatArray:
    """Return the draws of the answered questions, missing ones replaced by the others in turn."""
    answered = paired.given.any(axis=0)
    confidences, given = paired.confidences[:, answered], paired.given[:, answered]
    turn = np.arange(min(len(given), MOST_DRAWS))[:, None] % given.sum(axis=0)
    row = np.take_along_axis(np.argsort(~given, axis=0, kind="stable"), turn, axis=0)
    return np.take_along_axis(confidences, row, axis=0)


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
    reached = np.argmax(uniform >= success[:, None] - _EQUAL, axis=1)
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
