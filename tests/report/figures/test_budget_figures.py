from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from cells import only, simulate_cell
from matplotlib.text import Text

from benchmark.applications import Budget, PassAtK, Study
from benchmark.report import style
from benchmark.report.figures.budget import draw_cell_budget, draw_pass_at_k_extrapolation
from benchmark.report.figures.write import write_figures
from benchmark.report.grid import make_grid

PAPER = Path(__file__).parents[4] / "shared" / "paper" / "reported_results.csv"


@pytest.fixture(scope="module")
def applied():
    """A cell with the tables of both applications."""
    cell = only(simulate_cell(60, 20), "oracle_cc", "verbalized", "consistency_10", "probe")
    study = Study(np.random.default_rng(0), 20, None)
    budget = Budget(budgets=[1, 2, 4, 8, 16], orders=2)
    pass_at_k = PassAtK(k_values=[1, 2, 4, 8, 16], extrapolate_to=[16, 32, 100])
    tables = budget.evaluate(cell, study) | pass_at_k.evaluate(cell, study)
    return replace(cell, applications=tables)


def drawn(draw, cell):
    with mpl.rc_context(style.RC):
        drawing = draw(cell)
        drawing.figure.draw_without_rendering()  # puts the ticks where they belong
    return drawing


def lines_of(axes):
    """The points of each labelled line."""
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def shown_texts(figure):
    """All texts that are rendered; matplotlib makes ticks beyond the limits, too."""
    axis_of = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    beyond = {
        tick.label1
        for axis in axis_of
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    every = figure.findobj(Text)
    return [text for text in every if text.get_text() and text.get_visible() and text not in beyond]


def panel_of(drawing, name):
    (axes,) = [a for a in drawing.figure.axes if a.get_title().startswith(name)]
    return axes


def test_both_are_written_with_the_other_figures(applied, tmp_path):
    names = [plate.path.stem for plate in write_figures(make_grid([applied]), tmp_path)[0]]
    assert {"budget", "pass_at_k", "pass_at_k_extrapolation"} <= set(names)


def test_the_last_budget_and_share_0_are_marked(applied):
    last = drawn(draw_cell_budget, applied).figure.axes[0]
    assert [label.get_text() for label in last.get_xticklabels()] == ["1", "4", "16"]
    wide = applied.applications["budget"].with_columns(pl.col("success") * (pl.col("budget") > 1))
    tables = applied.applications | {"budget": wide}
    axes = drawn(draw_cell_budget, replace(applied, applications=tables)).figure.axes[0]
    low = axes.get_ylim()[0]
    texts = [label.get_text() for label in axes.get_yticklabels()]
    marks = dict(zip(axes.get_yticks(), texts, strict=True))
    assert marks[0.0] == "0"
    assert not [tick for tick in marks if low <= tick < 0]


@pytest.mark.parametrize("draw", [draw_cell_budget, draw_pass_at_k_extrapolation])
def test_text_is_legible_in_its_figure_and_fits_into_it(applied, draw):
    drawing = drawn(draw, applied)
    figure = drawing.figure
    assert len(drawing.caption) > 80
    assert figure.get_figwidth() <= style.TEXT_WIDTH + 0.01
    boxes = {text: text.get_window_extent() for text in shown_texts(figure)}
    for text, box in boxes.items():
        assert text.get_fontsize() >= 7
        for x, y in box.get_points():
            assert -1 <= x <= figure.bbox.width + 1, text
            assert -1 <= y <= figure.bbox.height + 1, text
    titles = [boxes[axes.title] for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
    (label,) = [text for text in boxes if text.get_rotation() == 90]
    ticks = [text for text in figure.axes[0].get_yticklabels() if text in boxes]
    assert not any(boxes[label].overlaps(boxes[tick]) for tick in ticks)


def test_lines_show_the_success_of_each_policy(applied):
    drawing = drawn(draw_cell_budget, applied)
    table = applied.applications["budget"]
    lines = lines_of(panel_of(drawing, "Probe"))
    for policy in ("uniform", "greedy", "uniform_stopping", "posterior", "thompson"):
        rows = table.filter(pl.col("policy") == policy, pl.col("estimator") == "probe")
        shown = lines[style.POLICIES[policy].name]
        np.testing.assert_allclose(shown, rows.select("budget", "success").to_numpy())
    assert len(lines) == 5
    assert len(lines_of(panel_of(drawing, "Consistency of 10"))["Uniform"]) == 4  # up to n = 10


def test_a_policy_that_fails_leaves_the_panels_instead_of_squeezing_the_others(applied):
    bad = (pl.col("policy") == "greedy") & (pl.col("estimator") == "verbalized")
    success = pl.when(bad).then(0.01).otherwise("success").alias("success")
    table = applied.applications["budget"].with_columns(success)
    tables = applied.applications | {"budget": table}
    axes = drawn(draw_cell_budget, replace(applied, applications=tables)).figure.axes[0]
    uniform = table.filter(pl.col("policy") == "uniform")["success"]
    low, high = axes.get_ylim()
    assert 0.05 < low < uniform.min()
    assert table["success"].max() < high < 1.1


def test_the_gain_below_the_name_is_at_a_budget_that_all_have(applied):
    drawing = drawn(draw_cell_budget, applied)
    row = applied.applications["budget"].row(
        by_predicate=(pl.col("policy") == "greedy")
        & (pl.col("estimator") == "probe")
        & (pl.col("budget") == 4),
        named=True,
    )
    assert "at 4 samples per question" in drawing.caption
    title = panel_of(drawing, "Probe").get_title().replace("−", "-")
    sign = "+" if row["gain"] > 0 else ""
    assert f"{sign}{100 * row['gain']:.1f} [{100 * row['gain_low']:.1f}, " in title


def test_what_the_paper_reports_is_shown_and_labelled_for_its_own_cells_only(applied):
    theirs = replace(applied, model="gpt_oss_20b", dataset="math_500")
    drawing = drawn(draw_cell_budget, theirs)
    uniform = lines_of(panel_of(drawing, "Probe"))["Uniform, reported"]
    assert uniform[0].tolist() == [1, 0.9524]
    greedy = lines_of(panel_of(drawing, "Capability oracle"))["Greedy, reported"]
    assert greedy[1].tolist() == [2, 0.9888]
    assert "Greedy, reported" not in lines_of(panel_of(drawing, "Consistency of 10"))
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert {"Uniform, reported", "Greedy, reported"} <= set(legend)
    assert "reported by the paper" in drawing.caption
    ours = drawn(draw_cell_budget, applied)
    assert not any(
        "reported" in str(line.get_label()) for a in ours.figure.axes for line in a.lines
    )
    assert "reported by the paper" not in ours.caption


def test_what_is_extrapolated_is_drawn_apart_from_what_is_measured(applied):
    axes = panel_of(drawn(draw_pass_at_k_extrapolation, applied), "Probe")
    shade = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert 16 < shade.x0 < 32
    for line in axes.lines:  # none goes over the border
        k = line.get_xdata()
        assert max(k) <= 16 or min(k) >= 32
        assert line.is_dashed() == (line.get_color() == style.BLACK and min(k) >= 32)
    reads = panel_of(drawn(draw_pass_at_k_extrapolation, applied), "Consistency of 10")
    assert [k for line in reads.lines for k in line.get_xdata() if k == 16] == [16, 16]  # n = 10


@pytest.mark.filterwarnings("error")
def test_an_estimator_without_an_answer_is_drawn_empty(applied):
    silent = pl.col("estimator") == "verbalized"
    tables = {
        name: table.with_columns(
            pl.when(silent).then(np.nan).otherwise(pl.col(column)).alias(column)
            for column, dtype in table.schema.items()
            if dtype == pl.Float64
        )
        for name, table in applied.applications.items()
    }
    for draw in (draw_cell_budget, draw_pass_at_k_extrapolation):
        axes = panel_of(drawn(draw, replace(applied, applications=tables)), "Verbalized")
        assert np.isnan(axes.lines[0].get_ydata()).all()
