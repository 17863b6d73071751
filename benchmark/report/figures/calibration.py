"""Stage 8: figures of confidences against both targets, each with the caption that explains it."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from benchmark.records import CellResult
from benchmark.report import plotted, style
from benchmark.report.figures.axes import (
    REFERENCE,
    TICKS,
    UNIT,
    Drawing,
    opacity,
    small_multiples,
)
from benchmark.report.figures.grid_panels import dataset_names, draw_cells, draw_panels
from benchmark.report.grid import Grid
from benchmark.report.style import Look, estimator_look, model_name, number

_SHARES = (0.05, 0.2, 0.5, 1)  # ticks of the mirrored histogram; the two largest that fit are shown
_RIGHT, _WRONG = style.OUTCOMES["correct"], style.OUTCOMES["incorrect"]
_UNIT_TICKS = ("0", ".5", "1")


def draw_divergence(grid: Grid) -> Drawing | None:
    """Draw how questions spread over the expected accuracy, by the outcome of one response."""
    targets = {place: plotted.two_targets(cell.grades) for place, cell in grid.cells.items()}
    histograms = {
        place: plotted.target_histogram(both.response, both.accuracy)
        for place, both in targets.items()
        if len(both.response)
    }
    if not histograms:
        return None
    top = max(max(*bars.correct, *bars.incorrect) for bars in histograms.values())

    def draw(axes: Axes, cell: CellResult) -> str | None:
        bars = histograms.get((cell.model, cell.dataset))
        if bars is None:
            return "one response\nper question"
        _draw_histogram(axes, bars, top)
        flip = f"flip {number(targets[cell.model, cell.dataset].flip, 2)}"
        axes.text(0.5, 0.99, flip, ha="center", va="top", transform=axes.transAxes)
        return None

    legend = [
        Line2D([], [], color=_RIGHT.colour, lw=4, label="first response correct, up"),
        Line2D([], [], color=_WRONG.colour, lw=4, label="first response not correct, down"),
    ]
    figure = draw_cells(
        grid, draw, "Expected accuracy c/n from the other responses", "Questions (%)", legend
    )
    if figure is None:
        return None
    return Drawing(
        "divergence",
        "The response target against the capability target",
        "Questions by their expected accuracy, the target of capability calibration, counted "
        "from all responses but the first; apart by whether the first response is correct, which "
        "is the target of response calibration. Were the two targets one, all blue would stand at "
        "1 and all red at 0. Heights are square roots, so that rare bins show. Flip is "
        "the chance that two responses to one question differ in correctness.",
        figure,
    )


def _draw_histogram(axes: Axes, bars: plotted.TargetHistogram, top: float) -> None:
    """Draw the bars on a square-root scale that reaches to the share ``top``."""
    place: dict[str, Any] = {"width": 1 / plotted.TARGET_BINS, "align": "edge", "lw": 0}
    axes.bar(bars.left, np.sqrt(bars.correct), color=_RIGHT.colour, **place)
    axes.bar(bars.left, -np.sqrt(bars.incorrect), color=_WRONG.colour, **place)
    axes.axhline(0, color=style.BLACK, lw=0.5)
    axes.set(xlim=UNIT, xticks=TICKS, xticklabels=_UNIT_TICKS)
    axes.set_ylim(-1.05 * np.sqrt(top), 1.5 * np.sqrt(top))  # room for a line of text
    ticks = np.sqrt([share for share in _SHARES if share <= max(top, _SHARES[0])][-2:])
    axes.set_yticks([*-ticks, 0, *ticks])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda root, _: f"{100 * root**2:.0f}"))


def draw_reliability(grid: Grid) -> Drawing | None:
    """Draw the reliability of each estimator but the oracles, with a line for each model."""
    looks = dict(zip(grid.models, style.series_looks(len(grid.models)), strict=True))
    names = {name: estimator_look(name).name for name in grid.estimators if not grid.oracle(name)}
    pairs = {place: plotted.pair(cell, plotted.RESAMPLES) for place, cell in grid.cells.items()}

    def draw(axes: Axes, estimator: str, dataset: str) -> str | None:
        present = {
            model: pairs[model, dataset][estimator]
            for model in grid.models
            if estimator in pairs.get((model, dataset), {})
        }
        answered = {model: estimate for model, estimate in present.items() if estimate.answered}
        if answered:
            axes.plot([0, 1], [0, 1], **REFERENCE)
        for model, estimate in answered.items():
            _draw_curve(axes, plotted.reliability(estimate), looks[model])
        axes.set(xlim=UNIT, ylim=UNIT, xticks=TICKS, yticks=TICKS)
        axes.set(xticklabels=_UNIT_TICKS, yticklabels=_UNIT_TICKS)
        if answered:
            return None
        return "no answer" if present else "not run"

    legend = [  # a label that began with "_" would be left out
        Line2D([], [], color=look.colour, marker=look.marker, ms=3, lw=0.9, label=f" {name}")
        for name, look in zip(map(model_name, grid.models), looks.values(), strict=True)
    ]
    figure = draw_panels(
        names, dataset_names(grid), draw, "Mean confidence", "Mean expected accuracy c/n", legend
    )
    if figure is None:
        return None
    return Drawing(
        "reliability",
        "Reliability diagrams",
        f"Mean expected accuracy in {plotted.RELIABILITY_BINS} equal-width bins of confidence, "
        "both ends closed, with 95 % bootstrap intervals over questions. Below the dashed line an "
        "estimator is overconfident, above it underconfident. A model without a line was not run.",
        figure,
    )


def _draw_curve(axes: Axes, curve: plotted.Reliability, look: Look) -> None:
    full = curve.share > 0
    axes.vlines(curve.confidence, curve.low, curve.high, color=look.colour, lw=0.5)
    axes.plot(
        curve.confidence[full], curve.accuracy[full], color=look.colour, marker=look.marker, ms=2.5,
        lw=0.8, mec="white", mew=0.2,
    )  # fmt: skip


def draw_cell_reliability(cell: CellResult) -> Drawing:
    """Draw a cell's reliability, one panel for each estimator, with how many questions it is of."""
    pairs, bins = plotted.pair(cell, plotted.RESAMPLES), plotted.RELIABILITY_BINS
    figure, panels = small_multiples(len(pairs), "Mean confidence", "Mean expected accuracy c/n")
    for axes, (name, estimate) in zip(panels, pairs.items(), strict=True):
        look, curve = estimator_look(name), plotted.reliability(estimate)
        left = np.arange(bins) / bins
        shares: dict[str, Any] = {"width": 1 / bins, "align": "edge", "ec": "white", "lw": 0.4}
        axes.bar(left, curve.share, color=style.LIGHT_GREY, zorder=-1, **shares)
        axes.plot([0, 1], [0, 1], **REFERENCE)
        _draw_curve(axes, curve, look._replace(marker="o"))
        axes.set_title(f"{style.clipped(look.name)}\nN = {estimate.answered}")
    return Drawing(
        "reliability",
        "Reliability diagrams",
        f"Mean expected accuracy in {bins} equal-width bins of confidence, both ends closed, with "
        "95 % intervals over the N answered questions and their responses (none for a bin of "
        "one). Bars show the share of them in each bin, on the same axis; a bin with few questions "
        "says little. Below the dashed line an estimator is overconfident, above it "
        "underconfident. Of estimators that are random "
        f"the first {plotted.SHOWN_DRAWS} draws are pooled.",
        figure,
    )


def draw_confidences(cell: CellResult) -> Drawing:
    """Draw confidence against expected accuracy, one panel for each estimator of a cell."""
    pairs = plotted.pair(cell)
    figure, panels = small_multiples(len(pairs), "Confidence", "Expected accuracy c/n")
    correlation = dict(cell.metrics.filter(metric="spearman")["estimator", "value"].rows())
    jitter = np.random.default_rng(0)
    for axes, (name, estimate) in zip(panels, pairs.items(), strict=True):
        look, given = estimator_look(name), estimate.given[0]
        shift = jitter.uniform(-0.012, 0.012, (2, given.sum()))
        x = estimate.confidences[0, given] + shift[0]
        y = estimate.c[given] / estimate.n[given] + shift[1]
        axes.plot([0, 1], [0, 1], **REFERENCE)
        axes.scatter(x, y, s=9, c=look.colour, alpha=opacity(len(x)), lw=0)
        rho = number(correlation.get(name, np.nan), 2)
        axes.set_title(f"{style.clipped(look.name)}\nρ = {rho}")
    return Drawing(
        "confidences",
        "Confidence against expected accuracy",
        "One point per question; points are shifted by up to 0.012 either way so that equal values "
        "show. ρ is Spearman's correlation. Of estimators that are random the first draw is "
        "shown, and ρ is the mean over all draws. The dashed line is perfect calibration. "
        "The oracles are made from the target's own responses.",
        figure,
    )
