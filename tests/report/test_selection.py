from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from cells import confidence_table

from benchmark.capability.counts import count_outcomes
from benchmark.metrics.evaluate import evaluate
from benchmark.records import GRADE, Estimate
from benchmark.report.grid import make_grid
from benchmark.report.selection import selected_by_one_response
from benchmark.report.tables.grid import grid_tables


def cell_of(cell, counts, **confidences):
    """A cell of questions with this many of 10 responses correct."""
    rows = [
        (f"q{q}", i, "a", "correct" if i < c else "incorrect", None, "g")
        for q, c in enumerate(counts)
        for i in range(10)
    ]
    grades = pl.DataFrame(rows, schema=GRADE, orient="row")
    ids = [f"q{q}" for q in range(len(counts))]
    estimates = {
        name: value if isinstance(value, Estimate) else Estimate(confidence_table(ids, value))
        for name, value in confidences.items()
    }
    metrics, differences = evaluate(estimates, grades, np.random.default_rng(0), 10)
    return replace(
        cell, grades=grades, capability=count_outcomes(grades), estimates=estimates,
        metrics=metrics, differences=differences, applications={}, left_out=grades.clear(),
    )  # fmt: skip


def test_one_response_selects_by_its_outcome(cell):
    # right: 0.9 is nearer, wrong: 0.4 is; by c / n = 0.7 the first is as near as 0.5 is
    found = selected_by_one_response(cell_of(cell, [7], high=[0.9], low=[0.4]))
    assert found["high"] == pytest.approx(0.7, abs=0.02)
    assert sum(found.values()) == pytest.approx(1)


def test_the_best_by_counts_comes_first_whatever_is_selected(cell):
    found = selected_by_one_response(cell_of(cell, [5] * 4, sure=[1.0] * 4, fair=[0.5] * 4))
    assert [*found] == ["fair", "sure"]
    # "sure" wins where all four are right, and shares it where three are
    assert found["fair"] == pytest.approx(13 / 16, abs=0.02)


def test_estimators_that_are_alike_share_the_selection(cell):
    found = selected_by_one_response(cell_of(cell, [3, 8], a=[0.3, 0.8], b=[0.3, 0.8]))
    assert found == {"a": 0.5, "b": 0.5}


def test_oracles_random_ones_those_that_read_responses_and_those_that_rarely_answer_stay_out(cell):
    ids = ["q0", "q1"]
    oracle = Estimate(confidence_table(ids, [0.3, 0.8]), oracle=True)
    reads = Estimate(confidence_table(ids, [0.3, 0.8]), samples_used=2)
    draws = Estimate(confidence_table(ids, [[0.1, 0.2], [0.3, 0.4]]))
    silent = [0.3, np.nan]
    given = {"oracle": oracle, "reads": reads, "draws": draws, "silent": silent}
    assert selected_by_one_response(cell_of(cell, [3, 8], a=[0.1, 0.2], **given)) == {}


def test_the_tables_say_how_often_each_is_selected_and_how_often_not_the_best(cell):
    shown = cell_of(cell, [5] * 4, p_true=[1.0] * 4, verbalized=[0.5] * 4)
    tables = {t.name: t.rows for t in grid_tables(make_grid([shown]))}
    selected = dict(tables["selected"]["estimator", "value"].iter_rows())
    assert tables["flipped"]["value"].to_list() == [1 - selected["verbalized"]]
    theirs = replace(shown, model="gpt_oss_20b", dataset="math_500")
    tables = {t.name: t.rows for t in grid_tables(make_grid([theirs]))}
    assert tables["selected"].filter(estimator="verbalized")["reported"].item() == 0.794
    assert tables["flipped"]["reported"].item() == pytest.approx(0.206)
