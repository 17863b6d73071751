import re
import warnings
from dataclasses import replace
from itertools import chain, pairwise

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from cells import only
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from benchmark.applications import Budget, Study
from benchmark.report import style
from benchmark.report.figures import write as figures
from benchmark.report.figures.axes import log_axis
from benchmark.report.figures.calibration import draw_reliability
from benchmark.report.figures.cost import draw_cost
from benchmark.report.figures.counts import draw_counts
from benchmark.report.figures.curves import (
    draw_budget,
    draw_convergence,
    draw_layers,
    draw_pass_at_k,
    draw_scaling,
)
from benchmark.report.figures.grid_panels import HIGHEST, MOST_LINES, main_estimators
from benchmark.report.figures.write import FIGURES, estimator_pages, write_figures
from benchmark.report.grid import make_grid

PLACE = ("olmo3_7b", "triviaqa")
SPLIT = ("divergence", "reliability")  # the quickest with models down, and that of estimators


@pytest.fixture(scope="module")
def full(grid):
    """The grid with budgets in one cell, and another run of it with fewer training questions."""
    cell = grid.cells[PLACE]
    budget = Budget(budgets=[1, 2, 4], orders=2).evaluate(cell, study())
    cell = replace(cell, applications=cell.applications | budget)
    return make_grid([trained(cell, 100, 2.0), *grid.every[1:], trained(cell, 400, 1.0)])


def study():
    return Study(np.random.default_rng(0), 10, None)


def trained(cell, size, factor):
    """Return the cell with a probe trained on this many questions, its Brier score ``factor`` x."""
    probe = replace(cell.estimates["probe"], trained_on=size)
    scaled = pl.col("value") * pl.when(estimator="probe").then(factor).otherwise(1.0)
    metrics = cell.metrics.with_columns(value=scaled)
    return replace(cell, estimates=cell.estimates | {"probe": probe}, metrics=metrics)


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_every_figure_is_written_for_print_and_for_the_screen(full, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plates, lacking = write_figures(full, tmp_path)
    assert lacking == {}
    names = {figure.name for figure in FIGURES}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{suffix}" for name in names for suffix in ("pdf", "png")
    }
    assert [plate.path.stem for plate in plates] == [figure.name for figure in FIGURES]
    for plate in plates:
        assert (tmp_path / f"{plate.path.stem}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(plate.path) as image:
            assert image.width / style.DPI <= style.TEXT_WIDTH + 0.01
            assert len(image.getcolors(1 << 24)) > 10


def test_figures_of_the_paper_s_grid_fit_a_page_and_show_lines_that_can_be_told_apart(paper_grid):
    with mpl.rc_context(style.RC):
        for draw in (draw_pass_at_k, draw_budget, draw_cost, draw_convergence):
            drawing = draw(paper_grid)
            legend = drawing.figure.legends[0].get_texts()
            assert len(legend) <= MOST_LINES + 1  # and what was observed
            assert {"Verbalized", "P(True)", "Probe"} <= {text.get_text() for text in legend}
            assert len(drawing.figure.axes[0].lines) <= 3 * MOST_LINES  # and limits, reported
            assert drawing.figure.get_figheight() <= HIGHEST
            assert re.search(r"Of 2[68] estimators 8 are drawn \(.*Probe.*\)", drawing.caption)


def test_a_figure_higher_than_a_page_becomes_several(paper_grid, cell, tmp_path, monkeypatch):
    two = list(paper_grid.cells.values())[:2]
    monkeypatch.setattr(figures, "FIGURES", [f for f in FIGURES if f.name in SPLIT])
    plates, _ = write_figures(make_grid(two), tmp_path)
    assert [plate.path.name for plate in plates if plate.path.stem.startswith("reliability")] == [
        "reliability.png", "reliability_2.png", "reliability_3.png", "reliability_4.png",
    ]  # fmt: skip
    assert "Reliability diagrams (4 of 4)" in {plate.title for plate in plates}
    cells = [replace(only(cell, "p_true"), model=f"model_{i}") for i in range(12)]
    more, _ = write_figures(make_grid(cells), tmp_path)
    assert [p.path.stem for p in more] == ["divergence", "divergence_2", "reliability"]
    for plate in (*plates, *more):
        with Image.open(plate.path) as image:
            assert image.height / style.DPI <= HIGHEST + 0.01
        assert plate.path.with_suffix(".pdf").exists()


def test_every_estimator_has_its_reliability_on_one_of_the_pages(paper_grid):
    pages = [page.estimators for page in estimator_pages(paper_grid)]
    names = [name for name in paper_grid.estimators if "oracle" not in name]
    assert pages[0] == main_estimators(names)
    assert sorted(chain.from_iterable(pages)) == sorted(names)


def test_the_estimators_that_are_drawn_are_the_style_s_first_and_then_any():
    assert main_estimators(["b", "a"]) == ["b", "a"]
    mine = [f"mine_{i}" for i in range(9)]
    assert main_estimators(mine) == mine[:8]
    assert main_estimators([*mine, "train_mean", "probe_own"]) == [
        *mine[:6], "train_mean", "probe_own",
    ]  # fmt: skip
    assert set(style.FIRST_ESTIMATORS) <= set(style.ESTIMATORS)


def test_letters_that_the_font_lacks_are_said_once_and_not_for_each_text(cell, tmp_path, caplog):
    odd = replace(only(cell, "p_true", "probe"), model="模型", dataset="数据")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_figures(make_grid([odd]), tmp_path)
    (record,) = caplog.records
    assert "lacks 型据数模 and shows boxes" in record.getMessage()


def test_no_diagonal_crosses_the_word_of_an_empty_panel(grid):
    lone = replace(only(grid.cells[PLACE], "p_true"), dataset="gsm8k")
    two = make_grid([only(grid.cells[PLACE], "p_true", "probe"), lone])
    with mpl.rc_context(style.RC):
        panels = draw_reliability(two).figure.axes
    empty = [axes for axes in panels if "not run" in words(axes)]
    assert len(empty) == 1
    assert [axes for axes in panels if not axes.lines] == empty


def test_the_layers_of_a_probe_that_is_recalibrated_are_drawn(grid):
    cell = only(grid.cells[PLACE], "probe")
    inside = replace(cell.estimates["probe"], probes={".base": cell.estimates["probe"].probes[""]})
    with mpl.rc_context(style.RC):
        drawing = draw_layers(make_grid([replace(cell, estimates={"probe": inside})]))
    lines = {line.get_label() for line in drawing.figure.legends[0].legend_handles}
    assert lines == {"Probe (base)", "chosen"}
    assert drawing.figure.axes[0].lines


def test_the_circle_of_the_chosen_layer_is_whole(grid):
    with mpl.rc_context(style.RC):
        figure = draw_layers(grid).figure
        figure.canvas.draw()
    axes = figure.axes[0]
    circle = next(line for line in axes.lines if line.get_markersize() == 6)
    assert not circle.get_clip_on()
    low, high = axes.get_ylim()
    assert circle.get_ydata()[0] - low > 0.08 * (high - low)


@pytest.mark.parametrize(
    ("ticks", "shown"),
    [
        ([1, 2, 4, 8, 16, 32, 64], ["1", "8", "64"]),
        ([1, 4, 16, 64], ["1", "16", "64"]),
        (range(1, 25), ["1", "5", "24"]),
        ([1, 2, 100, 101], ["1", "101"]),
        ([64, 1, 1, 8], ["1", "8", "64"]),
        ([100, 5000], ["100", "5k"]),
        ([3], ["3"]),
        ([], []),
    ],
)
def test_a_logarithmic_axis_is_marked_from_its_first_to_its_last_value(ticks, shown):
    axes = Figure().subplots()
    log_axis(axes, ticks)
    assert [label.get_text() for label in axes.get_xticklabels()] == shown


def test_figures_are_the_same_for_the_same_grid(full, tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_figures(make_grid([only(full.cells[PLACE], "p_true", "probe")]), folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_every_figure_says_what_it_shows_in_letters_of_at_least_7_points(full):
    with mpl.rc_context(style.RC):
        for name, draw, _ in FIGURES:
            drawing = draw(full)
            assert drawing.name == name
            assert len(drawing.caption) > 80
            texts = [text for text in drawing.figure.findobj(Text) if text.get_text()]
            assert min(text.get_fontsize() for text in texts) >= 7
            shown = {text.get_text().replace("\n", "") for text in texts}
            assert {"TriviaQA", "MATH-500"} <= shown


def test_a_cell_that_is_missing_or_lacks_something_says_so_in_its_panel(full):
    with mpl.rc_context(style.RC):
        first, second, _, fourth = draw_budget(full).figure.axes
        assert words(fourth) == ["not run"]
        assert "no budget" in words(second)
        assert not {"no budget", "not run"} & set(words(first))
        assert "one training\nsize" in words(draw_scaling(full).figure.axes[1])


def test_a_figure_that_no_cell_has_data_for_is_left_out_with_the_reason(cell, tmp_path):
    bare = replace(only(cell, "p_true"), applications={})
    plates, lacking = write_figures(make_grid([bare]), tmp_path)
    assert lacking == {
        "pass_at_k": "the application pass_at_k",
        "budget": "the application budget",
        "layers": "a probe",
        "scaling": "a probe in several runs with different dataset.train_limit",
    }
    assert {plate.path.stem for plate in plates} == {
        "divergence", "counts", "reliability", "cost", "convergence", "confidences",
    }  # fmt: skip


def test_one_response_per_question_leaves_out_what_needs_two(cell, tmp_path):
    single = replace(only(cell, "p_true"), grades=cell.grades.filter(sample_index=0))
    single = replace(single, capability=single.capability.with_columns(n=pl.lit(1)))
    _, lacking = write_figures(make_grid([single]), tmp_path)
    assert {"divergence", "convergence"} <= set(lacking)


def test_a_sweep_draws_one_point_for_each_number_of_training_questions(full):
    with mpl.rc_context(style.RC):
        line = draw_scaling(full).figure.axes[0].lines[0]
    brier = full.cells[PLACE].metrics.filter(metric="brier", estimator="probe")["value"].item()
    assert line.get_xdata().tolist() == [100, 400]
    assert line.get_ydata().tolist() == pytest.approx([2 * brier, brier])


def test_pass_at_k_is_drawn_as_the_table_says(full):
    with mpl.rc_context(style.RC):
        observed, *predicted = draw_pass_at_k(full).figure.axes[0].lines
    table = full.cells[PLACE].applications["pass_at_k"]
    for line, (value, estimator) in zip(
        (observed, predicted[0]), (("observed", "random"), ("predicted", "random")), strict=True
    ):
        rows = table.filter(estimator=estimator).sort("k")
        assert line.get_xdata().tolist() == rows["k"].to_list()
        assert line.get_ydata().tolist() == rows[value].to_list()


def test_a_grid_of_many_models_and_datasets_stays_legible(cell):
    cells = [
        replace(only(cell, "p_true"), model=f"model_{i}", dataset=f"data_{j}")
        for i in range(4) for j in range(8)
    ]  # fmt: skip
    grid = make_grid(cells)
    with mpl.rc_context(style.RC):
        figure = draw_pass_at_k(grid).figure
        figure.canvas.draw()
        panel = figure.axes[0].get_window_extent()
        assert panel.width / figure.dpi > 0.7
        names = [axes.title.get_window_extent() for axes in figure.axes[:8]]
    assert all(a.x1 < b.x0 for a, b in pairwise(names))


def test_names_of_rows_keep_clear_of_the_axis_s_label_and_of_its_numbers(full):
    with mpl.rc_context(style.RC):
        for draw in (draw_reliability, draw_layers, draw_budget):
            figure = draw(full).figure
            figure.canvas.draw()
            (label,) = (text for text in figure.texts if text.get_rotation() == 90)
            first = [axes for axes in figure.axes if axes.get_subplotspec().is_first_col()]
            names = [text for axes in first for text in axes.texts if text.get_rotation() == 90]
            assert len(names) == len(first)
            numbers = [text for axes in first for text in axes.get_yticklabels()]
            boxes = [name.get_window_extent() for name in names]
            gap = 0.04 * figure.dpi
            assert label.get_window_extent().x1 + gap < min(box.x0 for box in boxes)
            assert max(box.x1 for box in boxes) + gap < min(
                text.get_window_extent().x0 for text in numbers
            )


def test_the_paper_s_points_stand_beside_ours_where_it_has_any(grid):
    cell = only(grid.cells[PLACE], "p_true", "verbalized")
    theirs = make_grid([replace(cell, model="gpt_oss_20b", dataset="gsm8k")])
    with mpl.rc_context(style.RC):
        for draw, at in ((draw_cost, 1 - 0.0247), (draw_convergence, None), (draw_counts, None)):
            drawings = [draw(one) for one in (theirs, make_grid([replace(cell, model="mine")]))]
            hollow = [
                [line for line in drawing.figure.axes[0].lines if line.get_mfc() == "none"]
                for drawing in drawings
            ]
            assert not [y for line in hollow[1] for y in line.get_ydata()]
            if draw is not draw_counts:
                assert "reported by the paper" in drawings[0].caption
                assert [y for line in hollow[0] for y in line.get_ydata()]
            assert "reported by the paper" not in drawings[1].caption
            drawn = [y for line in hollow[0] for y in line.get_ydata()]
            assert at is None or pytest.approx(at) in drawn


def test_the_paper_s_histogram_is_drawn_over_ours(grid):
    cell = replace(only(grid.cells[PLACE], "p_true"), model="gpt_oss_20b", dataset="math_500")
    with mpl.rc_context(style.RC):
        axes = draw_counts(make_grid([cell])).figure.axes[0]
    (outline,) = (patch for patch in axes.patches if hasattr(patch, "get_data"))
    values = outline.get_data().values
    assert values.sum() == pytest.approx(100)
    assert values[-1] > 80
