from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from cells import confidence_table

from benchmark.capability.counts import count_outcomes
from benchmark.metrics.ece import reliability_curve
from benchmark.records import GRADE, ChosenProbe, Estimate
from benchmark.report import plotted as points


def grades_of(**correct):
    """One question per name, one character per response: 1 is correct."""
    rows = [
        (question, i, "a", "correct" if char == "1" else "incorrect", None, "g")
        for question, chars in correct.items()
        for i, char in enumerate(chars)
    ]
    return pl.DataFrame(rows, schema=GRADE, orient="row")


def test_the_two_targets_are_made_of_different_responses():
    targets = points.two_targets(grades_of(a="1000", b="0111"))
    assert targets.response.tolist() == [1, 0]
    assert targets.accuracy.tolist() == [0, 1]


def test_flip_is_the_chance_that_two_responses_differ():
    # a: of 6 pairs of responses 3 differ; b: none does
    assert points.two_targets(grades_of(a="1000", b="1111")).flip == pytest.approx(0.25)


def test_a_single_response_gives_no_pair_of_targets():
    targets = points.two_targets(grades_of(a="1", b="0"))
    assert len(targets.response) == 0
    assert np.isnan(targets.flip)


def test_figures_use_the_target_that_leaves_out_the_confidence_s_own_responses(cell):
    paired = points.pair(cell)["consistency_10"]
    rest = count_outcomes(cell.grades, skip_samples=10)
    np.testing.assert_allclose(paired.c / paired.n, rest["c"] / rest["n"])


def test_the_reliability_diagram_is_the_metric_s_curve_with_intervals_around_it(cell):
    paired = points.pair(cell, points.RESAMPLES)["probe"]
    diagram = points.reliability(paired)
    curve = reliability_curve(paired.confidences[0], paired.n, paired.c)
    np.testing.assert_allclose(diagram.accuracy, curve.expected_accuracy)
    np.testing.assert_allclose(diagram.confidence, curve.mean_confidence)
    np.testing.assert_allclose(diagram.share, curve.counts / len(paired.n))
    known = ~np.isnan(diagram.low)  # not at a bound, and not of one question
    assert known.sum() > 5
    assert not known[curve.counts == 1].any()
    assert (diagram.low < diagram.accuracy)[known].all()
    assert (diagram.accuracy < diagram.high)[known].all()


def test_a_bin_of_one_question_has_no_interval(cell):
    paired = points.pair(cell, points.RESAMPLES)["probe"]
    alone = replace(paired, confidences=np.array([[0.95, *np.full(len(paired.n) - 1, 0.45)]]))
    diagram = points.reliability(alone)
    assert np.isnan([diagram.low[9], diagram.high[9]]).all()
    assert diagram.low[4] < diagram.accuracy[4] < diagram.high[4]


def test_the_reliability_diagram_pools_the_draws(cell):
    paired = points.pair(cell, points.RESAMPLES)["oracle_rc"]
    diagram = points.reliability(paired)
    draws = paired.confidences[: points.SHOWN_DRAWS]
    right = np.broadcast_to(paired.c / paired.n, draws.shape)[draws == 1].mean()
    assert diagram.accuracy[-1] == pytest.approx(right)
    assert diagram.share[-1] == pytest.approx((draws == 1).mean())


def test_each_question_counts_the_same_in_the_diagram_however_many_draws_it_has(cell):
    paired = points.pair(cell, points.RESAMPLES)["probe"]
    draws = np.full((3, len(paired.n)), np.nan)
    draws[0] = draws[1:, :10] = 0.95
    few = points.reliability(replace(paired, confidences=draws))
    assert few.accuracy[-1] == pytest.approx((paired.c / paired.n).mean())
    alone = points.reliability(replace(paired, confidences=draws[:1]))
    np.testing.assert_allclose([few.low[-1], few.high[-1]], [alone.low[-1], alone.high[-1]])


def test_a_reliability_diagram_without_confidences_is_undefined(cell):
    ids = cell.capability["question_id"].to_list()
    estimate = Estimate(confidence_table(ids, np.full(len(ids), np.nan)))
    rng = np.random.default_rng(0)
    ((_, paired),) = points.pair_estimates({"verbalized": estimate}, cell.grades, rng, 5)
    assert np.isnan(points.reliability(paired).accuracy).all()


def test_probes_inside_others_are_shown_once_each(cell):
    own = cell.estimates["probe"]
    chosen = own.probes[""]
    worse = ChosenProbe(chosen.selection.with_columns(pl.col("validation_brier") + 0.1))
    inside = {
        "same": replace(own, probes={".base": chosen}),
        "mean": replace(own, probes={".of.a": chosen, ".of.b": worse}),
    }
    shown = points.probe_selections(replace(cell, estimates=inside | cell.estimates))
    assert list(shown) == ["probe", "mean.of.b"]
    assert shown["mean.of.b"].equals(worse.selection)
    alone = points.probe_selections(replace(cell, estimates={"same": inside["same"]}))
    assert list(alone) == ["same.base"]


def test_counts_on_an_edge_are_in_the_upper_bin_and_the_last_bin_holds_one():
    c = np.array([0, 15, 30, 35, 70, 100])  # 0.15, 0.3, 0.35 and 0.7 are no exact floats
    shares = points.count_histogram(c, np.full(6, 100))
    assert np.flatnonzero(shares).tolist() == [0, 3, 6, 7, 14, 19]
    assert shares.sum() == pytest.approx(100)
