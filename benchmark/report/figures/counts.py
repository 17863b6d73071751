"""Stage 8: the figure of how often each question is answered correctly."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmark.records import CellResult
from benchmark.report import style
from benchmark.report.figures.axes import TICKS, UNIT, Drawing
from benchmark.report.figures.grid_panels import REPORTED, draw_cells
from benchmark.report.grid import Grid
from benchmark.report.plotted import count_histogram
from benchmark.report.reported import reported_by_k

_RESPONSES = 100  # of each question, in the paper's histogram


def draw_counts(grid: Grid) -> Drawing | None:
    """Draw the histogram of each cell's c/n, beside the paper's where it has one."""
    theirs = {place: reported_by_k("questions", *place) for place in grid.cells}

    def draw(axes: Axes, cell: CellResult) -> str | None:
        shares = count_histogram(cell.capability["c"].to_numpy(), cell.capability["n"].to_numpy())
        left = np.arange(len(shares)) / len(shares)
        axes.bar(left, shares, 1 / len(shares), align="edge", color=style.BLUE, ec="white", lw=0.3)
        counts = theirs[cell.model, cell.dataset]
        if counts:
            c = np.repeat([*counts], np.array([*counts.values()], dtype=int))
            reported = count_histogram(c, np.full(len(c), _RESPONSES))
            axes.stairs(reported, [*left, 1.0], color=style.BLACK, lw=0.8)
        axes.set(xlim=UNIT, xticks=TICKS, xticklabels=("0", ".5", "1"))
        return None

    any_theirs = any(theirs.values())
    legend = [Line2D([], [], color=style.BLACK, lw=0.8, label="reported")] if any_theirs else []
    figure = draw_cells(grid, draw, "Expected accuracy c/n", "Questions (%)", legend)
    if figure is None:
        return None
    note = REPORTED.replace("Hollow", "Black")
    return Drawing(
        "counts",
        "How often the questions are answered correctly",
        "Questions by their share c/n of correct responses, in 20 bins of equal width, the lower "
        "edge closed, the last one with 1." + (f"{note}." if any_theirs else ""),
        figure,
    )
