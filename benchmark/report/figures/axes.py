"""Stage 8: what all figures share."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from benchmark.report.style import GREY, TEXT_WIDTH

UNIT = (-0.04, 1.04)  # axis limits of a share, with room for the markers at 0 and 1
TICKS = (0, 0.5, 1)
REFERENCE: dict[str, Any] = {"color": GREY, "lw": 0.8, "ls": (0, (4, 3)), "zorder": 0}
MOST_COLUMNS = 5
_LEFT, _BOTTOM, _TITLE, _BETWEEN = 0.42, 0.42, 0.32, 0.13  # inches, of small multiples
_LEGEND = (1.45, 0.14)  # inches, of an entry
_ROOM = 1.2  # beside the first and last value of a logarithmic axis, as a factor
_MIDDLE = 0.2  # of a logarithmic axis, from its middle
_PANEL = (TEXT_WIDTH - _LEFT) / MOST_COLUMNS - _BETWEEN


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
    width = _LEFT + columns * (_PANEL + _BETWEEN)
    height = rows * (_TITLE + _PANEL) + (rows - 1) * _BETWEEN + _BOTTOM
    figure = Figure(figsize=(width, height))  # set by hand: half the time of a layout engine
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - _BETWEEN / width,
        bottom=_BOTTOM / height,
        top=1 - _TITLE / height,
        wspace=_BETWEEN / _PANEL,
        hspace=(_TITLE + _BETWEEN) / _PANEL,
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    panels[0].set(xlim=UNIT, ylim=UNIT, xticks=TICKS, yticks=TICKS)
    panels[0].set(xticklabels=("0", ".5", "1"), yticklabels=("0", ".5", "1"))
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    centre = (_LEFT + columns * (_PANEL + _BETWEEN) / 2) / width
    figure.text(centre, 0.04 / height, x_label, ha="center", va="bottom")
    middle = (_BOTTOM + height - _TITLE) / 2 / height
    figure.text(0.02 / width, middle, y_label, ha="left", va="center", rotation=90)
    return figure, panels[:count]


def log_axis(axes: Axes, values: Iterable[int]) -> None:
    """Make the horizontal axis logarithmic, marked at the first, a middle and the last value.

    The middle one is what is nearest to the middle between the two others, on the axis; there is
    none where that lies so near to one of them that the labels could touch.
    """
    every, shown = np.unique(list(values)), []
    axes.set_xscale("log")
    if len(every):
        first, last = every[[0, -1]]
        share = np.log(every / first) / (np.log(last / first) or 1)
        off = np.abs(share - 0.5).round(9)  # so that of two as near the larger one is taken
        middle = every[(off <= _MIDDLE) & (off == off.min())]
        shown = sorted({int(value) for value in (first, *middle[-1:], last)})
        axes.set_xlim(first / _ROOM, last * _ROOM)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(t) if t < 1000 else f"{t / 1000:.3g}k" for t in shown])


def legend_under(figure: Figure, lines: list[Artist], labels: list[str]) -> None:
    """Add a legend below small multiples, which get higher by the room that it takes."""
    width, height = figure.get_size_inches()
    columns = max(1, int(width / _LEGEND[0]))
    higher = height + 0.1 + -(-len(lines) // columns) * _LEGEND[1]
    figure.set_size_inches(width, higher)

    def kept(y: float) -> float:
        """Return the position, as a share of the height, that is as far from the top as before."""
        return float(1 - (1 - y) * height / higher)

    figure.subplots_adjust(bottom=kept(figure.subplotpars.bottom), top=kept(figure.subplotpars.top))
    for text in figure.texts:
        text.set_y(kept(text.get_position()[1]))
    figure.legend(lines, labels, loc="lower center", ncols=columns, borderaxespad=0.3)


def opacity(points: int) -> float:
    """Return the opacity of markers that overlap more the more there are, in [0.05, 0.5]."""
    return float(np.clip(120 / max(1, points), 0.05, 0.5))
