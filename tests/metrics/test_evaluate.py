import numpy as np
import polars as pl
import pytest

from benchmark.capability import count_outcomes
from benchmark.errors import DataError
from benchmark.metrics.calibration import (
    brier_score,
    expected_calibration_error,
    response_brier_score,
    signed_calibration_error,
    unbiased_brier_score,
)
from benchmark.metrics.discrimination import pearson, response_auroc, spearman
from benchmark.metrics.evaluate import evaluate
from benchmark.metrics.pairing import pair_estimates
from benchmark.metrics.statistics import bootstrap_weights
from benchmark.records import CONFIDENCE, GRADE, METRIC, Estimate

METRICS = {
    "brier": brier_score,
    "brier_unbiased": unbiased_brier_score,
    "brier_response": response_brier_score,
    "ece": expected_calibration_error,
    "signed_error": signed_calibration_error,
    "pearson": pearson,
    "spearman": spearman,
    "auroc": response_auroc,
}


def ids(size):
    return [f"made/test/{number:03d}" for number in range(size)]


def grades_of(correct):
    """Grades of a matrix [N, K] of correctness, shuffled."""
    size, k = correct.shape
    table = pl.DataFrame(
        {
            "question_id": np.repeat(ids(size), k),
            "sample_index": np.tile(np.arange(k), size),
            "answer": [None] * correct.size,
            "outcome": np.where(correct.ravel(), "correct", "incorrect"),
            "reason": [None] * correct.size,
            "grader": ["exact"] * correct.size,
        },
        schema=GRADE,
    )
    return table.sample(fraction=1, shuffle=True, seed=0)


def estimate_of(draws, tokens=0, **attributes):
    """An estimate from draws [D, N]; NaN becomes an unparsed row; shuffled."""
    draws = np.atleast_2d(draws)
    missing = np.isnan(draws.ravel())
    table = pl.DataFrame(
        {
            "question_id": np.tile(ids(draws.shape[1]), len(draws)),
            "sample_index": np.repeat(np.arange(len(draws)), draws.shape[1]),
            "confidence": draws.ravel(),
            "status": np.where(missing, "unparsed", "ok"),
            "prompt_tokens": [tokens] * draws.size,
            "completion_tokens": [1] * draws.size,
        },
        schema=CONFIDENCE,
    ).with_columns(pl.col("confidence").fill_nan(None))
    return Estimate(table.sample(fraction=1, shuffle=True, seed=1), **attributes)


@pytest.fixture
def cell():
    """Grades of 40 questions with 8 responses, their n and c, and a noisy confidence."""
    rng = np.random.default_rng(0)
    p = rng.random(40)
    correct = rng.random((40, 8)) < p[:, None]
    confidences = np.clip(p + rng.normal(0, 0.2, 40), 0, 1).round(1)
    return grades_of(correct), correct, confidences


def run(estimates, grades, resamples=20, seed=0):
    return evaluate(estimates, grades, np.random.default_rng(seed), resamples)


def values_of(table, estimator, column="value"):
    rows = table.filter(pl.col("estimator") == estimator)
    return dict(zip(rows["metric"], rows[column], strict=True))


def expected_values(draws, correct):
    """Every metric of each draw on the questions it answered, averaged over the draws."""
    c = correct.sum(axis=1)
    n = np.full(len(c), correct.shape[1])
    given = ~np.isnan(draws)
    return {
        name: np.nanmean(
            [metric(d[g], n[g], c[g]) for d, g in zip(draws, given, strict=True) if g.any()]
        )
        for name, metric in METRICS.items()
    }


def test_every_metric_is_joined_by_question(cell):
    grades, correct, confidences = cell
    table = run({"probe": estimate_of(confidences, tokens=4)}, grades)
    assert table.schema == METRIC
    assert table["metric"].to_list() == [
        "brier",
        "brier_unbiased",
        "brier_response",
        "ece",
        "signed_error",
        "pearson",
        "spearman",
        "auroc",
        "tokens",
    ]
    expected = expected_values(confidences[None], correct) | {"tokens": 5}
    assert values_of(table, "probe") == pytest.approx(expected)
    assert set(table["answered"]) == set(table["questions"]) == {40}


def test_responses_that_made_the_confidence_are_not_in_the_target(cell):
    grades, correct, confidences = cell
    table = run({"consistency": estimate_of(confidences, samples_used=5)}, grades)
    values = values_of(table, "consistency")
    values.pop("tokens")
    assert values == pytest.approx(expected_values(confidences[None], correct[:, 5:]))


def test_draws_are_averaged_each_on_its_own_questions(cell):
    grades, correct, _ = cell
    draws = np.random.default_rng(1).random((30, 40))
    draws[:3, :10] = np.nan
    draws[3] = np.nan
    draws[:, 39] = np.nan
    table = run({"random": estimate_of(draws)}, grades)
    values = values_of(table, "random")
    values.pop("tokens")
    assert values == pytest.approx(expected_values(draws, correct))
    assert set(table["answered"]) == {39}
    assert set(table["questions"]) == {40}


def test_undefined_draws_are_left_out_of_the_average(cell):
    grades, correct, confidences = cell
    draws = np.stack([np.full(40, 0.5), confidences])
    values = values_of(run({"mixed": estimate_of(draws)}, grades), "mixed")
    assert values["pearson"] == pytest.approx(expected_values(draws[1:], correct)["pearson"])
    assert values["auroc"] == pytest.approx(expected_values(draws, correct)["auroc"])


@pytest.mark.filterwarnings("error")
def test_estimator_without_an_answer_has_undefined_metrics_and_its_tokens(cell):
    grades, *_ = cell
    silent = estimate_of(np.full(40, np.nan), tokens=9)
    none = Estimate(silent.confidences.clear())
    table = run({"silent": silent, "none": none}, grades)
    values = values_of(table, "silent")
    assert values.pop("tokens") == 10
    assert np.isnan(list(values.values())).all()
    assert np.isnan(list(values_of(table, "none").values())).all()
    assert table.filter(pl.col("value").is_nan() & pl.col("low").is_not_nan()).is_empty()
    assert set(table["answered"]) == {0}
    assert set(table["questions"]) == {40}


def test_tokens_count_unanswered_questions_and_one_draw_of_each(cell):
    grades, _, confidences = cell
    draws = np.stack([confidences, confidences])
    draws[:, :20] = np.nan
    costly = pl.when(pl.col("status") == "ok").then(3).otherwise(7).cast(pl.Int64)
    table = estimate_of(draws).confidences.with_columns(prompt_tokens=costly)
    assert values_of(run({"e": Estimate(table)}, grades), "e")["tokens"] == pytest.approx(6)


def test_unbiased_brier_of_an_oracle_is_undefined(cell):
    grades, correct, _ = cell
    oracle = estimate_of(correct.mean(axis=1), oracle=True)
    for column in ("value", "low", "high"):
        values = values_of(run({"oracle_cc": oracle}, grades), "oracle_cc", column)
        assert np.isnan(values["brier_unbiased"])
        assert values["brier"] == 0


def test_intervals_are_quantiles_of_the_metrics_under_resampled_questions(cell):
    grades, correct, confidences = cell
    table = run({"probe": estimate_of(confidences)}, grades, resamples=200)
    rng = np.random.default_rng(5)
    n, c = np.full(40, 8), correct.sum(axis=1)
    for name, metric in METRICS.items():
        chosen = rng.integers(40, size=(1500, 40))
        resampled = [metric(confidences[rows], n[rows], c[rows]) for rows in chosen]
        low, high = np.nanquantile(resampled, [0.025, 0.975])
        tolerance = 0.15 * (high - low)
        assert values_of(table, "probe", "low")[name] == pytest.approx(low, abs=tolerance)
        assert values_of(table, "probe", "high")[name] == pytest.approx(high, abs=tolerance)


def test_a_resample_weights_the_questions(cell):
    grades, correct, confidences = cell
    table = run({"probe": estimate_of(confidences)}, grades, resamples=1, seed=7)
    weights = bootstrap_weights(40, 1, np.random.default_rng(7))[0]
    for name, metric in METRICS.items():
        expected = metric(confidences, [8] * 40, correct.sum(axis=1), weights)
        assert values_of(table, "probe", "low")[name] == pytest.approx(float(expected))


def test_a_resample_weights_the_same_questions_where_a_target_lacks_some(cell):
    grades, _, confidences = cell
    grades = grades.filter((pl.col("question_id") != ids(1)[0]) | (pl.col("sample_index") == 0))
    estimates = {
        "all": estimate_of(confidences),
        "later": estimate_of(confidences, samples_used=1),
    }
    pairs = dict(pair_estimates(estimates, grades, np.random.default_rng(0), resamples=3))
    np.testing.assert_array_equal(pairs["later"].weights, pairs["all"].weights[:, 1:])
    np.testing.assert_array_equal(pairs["later"].confidences[0], confidences[1:])


def test_resampled_questions_are_the_same_for_all_estimators(cell):
    grades, _, confidences = cell
    estimates = {name: estimate_of(confidences) for name in ("first", "second")}
    table = run(estimates, grades)
    for column in ("low", "high"):
        assert values_of(table, "first", column) == values_of(table, "second", column)
    partial = confidences.copy()
    partial[0] = np.nan
    with_partial = run({"partial": estimate_of(partial), "first": estimates["first"]}, grades)
    assert values_of(with_partial, "first", "low") == values_of(table, "first", "low")


def test_interval_of_many_draws_lies_around_their_average(cell):
    grades, *_ = cell
    draws = np.random.default_rng(2).random((600, 40))
    table = run({"random": estimate_of(draws)}, grades, resamples=200)
    low, value, high = (values_of(table, "random", name) for name in ("low", "value", "high"))
    for metric in ("pearson", "spearman", "auroc"):
        assert low[metric] < value[metric] < high[metric]
        assert high[metric] - low[metric] < 0.1


def test_blocks_of_resamples_take_turns_through_the_draws(cell):
    grades, correct, _ = cell
    accuracy = correct.mean(axis=1)
    draws = np.concatenate([np.tile(accuracy, (200, 1)), np.tile(1 - accuracy, (200, 1))])
    table = run({"both": estimate_of(draws)}, grades, resamples=100)
    assert values_of(table, "both", "low")["pearson"] == pytest.approx(-1)
    assert values_of(table, "both", "high")["pearson"] == pytest.approx(1)
    assert values_of(table, "both")["pearson"] == pytest.approx(0)


def test_results_follow_from_the_generator(cell):
    grades, _, confidences = cell
    estimates = {"probe": estimate_of(confidences)}
    assert run(estimates, grades, seed=3).equals(run(estimates, grades, seed=3))
    assert not run(estimates, grades, seed=3).equals(run(estimates, grades, seed=4))


@pytest.mark.filterwarnings("error")
def test_no_resamples_give_values_without_intervals(cell):
    grades, _, confidences = cell
    table = run({"probe": estimate_of(confidences)}, grades, resamples=0)
    assert table["value"].is_not_nan().all()
    assert table["low"].is_nan().all()


def test_estimator_that_used_all_responses_is_refused(cell):
    grades, _, confidences = cell
    estimate = estimate_of(confidences, samples_used=8)
    with pytest.raises(DataError, match=r"'consistency' used 8 responses .* raise sampling\.k"):
        run({"consistency": estimate}, grades)


def test_confidences_of_other_questions_are_refused(cell):
    grades, _, confidences = cell
    foreign = estimate_of(confidences).confidences.with_columns(
        question_id=pl.lit("other/") + pl.col("question_id")
    )
    with pytest.raises(DataError, match="confidences of 'probe': no question, such as 'other/"):
        run({"probe": Estimate(foreign)}, grades)


def test_wrong_confidences_are_refused_with_the_estimators_name(cell):
    grades, _, confidences = cell
    good = estimate_of(confidences).confidences
    too_high = good.with_columns(confidence=pl.lit(1.5))
    with pytest.raises(DataError, match=r"confidences of 'probe'\[0\] is 1\.5"):
        run({"probe": Estimate(too_high)}, grades)
    null_but_ok = good.with_columns(confidence=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(DataError, match=r"confidences of 'probe'\[0\] is nan"):
        run({"probe": Estimate(null_but_ok)}, grades)
    with pytest.raises(DataError, match=r"'probe': question 'made/test/.*' has draw 0 twice"):
        run({"probe": Estimate(pl.concat([good, good.head(1)]))}, grades)


def test_confidence_without_a_graded_response_is_outside_the_evaluation(cell):
    grades, _, confidences = cell
    fewer = grades.filter(pl.col("question_id") != ids(1)[0])
    table = run({"probe": estimate_of(confidences)}, fewer)
    assert set(table["questions"]) == {39} == {len(count_outcomes(fewer))}
