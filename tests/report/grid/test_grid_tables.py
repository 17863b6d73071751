from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from cells import only

from benchmark.applications import Budget, Study
from benchmark.records import DIFFERENCE, ChosenProbe
from benchmark.report.grid import make_grid
from benchmark.report.tables.grid import GRID_TABLE, grid_tables

PLACE = ("gpt_oss_20b", "math_500")


@pytest.fixture(scope="module")
def cell(cell):
    """A cell that the paper has numbers for, with a probe of its own data and one of others."""
    names = {"probe": "probe_own", "consistency_10": "probe_math"}
    renamed = pl.col("estimator").replace(names)
    selection = cell.estimates["probe"].probes[""].selection
    estimates = {names.get(name, name): made for name, made in cell.estimates.items()}
    for name in names.values():
        estimates[name] = replace(estimates[name], probes={"": ChosenProbe(selection)})
    passes = cell.applications["pass_at_k"].with_columns(estimator=renamed)
    shown = replace(
        cell,
        model=PLACE[0],
        dataset=PLACE[1],
        estimates=estimates,
        metrics=cell.metrics.with_columns(estimator=renamed),
        applications={"pass_at_k": passes},
    )
    budget = Budget(budgets=[1, 4], orders=1).evaluate(
        only(shown, "probe_math", "verbalized"), Study(np.random.default_rng(0), 5, None)
    )
    return replace(shown, applications=shown.applications | budget)


@pytest.fixture(scope="module")
def tables(cell):
    return {table.name: table for table in grid_tables(make_grid([cell]))}


def test_every_table_of_the_paper_is_made(tables):
    assert [*tables] == [
        "brier", "ece", "spearman", "auroc", "selected", "flipped", "transfer", "oracles",
        "pass_at_k", "budget", "accuracy",
    ]  # fmt: skip
    assert all(table.rows.schema == GRID_TABLE for table in tables.values())
    assert all(len(table.note) > 20 for table in tables.values())


def test_each_metric_is_beside_the_paper_s_number_and_the_difference(tables, cell):
    row = tables["brier"].rows.row(by_predicate=pl.col("estimator") == "verbalized", named=True)
    ours = cell.metrics.filter(metric="brier", estimator="verbalized").row(0, named=True)
    assert {key: row[key] for key in ("value", "low", "high", "answered")} == {
        key: ours[key] for key in ("value", "low", "high", "answered")
    }
    assert row["reported"] == 0.0186  # Table C, MATH-500, gpt-oss-20b
    assert row["difference"] == pytest.approx(ours["value"] - 0.0186)
    assert row["source"].startswith("Table C (corrected)")
    others = tables["brier"].rows.filter(estimator="family_mean")
    assert others.select("reported", "difference", "source").row(0) == (None, None, None)


def test_oracles_have_a_table_of_their_own(tables):
    assert set(tables["oracles"].rows["estimator"]) == {"oracle_cc", "oracle_rc"}
    assert set(tables["oracles"].rows["metric"]) == {"brier", "ece", "spearman"}
    assert not {"oracle_cc", "oracle_rc"} & set(tables["brier"].rows["estimator"])
    brier = tables["oracles"].rows.filter(estimator="oracle_rc", metric="brier")
    assert brier["reported"].item() == 0.0172


def test_the_transfer_table_holds_the_probes_and_ranks_them_alone(tables, cell):
    assert set(tables["transfer"].rows["estimator"]) == {"probe_own", "probe_math"}
    pairs = [("probe_own", "probe_math", 0.01), ("probe_own", "p_true", 0.01)]
    pairs += [("probe_math", "p_true", 0.01)]
    differences = pl.DataFrame(
        [
            {"metric": "brier", "estimator": a, "other": b, "difference": -0.1, "p_holm": p}
            for a, b, p in pairs
        ],
        schema=DIFFERENCE,
    )
    shown = replace(only(cell, "probe_own", "probe_math", "p_true"), differences=differences)
    found = {table.name: table for table in grid_tables(make_grid([shown]))}
    ranks = dict(found["transfer"].rows.select("estimator", "rank").rows())
    assert ranks == {"probe_own": "best", "probe_math": "runner-up"}
    assert set(found["brier"].rows["rank"]) == {"best", "runner-up", None}


def test_nobody_stands_out_where_no_difference_tells_anybody_apart(cell):
    pairs = [*combinations(("probe_own", "probe_math", "p_true"), 2)]
    for p, marks in ((0.06, {None}), (0.04, {"best", "runner-up", None})):
        rows = [
            {"metric": "brier", "estimator": a, "other": b, "difference": -0.1, "p_holm": p}
            for a, b in pairs
        ]
        differences = pl.DataFrame(rows, schema=DIFFERENCE)
        shown = replace(only(cell, "probe_own", "probe_math", "p_true"), differences=differences)
        (table,) = (t for t in grid_tables(make_grid([shown])) if t.name == "brier")
        assert set(table.rows["rank"]) == marks


def test_pass_at_k_is_compared_at_each_k_that_the_paper_has(tables):
    rows = tables["pass_at_k"].rows.filter(estimator="probe_math").sort("k")
    assert rows["k"].to_list() == [1, 2, 4, 8]
    assert rows["reported"].to_list() == [0.0267, None, 0.0175, None]


def test_budgets_are_uniform_or_greedy_by_an_estimator(tables):
    rows = tables["budget"].rows
    assert set(rows["estimator"]) == {"uniform", "probe_math", "verbalized"}
    uniform = rows.filter(estimator="uniform", k=1)
    assert uniform["reported"].item() == pytest.approx(0.9524, abs=1e-3)
    assert uniform["value"].item() == pytest.approx(
        tables["accuracy"].rows["value"].item(), abs=0.1
    )


def test_the_mean_accuracy_has_an_interval_around_it(tables, cell):
    row = tables["accuracy"].rows.row(0, named=True)
    assert row["value"] == pytest.approx((cell.capability["c"] / cell.capability["n"]).mean())
    assert row["low"] < row["value"] < row["high"]
    assert row["reported"] == 0.95662


def test_a_table_that_no_cell_has_numbers_for_is_left_out(cell):
    bare = replace(only(cell, "p_true"), applications={})
    assert [table.name for table in grid_tables(make_grid([bare]))] == [
        "brier", "ece", "spearman", "auroc", "accuracy",
    ]  # fmt: skip


def test_cells_come_in_the_order_of_the_grid(grid):
    brier = grid_tables(grid)[0].rows
    places = brier.select("model", "dataset").unique(maintain_order=True).rows()
    assert places == [
        ("olmo3_7b", "triviaqa"), ("olmo3_7b", "math_500"), ("gpt_oss_20b", "triviaqa"),
    ]  # fmt: skip
