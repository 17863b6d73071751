"""Stage 8: what all figures share."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from benchmark.metrics.inputs import FloatArray
from benchmark.report.style import GREY, TEXT_WIDTH, estimator_look

UNIT = (-0.04, 1.04)  # axis limits of a share, with room for the markers at 0 and 1
TICKS = (0, 0.5, 1)
REFERENCE: dict[str, Any] = {"color": GREY, "lw": 0.8, "ls": (0, (4, 3)), "zorder": 0}
MOST_COLUMNS = 5
PANEL_HEIGHT = 1.35  # inches, of a small multiple


class Drawing(NamedTuple):
    """A figure in memory."""

    name: str  # of its file
    title: str
    caption: str
    figure: Figure


def small_multiples(count: int, x_label: str, y_label: str) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` square panels over the unit square, with common axis labels."""
    rows = -(-count // MOST_COLUMNS)
    columns = -(-count // rows)
    size = (TEXT_WIDTH * columns / MOST_COLUMNS, PANEL_HEIGHT * rows + 0.35 * rows + 0.2)
    figure = Figure(figsize=size)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    panels[0].set(xlim=UNIT, ylim=UNIT, xticks=TICKS, yticks=TICKS)
    panels[0].set(xticklabels=("0", ".5", "1"), yticklabels=("0", ".5", "1"))
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel(x_label, fontsize="medium")
    figure.supylabel(y_label, fontsize="medium")
    return figure, panels[:count]


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Add the legend of the estimators' markers, without their error bars, below the axes."""
    markers = [bars.lines[0] for bars in axes.containers if isinstance(bars, ErrorbarContainer)]
    labels = axes.get_legend_handles_labels()[1]
    figure.legend(markers, labels, loc="outside lower center", ncols=columns, columnspacing=1.2)


def marker(estimator: str) -> dict[str, Any]:
    """Return the ``errorbar`` arguments that show an estimator."""
    look = estimator_look(estimator)
    return {
        "label": look.name,
        "color": look.colour,
        "marker": look.marker,
        "markersize": 7 if look.marker == "*" else 4.5,
        "markeredgecolor": look.colour if look.marker == "x" else "white",
        "markeredgewidth": 1.2 if look.marker == "x" else 0.4,
        "linestyle": "none",
        "elinewidth": 0.8,
    }


def errors(value: float, low: float, high: float) -> FloatArray:
    """Return the lengths [2, 1] of an error bar, 0 where the interval doesn't hold the value."""
    return np.clip([[value - low], [high - value]], 0, None)
