import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from cells import confidence_table
from matplotlib.text import Text
from PIL import Image

from benchmark.applications.pass_at_k import pass_at_k_table
from benchmark.capability.counts import count_outcomes
from benchmark.metrics.evaluate import evaluate
from benchmark.records import PASS_AT_K, Estimate
from benchmark.report import plotted as points
from benchmark.report import style
from benchmark.report.figures import calibration as calibration_figures
from benchmark.report.figures import cell as figures
from benchmark.report.figures.cell import write_figures


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
        return [plate.path.stem for plate in write_figures(cell, folder)]


def test_every_figure_is_written_at_print_resolution_and_page_width(report):
    paths = {path.stem: path for path in (report.parent / "figures").iterdir()}
    assert set(paths) == {
        "divergence", "confidences", "reliability", "cost", "pass_at_k", "expected_accuracy",
        "selection_probe",
    }  # fmt: skip
    assert style.DPI >= 200
    for path in paths.values():
        with Image.open(path) as image:
            assert style.COLUMN_WIDTH <= image.width / style.DPI <= style.TEXT_WIDTH + 0.01
            assert len(image.getcolors(1 << 24)) > 10  # not a blank page


def test_every_figure_has_a_caption_and_no_text_below_7_points(cell):
    with mpl.rc_context(style.RC):
        for drawing in figures._draw(cell):
            assert drawing.title
            assert len(drawing.caption) > 80
            texts = [text for text in drawing.figure.findobj(Text) if text.get_text()]
            assert min(text.get_fontsize() for text in texts) >= 7


def test_the_estimators_brier_scores_lie_on_the_line_that_the_figure_draws(cell):
    with mpl.rc_context(style.RC):
        drawing = calibration_figures.draw_divergence(cell, points.pair(cell))
    axes = drawing.figure.axes[2]
    line = axes.lines[0]
    gap = line.get_ydata()[0] - line.get_xdata()[0]
    marker = axes.containers[list(cell.estimates).index("probe")].lines[0]
    assert marker.get_ydata()[0] - marker.get_xdata()[0] == pytest.approx(gap)
    assert f"{gap:.3f}" in drawing.caption


def test_an_estimator_that_never_answered_is_drawn_empty(cell, tmp_path):
    ids = cell.capability["question_id"].to_list()
    silent = Estimate(confidence_table(ids, np.full(len(ids), np.nan)))
    assert "reliability" in drawn(with_estimates(cell, {"verbalized": silent}), tmp_path)


def test_one_response_per_question_is_enough(cell, tmp_path):
    single = cell.grades.filter(pl.col("sample_index") == 0)
    shown = with_estimates(cell, {"probe": cell.estimates["probe"]}, single)
    assert "divergence" in drawn(shown, tmp_path)


def test_without_pass_at_k_families_and_selection_the_other_figures_are_drawn(cell, tmp_path):
    none = pl.Series([[]] * 60, dtype=cell.questions.schema["metadata"])
    shown = replace(
        with_estimates(cell, {"p_true": cell.estimates["p_true"]}),
        questions=cell.questions.with_columns(metadata=none),
        applications={"pass_at_k": PASS_AT_K.to_frame()},
    )
    assert drawn(shown, tmp_path) == [
        "divergence", "confidences", "reliability", "cost", "expected_accuracy",
    ]  # fmt: skip


def test_names_with_signs_of_formulas_are_drawn_as_they_are(cell, tmp_path):
    odd = pl.Series(
        [[{"key": "family", "value": "$x_"}]] * 60, dtype=cell.questions.schema["metadata"]
    )
    shown = with_estimates(cell, {"probe_$a^$": cell.estimates["probe"]})
    shown = replace(shown, questions=cell.questions.with_columns(metadata=odd))
    assert "expected_accuracy" in drawn(shown, tmp_path)


def test_what_no_question_answers_has_no_number_in_any_figure(cell):
    ids = cell.capability["question_id"].to_list()
    silent = Estimate(confidence_table(ids, [np.nan] * len(ids)))
    with mpl.rc_context(style.RC):
        drawings = list(figures._draw(with_estimates(cell, {"silent": silent, **cell.estimates})))
    texts = [t.get_text() for drawing in drawings for t in drawing.figure.findobj(Text)]
    assert any("MSE –" in text for text in texts)
    assert not [text for text in texts if "nan" in text]
