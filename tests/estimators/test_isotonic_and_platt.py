import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from benchmark.estimators.isotonic import fit_isotonic
from benchmark.estimators.platt import fit_logistic


def counts(seed: int = 0, size: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, size)
    n = rng.integers(1, 9, size).astype(float)
    return x, n, rng.binomial(n.astype(int), expit(0.8 * x - 2)).astype(float)


def test_isotonic_pools_by_weight_interpolates_and_is_constant_beyond() -> None:
    x, accuracy, n = np.array([0.2, 0.4, 0.8]), np.array([0.5, 0.2, 0.9]), np.array([1.0, 3.0, 1.0])
    curve = fit_isotonic(x, n, accuracy * n)
    pooled = (0.5 * 1 + 0.2 * 3) / 4
    expected = [pooled, pooled, pooled, (pooled + 0.9) / 2, 0.9, 0.9]
    assert curve(np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])) == pytest.approx(expected)


def test_isotonic_averages_equal_confidences_by_weight() -> None:
    curve = fit_isotonic(np.array([0.5, 0.5]), np.array([1.0, 3.0]), np.array([1.0, 0.0]))
    assert curve(np.array([0.1, 0.5, 0.9])) == pytest.approx([0.25] * 3)


def test_logistic_is_the_maximum_of_the_likelihood_with_platts_labels() -> None:
    x, n, c = counts()
    total, correct = n.sum(), c.sum()
    label = (correct + 1) / (correct + 2), 1 / (total - correct + 2)

    def loss(parameters: np.ndarray) -> float:
        logits = parameters[0] * x + parameters[1]
        right, wrong = log_expit(logits), log_expit(-logits)
        soft = [t * right + (1 - t) * wrong for t in label]
        return -float((c * soft[0] + (n - c) * soft[1]).sum())

    slope, intercept = minimize(loss, [0.0, 0.0], tol=1e-12).x
    at = np.linspace(-2, 8, 7)
    assert fit_logistic(x, n, c)(at) == pytest.approx(expit(slope * at + intercept), abs=1e-5)


def test_logistic_counts_shares_of_a_response() -> None:
    x, n, c = counts()
    twice = fit_logistic(np.tile(x, 2), np.tile(n / 2, 2), np.tile(c / 2, 2))
    assert twice(x) == pytest.approx(fit_logistic(x, n, c)(x), abs=1e-6)


@pytest.mark.parametrize("right", [0, 1])
def test_logistic_stays_finite_where_all_responses_are_alike(right: int) -> None:
    x, n = np.array([0.0, 1.0, 2.0]), np.array([4.0, 4.0, 4.0])
    expected = (12 * right + 1) / (12 + 2)
    fitted = fit_logistic(x, n, n * right)(np.array([*x, -1e9, 1e9]))
    assert fitted == pytest.approx([expected] * 5, abs=1e-4)


def test_logistic_stays_finite_where_x_separates() -> None:
    x, n = np.array([0.0, 1.0, 2.0, 3.0]), np.full(4, 5.0)
    fitted = fit_logistic(x, n, np.array([0.0, 0.0, 5.0, 5.0]))(x)
    assert (np.diff(fitted) > 0).all()
    assert 0 < fitted[0] < 0.1
    assert 0.9 < fitted[-1] < 1


def test_logistic_says_no_more_than_its_labels_however_steep_and_far_away_it_is() -> None:
    x, n, c = np.array([2.197, 2.197, 2.197, 2.198]), np.full(4, 4.0), np.array([1, 2, 3, 4.0])
    curve = fit_logistic(x, n, c)
    assert curve(np.array([-1e9, 0.0, 9.0, 1e9])) == pytest.approx([1 / 8, 1 / 8, 11 / 12, 11 / 12])
    assert curve(x) == pytest.approx([0.5, 0.5, 0.5, 11 / 12], abs=0.05)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_logistic_knows_no_unit_of_x(unit: float) -> None:
    x, n, c = counts()
    rescaled = fit_logistic(5 * unit + unit * x, n, c)(5 * unit + unit * x)
    assert rescaled == pytest.approx(fit_logistic(x, n, c)(x), abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_logistic_of_a_single_x_is_the_base_rate_everywhere() -> None:
    curve = fit_logistic(np.full(3, 2.2), np.full(3, 1000.0), np.array([100.0, 200.0, 300.0]))
    assert curve(np.array([-5.0, 2.2, 9.0])) == pytest.approx([0.2] * 3, abs=1e-3)
