import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta as beta_distribution
from scipy.stats import betabinom

from benchmark.applications import extrapolate_pass_at_k, fit_beta_binomial
from benchmark.errors import DataError
from benchmark.statistics.beta_binomial import BetaBinomial


def counts(alpha, beta, questions, n, seed=0):
    rng = np.random.default_rng(seed)
    return np.full(questions, n), rng.binomial(n, rng.beta(alpha, beta, questions))


def test_the_fit_has_the_greatest_likelihood():
    rng = np.random.default_rng(0)
    n = rng.integers(1, 30, 200)
    c = rng.binomial(n, rng.beta(0.4, 1.5, 200))
    fit = fit_beta_binomial(n, c)

    def likelihood(alpha, beta):
        return betabinom.logpmf(c, n, alpha, beta).sum()

    best = likelihood(*fit)
    for factor in (0.97, 1 / 0.97):
        assert likelihood(fit.alpha * factor, fit.beta) < best
        assert likelihood(fit.alpha, fit.beta * factor) < best
        assert likelihood(fit.alpha * factor, fit.beta * factor) < best


@pytest.mark.parametrize("planted", [(0.3, 0.2), (2.0, 5.0), (1.0, 0.1)])
def test_planted_parameters_are_found(planted):
    fit = fit_beta_binomial(*counts(*planted, questions=20_000, n=50))
    assert fit == pytest.approx(planted, rel=0.06)


def test_weights_count_questions_several_times():
    n, c = np.array([5, 5, 9]), np.array([1, 4, 3])
    repeated = fit_beta_binomial(np.repeat(n, [2, 1, 3]), np.repeat(c, [2, 1, 3]))
    assert fit_beta_binomial(n, c, [2, 1, 3]) == pytest.approx(repeated, rel=1e-4)
    assert fit_beta_binomial(n[1:], c[1:]) == pytest.approx(
        fit_beta_binomial(n, c, [0, 1, 1]), rel=1e-4
    )


def test_counts_that_vary_no_more_than_one_accuracy_would_give_almost_a_single_accuracy():
    fit = fit_beta_binomial(*counts(3e4, 1e4, questions=500, n=40))
    assert fit.alpha / (fit.alpha + fit.beta) == pytest.approx(0.75, abs=0.01)
    assert fit.alpha + fit.beta > 100


@pytest.mark.parametrize("c", [[0, 0], [4, 7]])
def test_all_or_nothing_correct_leaves_the_fit_undefined(c):
    assert np.isnan(fit_beta_binomial([4, 7], c)).all()
    assert np.isnan(extrapolate_pass_at_k([4, 7], c, [1, 10])).all()


def test_the_expectation_is_that_under_the_posterior():
    fit = BetaBinomial(0.6, 1.7)
    for n, c, k in ((10, 0, 40), (10, 3, 2), (25, 25, 7)):
        posterior = beta_distribution(0.6 + c, 1.7 + n - c)
        integral, _ = quad(lambda p, k=k, d=posterior: (1 - (1 - p) ** k) * d.pdf(p), 0, 1)
        assert extrapolate_pass_at_k([n], [c], k, fit) == pytest.approx(integral, rel=1e-6)


def test_it_foretells_pass_at_k_of_a_set_whose_accuracies_are_beta_distributed():
    rng = np.random.default_rng(3)
    p = rng.beta(0.3, 1.0, 4000)
    n = np.full(4000, 20)
    k = np.array([40, 200, 1000])
    foretold = extrapolate_pass_at_k(n, rng.binomial(n, p), k).mean(axis=1)
    truth = [(1 - (1 - p) ** tries).mean() for tries in k]
    np.testing.assert_allclose(foretold, truth, atol=0.012)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: fit_beta_binomial([4], [5]), r"c\[0\] is 5"),
        (lambda: fit_beta_binomial([4], [2], [1, 1]), "weights has shape"),
        (lambda: fit_beta_binomial([4], [2], [-1]), r"weights\[0\] is -1"),
        (lambda: extrapolate_pass_at_k([4, 4], [2, 3], 0), "k is 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused_and_named(call, named):
    with pytest.raises(DataError, match=named):
        call()
