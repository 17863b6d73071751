"""Stage 8: small multiples of a grid, models down and datasets across."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.records import CellResult
from benchmark.report.grid import Grid, in_order
from benchmark.report.style import (
    FIRST_ESTIMATORS,
    GREY,
    TEXT_WIDTH,
    broken,
    dataset_name,
    estimator_look,
    model_name,
)

_LEFT, _BOTTOM, _TOP, _GAP = 0.88, 0.42, 0.30, 0.10  # inches
_NAME = 0.52  # from a row's first panel to the middle of its name, beyond the ticks' labels
_ALONE, _LARGEST, _SMALLEST = 2.9, 1.7, 0.72  # width of a panel
REPORTED = " Hollow: reported by the paper (arXiv 2602.13540), read from its figure"
HIGHEST = 8.4  # of a figure, for a page of a paper
MOST_ROWS = 8  # of panels, which a page has room for
MOST_LINES = 8  # of estimators, which a reader can tell apart
_LEGEND_LINE, _LEGEND_ENTRY = 0.17, 1.6  # height and width of an entry
_LEGEND_COLUMNS = 4


def draw_cells(
    grid: Grid,
    draw: Callable[[Axes, CellResult], str | None],
    x_label: str,
    y_label: str,
    legend: list[Line2D],
) -> Figure | None:
    """Return a figure with one panel per cell, models down; see `draw_panels`."""

    def draw_place(axes: Axes, model: str, dataset: str) -> str | None:
        cell = grid.cells.get((model, dataset))
        return "not run" if cell is None else draw(axes, cell)

    models = {model: model_name(model) for model in grid.models}
    return draw_panels(models, dataset_names(grid), draw_place, x_label, y_label, legend)


def draw_panels(
    rows: dict[str, str],
    columns: dict[str, str],
    draw: Callable[[Axes, str, str], str | None],
    x_label: str,
    y_label: str,
    legend: list[Line2D],
) -> Figure | None:
    """Return a figure of panels that share both axes, or None where none has anything to draw.

    A panel without data stays and says why, so that a gap is never taken for a result. One panel
    alone carries no names of row and column, which the page says.

    Args:
        rows: names by key.
        columns: likewise.
        draw: draws the panel of a row and a column, or returns in a few words what it lacks.
        x_label: with the unit, common to all panels.
        y_label: likewise.
        legend: what lines and markers stand for.
    """
    figure, panels = _panels(len(rows), len(columns), x_label, y_label, legend)
    drawn, named = 0, len(rows) + len(columns) > 2
    for line, (row, row_name) in zip(panels, rows.items(), strict=True):
        for axes, column in zip(line, columns, strict=True):
            lacking = draw(axes, row, column)
            if lacking:
                place: dict[str, Any] = {
                    "ha": "center",
                    "va": "center",
                    "transform": axes.transAxes,
                }
                axes.text(0.5, 0.5, lacking, color=GREY, **place)
            drawn += not lacking
        line[0].annotate(
            broken(row_name) * named, (0, 0.5), (-72 * _NAME, 0), xycoords="axes fraction",
            textcoords="offset points", ha="center", va="center", rotation=90,
        )  # fmt: skip
    for axes, name in zip(panels[0], columns.values(), strict=True):
        axes.set_title(broken(name) * named)
    return figure if drawn else None


def dataset_names(grid: Grid) -> dict[str, str]:
    """Return the display names of the grid's datasets by key."""
    return {dataset: dataset_name(dataset) for dataset in grid.datasets}


def _panels(
    rows: int, columns: int, x_label: str, y_label: str, legend: list[Line2D]
) -> tuple[Figure, list[list[Axes]]]:
    """Return empty panels and a legend below, all of a size that suits a page."""
    across = (TEXT_WIDTH - _LEFT) / columns - _GAP
    across = min(_ALONE if rows == columns == 1 else _LARGEST, max(_SMALLEST, across))
    width = max(_LEFT + columns * (across + _GAP), TEXT_WIDTH / 2)
    legend_columns = max(1, min(_LEGEND_COLUMNS, int(width / _LEGEND_ENTRY)))
    below = _BOTTOM + _LEGEND_LINE * -(-len(legend) // legend_columns)
    down = min(across, (HIGHEST - _TOP - below) / rows - _GAP)
    height = _TOP + rows * (down + _GAP) + below
    right = _LEFT + columns * (across + _GAP)
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=_LEFT / width, right=(right - _GAP) / width, bottom=below / height,
        top=1 - _TOP / height, wspace=_GAP / across, hspace=_GAP / down,
    )  # fmt: skip
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    centre = (_LEFT + right) / 2 / width
    figure.text(centre, (below - 0.22) / height, x_label, ha="center", va="top")
    middle = (below + rows * (down + _GAP) / 2) / height
    figure.text(0.03 / width, middle, y_label, ha="left", va="center", rotation=90)
    if legend:
        figure.legend(
            handles=legend, loc="lower center", ncols=legend_columns, columnspacing=1.2,
            bbox_to_anchor=(0.5, 0), borderaxespad=0.2,
        )  # fmt: skip
    return figure, [list(line) for line in grid]


def main_estimators(names: Iterable[str]) -> list[str]:
    """Return at most ``MOST_LINES`` of the names, in their own order.

    Of more those are taken that stand first in the style's ``FIRST_ESTIMATORS``, then the others as
    they come.

    Examples:
        >>> main_estimators(["a", "b", "c", "d", "e", "f", "g", "p_true", "h", "probe_own"])
        ['a', 'b', 'c', 'd', 'e', 'f', 'p_true', 'probe_own']
    """
    every = list(names)
    chosen = in_order(every, FIRST_ESTIMATORS)[:MOST_LINES]
    return [name for name in every if name in chosen]


def left_out(shown: Sequence[str], names: Sequence[str]) -> str:
    """Return the end of a caption: which estimators are drawn, empty where all are."""
    if len(shown) == len(names):
        return ""
    listed = "; ".join(estimator_look(name).name for name in shown)
    return f" Of {len(names)} estimators {len(shown)} are drawn ({listed}); the tables hold all."


def line_style(estimator: str) -> dict[str, Any]:
    """Return the ``plot`` arguments that show an estimator as a line with markers."""
    look = estimator_look(estimator)
    return {
        "color": look.colour,
        "marker": look.marker,
        "ms": 4.5 if look.marker == "*" else 3,
        "mec": look.colour if look.marker == "x" else "white",
        "mew": 0.9 if look.marker == "x" else 0.3,
        "lw": 0.9,
    }


def draw_reported(axes: Axes, points: Mapping[Any, float], mark: dict[str, Any]) -> None:
    """Draw the paper's numbers, y by x, as hollow markers of this ``line_style``."""
    hollow = {"ls": "none", "ms": 4.5, "mfc": "none", "mew": 0.8, "mec": mark["color"]}
    if points:
        axes.plot([*points], [*points.values()], **mark | hollow | {"zorder": 2.5})


def legend_of(names: Iterable[str], **style: Any) -> list[Line2D]:
    """Return a legend entry for each estimator."""
    return [Line2D([], [], label=estimator_look(n).name, **line_style(n) | style) for n in names]
