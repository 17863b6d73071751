from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from questions import METRICS, estimate_of, grades_of, ids

from benchmark.capability.counts import count_outcomes
from benchmark.errors import DataError
from benchmark.estimators.oracles import OracleRC
from benchmark.metrics import resampling
from benchmark.metrics.evaluate import evaluate
from benchmark.metrics.pairing import IMPUTED, pair_estimates
from benchmark.metrics.resampling import BOUNDS
from benchmark.records import COSTS, GRADE, METRIC, Estimate
from benchmark.statistics.bootstrap import bootstrap_weights, redrawn_counts
from benchmark.statistics.intervals import t_interval


@pytest.fixture
def cell():
    """Grades of 40 questions with 8 responses, their n and c, and a noisy confidence."""
    rng = np.random.default_rng(0)
    p = rng.random(40)
    correct = rng.random((40, 8)) < p[:, None]
    confidences = np.clip(p + rng.normal(0, 0.2, 40), 0, 1).round(1)
    return grades_of(correct), correct, confidences


def run(estimates, grades, resamples=20, seed=0):
    return evaluate(estimates, grades, np.random.default_rng(seed), resamples).metrics


def values_of(table, estimator, column="value"):
    rows = table.filter(pl.col("estimator") == estimator)
    return dict(zip(rows["metric"], rows[column], strict=True))


def metrics_of(table, estimator, column="value"):
    """The metrics that the functions for arrays give."""
    values = values_of(table, estimator, column)
    return {name: values[name] for name in METRICS}


LOSSES = ("brier", "brier_unbiased", "brier_response", "signed_error")


def expected_values(draws, correct):
    """Every metric on the questions that were answered.

    Means over questions take each question's mean; for other metrics, a question whose draws are
    fewer repeats them.
    """
    answered = ~np.isnan(draws).all(axis=0)
    draws, correct = draws[:, answered], correct[answered]
    c = correct.sum(axis=1)
    n = np.full(len(c), correct.shape[1])
    columns = [column[~np.isnan(column)] for column in draws.T]
    even = np.stack([np.resize(column, len(draws)) for column in columns], axis=1)
    losses = {
        name: np.mean(
            [
                np.mean([METRICS[name]([value], [each_n], [each_c]) for value in column])
                for column, each_n, each_c in zip(columns, n, c, strict=True)
            ]
        )
        for name in LOSSES
    }
    others = {name: np.nanmean([metric(d, n, c) for d in even]) for name, metric in METRICS.items()}
    return others | losses


def test_every_metric_is_joined_by_question(cell):
    grades, correct, confidences = cell
    table = run({"probe": estimate_of(confidences, tokens=4)}, grades)
    assert table.schema == METRIC
    assert table["metric"].to_list() == [
        "brier", "brier_unbiased", "brier_response", "variance", "reliability", "resolution",
        "uncertainty", "r2", "r2_ceiling", "ece", "ece_equal_mass", "smooth_ece", "signed_error",
        "pearson", "spearman", "auroc", *COSTS,
    ]  # fmt: skip
    assert metrics_of(table, "probe") == pytest.approx(expected_values(confidences[None], correct))
    values, c = values_of(table, "probe"), correct.sum(axis=1)
    assert [values[cost] for cost in COSTS] == [5, 4, 1]
    assert values["variance"] == pytest.approx(np.mean(c / 8 * (1 - c / 8)))
    assert set(table["answered"]) == set(table["questions"]) == {40}


def test_responses_that_made_the_confidence_are_not_in_the_target(cell):
    grades, correct, confidences = cell
    table = run({"consistency": estimate_of(confidences, samples_used=5)}, grades)
    expected = expected_values(confidences[None], correct[:, 5:])
    assert metrics_of(table, "consistency") == pytest.approx(expected)


def test_a_question_counts_the_same_however_many_draws_it_has(cell):
    grades, correct, _ = cell
    draws = np.random.default_rng(1).random((30, 40))
    draws[:3, :10] = np.nan
    draws[3] = np.nan
    draws[:, 39] = np.nan
    table = run({"random": estimate_of(draws)}, grades)
    expected = expected_values(draws, correct)
    expected["r2_ceiling"] = METRICS["r2_ceiling"](None, [8] * 39, correct[:39].sum(axis=1))
    assert metrics_of(table, "random") == pytest.approx(expected)
    assert set(table["answered"]) == {39}
    assert set(table["questions"]) == {40}


def test_draws_are_repeated_only_where_a_question_has_fewer():
    draws = np.array(
        [[0.1, np.nan, 0.3, np.nan], [0.2, 0.5, np.nan, np.nan], [0.4, 0.6, 0.7, np.nan]]
    )
    grades = grades_of(np.eye(4) > 0)
    pairs = dict(pair_estimates({"e": estimate_of(draws)}, grades, np.random.default_rng(0), 0))
    even = pairs["e"].evened()
    expected = [[0.1, 0.5, 0.3, np.nan], [0.2, 0.6, 0.7, np.nan], [0.4, 0.5, 0.3, np.nan]]
    np.testing.assert_array_equal(even.confidences, expected)
    assert even.evened() is even


def test_imputed_draws_are_of_every_question_however_many_rows_each_has():
    table = estimate_of([[0.1, 0.4], [np.nan, 0.5], [0.3, 0.6]]).confidences
    last = (pl.col("question_id") == ids(2)[1]) & (pl.col("sample_index") == 2)
    ragged = Estimate(table.filter(~last))
    grades = grades_of(np.eye(2) > 0)
    pairs = dict(pair_estimates({"e": ragged}, grades, np.random.default_rng(0), 0))
    expected = [[0.1, 0.4], [0.5, 0.5], [0.3, 0.4]]
    np.testing.assert_array_equal(pairs["e"].imputed().confidences, expected)


def test_the_response_oracle_is_right_where_questions_have_different_numbers_of_responses():
    counts = {"q1": (2, 2), "q2": (10, 5), "q3": (2, 2), "q4": (2, 0), "q5": (3, 1)}
    rows = [
        (key, index, None, "correct" if index < c else "incorrect", None, "counts")
        for key, (n, c) in counts.items()
        for index in range(n)
    ]
    grades = pl.DataFrame(rows, schema=GRADE, orient="row")
    cell = SimpleNamespace(split=lambda _: SimpleNamespace(grades=grades))
    table = run({"oracle_rc": OracleRC().estimate(cell)}, grades)
    values = values_of(table, "oracle_rc")
    expected = np.mean([c / n * (1 - c / n) for n, c in counts.values()])
    assert values["brier"] == pytest.approx(expected)
    assert values["variance"] == pytest.approx(expected)
    assert values["brier_response"] == pytest.approx(2 * expected)
    assert values["signed_error"] == pytest.approx(0, abs=1e-12)
    variance = np.var([c / n for n, c in counts.values()])
    assert values["r2"] == pytest.approx(1 - expected / variance, abs=0.1)
    # fewer responses than another question has are no confidences that are missing
    assert values_of(table, "oracle_rc", "imputed") == pytest.approx(values, nan_ok=True)


def test_a_draw_that_is_missing_is_imputed_where_the_question_has_others():
    draws = np.array([[0.2, 0.8, 0.9], [np.nan, 0.8, 0.9]])
    correct = np.arange(4) < np.array([3, 1, 4])[:, None]
    table = run({"e": estimate_of(draws)}, grades_of(correct))
    assert values_of(table, "e")["brier"] == pytest.approx((0.55**2 + 0.55**2 + 0.1**2) / 3)
    filled = ((0.55**2 + 0.25**2) / 2 + 0.55**2 + 0.1**2) / 3
    assert values_of(table, "e", "imputed")["brier"] == pytest.approx(filled)


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
    assert [values.pop(cost) for cost in COSTS] == [10, 9, 1]
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
    values = values_of(run({"e": Estimate(table)}, grades), "e")
    assert [values[cost] for cost in COSTS] == pytest.approx([6, 5, 1])


def test_tokens_that_a_server_does_not_count_are_unknown(cell):
    grades, _, confidences = cell
    unknown = pl.lit(None, pl.Int64)
    table = estimate_of(confidences, tokens=4).confidences.with_columns(completion_tokens=unknown)
    values = values_of(run({"e": Estimate(table)}, grades), "e")
    assert [values[cost] for cost in COSTS] == pytest.approx([np.nan, 4, np.nan], nan_ok=True)


def test_unbiased_brier_of_an_oracle_is_undefined(cell):
    grades, correct, _ = cell
    oracle = estimate_of(correct.mean(axis=1), oracle=True)
    for column in ("value", "low", "high"):
        values = values_of(run({"oracle_cc": oracle}, grades), "oracle_cc", column)
        assert np.isnan(values["brier_unbiased"])
        assert values["brier"] == 0 if column == "value" else np.isnan(values["brier"])


def test_imputed_metrics_take_all_questions(cell):
    grades, correct, confidences = cell
    partial = np.where(np.arange(40) < 10, np.nan, confidences)
    table = run({"partial": estimate_of(partial), "full": estimate_of(confidences)}, grades)
    filled = np.where(np.isnan(partial), 0.5, partial)
    assert IMPUTED == 0.5
    answered = expected_values(partial[None], correct)
    answered["r2_ceiling"] = METRICS["r2_ceiling"](None, [8] * 30, correct[10:].sum(axis=1))
    assert metrics_of(table, "partial") == pytest.approx(answered)
    everything = expected_values(filled[None], correct)
    assert metrics_of(table, "partial", "imputed") == pytest.approx(everything)
    full = run({"full": estimate_of(filled)}, grades)
    for column, imputed in (("low", "imputed_low"), ("high", "imputed_high")):
        expected = metrics_of(full, "full", column)
        assert metrics_of(table, "partial", imputed) == pytest.approx(expected, nan_ok=True)
        same = values_of(table, "full", imputed)
        assert same == pytest.approx(values_of(table, "full", column), nan_ok=True)


def test_intervals_follow_from_the_metrics_under_resampled_questions(cell):
    grades, correct, confidences = cell
    table = run({"probe": estimate_of(confidences)}, grades, resamples=400)
    rng = np.random.default_rng(5)
    n, c = np.full(40, 8), correct.sum(axis=1)
    for name, metric in METRICS.items():
        weights = bootstrap_weights(40, 4000, rng)
        value, resampled = float(metric(confidences, n, c)), metric(confidences, n, c, weights)
        low, high = t_interval(value, resampled, 40, bounds=BOUNDS[name])
        tolerance = 0.15 * (high - low)
        assert values_of(table, "probe", "low")[name] == pytest.approx(low, abs=tolerance)
        assert values_of(table, "probe", "high")[name] == pytest.approx(high, abs=tolerance)


def test_intervals_of_the_samples_follow_from_redrawn_counts(cell):
    grades, correct, confidences = cell
    table = run({"probe": estimate_of(confidences)}, grades, resamples=400)
    n, c = np.full(40, 8), correct.sum(axis=1)
    counts = redrawn_counts(n.astype(float), c.astype(float), 4000, np.random.default_rng(5))
    for name in set(METRICS) - {"r2_ceiling"}:
        value = float(METRICS[name](confidences, n, c))
        redrawn = METRICS[name](confidences, n, counts)
        low, high = t_interval(value, redrawn, 320, 40, BOUNDS[name])
        tolerance = 0.15 * (high - low)
        assert values_of(table, "probe", "samples_low")[name] == pytest.approx(low, abs=tolerance)
        assert values_of(table, "probe", "samples_high")[name] == pytest.approx(high, abs=tolerance)


def test_the_samples_alone_leave_less_uncertain_than_questions_and_samples(cell):
    grades, correct, _ = cell
    easy_or_hard = np.where(correct.mean(axis=1) > 0.5, 0.8, 0.4)  # what questions differ in
    table = run({"probe": estimate_of(easy_or_hard)}, grades, resamples=400)
    for metric in ("brier", "brier_response", "signed_error"):
        low, high, samples_low, samples_high = (
            values_of(table, "probe", column)[metric]
            for column in ("low", "high", "samples_low", "samples_high")
        )
        assert low < samples_low < samples_high < high


def test_samples_of_an_oracle_and_of_single_responses_are_of_unknown_noise(cell):
    grades, correct, confidences = cell
    oracle = run({"oracle_cc": estimate_of(correct.mean(axis=1), oracle=True)}, grades)
    assert oracle["samples_low"].is_nan().all()
    single = run({"probe": estimate_of(confidences)}, grades.filter(pl.col("sample_index") == 0))
    assert single["samples_low"].is_nan().all()
    assert values_of(single, "probe", "low")["brier"] > 0
    first = (pl.col("question_id") != ids(1)[0]) | (pl.col("sample_index") == 0)
    mixed = run({"probe": estimate_of(confidences)}, grades.filter(first))
    assert mixed["samples_low"].is_nan().all()


def test_noise_of_the_samples_is_that_of_the_answered_questions():
    correct = np.random.default_rng(0).random((40, 2)) < 0.5
    confidences = np.where(np.arange(40) < 10, 0.5, np.nan)
    table = run({"e": estimate_of(confidences)}, grades_of(correct), 200)
    row = table.filter(metric="signed_error").row(0, named=True)
    error = np.sqrt(correct[:10].var(axis=1, ddof=1).sum() / 2) / 10
    width = 2 * 2.228 * error  # t with 10 degrees
    assert row["samples_high"] - row["samples_low"] == pytest.approx(width, rel=0.2)


def test_tokens_have_an_interval_over_all_questions_that_cost_some():
    confidences = np.full(6, np.nan)
    confidences[0] = 0.5
    spent = pl.col("question_id").rank().cast(pl.Int64)
    table = estimate_of(confidences).confidences.with_columns(prompt_tokens=spent)
    metrics = run({"e": Estimate(table)}, grades_of(np.eye(6, 4) > 0), 50)
    assert metrics.filter(metric="tokens")["low"].is_not_nan().all()


@pytest.mark.filterwarnings("error")
def test_one_question_has_values_without_intervals_over_questions(cell):
    grades, correct, confidences = cell
    one = grades.filter(pl.col("question_id") == ids(1)[0])
    table = run({"probe": estimate_of(confidences[:1])}, one)
    c = correct[0].sum()
    assert values_of(table, "probe")["brier"] == pytest.approx((confidences[0] - c / 8) ** 2)
    assert table["low"].is_nan().all()
    low, high = (values_of(table, "probe", f"samples_{side}")["brier"] for side in ("low", "high"))
    assert low < high


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


def test_a_question_without_a_response_left_for_the_target_is_not_answered(cell):
    grades, _, confidences = cell
    grades = grades.filter((pl.col("question_id") != ids(1)[0]) | (pl.col("sample_index") == 0))
    table = run({"later": estimate_of(confidences, samples_used=1)}, grades)
    assert set(table["answered"]) == {39}
    assert set(table["questions"]) == {40}


def test_resampled_questions_are_the_same_for_all_estimators(cell):
    grades, _, confidences = cell
    estimates = {name: estimate_of(confidences) for name in ("first", "second")}
    table = run(estimates, grades)
    for column in ("low", "high", "samples_low", "samples_high"):
        expected = pytest.approx(values_of(table, "second", column), rel=0, abs=0, nan_ok=True)
        assert values_of(table, "first", column) == expected
    partial = confidences.copy()
    partial[0] = np.nan
    with_partial = run({"partial": estimate_of(partial), "first": estimates["first"]}, grades)
    for column in ("low", "samples_low"):
        expected = pytest.approx(values_of(table, "first", column), rel=0, abs=0, nan_ok=True)
        assert values_of(with_partial, "first", column) == expected


def test_interval_of_many_draws_lies_around_their_average(cell):
    grades, *_ = cell
    draws = np.random.default_rng(2).random((30, 40))
    table = run({"random": estimate_of(draws)}, grades, resamples=200)
    low, value, high = (values_of(table, "random", name) for name in ("low", "value", "high"))
    for metric in ("pearson", "spearman", "auroc"):
        assert low[metric] < value[metric] < high[metric]
        assert high[metric] - low[metric] < 0.3


def test_how_draws_differ_doesn_t_widen_the_interval_of_their_average(cell):
    grades, correct, _ = cell
    accuracy = correct.mean(axis=1)
    draws = np.concatenate([np.tile(accuracy, (20, 1)), np.tile(1 - accuracy, (20, 1))])
    table = run({"both": estimate_of(draws)}, grades, resamples=100)
    assert values_of(table, "both")["pearson"] == pytest.approx(0, abs=1e-9)
    assert np.isnan(values_of(table, "both", "low")["pearson"])  # no spread is left


def test_blocks_of_resamples_take_turns_through_the_draws(cell, monkeypatch):
    grades, _, confidences = cell
    monkeypatch.setattr(resampling, "_BLOCK_WEIGHTS", 1)  # 50 resamples, with 4 draws
    monkeypatch.setattr(resampling, "_BLOCK_CONFIDENCES", 1)
    kinds = np.full((4, 40), 0.5), np.tile(confidences, (4, 1))
    estimates = {"flat": kinds[0], "probe": kinds[1], "both": np.concatenate(kinds)}
    table = run({name: estimate_of(draws) for name, draws in estimates.items()}, grades, 400)
    low, high = (
        {name: values_of(table, name, column)["resolution"] for name in estimates}
        for column in ("low", "high")
    )
    assert np.isnan(low["flat"])  # its resamples don't differ
    mixed = (high["probe"] - low["probe"]) / np.sqrt(2)  # half of the blocks don't spread
    assert high["both"] - low["both"] == pytest.approx(mixed, rel=0.1)


def test_results_follow_from_the_generator(cell):
    grades, _, confidences = cell
    estimates = {"probe": estimate_of(confidences), "other": estimate_of(confidences**2)}
    first, again, other = (
        evaluate(estimates, grades, np.random.default_rng(seed), 20) for seed in (3, 3, 4)
    )
    for tables in zip(first, again, other, strict=True):
        assert tables[0].equals(tables[1], null_equal=True)
        assert not tables[0].equals(tables[2], null_equal=True)


@pytest.mark.filterwarnings("error")
def test_no_resamples_give_values_without_intervals(cell):
    grades, _, confidences = cell
    table = run({"probe": estimate_of(confidences)}, grades, resamples=0)
    assert table["value"].is_not_nan().all()
    assert table["low"].is_nan().all()
    assert table["samples_low"].is_nan().all()


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


def test_the_losses_of_single_responses_are_those_of_the_tables(cell):
    grades, _, confidences = cell
    estimate = estimate_of(confidences, samples_used=2)
    values = values_of(run({"probe": estimate}, grades), "probe")
    joined = grades.filter(pl.col("sample_index") >= 2).join(
        estimate.confidences.select("question_id", "confidence"), on="question_id"
    )
    errors = joined["confidence"] - (joined["outcome"] == "correct").cast(pl.Float64)
    assert values["brier_response"] == pytest.approx((errors**2).mean())
    assert values["brier_response"] - values["brier"] == pytest.approx(values["variance"])
