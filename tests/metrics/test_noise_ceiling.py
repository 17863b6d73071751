import numpy as np
import pytest

from benchmark.errors import DataError
from benchmark.metrics.brier import r_squared
from benchmark.metrics.noise_ceiling import r2_ceiling

POPULATIONS = {
    "uniform": lambda rng, size: rng.random(size),
    "at both ends": lambda rng, size: rng.beta(0.6, 0.4, size),
    "easy": lambda rng, size: rng.beta(3, 0.3, size),
    "alike": lambda rng, size: rng.beta(8, 8, size),
    "never or always": lambda rng, size: np.select(
        [(kind := rng.random(size)) < 0.3, kind < 0.6], [0.0, 1.0], rng.random(size)
    ),
}


@pytest.mark.parametrize("population", POPULATIONS.values(), ids=POPULATIONS)
@pytest.mark.parametrize("n", [5, 20, 100])
def test_r2_ceiling_is_what_the_true_accuracies_attain_on_average(population, n):
    rng = np.random.default_rng(0)
    p = population(rng, 1000)
    counts = rng.binomial(n, p, (200, 1000))
    truth = np.mean(r_squared(p, np.full(1000, n), counts))
    estimates = r2_ceiling(np.full(1000, n), counts)
    assert np.mean(estimates) == pytest.approx(truth, abs=0.01 * (1 - truth) + 1e-4)
    assert np.abs(estimates - truth).max() < 0.35 * (1 - truth)


def test_questions_may_have_different_numbers_of_responses():
    rng = np.random.default_rng(0)
    p, n = rng.beta(0.6, 0.8, 3000), rng.choice([4, 10, 40], 3000)
    counts = rng.binomial(n, p, (50, 3000))
    assert r2_ceiling(n, counts[0]) == pytest.approx(np.mean(r_squared(p, n, counts)), abs=0.01)


@pytest.mark.filterwarnings("error")
def test_without_noise_the_ceiling_is_one_and_without_variance_there_is_none():
    assert r2_ceiling([6] * 4, [0, 6, 0, 6]) == 1
    for c in ([6, 6, 6], [0, 0, 0], []):
        assert np.isnan(r2_ceiling([6] * len(c), c))


def test_a_single_response_tells_no_ceiling():
    assert np.isnan(r2_ceiling([1, 5, 5], [1, 2, 5]))


def test_inputs_are_checked():
    with pytest.raises(DataError, match=r"c\[0\] is 3"):
        r2_ceiling([2, 2], [3, 0])
