import numpy as np
import polars as pl
import pytest

from benchmark.applications.budget.replay import (
    first_success,
    outcome_matrix,
    posterior_draws,
    posterior_means,
    rounds,
    samples_until_solved,
    steps_of,
)
from benchmark.capability.counts import count_outcomes
from benchmark.errors import DataError
from benchmark.records import GRADE


class Sampler:
    """Samples questions one after the other and stops each at its first correct sample."""

    def __init__(self, first, n):
        self.first, self.n = np.asarray(first, dtype=float), np.asarray(n)
        self.failures = np.zeros(len(self.n), dtype=int)
        self.until = np.full(len(self.n), np.inf)
        self.drawn = 0

    def open(self):
        return np.isinf(self.until) & (self.failures < self.n)

    def sample(self, question):
        """Draw a sample; return whether it is correct."""
        self.drawn += 1
        if self.failures[question] + 1 == self.first[question]:
            self.until[question] = self.drawn
            return True
        self.failures[question] += 1
        return False


def step_by_step(first, n, priority):
    """Always sample the open question with the highest priority(question, failures)."""
    sampler = Sampler(first, n)
    while sampler.open().any():
        values = [priority(q, sampler.failures[q]) for q in range(len(n))]
        sampler.sample(int(np.argmax(np.where(sampler.open(), values, -np.inf))))
    return sampler.until


def questions(seed, count=12, k=9):
    """Random confidences, responses and first successes, some questions without any."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, k + 1, count)
    first = np.where(rng.random(count) < 0.7, rng.integers(1, n + 1), np.inf)
    return rng.uniform(0.05, 0.95, count), first, n


@pytest.mark.parametrize("seed", range(5))
def test_one_sort_does_what_sampling_step_by_step_does(seed):
    conf, first, n = questions(seed)
    steps = steps_of(first, n)
    ours = samples_until_solved(posterior_means(conf, steps, 2), steps, first)
    by_steps = step_by_step(first, n, lambda q, failures: 2 * conf[q] / (2 + failures))
    assert ours.tolist() == by_steps.tolist()


def test_where_priorities_tie_the_lower_index_is_sampled_first():
    first, n = np.array([2.0, 1.0, np.inf]), [3, 3, 2]
    steps = steps_of(first, n)
    assert samples_until_solved(np.zeros(5), steps, first).tolist() == [2, 3, np.inf]


def test_rounds_sample_every_open_question_before_any_again():
    first, n = np.array([1.0, 3.0, np.inf, 2.0]), [4, 4, 4, 4]
    steps = steps_of(first, n)
    until = samples_until_solved(
        rounds(np.full(4, 0.5), steps, np.random.default_rng(0)), steps, first
    )
    assert 1 <= until[0] <= 4
    assert 5 <= until[3] <= 7  # questions 1, 2 and 3 are in the second round
    assert 8 <= until[1] <= 9
    assert np.isinf(until[2])


def test_rounds_take_the_questions_in_another_order_each_time():
    first, n = np.ones(6), np.ones(6)
    steps = steps_of(first, n)
    rng = np.random.default_rng(0)
    until = {
        tuple(samples_until_solved(rounds(first, steps, rng), steps, first)) for _ in range(20)
    }
    assert len(until) > 15


@pytest.mark.parametrize("seed", range(5))
def test_thompson_sampling_by_the_lowest_draw_so_far_is_that_by_the_last_draw(seed):
    conf, first, n = questions(seed)
    steps = steps_of(first, n)
    made = np.random.default_rng(seed).random(len(steps.question))

    class Rng:
        def beta(self, a, b):
            np.testing.assert_allclose(a, 2 * conf[steps.question])
            np.testing.assert_allclose(b, 2 * (1 - conf)[steps.question] + steps.failures)
            return made

    drawn = {key: value for *key, value in zip(*steps, made, strict=True) for key in [tuple(key)]}
    ours = samples_until_solved(posterior_draws(conf, steps, 2, Rng()), steps, first)
    theirs = step_by_step(first, n, lambda q, j: drawn.get((q, j), -1))
    assert ours.tolist() == theirs.tolist()


def test_draws_from_the_posterior_have_its_mean_and_fall():
    rng = np.random.default_rng(0)
    steps = steps_of(np.full(2000, np.inf), np.full(2000, 3))
    draws = posterior_draws(np.full(2000, 0.3), steps, 4, rng).reshape(2000, 3)
    assert draws[:, 0].mean() == pytest.approx(0.3, abs=0.02)
    assert (np.diff(draws, axis=1) <= 0).all()


def test_rising_priorities_are_refused():
    first = np.array([2.0])
    with pytest.raises(DataError, match="priorities rise"):
        samples_until_solved(np.array([0.1, 0.2]), steps_of(first, [2]), first)


def test_the_first_success_is_found_in_the_order_of_sampling():
    outcomes = [[0, 1, 1], [1, 0, 0], [0, 0, np.nan], [0, 1, np.nan]]
    assert first_success(outcomes).tolist() == [2, 1, np.inf, 2]
    assert first_success(np.empty((2, 0))).tolist() == [np.inf, np.inf]


def test_the_first_success_in_random_orders_is_distributed_as_it_should_be():
    rng = np.random.default_rng(0)
    outcomes = np.tile([0, 1, 0, 0, 1, np.nan], (20_000, 1))
    first = first_success(outcomes, rng)
    shares = [np.mean(first == place) for place in (1, 2, 3, 4, 5)]
    # two correct of five: 2/5, 3/5 2/4, 3/5 2/4 2/3, 3/5 2/4 1/3 1
    np.testing.assert_allclose(shares, [0.4, 0.3, 0.2, 0.1, 0], atol=0.012)


def test_outcomes_come_in_sample_order_with_questions_as_they_are_counted():
    rows = [("b", 2, "correct"), ("b", 0, "incorrect"), ("a", 1, "truncated"), ("a", 0, "correct"),
            ("b", 1, "unparsed"), ("a", 3, "correct")]  # fmt: skip
    grades = pl.DataFrame(
        [(q, i, None, outcome, None, "exact") for q, i, outcome in rows],
        schema=GRADE,
        orient="row",
    )
    assert outcome_matrix(grades).tolist() == [[1, 0, 1], [0, 0, 1]]
    late = outcome_matrix(grades, skip_samples=1)
    np.testing.assert_array_equal(late, [[0, 1], [0, 1]])
    assert np.nansum(late, axis=1).tolist() == count_outcomes(grades, 1)["c"].to_list()
    np.testing.assert_array_equal(outcome_matrix(grades, 2), [[1], [1]])
    assert outcome_matrix(grades, 9).shape == (0, 0)
    ragged = outcome_matrix(grades.filter(pl.col("sample_index") != 2))
    np.testing.assert_array_equal(ragged, [[1, 0, 1], [0, 0, np.nan]])
