import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import polars as pl
from cells import confidence_table
from matplotlib.text import Text
from PIL import Image

from benchmark.applications.pass_at_k import pass_at_k_table
from benchmark.capability.counts import count_outcomes
from benchmark.metrics.evaluate import evaluate
from benchmark.records import PASS_AT_K, Estimate
from benchmark.report import style
from benchmark.report.figures.write import _drawings, write_figures
from benchmark.report.grid import make_grid


def with_estimates(cell, estimates, grades=None):
    """Return the cell with other estimates and, maybe, fewer responses."""
    grades = cell.grades if grades is None else grades
    rng = np.random.default_rng(0)
    metrics, differences = evaluate(estimates, grades, rng, 10)
    return replace(
        cell,
        estimates=estimates,
        grades=grades,
        capability=count_outcomes(grades),
        metrics=metrics,
        differences=differences,
        applications={"pass_at_k": pass_at_k_table(estimates, grades, [1], rng, 10)},
    )


def drawn(cell, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [plate.path.stem for plate in write_figures(make_grid([cell]), folder)[0]]


def all_of(cell):
    with mpl.rc_context(style.RC):
        return [d for _, pages in _drawings(make_grid([cell])) for d in pages]


def test_every_figure_is_written_at_print_resolution_and_page_width(report):
    paths = {path.stem: path for path in (report.parent / "figures").glob("*.png")}
    assert set(paths) == {
        "divergence", "counts", "confidences", "reliability", "cost", "pass_at_k", "layers",
        "convergence",
    }  # fmt: skip
    assert style.DPI >= 200
    for path in paths.values():
        assert path.with_suffix(".pdf").exists()
        with Image.open(path) as image:
            assert style.COLUMN_WIDTH <= image.width / style.DPI <= style.TEXT_WIDTH + 0.01
            assert len(image.getcolors(1 << 24)) > 10  # not a blank page


def test_every_figure_has_a_caption_and_no_text_below_7_points(cell):
    for drawing in all_of(cell):
        assert drawing.title
        assert len(drawing.caption) > 80
        texts = [text for text in drawing.figure.findobj(Text) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) >= 7


def test_a_cell_alone_shows_what_every_estimator_costs_with_its_interval(cell):
    (cost,) = (drawing for drawing in all_of(cell) if drawing.name == "cost")
    axes = cost.figure.axes[0]
    row = cell.metrics.row(
        by_predicate=(pl.col("metric") == "brier") & (pl.col("estimator") == "probe"), named=True
    )
    bars = [bar.get_segments()[0][:, 1].tolist() for bar in axes.collections]
    assert [1 - row["high"], 1 - row["low"]] in bars
    legend = {text.get_text() for text in cost.figure.legends[0].get_texts()}
    assert len(legend) == len(cell.estimates)


def test_only_a_cell_alone_has_figures_of_its_own(cell, tmp_path):
    two = make_grid([cell, replace(cell, model="other")])
    assert "confidences" not in {plate.path.stem for plate in write_figures(two, tmp_path)[0]}


def test_an_estimator_that_never_answered_is_drawn_empty(cell, tmp_path):
    ids = cell.capability["question_id"].to_list()
    silent = Estimate(confidence_table(ids, np.full(len(ids), np.nan)))
    assert "reliability" in drawn(with_estimates(cell, {"verbalized": silent}), tmp_path)


def test_one_response_per_question_is_enough(cell, tmp_path):
    single = cell.grades.filter(pl.col("sample_index") == 0)
    shown = with_estimates(cell, {"probe": cell.estimates["probe"]}, single)
    assert drawn(shown, tmp_path) == ["counts", "reliability", "pass_at_k", "layers", "confidences"]


def test_without_pass_at_k_and_selection_the_other_figures_are_drawn(cell, tmp_path):
    shown = replace(
        with_estimates(cell, {"p_true": cell.estimates["p_true"]}),
        applications={"pass_at_k": PASS_AT_K.to_frame()},
    )
    assert drawn(shown, tmp_path) == [
        "divergence", "counts", "reliability", "cost", "convergence", "confidences",
    ]  # fmt: skip


def test_names_with_signs_of_formulas_are_drawn_as_they_are(cell, tmp_path):
    names = [
        "probe_$a^$",
        "$\\frac",
        "a $x_",
        "\\n",
        "_{",
        "$$",
        "a\nb",
        "%s {0}",
        "<b>",
        "a" * 300,
    ]
    own = cell.estimates["probe"]
    shown = with_estimates(cell, dict.fromkeys(names, own))
    shown = replace(shown, model="$x_", dataset="\\mathregular{$")
    assert "confidences" in drawn(shown, tmp_path)
    both = make_grid([shown, replace(shown, model="$")])
    assert write_figures(both, tmp_path / "grid")[0]


def test_what_no_question_answers_has_no_number_in_any_figure(cell):
    ids = cell.capability["question_id"].to_list()
    silent = Estimate(confidence_table(ids, [np.nan] * len(ids)))
    drawings = all_of(with_estimates(cell, {"silent": silent, **cell.estimates}))
    texts = [t.get_text() for drawing in drawings for t in drawing.figure.findobj(Text)]
    assert any("ρ = –" in text for text in texts)
    assert not [text for text in texts if "nan" in text]
