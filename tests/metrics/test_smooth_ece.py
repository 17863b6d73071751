import numpy as np
import pytest
import relplot
from questions import random_questions

from benchmark.metrics.ece import expected_calibration_error
from benchmark.metrics.smooth_ece import smooth_calibration_error


def by_definition(gaps, confidences, points=2000, images=6):
    """The bandwidth at which the smoothed gaps are as large, by sums over the kernel's images."""
    t = (np.arange(points) + 0.5) / points

    def smoothed(bandwidth):
        density = np.zeros(points)
        for image in range(-images, images + 1):
            for centre in (2 * image + confidences, 2 * image - confidences):
                z = (t[:, None] - centre) / bandwidth
                density += (np.exp(-(z**2) / 2) * gaps).mean(axis=1)
        return np.abs(density).mean() / (bandwidth * np.sqrt(2 * np.pi))

    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if smoothed(middle) >= middle else (low, middle)
    return low


@pytest.mark.parametrize("seed", range(4))
def test_smooth_ece_of_soft_targets_equals_its_definition(seed):
    confidences, n, c = random_questions(60, seed, digits=3)
    expected = by_definition(confidences - c / n, confidences)
    assert smooth_calibration_error(confidences, n, c) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("size", "shape"), [(300, (1, 1)), (2000, (3, 0.5)), (2000, (8, 8))])
def test_smooth_ece_of_single_responses_equals_relplot(size, shape):
    rng = np.random.default_rng(0)
    confidences = rng.beta(*shape, size)
    correct = rng.binomial(1, confidences**1.5)
    ours = smooth_calibration_error(confidences, np.ones(size), correct)
    assert ours == pytest.approx(relplot.smECE(confidences, correct), abs=1e-3)


def test_smooth_ece_of_one_confidence_is_its_gap():
    for confidence in (0.0, 0.3, 1.0):
        ours = smooth_calibration_error([confidence] * 4, [2] * 4, [1, 1, 1, 2])
        assert ours == pytest.approx(abs(confidence - 5 / 8))


def test_smooth_ece_without_gaps_is_zero():
    assert smooth_calibration_error([0.0, 0.25, 0.5, 1.0], [4] * 4, [0, 1, 2, 4]) == 0


def test_smooth_ece_hardly_changes_where_a_confidence_crosses_the_edge_of_a_bin():
    apart, together = ([0.4999, 0.5001], [1, 1], [0, 1]), ([0.5001, 0.5001], [1, 1], [0, 1])
    binned = expected_calibration_error(*apart) - expected_calibration_error(*together)
    smooth = smooth_calibration_error(*apart) - smooth_calibration_error(*together)
    assert binned > 0.49
    assert smooth < 0.01
