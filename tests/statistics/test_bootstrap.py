import numpy as np
import pytest

from benchmark.statistics.bootstrap import (
    bootstrap_weights,
    mean_of_defined,
    mean_over_draws,
    redrawn_counts,
    row_blocks,
    value_and_interval,
    weighted_variance,
)


def test_each_resample_draws_as_many_questions_as_there_are():
    weights = bootstrap_weights(30, 200, np.random.default_rng(0))
    assert weights.shape == (200, 30)
    assert (weights.sum(axis=1) == 30).all()


def test_resampled_counts_have_multinomial_moments():
    weights = bootstrap_weights(20, 8_000, np.random.default_rng(0)).astype(float)
    covariance = np.cov(weights.T)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(np.diag(covariance), 1 - 1 / 20, atol=0.05)
    np.testing.assert_allclose(covariance[0, 1:], -1 / 20, atol=0.03)


def test_resamples_follow_from_the_generator():
    first, again, other = (bootstrap_weights(9, 5, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_no_questions_and_no_resamples_give_empty_weights():
    rng = np.random.default_rng(0)
    assert bootstrap_weights(0, 3, rng).shape == (3, 0)
    assert bootstrap_weights(3, 0, rng).shape == (0, 3)


def test_redrawn_counts_spread_as_other_responses_are_estimated_to():
    n = np.array([10.0, 10.0, 4.0, 4.0, 3.0, 1.0, 2.0, 3.0])
    c = np.array([3.0, 3.0, 1.0, 4.0, 0.0, 1.0, 1.0, 1.0])
    drawn = redrawn_counts(n, c, 20_000, np.random.default_rng(0)).astype(float)
    np.testing.assert_allclose(drawn.mean(axis=0), c, atol=0.05)
    variance = n**2 * (c / n) * (1 - c / n) / np.maximum(n - 1, 1)
    np.testing.assert_allclose(drawn.var(axis=0), variance, atol=0.08)
    assert (drawn <= n).all()
    assert [set(drawn[:, i]) for i in (3, 4, 5, 6)] == [{4}, {0}, {1}, {0, 2}]
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.03
    assert redrawn_counts(n, c, 0, np.random.default_rng(0)).shape == (0, 8)


@pytest.mark.filterwarnings("error")
def test_weighted_variance_keeps_its_digits_and_is_undefined_without_weight():
    values = 1e6 + np.array([0.0, 1.0, 2.0])
    variances = weighted_variance(values, np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 2.0], [0, 0, 0]]))
    np.testing.assert_allclose(variances, [2 / 3, 1, np.nan])


def test_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(5, 2, 400)
    weights = bootstrap_weights(400, 4000, np.random.default_rng(1))
    _, low, high = value_and_interval(np.append(0.0, weights @ values / 400))
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose([low, high], values.mean() + np.array([-half, half]), atol=0.02)


@pytest.mark.filterwarnings("error")
def test_interval_leaves_undefined_resamples_out():
    resampled = np.array([7.0, np.nan, 1.0, 2.0, 3.0])
    assert value_and_interval(resampled) == pytest.approx((7.0, 1.05, 2.95))
    assert np.isnan(value_and_interval(np.array([7.0, np.nan, np.nan]))[1:]).all()
    assert np.isnan(value_and_interval(np.array([7.0]))[1:]).all()


def test_undefined_value_has_no_interval():
    assert np.isnan(value_and_interval(np.array([np.nan, 1.0, 2.0]))).all()
    assert value_and_interval(np.array([1.5, 2.0, 2.0])) == (1.5, 2.0, 2.0)


@pytest.mark.filterwarnings("error")
def test_mean_of_defined_ignores_nan():
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    np.testing.assert_array_equal(mean_of_defined(values, axis=0), [2, np.nan])


@pytest.mark.parametrize("missing", ["none", "same for all draws", "different"])
def test_mean_over_draws_is_the_weighted_mean_of_the_questions_means(missing):
    rng = np.random.default_rng(0)
    values = rng.random((4, 30))
    if missing == "same for all draws":
        values[:, :7] = np.nan
    elif missing == "different":
        values[rng.random((4, 30)) < 0.3] = np.nan
    weights = bootstrap_weights(30, 120, rng)
    given = ~np.isnan(values)
    assert given.any(axis=0).sum() == (23 if missing == "same for all draws" else 30)
    means = np.nanmean(values[:, given.any(axis=0)], axis=0)
    expected = [np.average(means, weights=row[given.any(axis=0)]) for row in weights]
    np.testing.assert_allclose(mean_over_draws(values, given, weights), expected)


def test_blocks_cover_all_rows_once():
    assert [(block.start, block.stop) for block in row_blocks(5, 2)] == [(0, 2), (2, 4), (4, 5)]


def test_counts_of_a_hundred_thousand_responses_are_redrawn_around_theirs():
    n, c = np.array([100_000.0, 70_000.0]), np.array([99_000.0, 69_000.0])
    redrawn = redrawn_counts(n, c, 200, np.random.default_rng(0))
    assert redrawn.mean(axis=0) == pytest.approx(c, rel=1e-3)
