"""How often the intervals hold what they are about, in simulated studies.

All settings are in the test that is marked slow; the others repeat some of them.
"""

import numpy as np
import pytest
from questions import METRICS
from scipy.special import expit, logit

from benchmark.metrics.paired_differences import compare_estimators
from benchmark.metrics.pairing import PairedEstimate
from benchmark.metrics.resampling import BOUNDS
from benchmark.statistics.bootstrap import bootstrap_weights, redrawn_counts
from benchmark.statistics.intervals import t_interval

SOME = ("brier", "brier_unbiased", "ece", "pearson", "spearman", "auroc")


def population(kind, size, rng):
    """Confidences and expected accuracies of questions."""
    p = rng.beta(3, 0.15, size) if kind == "easy" else rng.beta(0.6, 0.4, size)
    if kind == "good":
        return expit(0.8 * logit(np.clip(p, 0.01, 0.99)) + rng.normal(0, 0.6, size)), p
    if kind.startswith("constant"):
        return np.full(size, 0.6 + float(kind.removeprefix("constant"))), p  # 0.6 is the mean of p
    if kind == "verbalized":
        stated = rng.choice([0.5, 0.7, 0.8, 0.9, 1.0], size, p=[0.1, 0.1, 0.2, 0.4, 0.2])
        return np.where(rng.random(size) < p / 2, 1.0, stated), p
    return (p if kind == "perfect" else np.clip(p + rng.normal(0, 0.05, size), 0, 1)), p


def coverage(values, intervals, truth):
    """Share of the studies whose interval holds the truth: the mean of the values, if not given."""
    truth = {name: np.mean([value[name] for value in values]) for name in values[0]} | truth
    return {
        name: np.mean([each[name][0] <= truth[name] <= each[name][1] for each in intervals])
        for name in values[0]
    }


def of_questions_and_samples(kind, size, n, studies, resamples, names):
    """Simulate studies with new questions and new responses: the intervals' coverage, and all."""
    values, intervals = [], []
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        confidences, p = population(kind, size, rng)
        arrays = confidences, np.full(size, n), rng.binomial(n, p)
        weights = bootstrap_weights(size, resamples, rng)
        values.append({name: float(METRICS[name](*arrays)) for name in names})
        intervals.append(
            {
                name: t_interval(value, METRICS[name](*arrays, weights), size, bounds=BOUNDS[name])
                for name, value in values[-1].items()
            }
        )
    confidences, p = population(kind, 1_000_000, np.random.default_rng(0))
    error, noise = np.mean((confidences - p) ** 2), np.mean(p * (1 - p)) / n
    truth = {"brier": error + noise, "brier_unbiased": error}
    return coverage(
        values, intervals, {key: truth[key] for key in truth if key in names}
    ), intervals


@pytest.mark.parametrize("n", [5, 100])
def test_intervals_of_questions_and_samples_hold_what_they_are_about(n):
    covered, _ = of_questions_and_samples("good", 200, n, studies=300, resamples=200, names=SOME)
    assert min(covered.values()) >= 0.9, covered
    assert max(covered.values()) <= 0.99, covered


@pytest.mark.parametrize("kind", ["constant+0", "constant+0.03"])
def test_intervals_of_a_constant_s_calibration_error_hold_it_and_tell_something(kind):
    names = ("ece", "ece_equal_mass", "smooth_ece")
    covered, intervals = of_questions_and_samples(kind, 120, 24, 200, 200, names)
    assert min(covered.values()) >= 0.9, covered
    assert max(covered.values()) <= 0.99, covered
    assert max(each[name][1] for each in intervals for name in names) < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["good", "perfect", "easy", "verbalized"])
@pytest.mark.parametrize("n", [5, 10, 100])
def test_intervals_hold_what_they_are_about_in_every_setting(kind, n):
    names = set(METRICS) - {"r2_ceiling"}
    covered, _ = of_questions_and_samples(kind, 200, n, 1000, 400, names)
    assert covered.pop("reliability") >= 0.92  # near 0 its spread is taken for larger than it is
    assert covered.pop("resolution") >= (0.88 if kind == "easy" else 0.92)  # few hard questions
    assert min(covered.values()) >= 0.9, covered
    if kind == "perfect":  # at their best possible value resamples spread up to a third wider
        for name in ("ece", "ece_equal_mass", "smooth_ece", "spearman"):
            assert covered.pop(name) <= 0.997, name
    assert max(covered.values()) <= 0.985, covered


@pytest.mark.parametrize(("size", "wrong"), [(30, 0.1), (60, 0.05), (500, 0.01)])
def test_intervals_hold_a_loss_that_few_questions_carry(size, wrong):
    rng = np.random.default_rng(0)
    inside = []
    for loss in rng.binomial(1, wrong, (600, size)).astype(float):
        resampled = bootstrap_weights(size, 200, rng) @ loss / size
        low, high = t_interval(float(loss.mean()), resampled, size, bounds=BOUNDS["brier"])
        if loss.any():  # else there is no interval
            inside.append(low <= wrong <= high)
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize("n", [5, 100])
def test_intervals_of_samples_hold_what_they_are_about(n):
    rng = np.random.default_rng(0)
    confidences, p = population("good", 100, rng)
    counts = rng.binomial(n, p, (300, 100))
    sizes = np.full(100, float(n))
    values, intervals = [], []
    for c in counts:
        redrawn = redrawn_counts(sizes, c.astype(float), 200, rng)
        values.append({name: float(METRICS[name](confidences, sizes, c)) for name in SOME})
        intervals.append(
            {
                name: t_interval(
                    value, METRICS[name](confidences, sizes, redrawn), 100 * n, 100, BOUNDS[name]
                )
                for name, value in values[-1].items()
            }
        )
    covered = coverage(values, intervals, {"brier_unbiased": np.mean((confidences - p) ** 2)})
    assert min(covered.values()) >= 0.88, covered
    assert max(covered.values()) <= 0.995, covered


@pytest.mark.parametrize("few", [2, 3])
def test_intervals_of_samples_hold_what_they_are_about_where_questions_have_few_or_many(few):
    rng = np.random.default_rng(0)
    sizes = np.repeat([float(few), 50.0], 50)
    confidences = np.full(100, 0.3)
    values, intervals = [], []
    for c in rng.binomial(sizes.astype(int), 0.5, (400, 100)):
        redrawn = redrawn_counts(sizes, c.astype(float), 200, rng)
        arrays = {name: METRICS[name](confidences, sizes, c) for name in ("brier", "signed_error")}
        values.append({name: float(value) for name, value in arrays.items()})
        intervals.append(
            {
                name: t_interval(
                    value, METRICS[name](confidences, sizes, redrawn), int(sizes.sum()), 100,
                    BOUNDS[name],
                )
                for name, value in values[-1].items()
            }
        )  # fmt: skip
    covered = coverage(values, intervals, {"signed_error": -0.2})
    assert covered["signed_error"] >= 0.92, covered
    assert covered["brier"] >= 0.88, covered  # two responses hardly tell how squares spread
    assert max(covered.values()) <= 0.99, covered


def test_redrawing_the_counts_of_resampled_questions_would_count_their_noise_twice():
    """Why questions are resampled with their counts, and counts are redrawn apart."""
    confidences, p = population("good", 1_000_000, np.random.default_rng(0))
    truth = np.mean((confidences - p) ** 2 + p * (1 - p) / 5)
    inside = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        confidences, p = population("good", 200, rng)
        once = rng.binomial(5, p)
        twice = rng.binomial(5, np.broadcast_to(once / 5, (200, 200))) / 5
        weights = bootstrap_weights(200, 200, rng)
        low, high = np.quantile((weights * (confidences - twice) ** 2).mean(axis=1), [0.025, 0.975])
        inside.append(low <= truth <= high)
    assert np.mean(inside) < 0.3


def test_equal_estimators_are_told_apart_as_rarely_as_the_level_says():
    told_apart = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        first, p = population("good", 100, rng)
        exact = 0.8 * logit(np.clip(p, 0.01, 0.99))
        noise = {"equal": 0.6, "worse": 1.8}  # that of the first is 0.6
        estimates = {"first": first} | {
            name: expit(exact + rng.normal(0, spread, 100)) for name, spread in noise.items()
        }
        weights = np.ones((151, 100), np.uint16)
        weights[1:] = bootstrap_weights(100, 150, rng)
        shared = np.zeros((2, 100)), np.full(100, 10.0), rng.binomial(10, p).astype(float), weights
        pairs = {name: PairedEstimate(each[None], *shared) for name, each in estimates.items()}
        rows = compare_estimators(pairs, {}).filter(estimator="first").to_dicts()
        told_apart.append({(row["metric"], row["other"]): row["p_value"] <= 0.05 for row in rows})
        assert all((row["p_value"] <= 0.05) == (row["low"] * row["high"] > 0) for row in rows)
    shares = {key: np.mean([each[key] for each in told_apart]) for key in told_apart[0]}
    for metric in ("brier", "brier_unbiased", "ece", "smooth_ece", "pearson", "spearman", "auroc"):
        assert 0.01 <= shares[metric, "equal"] <= 0.1, metric
    for metric in ("brier", "pearson", "spearman", "auroc"):
        assert shares[metric, "worse"] > 0.9, metric
