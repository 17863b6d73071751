"""Stage 8: the figure of what confidences cost."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from benchmark.records import CellResult
from benchmark.report import plotted, style
from benchmark.report.figures.axes import Drawing
from benchmark.report.figures.grid_panels import (
    REPORTED,
    draw_cells,
    draw_reported,
    left_out,
    legend_of,
    line_style,
    main_estimators,
)
from benchmark.report.grid import Grid
from benchmark.report.reported import reported
from benchmark.report.style import estimator_look

_DASHED: dict[str, Any] = {"lw": 0.8, "ls": (0, (4, 3))}


def draw_cost(grid: Grid) -> Drawing | None:
    """Draw mean tokens against 1 - Brier score, a panel for each cell."""
    rows = {place: plotted.cost_rows(cell) for place, cell in grid.cells.items()}
    counted = set(pl.concat(rows.values())["estimator"])
    names = [name for name in grid.estimators if name in counted]
    shown = names if len(rows) == 1 else main_estimators(names)
    rows = {place: r.filter(pl.col("estimator").is_in(shown)) for place, r in rows.items()}
    every = pl.concat(rows.values()).filter(~pl.col("oracle"))
    if not (every["tokens"] > 0).any():
        return None
    theirs = {(*place, name): _reported_cost(*place, name) for place in rows for name in shown}
    points = [point for own in theirs.values() for point in own.items()]
    most = max([float(every["tokens"].max()), *(x for x, _ in points)])  # type: ignore[arg-type]
    least = min([1 - float(every["brier"].max()), *(y for _, y in points)])  # type: ignore[arg-type]

    def draw(axes: Axes, cell: CellResult) -> str | None:
        table = rows[cell.model, cell.dataset]
        if table.is_empty():
            return "no tokens\ncounted"
        _draw_costs(axes, table)
        for name in table["estimator"]:
            draw_reported(axes, theirs[cell.model, cell.dataset, name], line_style(name))
        _scale_tokens(axes, most)
        axes.set(ylim=(0.98 * least, 1.02))
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
        "against 1 − Brier score (target c/n), with 95 % intervals over questions. The axis is "
        "logarithmic above 1 token; estimators that spend none stand side by side at 0. Oracles "
        "are lines: they know the target's own responses."
        + (f"{REPORTED}, which counts completion tokens only." if points else "")
        + left_out(shown, names),
        figure,
    )


def _reported_cost(model: str, dataset: str, estimator: str) -> dict[float, float]:
    """Return the paper's 1 - Brier score by its tokens; empty where it has not both."""
    tokens = reported("output_tokens", model, dataset, estimator)
    brier = reported("brier", model, dataset, estimator)
    read = reported("one_minus_brier", model, dataset, estimator)
    if tokens is None or (brier is None and read is None):
        return {}
    return {tokens.value: 1 - brier.value if brier else read.value}  # type: ignore[union-attr]


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
        axes.vlines(at, 1 - row["high"], 1 - row["low"], color=mark["color"], lw=0.7)
        axes.plot(at, 1 - row["brier"], **mark)


def _scale_tokens(axes: Axes, most: float) -> None:
    """Make the horizontal axis one of tokens up to ``most``, logarithmic above 1, 0 apart."""
    most = max(most, 1.0)
    decades = 10 ** np.arange(np.floor(np.log10(most)) + 1)
    axes.axvspan(-0.85, 0.85, color=style.LIGHT_GREY, alpha=0.35, lw=0, zorder=-1)
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    axes.set(xlim=(-0.85, 2 * most))
    axes.xaxis.set_major_locator(FixedLocator([0, *decades]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(["0", *(f"{d:,.0f}" for d in decades)])
