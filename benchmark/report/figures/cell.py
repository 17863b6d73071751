"""Stage 8: all figures of one grid cell."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

from benchmark.records import CellResult
from benchmark.report import plotted, style
from benchmark.report.figures.axes import Drawing
from benchmark.report.figures.budget import draw_budget, draw_pass_at_k_extrapolation
from benchmark.report.figures.calibration import draw_confidences, draw_divergence, draw_reliability
from benchmark.report.figures.decisions import draw_abstention, draw_adaptive, draw_routing
from benchmark.report.figures.outcomes import (
    draw_cost,
    draw_histogram,
    draw_pass_at_k,
    draw_selection,
)

DRAW: dict[str, Callable[[CellResult], Drawing]] = {  # by the name of an application's table
    "pass_at_k": draw_pass_at_k,
    "abstention": draw_abstention,
    "routing": draw_routing,
    "adaptive": draw_adaptive,
    "pass_at_k_extrapolation": draw_pass_at_k_extrapolation,
    "budget": draw_budget,
}


class Plate(NamedTuple):
    """A figure on the disk."""

    title: str
    caption: str
    path: Path
    width: float  # inches


Draw = Callable[[CellResult], Drawing]


def write_figures(result: CellResult, folder: Path, more: Iterable[Draw] = ()) -> list[Plate]:
    """Draw every figure that the cell has data for into ``folder``, as PNG, and list them.

    Args:
        result: the cell.
        folder: is made if it doesn't exist.
        more: figures beside the harness's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plates = []
    with mpl.rc_context(style.RC):
        for drawing in chain(_draw(result), (draw(result) for draw in more)):
            path, figure = folder / f"{drawing.name}.png", drawing.figure
            figure.savefig(path)
            plates.append(Plate(drawing.title, drawing.caption, path, figure.get_figwidth()))
    return plates


def _draw(result: CellResult) -> Iterator[Drawing]:
    paired = plotted.pair(result)
    yield draw_divergence(result, paired)
    yield draw_confidences(result, paired)
    yield draw_reliability(paired)
    if plotted.tokens_spent(result):
        yield draw_cost(result)
    for name, table in result.applications.items():
        if name in DRAW and not table.is_empty():
            yield DRAW[name](result)
    yield draw_histogram(result)
    for name, selection in plotted.probe_selections(result).items():
        yield draw_selection(name, selection)
