import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from benchmark.metrics.evaluate import evaluate
from benchmark.records import DIFFERENCE
from benchmark.report.ranking import ranked, ranks
from benchmark.report.tables.cell import best_estimators
from tests.metrics.questions import estimate_of, grades_of


def cell_with(cell, values, apart=(), *, answered=None, metric="brier", untested=()):
    """Return the cell with these values of a metric, and which pairs ``apart`` tells apart."""
    rows = cell.metrics.filter(metric="brier").filter(pl.col("estimator").is_in([*values]))
    rows = rows.with_columns(
        metric=pl.lit(metric),
        value=pl.col("estimator").replace_strict(values, return_dtype=pl.Float64),
        answered=pl.col("estimator").replace_strict(answered or {}, default=60),
    )
    size = abs if metric == "signed_error" else float
    differences = [
        {
            "metric": "brier" if metric == "brier_unbiased" else metric,
            "estimator": a,
            "other": b,
            "difference": size(values[a]) - size(values[b]),
            "p_holm": 0.01 if {a, b} in apart else 0.05,
        }
        for a, b in combinations(values, 2)
        if {a, b} not in untested
    ]
    return replace(cell, metrics=rows, differences=pl.DataFrame(differences, schema=DIFFERENCE))


def test_what_a_difference_doesn_t_tell_from_the_best_is_best_as_well(cell):
    values = {"probe": 0.1, "p_true": 0.11, "verbalized": 0.2, "random": 0.3}
    apart = [{"probe", "verbalized"}, {"probe", "random"}, {"verbalized", "random"}]
    assert ranks(cell_with(cell, values, apart), "brier") == {
        "probe": "best", "p_true": "best", "verbalized": "runner-up",
    }  # fmt: skip


def test_where_nothing_is_told_apart_all_are_best_and_none_is_runner_up(cell):
    values = {"probe": 0.1, "p_true": 0.2, "random": 0.3}
    assert set(ranks(cell_with(cell, values), "brier").values()) == {"best"}


def test_oracles_and_those_that_left_many_questions_out_don_t_compete(cell):
    values = {"oracle_cc": 0.0, "verbalized": 0.01, "probe": 0.1, "random": 0.3}
    shown = cell_with(cell, values, [{"probe", "random"}], answered={"verbalized": 56})
    assert ranks(shown, "brier") == {"probe": "best", "random": "runner-up"}


def test_the_direction_is_that_of_the_metric(cell):
    values = {"probe": 0.9, "p_true": -0.1}
    both = [{"probe", "p_true"}]
    for metric, best in (("spearman", "probe"), ("brier", "p_true"), ("signed_error", "p_true")):
        assert ranks(cell_with(cell, values, both, metric=metric), metric)[best] == "best"
    assert ranks(cell_with(cell, values, both, metric="tokens"), "tokens") == {}


def test_only_those_that_are_asked_for_compete(cell):
    values = {"p_true": 0.01, "probe": 0.1, "random": 0.3}
    shown = cell_with(cell, values, [{"probe", "random"}])
    assert ranks(shown, "brier", among=["probe", "random"])["probe"] == "best"


def test_without_a_test_of_every_pair_nothing_is_marked(cell):
    values = {"p_true": 0.01, "probe": 0.1, "random": 0.3}
    assert ranks(cell_with(cell, values, untested=[{"probe", "random"}]), "brier") == {}
    assert ranks(cell_with(cell, {"p_true": math.nan, "probe": 0.1}), "brier") == {}


def test_one_estimator_alone_is_best_of_nothing():
    assert ranked({"probe": 0.1}, lambda *_: True) == {}
    assert ranked({}, lambda *_: True) == {}


def test_an_estimator_between_two_that_differ_ties_with_the_better_one():
    # a and c differ, b differs from neither
    apart = {frozenset("ac")}
    found = ranked({"a": 1, "b": 2, "c": 3}, lambda *pair: frozenset(pair) in apart)
    assert found == {"a": "best", "b": "best", "c": "runner-up"}


@pytest.mark.parametrize("p", [0.049, 0.05])
def test_the_level_is_0_05_exclusive(cell, p):
    shown = cell_with(cell, {"probe": 0.1, "random": 0.3})
    shown = replace(shown, differences=shown.differences.with_columns(p_holm=pl.lit(p)))
    assert (ranks(shown, "brier")["random"] == "best") == (p == 0.05)


def made_cell(cell, confidences, correct, used):
    """The cell of these estimators, evaluated; ``used`` says who read how many responses."""
    estimates = {
        name: estimate_of(values, samples_used=used.get(name, 0))
        for name, values in confidences.items()
    }
    metrics, differences = evaluate(
        estimates, grades_of(correct), np.random.default_rng(0), resamples=400
    )
    return replace(cell, estimates=estimates, metrics=metrics, differences=differences)


@pytest.fixture(scope="module")
def target_sizes(cell):
    """One estimator has read 20 of 24 responses and is better, but its own target is noisier."""
    rng = np.random.default_rng(0)
    p = rng.random(400)
    correct = rng.random((400, 24)) < p[:, None]
    confidences = {
        "x": np.clip(p + rng.normal(0, 0.16, 400), 0, 1),
        "consistency": correct[:, :20].mean(axis=1),
    }
    return made_cell(cell, confidences, correct, {"consistency": 20})


@pytest.mark.parametrize("metric", ["brier", "brier_unbiased", "r2", "spearman", "pearson"])
def test_the_better_one_on_a_shared_target_is_best_whatever_is_left_for_its_own(
    target_sizes, metric
):
    rows = target_sizes.metrics.filter(metric="brier")
    values = dict(rows.select("estimator", "value").iter_rows())
    assert values["x"] < values["consistency"]  # the noise of 4 responses against that of 24
    assert ranks(target_sizes, metric) == {"consistency": "best", "x": "runner-up"}
    assert best_estimators(target_sizes, metric) == ["consistency"]


def test_unbiased_brier_scores_are_ranked_where_one_response_is_left_to_all(cell):
    rng = np.random.default_rng(0)
    p = rng.random(60)
    correct = rng.random((60, 6)) < p[:, None]
    names = ("probe", "p_true", "consistency")
    confidences = {name: np.clip(p + rng.normal(0, 0.1, 60), 0, 1) for name in names}
    shown = made_cell(cell, confidences, correct, {"consistency": 5})
    tested = shown.differences.filter(metric="brier_unbiased")["p_holm"]
    assert tested.is_nan().all()
    both = {"probe", "p_true"}  # the third one's own is undefined
    assert set(best_estimators(shown, "brier_unbiased")) == both
    assert both <= set(best_estimators(shown, "brier"))
