import numpy as np
import pytest
from scipy.stats import betabinom, spearmanr

from benchmark.errors import DataError
from benchmark.metrics import noise_ceiling as ceiling
from benchmark.metrics.brier import r_squared
from benchmark.metrics.noise_ceiling import fit_accuracy_distribution, r2_ceiling, spearman_ceiling

POPULATIONS = {
    "uniform": lambda rng, size: rng.random(size),
    "at both ends": lambda rng, size: rng.beta(0.6, 0.4, size),
    "easy": lambda rng, size: rng.beta(3, 0.3, size),
    "alike": lambda rng, size: rng.beta(8, 8, size),
    "never or always": lambda rng, size: np.select(
        [(kind := rng.random(size)) < 0.3, kind < 0.6], [0.0, 1.0], rng.random(size)
    ),
}
populations = pytest.mark.parametrize("population", POPULATIONS.values(), ids=POPULATIONS)


def attained(score, p, n, rng, times=200):
    """Mean score of the true p against counts."""
    return np.mean([score(p, rng.binomial(n, p)) for _ in range(times)])


@populations
@pytest.mark.parametrize("n", [5, 20, 100])
def test_r2_ceiling_is_what_the_true_accuracies_attain_on_average(population, n):
    rng = np.random.default_rng(0)
    p = population(rng, 1000)
    counts = rng.binomial(n, p, (200, 1000))
    truth = np.mean(r_squared(p, np.full(1000, n), counts))
    estimates = r2_ceiling(np.full(1000, n), counts)
    assert np.mean(estimates) == pytest.approx(truth, abs=0.01 * (1 - truth) + 1e-4)
    assert np.abs(estimates - truth).max() < 0.35 * (1 - truth)


@populations
@pytest.mark.parametrize("n", [5, 20, 100])
def test_spearman_ceiling_is_what_the_true_accuracies_attain_on_average(population, n):
    rng = np.random.default_rng(0)
    p = population(rng, 2000)
    truth = attained(lambda p, c: spearmanr(p, c).statistic, p, n, rng, 20)
    estimate = spearman_ceiling(np.full(2000, n), rng.binomial(n, p))
    redrawn = attained(lambda _, c: spearmanr(c, rng.binomial(n, c / n)).statistic, p, n, rng, 5)
    assert estimate == pytest.approx(truth, abs=0.12 * (1 - truth) + 1e-3)
    assert abs(estimate - truth) < abs(redrawn - truth)  # what the counts say without a fit


@pytest.mark.parametrize(("n", "within"), [(5, 0.05), (20, 0.015), (100, 0.005)])
def test_spearman_ceiling_of_two_groups_of_questions(n, within):
    rng = np.random.default_rng(0)
    p = np.where(rng.random(2000) < 0.5, rng.beta(20, 5, 2000), rng.beta(5, 20, 2000))
    truth = attained(lambda p, c: spearmanr(p, c).statistic, p, n, rng, 20)
    estimate = spearman_ceiling(np.full(2000, n), rng.binomial(n, p))
    assert estimate == pytest.approx(truth, abs=within)


def test_ceilings_of_questions_with_different_numbers_of_responses():
    rng = np.random.default_rng(0)
    p, n = rng.beta(0.6, 0.8, 3000), rng.choice([4, 10, 40], 3000)
    counts = rng.binomial(n, p, (50, 3000))
    spearman = np.mean([spearmanr(p, c / n).statistic for c in counts])
    assert spearman_ceiling(n, counts[0]) == pytest.approx(spearman, abs=0.006)
    assert r2_ceiling(n, counts[0]) == pytest.approx(np.mean(r_squared(p, n, counts)), abs=0.01)


@populations
@pytest.mark.parametrize("n", [[3], [20, 50], [100]])
def test_drawn_outcomes_tell_the_same_ceiling_as_listed_ones(population, n, monkeypatch):
    rng = np.random.default_rng(0)
    n = rng.choice(n, 300)
    c = rng.binomial(n, population(rng, 300))
    listed = spearman_ceiling(n, c)
    monkeypatch.setattr(ceiling, "_OUTCOMES", 0)
    assert spearman_ceiling(n, c) == pytest.approx(listed, abs=5 * (1 - listed**2) / 450)


def test_thousands_of_responses_leave_little_below_one():
    rng = np.random.default_rng(0)
    n = rng.integers(1_000, 100_000, 200)
    n[0] = 10**8
    c = rng.binomial(n, rng.random(200))
    few = rng.binomial(100, c / n)
    assert spearman_ceiling([100] * 200, few) < spearman_ceiling(n, c) - 0.001 < 0.9995


def test_the_fit_finds_the_distribution_that_the_counts_come_from():
    rng = np.random.default_rng(0)
    p = np.select([(kind := rng.random(50_000)) < 0.2, kind < 0.3], [0, 1], rng.beta(2, 3, 50_000))
    fit = fit_accuracy_distribution(np.full(50_000, 20), rng.binomial(20, p))
    assert fit.alpha == pytest.approx([2], rel=0.1)
    assert fit.beta == pytest.approx([3], rel=0.1)
    assert fit.share == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


def test_the_fit_finds_two_groups_of_questions():
    rng = np.random.default_rng(0)
    group = rng.choice(3, 20_000, p=[0.5, 0.3, 0.2])
    p = np.choose(group, [rng.beta(20, 5, 20_000), rng.beta(5, 20, 20_000), 1.0])
    fit = fit_accuracy_distribution(np.full(20_000, 50), rng.binomial(50, p))
    order = np.argsort(fit.alpha)
    assert fit.alpha[order] == pytest.approx([5, 20], rel=0.15)
    assert fit.beta[order] == pytest.approx([20, 5], rel=0.15)
    assert fit.share[[*order, 2, 3]] == pytest.approx([0.3, 0.5, 0, 0.2], abs=0.01)


def test_no_other_parameters_are_more_likely():
    rng = np.random.default_rng(0)
    c = rng.binomial(10, rng.beta(2, 1, 200))

    def likelihood(alpha, beta, never, always):
        middle = (1 - never - always) * betabinom.pmf(c, 10, alpha, beta)
        return np.log(middle + never * (c == 0) + always * (c == 10)).mean()

    fit = fit_accuracy_distribution(np.full(200, 10), c)
    found = np.array([fit.alpha.item(), fit.beta.item(), *fit.share[1:]])
    best = likelihood(*found)
    for _ in range(200):
        other = np.exp(np.log(found) + rng.normal(0, 0.1, 4))
        assert likelihood(*other) <= best + 1e-6


def test_a_ceiling_of_weighted_questions_is_that_of_repeated_ones():
    rng = np.random.default_rng(0)
    n, weights = np.full(60, 8), rng.integers(0, 3, (2, 60))
    c = rng.binomial(n, rng.random(60))
    repeated = [spearman_ceiling(np.repeat(n, row), np.repeat(c, row)) for row in weights]
    np.testing.assert_allclose(spearman_ceiling(n, c, weights), repeated, atol=1e-3)


@pytest.mark.filterwarnings("error")
def test_without_noise_there_is_no_ceiling_below_one_and_without_variance_none_at_all():
    assert r2_ceiling([6] * 4, [0, 6, 0, 6]) == 1
    assert spearman_ceiling([6] * 4, [0, 6, 0, 6]) == pytest.approx(1, abs=1e-3)
    for c in ([6, 6, 6], [0, 0, 0], []):
        n = [6] * len(c)
        assert np.isnan(r2_ceiling(n, c))
        assert np.isnan(spearman_ceiling(n, c))
        assert not len(fit_accuracy_distribution(n, c).alpha)
    assert np.isnan(spearman_ceiling([], [], np.ones((2, 0)))).tolist() == [True, True]


def test_a_single_response_tells_no_ceiling_of_r2():
    assert np.isnan(r2_ceiling([1, 5, 5], [1, 2, 5]))


def test_ceilings_check_their_inputs():
    for function in (r2_ceiling, spearman_ceiling, fit_accuracy_distribution):
        with pytest.raises(DataError, match=r"c\[0\] is 3"):
            function([2, 2], [3, 0])


@pytest.mark.parametrize(("n", "c"), [([1] * 10, [0, 1] * 5), ([100], [50]), ([], [])])
def test_what_tells_no_p_from_its_noise_has_no_ceiling_of_ranks(n, c):
    assert np.isnan(spearman_ceiling(n, c))
