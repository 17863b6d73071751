from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from benchmark.applications import (
    greedy_budget_allocation,
    solved_probability,
    unbiased_pass_at_k,
)
from benchmark.errors import DataError

CONFIDENCES = st.one_of(
    st.floats(0, 1), st.integers(0, 10).map(lambda c: c / 10), st.sampled_from([0.0, 1.0, 0.5])
)


def expected_solved(confidences, allocation):
    return (1 - (1 - np.asarray(confidences)) ** allocation).sum(axis=-1)


def best_of_all(confidences, budget, minimum, maximum):
    """The largest expectation over all allocations of at most the budget."""
    counts = np.arange(minimum, max(minimum, min(maximum, budget)) + 1)
    every = np.array(np.meshgrid(*[counts] * len(confidences))).reshape(len(confidences), -1).T
    return expected_solved(confidences, every[every.sum(axis=1) <= budget]).max()


def one_by_one(confidences, budget, minimum):
    """Always give the next sample to the largest gain, the lowest index where they tie."""
    allocation = np.full(len(confidences), minimum)
    for _ in range(budget - allocation.sum()):
        allocation[np.argmax(confidences * (1 - confidences) ** allocation)] += 1
    return allocation


@given(
    st.lists(CONFIDENCES, min_size=1, max_size=4),
    st.integers(0, 7),
    st.integers(0, 2),
    st.integers(2, 7),
)
def test_no_allocation_is_better_in_all_small_cases(confidences, budget, minimum, maximum):
    assume(budget >= minimum * len(confidences))
    ours = greedy_budget_allocation(confidences, budget, minimum, maximum)
    assert ours.sum() == min(budget, maximum * len(confidences))
    assert minimum <= ours.min()
    assert ours.max() <= max(minimum, min(maximum, budget))
    best = best_of_all(confidences, budget, minimum, maximum)
    assert expected_solved(confidences, ours) == pytest.approx(best, abs=1e-12)


@given(
    st.lists(CONFIDENCES, min_size=2, max_size=40),
    st.integers(0, 400),
    st.integers(0, 2),
    st.integers(3, 30),
)
def test_no_move_of_a_sample_raises_the_expectation(confidences, more, minimum, maximum):
    budget = minimum * len(confidences) + more
    ours = greedy_budget_allocation(confidences, budget, minimum, maximum)
    p = np.asarray(confidences)
    lost = np.where(ours > minimum, p * (1 - p) ** np.maximum(ours - 1, 0), np.inf)
    gained = np.where(ours < maximum, p * (1 - p) ** ours, -np.inf)
    assert gained.max() <= lost.min() + 1e-12


@pytest.mark.parametrize("minimum", [0, 1, 2])
def test_it_allocates_as_one_argmax_after_the_other_does(minimum):
    rng = np.random.default_rng(minimum)
    for questions in (1, 7, 60):
        confidences = rng.beta(0.5, 0.5, questions)
        for budget in (2 * questions, 5 * questions, 40 * questions):
            ours = greedy_budget_allocation(confidences, budget, minimum)
            assert ours.tolist() == one_by_one(confidences, budget, minimum).tolist()


def test_equal_gains_go_to_the_lower_index():
    assert greedy_budget_allocation([0.5, 0.5, 0.5], 5).tolist() == [2, 2, 1]
    assert greedy_budget_allocation([0.25, 0.5], 2, minimum=0).tolist() == [1, 1]
    assert greedy_budget_allocation([0.5, 0.25], 2, minimum=0).tolist() == [2, 0]


def test_samples_that_gain_nothing_go_to_the_lower_index_up_to_its_maximum():
    assert greedy_budget_allocation([0, 1, 0], 3, minimum=0).tolist() == [2, 1, 0]
    assert greedy_budget_allocation([0, 1, 0], 6, minimum=0, maximum=3).tolist() == [3, 3, 0]


def test_gains_below_the_smallest_double_are_still_told_apart():
    # 1 - conf is about 1e-15: the gain of sample 40 is about 1e-600
    ours = greedy_budget_allocation([1 - 1e-15, 1 - 1e-15], 80, minimum=0)
    assert ours.tolist() == [40, 40]
    assert greedy_budget_allocation([1e-300, 1e-310], 2, minimum=0, maximum=1).tolist() == [1, 1]
    assert greedy_budget_allocation([1e-310, 1e-300], 1, minimum=0).tolist() == [0, 1]


def test_each_question_may_have_a_maximum_of_its_own():
    ours = greedy_budget_allocation([0.5, 0.5, 0.5], 9, minimum=1, maximum=[1, 5, 2])
    assert ours.tolist() == [1, 5, 2]  # one sample stays unspent
    assert greedy_budget_allocation([0.5, 0.5], 3, 0, [0, np.inf]).tolist() == [0, 3]


def test_nothing_to_allocate():
    assert greedy_budget_allocation([], 0).tolist() == []
    assert greedy_budget_allocation([0.3, 0.4], 0, minimum=0).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([0.5, 1.2], 4), r"confidences\[1\] is 1\.2"),
        (([0.5, -0.1], 4), r"confidences\[1\] is -0\.1"),
        (([np.nan, 0.5], 4), r"confidences\[0\] is nan"),
        (([0.5, 0.5], 1), r"total_budget is 1, but minimum = 1 for each of 2 questions takes 2"),
        (([0.5, 0.5], -1, 0), "total_budget is -1"),
        (([0.5, 0.5], 2.5), "total_budget is 2.5"),
        (([0.5, 0.5], np.nan), "total_budget is nan"),
        (([0.5, 0.5], np.inf), "total_budget is inf; it must be at most"),
        (([0.5, 0.5], 10**20), r"total_budget is 1e\+20; it must be at most"),
        (([0.5, 0.5], 4, -1), "minimum is -1"),
        (([0.5, 0.5], 4, 2, 1), "maximum is 1 for question 0"),
        (([0.5, 0.5], 4, 1, [2, 0]), "maximum is 0 for question 1"),
        (([0.5, 0.5], 4, 1, [2, 2.5]), "maximum is 2.5 for question 1"),
        (([0.5, 0.5], 4, 1, [2, 2, 2]), r"maximum has shape \(3,\)"),
    ],
)
def test_what_cannot_be_allocated_is_refused_and_named(arguments, named):
    with pytest.raises(DataError, match=named):
        greedy_budget_allocation(*arguments)


@pytest.mark.parametrize("n", [1, 5, 12, 100])
def test_a_question_is_solved_as_the_hypergeometric_distribution_says(n):
    c, b = (axis.ravel() for axis in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    ours = solved_probability(b, np.full(len(b), n), c)
    np.testing.assert_allclose(ours, 1 - hypergeom.pmf(0, n, c, b), atol=1e-12)
    exact = [1 - comb(n - i, j) / comb(n, j) for i, j in zip(c.tolist(), b.tolist(), strict=True)]
    np.testing.assert_allclose(ours, exact, atol=1e-13)


def test_the_same_samples_for_every_question_are_worth_pass_at_k():
    n, c = np.array([4, 9, 30]), np.array([1, 9, 0])
    assert solved_probability([3, 3, 3], n, c) == pytest.approx(unbiased_pass_at_k(n, c, 3))


def test_the_expected_share_and_its_variance_are_those_over_all_subsets():
    responses = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    allocation = [2, 1, 3]
    draws = [list(combinations(r, b)) for r, b in zip(responses, allocation, strict=True)]
    shares = [np.mean([any(subset) for subset in chosen]) for chosen in product(*draws)]
    ours = solved_probability(allocation, n=[4, 4, 4], c=[1, 2, 0])
    assert ours.mean() == pytest.approx(np.mean(shares))
    assert (ours * (1 - ours)).sum() / 9 == pytest.approx(np.var(shares))


def test_values_at_the_ends():
    assert solved_probability([0, 0], [3, 3], [3, 1]).tolist() == [0, 0]
    assert solved_probability([3, 3], [3, 3], [3, 1]).tolist() == [1, 1]
    assert len(solved_probability([], [], [])) == 0
    assert solved_probability([1], [10**9], [1]) == pytest.approx(1e-9, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([1, 5], [4, 4], [1, 1]), r"allocation\[1\] is 5; .* n = 4"),
        (([1, -1], [4, 4], [1, 1]), r"allocation\[1\] is -1"),
        (([1, 0.5], [4, 4], [1, 1]), r"allocation\[1\] is 0\.5"),
        (([1], [4, 4], [1, 1]), r"allocation has shape \(1,\)"),
        (([1, 1], [4, 4], [1, 5]), r"c\[1\] is 5"),
    ],
)
def test_what_cannot_be_valued_is_refused_and_named(arguments, named):
    with pytest.raises(DataError, match=named):
        solved_probability(*arguments)
