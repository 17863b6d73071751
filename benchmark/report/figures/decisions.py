"""Stage 8: figures of decisions: when to abstain, where to route, when to stop sampling."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter, SymmetricalLogLocator

from benchmark.applications.adaptive import ACCURACY, MOST, STOPPED, UNBIASED
from benchmark.applications.routing.routing import ALWAYS, MIX, ORACLE
from benchmark.records import CellResult
from benchmark.report import style
from benchmark.report.figures.axes import (
    REFERENCE,
    TICKS,
    UNIT,
    Drawing,
    opacity,
    small_multiples,
)
from benchmark.report.style import estimator_look, metric_look, model_name, number

QUERIES = 1000  # that a cost is shown for
LINEAR = 0.01  # biases up to it are drawn on a linear scale
SHOWN_ROUTERS = 9  # more lines aren't legible in one panel


def draw_abstention(result: CellResult) -> Drawing:
    """Draw risk over coverage of each estimator, beside the oracle and where thresholds led."""
    curves = result.applications["abstention"]
    areas = result.applications["abstention_metrics"].filter(metric="normalised_aurc")
    targets = result.applications["abstention_targets"]
    names = curves["estimator"].unique(maintain_order=True).to_list()
    figure, panels = small_multiples(len(names), "Coverage, share of questions answered", "Risk")
    for axes, name in zip(panels, names, strict=True):
        look = estimator_look(name)
        _draw_risk(axes, curves.filter(estimator=name), look.colour)
        for row in targets.filter(estimator=name).iter_rows(named=True):
            _draw_target(axes, row, look.colour)
        area = areas.filter(estimator=name)["value"][0]
        axes.set_title(f"{style.clipped(look.name)}\nnAURC {number(area, 2)}")
    highest = curves.select(pl.max_horizontal("high", "risk").fill_nan(0).max()).item()
    panels[0].set_ylim(-0.02 * highest, 1.05 * max(0.1, highest))
    panels[0].yaxis.set_major_locator(MaxNLocator(3))
    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    wanted = ", ".join(f"{target:g}" for target in targets["target"].unique().sort())
    return Drawing(
        "abstention",
        "Risk against coverage",
        "Questions are answered from the highest confidence down. Risk is 1 − the mean expected "
        "accuracy of those that are answered, in expectation over ties; bands are 95 % bootstrap "
        "intervals over questions. Black: the oracle, ranked by c/n; dashed: all are answered. "
        "nAURC compares the area under the curve: 0 for the oracle's, 1 for a random ranking's. "
        "Circles: what the thresholds that were chosen on one half of the questions for an "
        f"accuracy of {wanted} give on the other half, filled where they reach it: "
        f"{targets['met'].sum()} of {targets['met'].count()} (none was found for "
        f"{targets['met'].null_count()} more).",
        figure,
    )


def _draw_risk(axes: Axes, rows: pl.DataFrame, colour: str) -> None:
    coverage = rows["coverage"]
    axes.axhline(rows["risk"][-1], **REFERENCE)
    axes.plot(coverage, rows["oracle_risk"], color=style.BLACK, lw=0.9)
    axes.fill_between(coverage, rows["low"], rows["high"], color=colour, alpha=0.3, lw=0)
    axes.plot(coverage, rows["risk"], color=colour)


def _draw_target(axes: Axes, row: dict[str, Any], colour: str) -> None:
    if row["met"] is not None:
        face = colour if row["met"] else "white"
        at = row["coverage"], 1 - row["accuracy"]
        axes.plot(*at, marker="o", ms=4, mec=style.BLACK, mew=0.7, mfc=face, ls="none")


def draw_routing(result: CellResult) -> Drawing:
    """Draw accuracy over cost of every router, between the random mix and the oracle."""
    curves = result.applications["routing"].with_columns(pl.col("cost") * QUERIES).sort("cost")
    gains = dict(result.applications["routing_areas"]["router", "gain"].iter_rows())
    models = result.applications["routing_models"]
    figure = Figure(figsize=(style.COLUMN_WIDTH, 3.5), layout="constrained")
    axes = figure.subplots()
    mix, oracle = (curves.filter(router=name) for name in (MIX, ORACLE))
    axes.plot(oracle["cost"], oracle["accuracy"], color=style.BLACK, lw=0.9, label="Oracle (1)")
    axes.plot(mix["cost"], mix["accuracy"], **REFERENCE, label="Random mix (0)")
    for name in _shown_routers(result, gains):
        look, rows = estimator_look(name), curves.filter(router=name)
        edge = {"mew": 1.0} if look.marker == "x" else {"mec": "white", "mew": 0.3}
        axes.plot(
            rows["cost"], rows["accuracy"], color=look.colour, marker=look.marker, ms=4, **edge,
            label=f"{style.clipped(look.name)} ({number(gains[name], 2)})",
        )  # fmt: skip
    always = curves.filter(router=ALWAYS).sort("point")
    for row, model in zip(always.iter_rows(named=True), models["candidate"], strict=True):
        _draw_model(axes, row, model_name(model))
    axes.set(xlabel=f"Cost of {QUERIES:,} queries, in the currency of the prices")
    axes.set(ylabel="Mean expected accuracy")
    axes.margins(x=0.06, y=0.12)
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return Drawing(
        "routing", "Routing between models: accuracy against cost", _caption(result), figure
    )


def _shown_routers(result: CellResult, gains: dict[str, float]) -> list[str]:
    """Return the estimators that are no oracle, those with the highest gain where they are many."""
    routers = [n for n in gains if n not in (MIX, ORACLE) and not result.estimates[n].oracle]
    best = sorted(routers, key=lambda name: -gains[name] if gains[name] > 0 else 0.0)
    return [name for name in routers if name in best[:SHOWN_ROUTERS]]


def _draw_model(axes: Axes, row: dict[str, Any], name: str) -> None:
    """Draw a numbered square; a name beside it would hide the curves that end there."""
    at, label = (row["cost"], row["accuracy"]), str(row["point"] + 1)
    axes.plot(
        *at, marker="s", ms=8, color=style.BLACK, ls="none", zorder=4,
        label=f"{label}: {style.clipped(name)}",
    )  # fmt: skip
    axes.annotate(
        label, at, color="white", fontsize=7, ha="center", va="center_baseline", zorder=5
    )  # fmt: skip


def _caption(result: CellResult) -> str:
    models = result.applications["routing_models"]
    first = models.row(0, named=True)
    lost = ", ".join(
        f"{questions - common:,} of {questions:,} of {model_name(model)}"
        for model, questions, common in models["candidate", "questions", "common"].iter_rows()
        if questions > common
    )
    return (
        "A query goes to the first model, from the cheapest up, whose confidence reaches that "
        "model's threshold, else to the last; it costs one response and the confidences that were "
        f"asked for. Thresholds were tuned on one half of the {first['common']:,} questions that "
        f"all models answered; shown are the other {first['test']:,}. Squares: one model for all; "
        "dashed: models mixed at random; black: every expected accuracy is known. The numbers "
        "in brackets are gains: how far the area under a curve, which goes on flat behind its last "
        "point, lies above the random mix's, as a share of the oracle's."
        + (f" Left out, since another model wasn't asked the same: {lost}." if lost else "")
    )


def draw_adaptive(result: CellResult) -> Drawing:
    """Draw how many responses each question got, and the simulated bias of every metric."""
    table, questions = (result.applications[name] for name in ("adaptive", "adaptive_questions"))
    height = max(3.1, 1.0 + 0.19 * table["metric"].n_unique())
    figure = Figure(figsize=(style.TEXT_WIDTH, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    _draw_stops(left, questions)
    _draw_biases(right, table)
    designs = right.get_legend_handles_labels()
    figure.legend(*designs, loc="outside lower right", ncols=len(style.DESIGNS))
    drawn, most = questions["drawn"].sum(), table.filter(design=MOST)["responses"][0]
    saved = 1 - drawn / (len(questions) * most)
    mean = table.filter(metric=ACCURACY)
    share, unbiased = (mean.filter(design=d)["value"][0] for d in (STOPPED, UNBIASED))
    return Drawing(
        "adaptive",
        "Adaptive sampling: samples saved, and what stopping did",
        f"{100 * saved:.1f} % samples saved: {drawn:,} responses drawn where {most:.0f} to each of "
        f"{len(questions):,} questions are {len(questions) * most:,.0f}. Left: one point is one "
        "question; it stops once the 95 % Wilson interval of its expected accuracy is narrow "
        "enough. Right: mean error of each metric in simulations of this cell's sampling, one "
        f"point per estimator; the axis is logarithmic beyond {LINEAR:g}. Stopping biases c/n; the "
        "unbiased estimate accounts for it by counting the orders of responses that lead to the "
        "same counts. The mean expected "
        f"accuracy is {share:.4f} by c/n and {unbiased:.4f} by the unbiased estimate. All other "
        "figures and tables take c/n.",
        figure,
    )


def _draw_stops(axes: Axes, questions: pl.DataFrame) -> None:
    alpha = max(0.2, opacity(3 * len(questions)))
    for narrow, colour, label in ((True, style.BLUE, "narrow"), (False, style.ORANGE, "k_max")):
        rows = questions.filter(narrow=narrow)
        axes.scatter(rows["accuracy"], rows["drawn"], s=9, c=colour, lw=0, alpha=alpha)
        axes.scatter([], [], s=9, c=colour, lw=0, label=label)  # opaque, for the legend
    axes.set(xlim=UNIT, xticks=TICKS, xlabel="Expected accuracy, unbiased estimate")
    axes.set(ylabel="Responses to the question")
    axes.set_ylim(0, 1.05 * questions["drawn"].to_numpy().max())
    axes.legend(title="stopped as", loc="lower center", title_fontsize=7)


def _draw_biases(axes: Axes, table: pl.DataFrame) -> None:
    metrics = table["metric"].unique(maintain_order=True).to_list()
    places = np.linspace(-0.27, 0.27, len(style.DESIGNS))
    for (design, look), place in zip(style.DESIGNS.items(), places, strict=True):
        rows = table.filter(design=design)
        y = [metrics.index(metric) + place for metric in rows["metric"]]
        axes.plot(
            rows["bias"], y, ls="none", marker=look.marker, color=look.colour, ms=3, mew=0,
            alpha=0.7, label=look.name,
        )  # fmt: skip
    axes.axvline(0, **REFERENCE)
    axes.set_yticks(range(len(metrics)), [metric_look(metric).name for metric in metrics])
    axes.set(xlabel="Bias in simulations", ylim=(len(metrics) - 0.4, -0.6))
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=LINEAR))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
