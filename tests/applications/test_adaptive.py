from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

from benchmark.applications import fit_beta_binomial
from benchmark.applications.adaptive import (
    ACCURACY,
    AS_MANY,
    DESIGNS,
    MOST,
    STOPPED,
    UNBIASED,
    Adaptive,
)
from benchmark.capability.sequential import sequential_estimate
from benchmark.errors import ConfigError, DataError
from benchmark.metrics.evaluate import evaluate
from benchmark.records import ADAPTIVE, ADAPTIVE_QUESTION, COSTS
from benchmark.sampling.adaptive import StoppingRule, stopped_counts
from tests.applications.counted import counted_cell, study

RULE = StoppingRule(k_min=3, k_max=9, round=2, width=0.6)


def stopped_cell(size=200, seed=0, rule=RULE, **estimates):
    """A cell whose questions stopped by the rule, with confidences near the truth."""
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 0.7, size)
    outcomes = rng.random((size, rule.k_max)) < p[:, None]
    n = stopped_counts(outcomes, rule)
    c = np.where(np.arange(rule.k_max) < n[:, None], outcomes, 0).sum(axis=1)
    near = np.clip(p + rng.normal(0, 0.1, size), 0, 1)
    ids = [f"q{number:03d}" for number in range(size)]
    return counted_cell(ids, n, c, {"probe": near, **estimates})


def effects(cell, simulations=200, seed=0):
    adaptive = Adaptive(**RULE._asdict(), simulations=simulations)
    return adaptive.evaluate(cell, study(seed=seed))


def rows_of(tables, metric, estimator="probe"):
    chosen = tables["adaptive"].filter(
        pl.col("metric") == metric, pl.col("estimator").eq_missing(pl.lit(estimator))
    )
    return chosen.rows_by_key("design", named=True, unique=True)


@pytest.fixture(scope="module")
def cell():
    return stopped_cell()


@pytest.fixture(scope="module")
def tables(cell):
    return effects(cell)


NOT_REPLAYED = [*COSTS, "r2_ceiling"]  # not the confidences'


def test_tables_have_their_schemas_and_every_metric_in_every_design(cell, tables):
    assert tables["adaptive"].schema == ADAPTIVE
    assert tables["adaptive_questions"].schema == ADAPTIVE_QUESTION
    metrics = evaluate(cell.estimates, cell.grades, np.random.default_rng(0), 0).metrics["metric"]
    expected = {(None, ACCURACY), *(("probe", m) for m in metrics if m not in NOT_REPLAYED)}
    found = tables["adaptive"]["estimator", "metric", "design"].rows()
    assert set(found) == {(*key, design) for key in expected for design in DESIGNS}


def test_values_by_share_are_those_of_the_cells_metrics(cell, tables):
    metrics = evaluate(cell.estimates, cell.grades, np.random.default_rng(0), 0).metrics
    replayed = metrics.filter(~pl.col("metric").is_in(NOT_REPLAYED))
    for metric, value in replayed["metric", "value"].rows():
        assert rows_of(tables, metric)[STOPPED]["value"] == pytest.approx(value)
        assert rows_of(tables, metric)[MOST]["value"] is None


def test_unbiased_values_take_the_estimate_that_accounts_for_stopping(cell, tables):
    counts = cell.capability.sort("question_id")
    n, c = counts["n"].to_numpy(), counts["c"].to_numpy()
    p, squared = sequential_estimate(n, c, RULE)
    conf = cell.estimates["probe"].confidences.sort("question_id")["confidence"].to_numpy()
    assert rows_of(tables, ACCURACY, None)[UNBIASED]["value"] == pytest.approx(p.mean())
    assert rows_of(tables, ACCURACY, None)[STOPPED]["value"] == pytest.approx((c / n).mean())
    expected = {
        "signed_error": (conf - p).mean(),
        "brier": ((conf - p) ** 2).mean(),
        "brier_unbiased": (conf**2 - 2 * conf * p + squared).mean(),
        "brier_response": (conf**2 - 2 * conf * p + p).mean(),
    }
    for metric, value in expected.items():
        assert rows_of(tables, metric)[UNBIASED]["value"] == pytest.approx(value, abs=1e-5)
    assert tables["adaptive_questions"]["accuracy"].to_list() == pytest.approx(p.tolist())


def test_simulated_biases_are_those_of_exact_enumeration(tables, cell):
    """The bias of c / n, integrated over each question's posterior and every order of outcomes."""
    counts = cell.capability
    n, c = counts["n"].to_numpy(), counts["c"].to_numpy()
    fit = fit_beta_binomial(n, c)
    outcomes = np.array(list(product([0, 1], repeat=RULE.k_max)))
    stop = stopped_counts(outcomes, RULE)
    share = np.where(np.arange(RULE.k_max) < stop[:, None], outcomes, 0).sum(axis=1) / stop
    grid = (np.arange(400) + 0.5) / 400
    right = outcomes.sum(axis=1)
    bias = [share @ (p**right * (1 - p) ** (RULE.k_max - right)) - p for p in grid]
    posterior = beta.pdf(grid[:, None], fit.alpha + c, fit.beta + n - c)
    expected = (posterior / posterior.sum(axis=0) * np.array(bias)[:, None]).sum(axis=0).mean()
    found = rows_of(tables, ACCURACY, None)[STOPPED]
    assert found["bias"] == pytest.approx(expected, abs=4 * found["bias_error"])
    assert abs(expected) > 8 * found["bias_error"]


@pytest.mark.parametrize("metric", ["brier_unbiased", "brier_response", "signed_error"])
def test_the_estimate_removes_the_bias_of_what_is_linear_in_it(tables, metric):
    rows = rows_of(tables, metric)
    for design in (UNBIASED, MOST, AS_MANY):
        linear = design == UNBIASED or metric != "brier_response"  # c/n enters it squared
        if linear:
            assert rows[design]["bias"] == pytest.approx(0, abs=4 * rows[design]["bias_error"])
    assert abs(rows[STOPPED]["bias"]) > 6 * rows[STOPPED]["bias_error"]


def test_the_noise_of_the_target_is_what_fixed_sampling_adds_to_the_brier_score(tables, cell):
    counts = cell.capability
    n, c = counts["n"].to_numpy(), counts["c"].to_numpy()
    fit = fit_beta_binomial(n, c)
    a, b = fit.alpha + c, fit.beta + n - c
    noise = (a * b / ((a + b) * (a + b + 1))).mean() / RULE.k_max  # mean of p (1 - p) / n
    found = rows_of(tables, "brier")[MOST]
    assert found["bias"] == pytest.approx(noise, abs=4 * found["bias_error"])
    assert found["rmse"] >= abs(found["bias"])


def test_responses_by_design_say_what_was_saved(cell, tables):
    rows = rows_of(tables, "brier")
    drawn = len(cell.grades) / len(cell.capability)
    assert rows[STOPPED]["responses"] == rows[UNBIASED]["responses"] == pytest.approx(drawn)
    assert rows[MOST]["responses"] == RULE.k_max
    assert rows[AS_MANY]["responses"] == round(drawn)
    assert (tables["adaptive_questions"]["drawn"] == tables["adaptive_questions"]["n"]).all()


def test_responses_that_do_not_count_were_drawn_all_the_same(cell):
    first = cell.grades.filter(pl.col("sample_index") == 0)
    extra = first.with_columns(sample_index=pl.lit(99, pl.Int64), outcome=pl.lit("truncated"))
    questions = effects(replace(cell, left_out=extra), simulations=0)["adaptive_questions"]
    assert (questions["drawn"] == questions["n"] + 1).all()


def test_responses_that_made_a_confidence_are_left_out_of_both_estimates():
    cell = stopped_cell(300, seed=1)
    probe = cell.estimates["probe"]
    used = replace(cell, estimates={"consistency": replace(probe, samples_used=2)})
    rows = rows_of(effects(used, simulations=300), "signed_error", "consistency")
    assert rows[UNBIASED]["bias"] == pytest.approx(0, abs=4 * rows[UNBIASED]["bias_error"])
    assert rows[MOST]["bias"] == pytest.approx(0, abs=4 * rows[MOST]["bias_error"])
    assert abs(rows[STOPPED]["bias"]) > 6 * rows[STOPPED]["bias_error"]
    targets = evaluate(used.estimates, used.grades, np.random.default_rng(0), 0).metrics
    value = targets.filter(pl.col("metric") == "signed_error")["value"][0]
    assert rows[STOPPED]["value"] == pytest.approx(value)


def test_oracles_are_left_out_and_missing_confidences_are_allowed():
    silent = np.full(200, np.nan)
    some = np.where(np.arange(200) % 2, 0.5, np.nan)
    cell = stopped_cell(silent=silent, some=some)
    oracle = {"oracle_cc": replace(cell.estimates["probe"], oracle=True)}
    tables = effects(replace(cell, estimates=cell.estimates | oracle), simulations=3)
    assert set(tables["adaptive"]["estimator"]) == {None, "probe", "silent", "some"}
    assert np.isnan(rows_of(tables, "brier", "silent")[STOPPED]["bias"])
    assert not np.isnan(rows_of(tables, "brier", "some")[UNBIASED]["bias"])


def test_a_rule_that_never_stops_changes_nothing():
    rng = np.random.default_rng(0)
    ids = [f"q{number}" for number in range(50)]
    cell = counted_cell(ids, 9, rng.binomial(9, 0.5, 50), {"probe": rng.random(50)})
    tables = Adaptive(k_min=3, k_max=9, round=2, width=0.01, simulations=5).evaluate(cell, study())
    rows = rows_of(tables, "brier_unbiased")
    assert rows[UNBIASED]["value"] == pytest.approx(rows[STOPPED]["value"])
    assert rows[UNBIASED]["bias"] == pytest.approx(rows[MOST]["bias"], abs=1e-4)
    assert rows[STOPPED]["responses"] == rows[MOST]["responses"]


@pytest.mark.filterwarnings("error")
def test_counts_that_say_nothing_of_the_accuracies_are_not_simulated():
    cell = counted_cell(["a", "b"], 3, 3, {"probe": [0.5, 0.9]})
    table = effects(cell, simulations=3)["adaptive"]
    assert table["bias"].is_nan().all()
    assert table.filter(metric=ACCURACY)["value"].to_list() == [1, 1, None, None]


def test_counts_of_other_settings_are_refused():
    cell = counted_cell(["a", "b"], [9, 9], [9, 4], {"probe": [0.5, 0.9]})  # 3 of 3 stops
    with pytest.raises(DataError, match=r"n = 9 with c = 9, .* other settings stopped"):
        effects(cell)


def test_fewer_than_no_simulations_are_refused():
    with pytest.raises(ConfigError, match="simulations=-1 must be at least 0"):
        effects(stopped_cell(5), simulations=-1)
