import numpy as np
import polars as pl
import pytest
from cells import simulate_cell

from benchmark.applications import aurc, normalised_aurc, validation_half
from benchmark.applications.abstention.abstention import CURVE, Abstention
from benchmark.errors import ConfigError
from benchmark.records import ABSTENTION, ABSTENTION_METRIC, ABSTENTION_TARGET
from tests.applications.counted import counted_cell, ids_by_half, study


@pytest.fixture(scope="module")
def cell():
    return simulate_cell(n_questions=80, k=12)


@pytest.fixture(scope="module")
def tables(cell):
    return Abstention(coverages=[0.5], targets=[0.5, 0.7, 1.0]).evaluate(cell, study())


def test_each_table_has_its_schema_and_every_estimator(cell, tables):
    schemas = {
        "abstention": ABSTENTION,
        "abstention_metrics": ABSTENTION_METRIC,
        "abstention_targets": ABSTENTION_TARGET,
    }
    assert {name: table.schema for name, table in tables.items()} == schemas
    for table in tables.values():
        assert list(table["estimator"].unique(maintain_order=True)) == list(cell.estimates)


def test_values_are_those_of_the_pure_functions(cell, tables):
    counts = cell.capability.sort("question_id")
    probe = cell.estimates["probe"].confidences.sort("question_id")["confidence"].to_numpy()
    arrays = probe, counts["n"].to_numpy(), counts["c"].to_numpy()
    rows = tables["abstention_metrics"].filter(pl.col("estimator") == "probe")
    values = dict(rows.filter(pl.col("coverage").is_null())["metric", "value"].iter_rows())
    assert values == pytest.approx(
        {
            "aurc": float(aurc(*arrays)),
            "excess_aurc": float(aurc(*arrays) - aurc(arrays[2] / arrays[1], *arrays[1:])),
            "normalised_aurc": float(normalised_aurc(*arrays)),
        }
    )
    curve = tables["abstention"].filter(pl.col("estimator") == "probe")
    at_half = curve.filter(pl.col("coverage") == 0.5)["risk"][0]
    assert rows.filter(pl.col("coverage") == 0.5)["value"][0] == pytest.approx(1 - at_half)
    assert curve["coverage"].to_list() == CURVE.tolist()
    full = 1 - (counts["c"] / counts["n"]).mean()
    assert curve["risk"][-1] == pytest.approx(full)
    assert (curve["oracle_risk"] <= curve["risk"] + 1e-12).all()
    assert (curve["low"] <= curve["risk"]).all()
    assert (curve["risk"] <= curve["high"]).all()


def test_a_random_confidence_is_averaged_over_its_draws(tables):
    rows = tables["abstention_metrics"].filter(pl.col("metric") == "normalised_aurc")
    values = dict(rows["estimator", "value"].iter_rows())
    assert values["oracle_cc"] == pytest.approx(0)
    assert values["random"] == pytest.approx(1, abs=0.15)
    assert values["probe"] < values["random"]


def test_the_responses_that_made_a_confidence_are_no_part_of_its_target(cell, tables):
    later = cell.grades.filter(pl.col("sample_index") >= 5)
    accuracy = (later["outcome"] == "correct").mean()
    curve = tables["abstention"].filter(pl.col("estimator") == "consistency_5")
    assert curve["risk"][-1] == pytest.approx(1 - accuracy)


def test_a_threshold_is_chosen_on_one_half_and_verified_on_the_other():
    c = [4, 3, 0, 0, 4, 1, 0, 4]
    confidences = [0.9, 0.8, 0.4, 0.1, 0.95, 0.85, 0.7, 0.2]
    small = counted_cell(ids_by_half(4), 4, c, {"probe": confidences})
    table = Abstention(coverages=[], targets=[0.58, 0.8, 0.9, 1.0]).evaluate(small, study())
    rows = table["abstention_targets"].rows_by_key("target", named=True, unique=True)
    row = rows[0.8]
    assert row["threshold"] == 0.8
    assert (row["validation_questions"], row["test_questions"]) == (4, 4)
    assert (row["validation_coverage"], row["validation_accuracy"]) == (0.5, 0.875)
    assert (row["coverage"], row["accuracy"]) == (0.5, 0.625)
    assert row["met"] is False
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    assert (rows[0.58]["threshold"], rows[0.58]["coverage"]) == (0.4, 0.75)  # 7 / 12 are right
    assert rows[0.9]["threshold"] == rows[1.0]["threshold"] == 0.9
    assert (rows[1.0]["accuracy"], rows[1.0]["met"]) == (1, True)


def test_a_target_that_no_threshold_reaches_answers_nothing():
    small = counted_cell(ids_by_half(3), 4, 3, {"probe": [0.5] * 6})
    table = Abstention(coverages=[], targets=[0.9]).evaluate(small, study())["abstention_targets"]
    row = table.row(0, named=True)
    assert np.isnan([row["threshold"], row["accuracy"], row["validation_accuracy"]]).all()
    assert (row["coverage"], row["validation_coverage"], row["met"]) == (0, 0, None)


def test_a_question_without_a_confidence_ranks_last_and_passes_no_threshold():
    confidences = [0.0, np.nan, 0.0, np.nan]
    small = counted_cell(ids_by_half(2), 2, [2, 0, 2, 0], {"verbalized": confidences})
    tables = Abstention(coverages=[0.5], targets=[0.5]).evaluate(small, study())
    rows = tables["abstention_metrics"]
    assert rows.filter(pl.col("coverage") == 0.5)["value"].to_list() == [1.0]
    assert rows["answered", "questions"].unique().rows() == [(2, 4)]
    row = tables["abstention_targets"].row(0, named=True)
    assert (row["threshold"], row["coverage"], row["accuracy"]) == (0.0, 0.5, 1.0)


@pytest.mark.filterwarnings("error")
def test_an_estimator_that_gave_no_confidence_has_no_curve():
    silent = counted_cell(ids_by_half(3), 4, [0, 1, 2, 3, 4, 4], {"silent": [np.nan] * 6})
    tables = Abstention(coverages=[0.5], targets=[0.5]).evaluate(silent, study(10))
    assert tables["abstention"]["risk"].is_nan().all()
    assert tables["abstention_metrics"]["value"].is_nan().all()
    assert tables["abstention_targets"]["met"].to_list() == [None]


def test_halves_do_not_depend_on_the_other_questions():
    ids = [f"basics/test/{number}" for number in range(4000)]
    half = validation_half(ids)
    assert abs(half.mean() - 0.5) < 0.03
    assert validation_half(ids[::-1]).tolist() == half[::-1].tolist()
    assert validation_half(ids[:10]).tolist() == half[:10].tolist()


def test_the_interval_of_the_verified_accuracy_covers_its_expectation():
    rng = np.random.default_rng(3)
    ids = [f"q{number}" for number in range(200)]
    p = rng.beta(2, 1, (40, 200))
    covered = 0
    for row in p:  # the confidence says nothing, so every threshold has the mean accuracy
        small = counted_cell(ids, 4, rng.binomial(4, row), {"random": rng.random(200)})
        table = Abstention(coverages=[], targets=[0.5]).evaluate(small, study(100))
        found = table["abstention_targets"].row(0, named=True)
        covered += found["accuracy_low"] <= 2 / 3 <= found["accuracy_high"]
    assert covered >= 34  # 38 of 40 expected


@pytest.mark.parametrize("name", ["coverages", "targets"])
@pytest.mark.parametrize("value", [0.0, 1.01, -0.5, float("nan")])
def test_shares_out_of_range_are_refused(name, value):
    settings = {"coverages": [0.5], "targets": [0.5], name: [0.9, value]}
    with pytest.raises(ConfigError, match=f"{name} has {value:g} in it"):
        Abstention(**settings)
