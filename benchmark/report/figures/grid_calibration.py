"""Stage 8: figures of a grid's confidences against both targets, and of what they cost."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from benchmark.records import CellResult
from benchmark.report import plotted, style
from benchmark.report.figures.axes import REFERENCE, TICKS, UNIT, Drawing
from benchmark.report.figures.grid_cells import (
    dataset_names,
    draw_cells,
    draw_panels,
    left_out,
    legend_of,
    line_style,
    main_estimators,
)
from benchmark.report.figures.outcomes import scale_tokens
from benchmark.report.grid import Grid
from benchmark.report.plotted_grid import (
    TARGET_BINS,
    TargetHistogram,
    cost_rows,
    target_histogram,
)
from benchmark.report.style import Look, estimator_look, model_name
from benchmark.report.tables.cell import number

_SHARES = (0.05, 0.2, 0.5, 1)  # ticks of the mirrored histogram, the largest that fit
_RIGHT, _WRONG = style.OUTCOMES["correct"], style.OUTCOMES["incorrect"]
_UNIT_TICKS = ("0", ".5", "1")
_DASHED: dict[str, Any] = {"lw": 0.8, "ls": (0, (4, 3))}


def draw_divergence(grid: Grid) -> Drawing | None:
    """Draw how questions spread over the expected accuracy, by the outcome of one response."""
    targets = {place: plotted.two_targets(cell.grades) for place, cell in grid.cells.items()}
    histograms = {
        place: target_histogram(both.response, both.accuracy)
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


def _draw_histogram(axes: Axes, bars: TargetHistogram, top: float) -> None:
    """Draw the bars on a square-root scale that reaches to the share ``top``."""
    place: dict[str, Any] = {"width": 1 / TARGET_BINS, "align": "edge", "lw": 0}
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
    pairs = {place: plotted.pair(cell) for place, cell in grid.cells.items()}

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

    legend = [
        Line2D([], [], color=look.colour, marker=look.marker, ms=3, lw=0.9, label=model_name(model))
        for model, look in looks.items()
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


def draw_cost(grid: Grid) -> Drawing | None:
    """Draw mean tokens against 1 - Brier score, a panel for each cell."""
    rows = {place: cost_rows(cell) for place, cell in grid.cells.items()}
    counted = set(pl.concat(rows.values())["estimator"])
    names = [name for name in grid.estimators if name in counted]
    shown = main_estimators(names)
    rows = {place: r.filter(pl.col("estimator").is_in(shown)) for place, r in rows.items()}
    every = pl.concat(rows.values()).filter(~pl.col("oracle"))
    if every.is_empty():
        return None

    def draw(axes: Axes, cell: CellResult) -> str | None:
        table = rows[cell.model, cell.dataset]
        if table.is_empty():
            return "no tokens\ncounted"
        _draw_costs(axes, table)
        scale_tokens(axes, float(every["tokens"].max()))  # type: ignore[arg-type]
        axes.set(xlabel="", ylim=(0.98 * (1 - float(every["brier"].max())), 1.02))  # type: ignore[arg-type]
        return None

    oracles = [name for name in shown if grid.oracle(name)]
    legend = legend_of([name for name in shown if name not in oracles], ls="none", ms=4.5)
    legend += legend_of(oracles, marker="", **_DASHED)
    figure = draw_cells(grid, draw, "Tokens per confidence", "1 − Brier score", legend)
    if figure is None:
        return None
    return Drawing(
        "cost",
        "Cost against 1 − Brier score",
        "Mean prompt and completion tokens spent on one confidence, beyond answering the question, "
        "against 1 − Brier score (target c/n). The axis is logarithmic above 1 token; estimators "
        "that spend none stand side by side at 0. Oracles are lines: they know the target's own "
        "responses." + left_out(shown, names),
        figure,
    )


def _draw_costs(axes: Axes, table: pl.DataFrame) -> None:
    """Draw a cell's estimators, those that spend nothing side by side, and oracles as lines."""
    for row in table.filter("oracle").iter_rows(named=True):
        colour = estimator_look(row["estimator"]).colour
        axes.axhline(1 - row["brier"], color=colour, zorder=0, **_DASHED)
    real = table.filter(~pl.col("oracle")).sort("tokens")
    free = real.filter(pl.col("tokens") == 0).height
    x = real["tokens"].to_numpy().copy()
    x[:free] = np.linspace(-0.6, 0.6, free + 2)[1:-1]
    for at, row in zip(x, real.iter_rows(named=True), strict=True):
        mark = line_style(row["estimator"]) | {"ls": "none", "ms": 4.5}
        axes.plot(at, 1 - row["brier"], **mark)
