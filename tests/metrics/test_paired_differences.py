import numpy as np
import polars as pl
import pytest
from questions import METRICS, estimate_of, grades_of
from scipy.stats import ttest_rel

from benchmark.metrics.evaluate import evaluate
from benchmark.records import DIFFERENCE
from benchmark.statistics.intervals import holm


@pytest.fixture
def cell():
    """Correctness of 8 responses to 60 questions, and three estimators' confidences."""
    rng = np.random.default_rng(0)
    p = rng.random(60)
    correct = rng.random((60, 8)) < p[:, None]
    noisy = {
        name: np.clip(p + rng.normal(0, noise, 60), 0, 1)
        for name, noise in {"good": 0.1, "fair": 0.2, "poor": 0.5}.items()
    }
    return correct, noisy


def run(estimates, correct, resamples=300):
    return evaluate(estimates, grades_of(correct), np.random.default_rng(0), resamples)


def row_of(table, metric, estimator, other):
    return table.row(
        by_predicate=(pl.col("metric") == metric)
        & (pl.col("estimator") == estimator)
        & (pl.col("other") == other),
        named=True,
    )


def test_every_pair_has_a_row_in_every_metric_that_tells_good_from_bad(cell):
    correct, noisy = cell
    table = run({name: estimate_of(v) for name, v in noisy.items()}, correct).differences
    assert table.schema == DIFFERENCE
    pairs = table.select("estimator", "other").unique(maintain_order=True).rows()
    assert pairs == [("good", "fair"), ("good", "poor"), ("fair", "poor")]
    compared = set(METRICS) - {"reliability", "resolution", "uncertainty", "r2_ceiling"}
    assert set(table["metric"]) == compared
    assert len(table) == 3 * len(compared)
    assert set(table["questions"]) == {60}


def test_a_difference_is_that_of_the_metrics(cell):
    correct, noisy = cell
    metrics, differences = run({name: estimate_of(v) for name, v in noisy.items()}, correct)
    values = {(r["estimator"], r["metric"]): r["value"] for r in metrics.to_dicts()}
    for row in differences.to_dicts():
        first, second = (values[row[side], row["metric"]] for side in ("estimator", "other"))
        if row["metric"] == "signed_error":
            first, second = abs(first), abs(second)
        assert row["difference"] == pytest.approx(first - second)
        assert row["low"] < row["difference"] < row["high"]


def test_a_difference_of_brier_scores_is_the_paired_t_test(cell):
    correct, noisy = cell
    table = run({name: estimate_of(v) for name, v in noisy.items()}, correct, 5000).differences
    losses = {name: (v - correct.mean(axis=1)) ** 2 for name, v in noisy.items()}
    expected = ttest_rel(losses["good"], losses["fair"])
    row = row_of(table, "brier", "good", "fair")
    assert row["p_value"] == pytest.approx(expected.pvalue, rel=0.15)
    interval = expected.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx(interval, rel=0.05)


def test_signed_errors_differ_by_their_sizes():
    correct = np.tile([True, False], (30, 2))
    estimates = {"over": estimate_of(np.full(30, 0.6)), "under": estimate_of(np.full(30, 0.2))}
    differences = run(estimates, correct, 20).differences
    row = row_of(differences, "signed_error", "over", "under")
    assert row["difference"] == pytest.approx(0.1 - 0.3)


def test_p_values_are_adjusted_for_all_pairs_of_a_metric(cell):
    correct, noisy = cell
    table = run({name: estimate_of(v) for name, v in noisy.items()}, correct).differences
    for (metric,), rows in table.group_by("metric"):
        np.testing.assert_allclose(rows["p_holm"], holm(rows["p_value"]), err_msg=str(metric))
        assert (rows["p_holm"] >= rows["p_value"]).all()


def test_pairing_takes_out_what_is_hard_for_both(cell):
    correct, noisy = cell
    nearly = np.clip(noisy["poor"] + np.random.default_rng(1).normal(0, 0.02, 60), 0, 1)
    estimates = {"poor": estimate_of(noisy["poor"]), "nearly": estimate_of(nearly)}
    metrics, differences = run(estimates, correct)
    own = metrics.filter(pl.col("metric") == "brier", pl.col("estimator") == "poor").row(
        0, named=True
    )
    row = row_of(differences, "brier", "poor", "nearly")
    assert row["high"] - row["low"] < 0.3 * (own["high"] - own["low"])


def test_all_are_compared_on_the_responses_that_none_of_them_read(cell):
    correct, noisy = cell
    estimates = {
        "good": estimate_of(noisy["good"]),
        "consistency": estimate_of(correct[:, :3].mean(axis=1), samples_used=3),
        "fair": estimate_of(noisy["fair"]),
    }
    metrics, differences = run(estimates, correct)
    rest = np.full(60, 5), correct[:, 3:].sum(axis=1)
    brier = {
        "good": METRICS["brier"](noisy["good"], *rest),
        "consistency": METRICS["brier"](correct[:, :3].mean(axis=1), *rest),
        "fair": METRICS["brier"](noisy["fair"], *rest),
    }
    for first, second in (("good", "consistency"), ("good", "fair"), ("consistency", "fair")):
        row = row_of(differences, "brier", first, second)
        assert row["difference"] == pytest.approx(brier[first] - brier[second])
        # so that the noise of c / n is the same on both sides
        unbiased = row_of(differences, "brier_unbiased", first, second)
        assert unbiased["difference"] == pytest.approx(row["difference"])
    own = metrics.filter(pl.col("metric") == "brier", pl.col("estimator") == "good")["value"][0]
    whole = METRICS["brier"](noisy["good"], np.full(60, 8), correct.sum(axis=1))
    assert own == pytest.approx(whole)


def test_a_pair_is_compared_on_the_questions_that_both_answered(cell):
    correct, noisy = cell
    partial, fewer = noisy["good"].copy(), noisy["poor"].copy()
    partial[:20], fewer[10:40] = np.nan, np.nan
    estimates = {
        "partial": estimate_of(partial), "full": estimate_of(noisy["fair"]),
        "fewer": estimate_of(fewer),
    }  # fmt: skip
    table = run(estimates, correct).differences
    c = correct.sum(axis=1)
    for first, second, values, common in (
        ("partial", "full", (noisy["good"], noisy["fair"]), np.arange(60) >= 20),
        ("partial", "fewer", (noisy["good"], noisy["poor"]), np.arange(60) >= 40),
    ):
        for metric in ("brier", "spearman", "ece"):
            row = row_of(table, metric, first, second)
            of_both = [
                METRICS[metric](v[common], np.full(common.sum(), 8), c[common]) for v in values
            ]
            assert row["difference"] == pytest.approx(of_both[0] - of_both[1])
            assert row["questions"] == common.sum()


def test_the_same_estimator_twice_is_a_tie(cell):
    correct, noisy = cell
    estimates = {name: estimate_of(noisy["good"]) for name in ("one", "two")}
    table = run(estimates, correct).differences
    assert set(table["difference"]) == {0}
    assert set(table["p_value"]) == set(table["p_holm"]) == {1}
    assert table["low"].is_nan().all()  # what never differs has no spread that could be told


def test_orders_of_fewer_than_five_questions_are_not_tested():
    """Each resample has the same correlations, 1 and -1, however few the questions."""
    correct = np.arange(8) < np.arange(2, 7)[:, None]
    rising = np.linspace(0.1, 0.9, 5)
    for size in (4, 5):
        estimates = {"up": rising[:size], "down": rising[:size][::-1]}
        estimates = {name: estimate_of(values) for name, values in estimates.items()}
        metrics, table = run(estimates, correct[:size])
        row = row_of(table, "spearman", "up", "down")
        assert row["difference"] == pytest.approx(2)
        assert np.isnan([row["low"], row["p_value"], row["p_holm"]]).all()
        values = metrics.filter(estimator="down", metric="auroc")
        assert values["low"].is_nan().all() == (size < 5)
        assert row_of(table, "brier", "up", "down")["p_value"] > 0.01


@pytest.mark.filterwarnings("error")
def test_estimators_without_a_common_question_have_no_difference(cell):
    correct, noisy = cell
    one, two = noisy["good"].copy(), noisy["fair"].copy()
    one[:30], two[30:] = np.nan, np.nan
    table = run({"one": estimate_of(one), "two": estimate_of(two)}, correct).differences
    assert set(table["questions"]) == {0}
    assert table.select("difference", "low", "p_value", "p_holm").unpivot()["value"].is_nan().all()


def test_oracles_are_not_compared_nor_is_one_estimator(cell):
    correct, noisy = cell
    oracle = estimate_of(correct.mean(axis=1), oracle=True)
    table = run({"oracle_cc": oracle, "good": estimate_of(noisy["good"])}, correct).differences
    assert table.is_empty()
    assert table.schema == DIFFERENCE
    assert run({}, correct).differences.is_empty()


def test_without_resamples_differences_have_no_interval(cell):
    correct, noisy = cell
    estimates = {name: estimate_of(noisy[name]) for name in ("good", "poor")}
    table = run(estimates, correct, resamples=0).differences
    assert table["difference"].is_not_nan().all()
    assert table.select("low", "p_value", "p_holm").unpivot()["value"].is_nan().all()
