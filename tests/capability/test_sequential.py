from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.capability.sequential import sequential_estimate
from benchmark.errors import DataError
from benchmark.sampling.adaptive import StoppingRule, is_narrow, stopped_counts

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "math500_gpt-oss-20b_per_question.csv"
RULES = st.builds(
    lambda k_min, more, size, width: StoppingRule(k_min, k_min + more, size, width),
    st.integers(2, 4), st.integers(0, 6), st.integers(1, 3), st.sampled_from([0.4, 0.5, 0.6, 0.7]),
)  # fmt: skip


def every_order(rule):
    """All sequences of outcomes with the (n, c) at which each stops."""
    outcomes = np.array(list(product([0, 1], repeat=rule.k_max)))
    n = stopped_counts(outcomes, rule)
    c = np.where(np.arange(rule.k_max) < n[:, None], outcomes, 0).sum(axis=1)
    return outcomes, n, c


def expectation(values, outcomes, p):
    """Exact expectation over all sequences."""
    probability = (p**outcomes * (1 - p) ** (1 - outcomes)).prod(axis=1)
    return probability @ values


@given(RULES, st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_both_estimates_are_unbiased_for_every_rule_and_accuracy(rule, p):
    outcomes, n, c = every_order(rule)
    found = sequential_estimate(n, c, rule)
    assert expectation(found.accuracy, outcomes, p) == pytest.approx(p, abs=1e-10)
    assert expectation(found.squared, outcomes, p) == pytest.approx(p**2, abs=1e-10)


@given(RULES, st.floats(0.05, 0.95), st.integers(1, 2))
@settings(deadline=None, max_examples=40)
def test_without_the_first_responses_they_are_unbiased_given_those(rule, p, skip):
    outcomes, n, c = every_order(rule)
    skip = min(skip, rule.k_min - 1)
    before = outcomes[:, :skip].sum(axis=1)
    found = sequential_estimate(n, c, rule, skip, before)
    for first in product([0, 1], repeat=skip):
        rows = (outcomes[:, :skip] == first).all(axis=1)
        rest = outcomes[rows, skip:]
        assert expectation(found.accuracy[rows], rest, p) == pytest.approx(p, abs=1e-10)
        if skip + 2 <= rule.k_min:
            assert expectation(found.squared[rows], rest, p) == pytest.approx(p**2, abs=1e-10)


def test_the_share_of_correct_responses_is_biased_where_the_estimate_is_not():
    rule = StoppingRule(k_min=2, k_max=10, round=1, width=0.6)
    outcomes, n, c = every_order(rule)
    assert expectation(c / n, outcomes, 0.8) > 0.81
    found = sequential_estimate(n, c, rule).accuracy
    assert expectation(found, outcomes, 0.8) == pytest.approx(0.8)


def test_it_is_unbiased_in_a_simulation_with_responses_that_do_not_count():
    rng = np.random.default_rng(0)
    rule = StoppingRule(k_min=4, k_max=16, round=2, width=0.5)
    size, p = 200_000, 0.85
    counted = rng.binomial(rule.k_max, 0.7, size)  # of k_max drawn, independent of the outcomes
    outcomes = rng.random((size, rule.k_max)) < p
    n = np.minimum(stopped_counts(outcomes, rule), counted)
    c = np.where(np.arange(rule.k_max) < n[:, None], outcomes, 0).sum(axis=1)
    some = n > 0
    found = sequential_estimate(n[some], c[some], rule).accuracy
    error = found.std() / np.sqrt(size)
    assert found.mean() == pytest.approx(p, abs=4 * error)
    assert (c[some] / n[some]).mean() > p + 8 * error


def test_with_the_accuracies_of_the_published_cell_two_thirds_are_saved_without_bias():
    if not PAPER.exists():
        pytest.skip(f"the paper's per-question values are not there: shared/paper/{PAPER.name}")
    table = pl.read_csv(PAPER)
    p = (table["num_correct"] / table["num_samples"]).to_numpy()
    rule = StoppingRule(k_min=16, k_max=64, round=8, width=0.2)
    rng = np.random.default_rng(0)
    drawn, by_share, unbiased = np.empty((3, 50))
    for i in range(50):
        outcomes = rng.random((len(p), rule.k_max)) < p[:, None]
        n = stopped_counts(outcomes, rule)
        c = np.where(np.arange(rule.k_max) < n[:, None], outcomes, 0).sum(axis=1)
        drawn[i], by_share[i] = n.mean(), (c / n).mean()
        unbiased[i] = sequential_estimate(n, c, rule).accuracy.mean()
    assert drawn.mean() == pytest.approx(21.7, abs=0.1)
    error = unbiased.std() / np.sqrt(50)
    assert unbiased.mean() == pytest.approx(p.mean(), abs=4 * error)
    assert by_share.mean() > p.mean() + 8 * error


def test_a_fixed_number_of_responses_gives_the_known_estimates():
    rule = StoppingRule(k_min=9, k_max=9, round=1, width=0.5)
    c = np.arange(10)
    found = sequential_estimate(np.full(10, 9), c, rule)
    np.testing.assert_allclose(found.accuracy, c / 9)
    np.testing.assert_allclose(found.squared, c * (c - 1) / (9 * 8))


def test_by_hand():
    # stops at 2 of 2 and 0 of 2, else at 3: (3, 1) is reached by 010 and 100, (3, 2) by 011 and 101
    rule = StoppingRule(k_min=2, k_max=3, round=1, width=0.66)
    assert is_narrow([2, 2, 2], [0, 1, 2], rule).tolist() == [True, False, True]
    found = sequential_estimate([2, 2, 3, 3], [0, 2, 1, 2], rule)
    assert found.accuracy.tolist() == [0, 1, 0.5, 0.5]
    assert found.squared.tolist() == [0, 1, 0, 0]


def test_large_counts_are_exact():
    rule = StoppingRule(k_min=10, k_max=1500, round=10, width=1e-6)  # never narrow
    found = sequential_estimate([1500, 1500], [1, 1200], rule)
    assert found.accuracy.tolist() == pytest.approx([1 / 1500, 0.8], rel=1e-12)


def test_after_a_single_response_the_square_has_no_unbiased_estimate():
    found = sequential_estimate([1], [1], StoppingRule(k_min=1, k_max=3, round=1, width=0.9))
    assert found.accuracy.tolist() == [1]
    assert np.isnan(found.squared).all()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (([4], [5]), r"c\[0\] is 5"),
        (([11], [1]), "n = 11 with c = 1, .* other settings stopped"),
        (([3], [3]), "n = 3 with c = 3"),  # would have stopped at 2 of 2
    ],
)
def test_counts_that_the_rule_cannot_give_are_refused(counts, message):
    rule = StoppingRule(k_min=2, k_max=10, round=1, width=0.66)
    with pytest.raises(DataError, match=message):
        sequential_estimate(*counts, rule)


@pytest.mark.parametrize("skipped", [(-1, 0), (2, 1), (1, -1)])
def test_skipping_up_to_the_first_check_is_refused(skipped):
    rule = StoppingRule(k_min=2, k_max=10, round=1, width=0.66)
    with pytest.raises(DataError, match="below k_min = 2"):
        sequential_estimate([10], [5], rule, *skipped)
