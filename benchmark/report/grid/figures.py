"""Stage 8: all figures of a grid, as PDF for a paper and as PNG."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

from benchmark.report import style
from benchmark.report.canvas import Drawing
from benchmark.report.figures import Plate
from benchmark.report.grid.calibration_figures import draw_cost, draw_divergence, draw_reliability
from benchmark.report.grid.curve_figures import (
    draw_budget,
    draw_convergence,
    draw_layers,
    draw_pass_at_k,
    draw_scaling,
)
from benchmark.report.grid.grid import Grid

_RC = style.RC | {"pdf.fonttype": 42}  # fonts that editors and search can read


class Figure(NamedTuple):
    """A figure that a grid may have."""

    name: str
    draw: Callable[[Grid], Drawing | None]
    needs: str  # what some cell must have


FIGURES = (
    Figure("divergence", draw_divergence, "at least two responses per question"),
    Figure("reliability", draw_reliability, "an estimator that is no oracle"),
    Figure("cost", draw_cost, "an estimator whose tokens are known"),
    Figure("pass_at_k", draw_pass_at_k, "the application pass_at_k"),
    Figure("budget", draw_budget, "the application budget"),
    Figure("layers", draw_layers, "a probe"),
    Figure("scaling", draw_scaling, "a probe in several runs with different dataset.train_limit"),
    Figure("convergence", draw_convergence, "at least two responses per question"),
)


def write_figures(grid: Grid, folder: Path) -> tuple[list[Plate], dict[str, str]]:
    """Draw each figure into ``folder`` as PDF and PNG.

    Returns:
        The figures as PNG, and what the grid lacks for each of those that couldn't be drawn.
    """
    plates, lacking = [], {}
    with mpl.rc_context(_RC):
        for name, draw, needs in FIGURES:
            drawing = draw(grid)
            if drawing is None:
                lacking[name] = needs
                continue
            figure, path = drawing.figure, folder / f"{name}.png"
            figure.savefig(path)
            figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
            plates.append(Plate(drawing.title, drawing.caption, path, figure.get_figwidth()))
    return plates, lacking
