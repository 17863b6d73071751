import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import bootstrap, ttest_1samp, ttest_rel

from benchmark.statistics.bootstrap import bootstrap_weights, redrawn_counts
from benchmark.statistics.intervals import holm, p_value, t_interval


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
    assert -1 <= low < 0.98 < high <= 1


@pytest.mark.filterwarnings("error")
def test_a_value_whose_resamples_don_t_differ_has_no_interval():
    for value, bounds in ((0.5, (0, 1)), (0.0, (0, 1)), (1.0, (-1, 1)), (0.5, (-np.inf, np.inf))):
        assert np.isnan(t_interval(value, np.full(50, value), 30, bounds=bounds)).all()
    nearly = np.array([1.0, np.nextafter(1, 0)] * 25)  # what rounding leaves of a perfect one
    assert np.isnan(t_interval(nearly[1], nearly, 30, bounds=(-1, 1))).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 1e-9, 0.002, 0.02])
def test_interval_of_a_value_at_its_bound_is_as_long_as_its_resamples_tell(value):
    resampled = np.abs(np.random.default_rng(0).normal(value, 0.02, 2000))
    low, high = t_interval(value, resampled, 126, bounds=(0, 1))
    assert low == 0
    assert 1.96 * resampled.std() < high - value < 4 * resampled.std()
    mirrored = t_interval(1 - value, 1 - resampled, 126, bounds=(0, 1))
    np.testing.assert_allclose(mirrored, (1 - high, 1 - low), atol=1e-12)


@pytest.mark.parametrize("bounds", [(0, 1), (-1, 1), (-np.inf, 1), (-np.inf, np.inf)])
def test_a_small_interval_is_the_same_on_every_scale(bounds):
    resampled = np.random.default_rng(0).normal(0.3, 1e-5, 1000)
    expected = 0.3 + stdtrit(49, 0.975) * resampled.std(ddof=1) * np.sqrt(50 / 49) * np.array(
        [-1, 1]
    )
    np.testing.assert_allclose(t_interval(0.3, resampled, 50, bounds=bounds), expected, atol=1e-8)


def test_resamples_at_a_bound_count():
    inside = np.random.default_rng(0).uniform(0.05, 0.1, 500)
    with_ends = np.concatenate([inside, np.zeros(200)])
    low, high = t_interval(0.07, with_ends, 30, bounds=(0, 1))
    inner_low, inner_high = t_interval(0.07, inside, 30, bounds=(0, 1))
    assert low < inner_low < 0.07 < inner_high < high


def test_two_resamples_are_enough_to_hold_the_value():
    low, high = t_interval(0.5, np.array([0.6, 0.7]), 30, bounds=(0, 1))
    assert low < 0.5 < high


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
    n, c = np.full(30, 4.0), correct.sum(axis=1).astype(float)
    resampled = redrawn_counts(n, c, 20_000, rng).mean(axis=1) / 4
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
    assert np.isnan(p_value(0.2, np.full(10, 0.2), 30))
    for undefined in ((np.nan, np.ones(10), 30), (0.2, np.ones(10), 1), (0.2, np.ones(1), 30)):
        assert np.isnan(p_value(*undefined))


@pytest.mark.parametrize("size", [2, 5])
def test_p_value_of_few_questions_is_the_paired_t_test_s(size):
    differences = np.array([1.0, 2.0, 4.0, 0.5, 3.0])[:size]
    ours = p_value(differences.mean(), resampled_mean(differences), size)
    assert ours == pytest.approx(ttest_rel(differences, 0 * differences).pvalue, rel=0.05)


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
