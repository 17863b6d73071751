import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_1samp, ttest_rel

from benchmark.metrics.inference import holm, p_value, t_interval
from benchmark.metrics.statistics import bootstrap_weights, percentile_interval


def resampled_mean(values, resamples=20_000, seed=0):
    size = len(values)
    return bootstrap_weights(size, resamples, np.random.default_rng(seed)) @ values / size


@pytest.mark.parametrize("size", [5, 40])
def test_interval_of_a_mean_is_student_s(size):
    values = np.random.default_rng(0).normal(5, 2, size)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    ours = t_interval(values.mean(), resampled_mean(values), size)
    np.testing.assert_allclose(ours, expected, rtol=0.01)


def test_interval_is_near_scipy_s_bootstrap_where_there_are_many_questions():
    values = np.random.default_rng(0).exponential(size=400)
    theirs = bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(1))
    ours = t_interval(values.mean(), resampled_mean(values), 400)
    np.testing.assert_allclose(ours, theirs.confidence_interval, rtol=0.02)


def test_interval_of_a_correlation_is_fishers():
    rng = np.random.default_rng(0)
    z = rng.normal(np.arctanh(0.9), 0.1, 50_000)
    low, high = t_interval(0.9, np.tanh(z), 10_000, bounds=(-1, 1))
    expected = np.tanh(np.arctanh(0.9) + 1.96 * 0.1 * np.array([-1, 1]))
    np.testing.assert_allclose([low, high], expected, atol=2e-3)


@pytest.mark.parametrize("bounds", [(0, 1), (-1, 1), (-np.inf, 1)])
@pytest.mark.filterwarnings("error")
def test_interval_keeps_the_bounds_and_holds_the_value(bounds):
    resampled = 1 - np.random.default_rng(0).exponential(0.02, 500).clip(0, 1)
    resampled[:50] = 1.0
    low, high = t_interval(0.98, resampled, 12, bounds=bounds)
    assert -1 <= low < 0.98 < high < 1


@pytest.mark.filterwarnings("error")
def test_a_value_at_its_bound_has_the_percentiles_of_its_resamples():
    assert t_interval(0.0, np.zeros(50), 30, bounds=(0, 1)) == (0, 0)
    resampled = np.linspace(0, 1, 101)
    assert t_interval(1.0, resampled, 30, bounds=(0, 1)) == percentile_interval(resampled)
    nearly = np.nextafter(1, 0)  # what rounding leaves of a perfect correlation
    assert t_interval(nearly, np.full(50, nearly), 30, bounds=(-1, 1)) == (nearly, nearly)


def test_resamples_at_a_bound_are_no_outliers():
    inside = np.random.default_rng(0).uniform(0.8, 0.9, 500)
    with_ends = np.concatenate([inside, np.ones(20), np.full(20, np.nextafter(1, 0))])
    expected = t_interval(0.85, inside, 30, bounds=(-1, 1))
    assert t_interval(0.85, with_ends, 30, bounds=(-1, 1)) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
def test_interval_is_undefined_where_nothing_could_have_been_drawn_otherwise():
    resampled = np.array([0.1, 0.2, 0.3])
    assert np.isnan(t_interval(np.nan, resampled, 30)).all()
    assert np.isnan(t_interval(0.2, resampled, 1)).all()
    assert np.isnan(t_interval(0.2, resampled, 30, groups=30)).all()
    assert np.isnan(t_interval(0.2, np.array([]), 30)).all()
    assert np.isnan(t_interval(0.2, np.array([np.nan, 0.2]), 30)).all()
    assert t_interval(0.2, np.array([np.nan, *resampled]), 30) == t_interval(0.2, resampled, 30)


def test_interval_of_draws_in_groups_takes_their_degrees_of_freedom():
    rng = np.random.default_rng(0)
    correct = rng.random((30, 4)) < 0.5  # 4 responses to each of 30 questions
    resampled = rng.binomial(4, correct.mean(axis=1), (20_000, 30)).mean(axis=1) / 4
    low, high = t_interval(correct.mean(), resampled, 120, groups=30)
    error = np.sqrt(correct.var(axis=1, ddof=1).mean() / 120)
    np.testing.assert_allclose(high - low, 2 * 1.987 * error, rtol=0.02)  # t with 90 degrees


@pytest.mark.parametrize("shift", [0, 0.3])
def test_p_value_of_a_mean_difference_is_the_paired_t_test_s(shift):
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 40), rng.normal(shift, 1, 40)
    expected = ttest_rel(a, b).pvalue
    ours = p_value((a - b).mean(), resampled_mean(a - b), 40)
    assert ours == pytest.approx(expected, rel=0.05)


@pytest.mark.filterwarnings("error")
def test_p_value_without_spread():
    assert p_value(0.0, np.zeros(10), 30) == 1
    assert p_value(1e-17, np.array([0.0, 1e-17, 0.0]), 30) == 1  # the same but for rounding
    assert p_value(0.2, np.full(10, 0.2), 30) == 0
    for undefined in ((np.nan, np.ones(10), 30), (0.2, np.ones(10), 1), (0.2, np.ones(1), 30)):
        assert np.isnan(p_value(*undefined))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.6, 0.5]).tolist() == [1, 1, 1]
    assert holm([0.02]).tolist() == [0.02]
    assert holm([]).tolist() == []


def test_holm_rejects_what_the_closed_test_with_bonferroni_rejects():
    values = np.random.default_rng(0).random(7) ** 4 / 4
    subsets = [[i for i in range(7) if code >> i & 1] for code in range(1, 128)]
    closed = [
        max(len(subset) * values[subset].min() for subset in subsets if i in subset)
        for i in range(7)
    ]
    np.testing.assert_allclose(holm(values), np.minimum(closed, 1))


def test_an_undefined_p_value_is_no_test():
    np.testing.assert_array_equal(holm([np.nan, 0.03, 0.01]), [np.nan, 0.03, 0.02])
    assert np.isnan(holm([np.nan])).all()
