import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from cells import confidence_table, simulate_cell
from matplotlib.text import Text

from benchmark.applications import Abstention, Adaptive, Routing, Study
from benchmark.applications.routing.models import Price
from benchmark.applications.routing.routing import ALWAYS, MIX, ORACLE
from benchmark.records import Estimate
from benchmark.report import style
from benchmark.report.figures import decisions as decision_figures
from benchmark.report.figures.write import APPLICATION_FIGURES, write_figures
from benchmark.report.grid import make_grid

ABSTENTION = Abstention(coverages=[0.5], targets=[0.5, 0.7, 1.0])
ROUTING = Routing(models={"smollm2_135m": Price(0.1, 0.2), "big": Price(1, 2)})


def applied(cell, other=None):
    """The cell with the tables of both applications."""
    study = Study(np.random.default_rng(0), 20, lambda _: other)
    tables = ABSTENTION.evaluate(cell, study)
    if other is not None:
        tables |= ROUTING.evaluate(cell, study)
    return replace(cell, applications=tables)


@pytest.fixture(scope="module")
def both(cell):
    return applied(cell, replace(simulate_cell(n_questions=50, k=20, seed=1), model="big"))


def drawn(cell, name):
    with mpl.rc_context(style.RC), warnings.catch_warnings():
        warnings.simplefilter("error")
        return APPLICATION_FIGURES[name](cell)


def lines(axes):
    """The lines of a panel by label."""
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_the_cells_figures_hold_both(both, tmp_path):
    assert {"abstention", "routing"} <= {
        plate.path.stem for plate in write_figures(make_grid([both]), tmp_path)[0]
    }


@pytest.mark.parametrize("name", ["abstention", "routing"])
def test_texts_are_legible_and_fit_a_page(both, name):
    drawing = drawn(both, name)
    assert len(drawing.caption) > 80
    texts = [text for text in drawing.figure.findobj(Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 7
    assert drawing.figure.get_figwidth() <= style.TEXT_WIDTH + 0.01


def test_each_panel_shows_the_estimators_risk_and_where_its_thresholds_led(both):
    panels = drawn(both, "abstention").figure.axes
    assert len(panels) == len(both.estimates)
    axes = panels[list(both.estimates).index("probe")]
    rows = both.applications["abstention"].filter(estimator="probe")
    curves = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) > 2]
    assert [list(curve) for curve in curves] == [
        rows["oracle_risk"].to_list(),
        rows["risk"].to_list(),
    ]
    targets = both.applications["abstention_targets"].filter(estimator="probe").drop_nulls("met")
    circles = [line.get_xydata()[0].tolist() for line in axes.lines if len(line.get_xdata()) == 1]
    assert circles == [[c, 1 - a] for c, a in targets["coverage", "accuracy"].iter_rows()]


def test_an_estimator_without_a_confidence_has_an_empty_panel(cell):
    ids = cell.capability["question_id"].to_list()
    silent = Estimate(confidence_table(ids, np.full(len(ids), np.nan)))
    drawing = drawn(applied(replace(cell, estimates={"silent": silent})), "abstention")
    assert "0 of 0 (none was found for 3 more)" in drawing.caption


def test_routers_are_drawn_with_their_gains_between_mix_and_oracle(both):
    axes = drawn(both, "routing").figure.axes[0]
    shown = lines(axes)
    gains = dict(both.applications["routing_areas"]["router", "gain"].iter_rows())
    label = f"Probe ({gains['probe']:z.2f})".replace("-", "−")
    rows = both.applications["routing"].filter(router="probe").sort("cost")
    assert shown[label][:, 0].tolist() == pytest.approx((rows["cost"] * 1000).to_list())
    assert {"Random mix (0)", "Oracle (1)"} <= set(shown)
    assert not [name for name in shown if "oracle" in name]  # estimators that know the target
    always = both.applications["routing"].filter(router=ALWAYS)["accuracy"].to_list()
    squares = [shown[label][0, 1] for label in ("1: SmolLM2-135M-Instruct", "2: big")]
    assert squares == always
    assert [text.get_text() for text in axes.texts] == ["1", "2"]


def test_the_caption_says_which_questions_were_left_out(both):
    caption = drawn(both, "routing").caption
    assert "10 of 60 of SmolLM2-135M-Instruct" in caption
    assert "50 questions that all models answered" in caption


def test_only_so_many_routers_are_drawn(both):
    table = both.applications["routing_areas"]
    routers = table.filter(~pl.col("router").is_in([MIX, ORACLE]))["router"].to_list()
    kept = [name for name in routers if not both.estimates[name].oracle]
    copies = {f"{name}_again": both.estimates[name] for name in kept}
    again = pl.col("router") + "_again"
    many = {
        name: pl.concat([t, t.filter(pl.col("router").is_in(kept)).with_columns(again)])
        for name, t in both.applications.items()
        if "router" in t.columns
    }
    crowd = replace(both, estimates=both.estimates | copies, applications=both.applications | many)
    axes = drawn(crowd, "routing").figure.axes[0]
    labels = [line.get_label() for line in axes.lines if "(" in str(line.get_label())]
    assert len(labels) == 2 + decision_figures.SHOWN_ROUTERS


@pytest.fixture(scope="module")
def stopped(cell):
    """The cell as it is where all questions are drawn to the most."""
    adaptive = Adaptive(k_min=12, k_max=20, round=4, width=0.001, simulations=2)
    study = Study(np.random.default_rng(0), 0, lambda _: None)
    return replace(cell, applications=adaptive.evaluate(cell, study))


def test_stopped_questions_and_biases_are_drawn(stopped):
    drawing = drawn(stopped, "adaptive")
    left, right = drawing.figure.axes
    assert sum(len(points.get_offsets()) for points in left.collections) == 60
    table = stopped.applications["adaptive"]
    assert [text.get_text() for text in right.get_yticklabels()][:2] == [
        "Mean expected accuracy",
        "Brier score",
    ]
    for (design, look), line in zip(style.DESIGNS.items(), right.lines, strict=False):
        assert line.get_label() == look.name
        np.testing.assert_equal(line.get_xdata(), table.filter(design=design)["bias"])
    texts = [text for text in drawing.figure.findobj(Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 7


def test_the_caption_says_how_many_samples_were_saved(stopped):
    caption = drawn(stopped, "adaptive").caption
    assert "0.0 % samples saved: 1,200 responses drawn where 20" in caption
    questions = stopped.applications["adaptive_questions"].with_columns(drawn=pl.lit(5))
    tables = stopped.applications | {"adaptive_questions": questions}
    fewer = replace(stopped, applications=tables)
    assert "75.0 % samples saved: 300 responses" in drawn(fewer, "adaptive").caption


def test_without_simulations_the_biases_stay_empty(stopped):
    table = stopped.applications["adaptive"].with_columns(bias=pl.lit(np.nan))
    empty = replace(stopped, applications=stopped.applications | {"adaptive": table})
    assert drawn(empty, "adaptive").title
