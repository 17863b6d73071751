import warnings
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from cells import only
from matplotlib.text import Text
from PIL import Image

from benchmark.applications import Budget, Study
from benchmark.report import style
from benchmark.report.grid.curve_figures import draw_budget, draw_pass_at_k, draw_scaling
from benchmark.report.grid.figures import FIGURES, write_figures
from benchmark.report.grid.grid import make_grid

PLACE = ("olmo3_7b", "triviaqa")


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
        "divergence", "reliability", "cost", "convergence",
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
