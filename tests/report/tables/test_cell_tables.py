import io
import math
from dataclasses import replace
from itertools import combinations

import polars as pl
from cells import confidence_table
from rich.console import Console

from benchmark.records import DIFFERENCE, METRIC, Estimate
from benchmark.report.style import metric_look
from benchmark.report.tables.cell import (
    best_estimators,
    comparisons,
    metric_lines,
    metric_names,
    metric_table,
    page_tables,
)
from benchmark.report.tables.formats import Entry


def metrics_of(**values):
    """``name=(value, answered of 100)`` of one metric, brier."""
    rows = [
        (name, "brier", *[v, v - 0.1, v + 0.1], v, v, *[v + 0.02, v - 0.1, v + 0.1], a, 100)
        for name, (v, a) in values.items()
    ]
    return pl.DataFrame(rows, schema=METRIC, orient="row")


def cell_of(cell, **values):
    estimate = Estimate(confidence_table(["q"], [0.5]))
    estimates = {name: replace(estimate, oracle=name == "oracle_cc") for name in values}
    untested = differences_of({name: value for name, (value, _) in values.items()})
    return replace(cell, estimates=estimates, metrics=metrics_of(**values), differences=untested)


def differences_of(values, metric="brier"):
    """The differences of each two values, as they are without resamples."""
    rows = [
        (metric, a, b, values[a] - values[b], *[math.nan] * 4, 100)
        for a, b in combinations(values, 2)
    ]
    return pl.DataFrame(rows, schema=DIFFERENCE, orient="row")


def printed(cell, width):
    out = io.StringIO()
    Console(file=out, width=width, soft_wrap=True).print(metric_table(cell))
    return out.getvalue()


def test_the_best_estimator_is_no_oracle(cell):
    shown = cell_of(cell, oracle_cc=(0.0, 100), probe=(0.2, 100), random=(0.3, 100))
    assert best_estimators(shown, "brier") == ["probe"]


def test_what_no_paired_difference_tells_apart_is_best_as_well(cell):
    shown = cell_of(cell, a=(0.1, 100), b=(0.12, 100), c=(0.3, 100))
    p_values = {("a", "b"): 0.4, ("a", "c"): 0.001, ("b", "c"): 0.01}
    rows = [("brier", *pair, -0.1, -0.2, 0.0, p, p, 100) for pair, p in p_values.items()]
    compared = pl.DataFrame(rows, schema=DIFFERENCE, orient="row")
    assert best_estimators(replace(shown, differences=compared), "brier") == ["a", "b"]


def test_where_only_some_pairs_are_tested_none_is_best(cell):
    shown = cell_of(cell, a=(0.1, 100), b=(0.12, 100), c=(0.3, 100))
    p_holm = pl.when(pl.col("other") == "c").then(0.01).otherwise(pl.col("p_holm"))
    compared = shown.differences.with_columns(p_holm=p_holm)
    assert best_estimators(replace(shown, differences=compared), "brier") == []


def test_one_estimator_alone_is_best(cell):
    assert best_estimators(cell_of(cell, a=(0.1, 100)), "brier") == ["a"]


def test_differences_are_shown_from_the_reference_whichever_way_they_are_stored(cell):
    shown = cell_of(cell, a=(0.3, 100), b=(0.1, 100), c=(0.2, 100))
    rows = [
        ("brier", "a", "b", 0.2, 0.15, 0.25, 0.0001, 0.0003, 90),
        ("brier_unbiased", "a", "b", 0.2, 0.15, 0.25, 0.0001, 0.0003, 90),
        ("brier", "a", "c", 0.1, 0.0, 0.2, 0.05, 0.1, 90),
        ("brier", "b", "c", -0.1, -0.25, 0.05, 0.2, 0.2, 100),
    ]
    compared = pl.DataFrame(rows, schema=DIFFERENCE, orient="row")
    table = comparisons(replace(shown, differences=compared), "b")
    assert table.columns == ["Brier", "Questions"]
    a, c = table.blocks[0].lines
    assert (a.name, a.entries[1].value) == ("A", "90")
    assert a.entries[0] == Entry("+0.200", 0.2, "best", notes=("0.150 to 0.250", "p < 0.001"))
    assert c.entries[0] == Entry("+0.100", 0.1, notes=("−0.050 to 0.250", "p = 0.200"))
    assert comparisons(replace(shown, differences=compared.clear()), "b").blocks[0].lines == []


def test_an_undefined_difference_is_a_dash(cell):
    row = ("brier", "a", "b", *[math.nan] * 5, 0)
    compared = pl.DataFrame([row], schema=DIFFERENCE, orient="row")
    shown = cell_of(cell, a=(0.3, 100), b=(0.1, 100))
    (a,) = comparisons(replace(shown, differences=compared), "b").blocks[0].lines
    assert a.entries[0] == Entry("–", "")


def test_where_questions_are_unanswered_the_value_over_all_is_shown_as_well(cell):
    shown = cell_of(cell, a=(0.25, 40), b=(0.05, 100))
    a, b = (line.entries[0] for line in metric_lines(shown, ["brier"]))
    assert (a.notes, b.notes) == (("0.150–0.350", "all 0.270"), ("−0.050 to 0.150",))
    assert "all 0.270" in printed(shown, 120)


def test_an_estimator_that_left_many_questions_unanswered_is_not_best(cell):
    shown = cell_of(cell, verbalized=(0.1, 94), probe=(0.2, 95))
    assert best_estimators(shown, "brier") == ["probe"]


def test_an_undefined_value_is_not_best_and_ties_are_all_best(cell):
    shown = cell_of(cell, a=(math.nan, 100), b=(0.2, 100), c=(0.2, 100))
    assert best_estimators(shown, "brier") == ["b", "c"]
    assert best_estimators(cell_of(cell, a=(math.nan, 100)), "brier") == []


def test_the_best_signed_error_is_the_nearest_to_zero_and_tokens_have_no_best(cell):
    shown = cell_of(cell, a=(-0.05, 100), b=(0.2, 100), c=(-0.3, 100))
    renamed = shown.metrics.with_columns(metric=pl.lit("signed_error"))
    by_size = differences_of({"a": 0.05, "b": 0.2, "c": 0.3}, "signed_error")
    shown = replace(shown, metrics=renamed, differences=by_size)
    assert best_estimators(shown, "signed_error") == ["a"]
    renamed = shown.metrics.with_columns(metric=pl.lit("tokens"))
    assert best_estimators(replace(shown, metrics=renamed), "tokens") == []


def test_values_carry_their_interval_and_undefined_ones_are_a_dash(cell):
    shown = cell_of(cell, a=(0.25, 100), b=(0.05, 100), c=(math.nan, 0))
    a, b, c = (line.entries[0] for line in metric_lines(shown, ["brier"]))
    assert (a.value, a.notes) == ("0.250", ("0.150–0.350",))
    assert (b.value, b.notes, b.rank) == ("*0.050", ("−0.050 to 0.150",), "best")
    assert (c.value, c.number, c.rank) == ("–", "", None)


def test_the_terminal_shows_everything_in_120_columns_and_is_whole_in_80(cell):
    wide, narrow = printed(cell, 120), printed(cell, 80)
    assert max(map(len, wide.splitlines())) <= 120
    assert "…" not in wide
    assert [*map(str.rstrip, narrow.splitlines())] == [*map(str.rstrip, wide.splitlines())]
    for name in ("Probe", "Capability oracle", "Spearman", "AUROC", "Tokens", "Answered"):
        assert name in wide
    verbalized = next(line for line in wide.splitlines() if "Verbalized" in line)
    assert "/60" in verbalized


def test_all_metrics_come_in_the_order_of_the_style_and_unlisted_ones_last(cell):
    extra = cell.metrics.head(1).with_columns(metric=pl.lit("log_loss"))
    names = metric_names(replace(cell, metrics=pl.concat([extra, cell.metrics])))
    assert names[:3] == ["brier", "brier_unbiased", "brier_response"]
    assert names[-2:] == ["completion_tokens", "log_loss"]


def test_the_page_has_every_metric_in_one_of_its_tables(cell):
    first, details = (table.columns[:-1] for table in page_tables(cell))
    every = [metric_look(name).short for name in metric_names(cell)]
    assert sorted(first + details) == sorted(every)
    assert {"Brier", "ECE", "Spearman", "Tokens"} <= set(first)
    assert {"Resolution", "R² ceiling", "Prompt\ntokens"} <= set(details)
