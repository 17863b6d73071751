"""Stage 8: all figures of a grid, as PDF for a paper and as PNG."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.font_manager import findfont, get_font

from benchmark.records import CellResult
from benchmark.report import style
from benchmark.report.figures.axes import Drawing
from benchmark.report.figures.budget import draw_cell_budget, draw_pass_at_k_extrapolation
from benchmark.report.figures.calibration import (
    draw_cell_reliability,
    draw_confidences,
    draw_divergence,
    draw_reliability,
)
from benchmark.report.figures.cost import draw_cost
from benchmark.report.figures.counts import draw_counts
from benchmark.report.figures.curves import (
    draw_budget,
    draw_convergence,
    draw_layers,
    draw_pass_at_k,
    draw_scaling,
)
from benchmark.report.figures.decisions import draw_abstention, draw_adaptive, draw_routing
from benchmark.report.figures.grid_panels import MOST_ROWS, main_estimators
from benchmark.report.grid import Grid
from benchmark.report.outside import file_name, one_line

DrawCell = Callable[[CellResult], Drawing]
_LOG = logging.getLogger(__name__)
_RC = style.RC | {"pdf.fonttype": 42}  # fonts that editors and search can read


class Figure(NamedTuple):
    """A figure that a grid may have."""

    name: str
    draw: Callable[[Grid], Drawing | None]
    needs: str  # what some cell must have


class Plate(NamedTuple):
    """A figure on the disk."""

    title: str
    caption: str
    path: Path
    width: float  # inches


FIGURES = (
    Figure("divergence", draw_divergence, "at least two responses per question"),
    Figure("counts", draw_counts, "a counted response"),
    Figure("reliability", draw_reliability, "an estimator that is no oracle"),
    Figure("cost", draw_cost, "an estimator that is known to spend tokens"),
    Figure("pass_at_k", draw_pass_at_k, "the application pass_at_k"),
    Figure("budget", draw_budget, "the application budget"),
    Figure("layers", draw_layers, "a probe"),
    Figure("scaling", draw_scaling, "a probe in several runs with different dataset.train_limit"),
    Figure("convergence", draw_convergence, "at least two responses per question"),
)
CELL_FIGURES: dict[str, DrawCell] = {  # of one cell alone, in place of a grid's of that name
    "confidences": draw_confidences,
    "reliability": draw_cell_reliability,
}
APPLICATION_FIGURES: dict[str, DrawCell] = {  # likewise, by the name of the table that is drawn
    "budget": draw_cell_budget,
    "pass_at_k_extrapolation": draw_pass_at_k_extrapolation,
    "abstention": draw_abstention,
    "routing": draw_routing,
    "adaptive": draw_adaptive,
}


def write_figures(
    grid: Grid, folder: Path, more: Iterable[DrawCell] = ()
) -> tuple[list[Plate], dict[str, str]]:
    """Draw each figure into ``folder`` as PDF and PNG.

    One that is higher than a page becomes several: ``name``, ``name_2`` and so on.

    Args:
        grid: of one cell it has that cell's own figures, too.
        folder: is made if it doesn't exist.
        more: figures beside the harness's own, of a grid of one cell.

    Returns:
        The figures as PNG, and what the grid lacks for each of those that couldn't be drawn.
    """
    plates, lacking = list[Plate](), dict[str, str]()
    folder.mkdir(parents=True, exist_ok=True)
    _tell_missing_letters(grid)
    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")  # for each text, twice
        for needs, drawings in _drawings(grid):
            if not drawings:
                lacking |= needs
            for number, drawing in enumerate(drawings, start=1):
                several = f" ({number} of {len(drawings)})" if len(drawings) > 1 else ""
                name = f"{drawing.name}_{number}" if number > 1 else drawing.name
                plates.append(_save(drawing, folder / f"{name}.png", several))
        if len(grid.cells) == 1:
            plates += _outside(next(iter(grid.cells.values())), folder, more)
    return plates, lacking


def _save(drawing: Drawing, path: Path, several: str = "") -> Plate:
    figure = drawing.figure
    figure.savefig(path)
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    return Plate(f"{drawing.title}{several}", drawing.caption, path, figure.get_figwidth())


def _outside(cell: CellResult, folder: Path, more: Iterable[DrawCell]) -> Iterator[Plate]:
    """Yield the figures of other packages; one that fails is said and left out."""
    for draw in more:
        try:
            drawing = draw(cell)
            name = file_name(drawing.name)
            taken = (folder / f"{name}.png").exists()  # of the harness's own, or of another
            plate = _save(drawing, folder / f"{name}{'_outside' * taken}.png")
        except Exception as error:  # noqa: BLE001 - of a package of others, and all else is done
            _LOG.warning(
                "A figure that %s.%s draws is left out. It failed with %s: %s",
                draw.__module__, getattr(draw, "__qualname__", draw), type(error).__name__,
                one_line(str(error), 300),
            )  # fmt: skip
        else:
            yield plate


def _drawings(grid: Grid) -> Iterator[tuple[dict[str, str], list[Drawing]]]:
    """Yield, of each figure, what it needs by its name, and its pages."""
    cell, own = next(iter(grid.cells.values())), dict[str, DrawCell]()
    if len(grid.cells) == 1:
        drawn = {k: d for k, d in APPLICATION_FIGURES.items() if len(cell.applications.get(k, ()))}
        own = CELL_FIGURES | drawn
    for name, draw, needs in FIGURES:
        if name in own:
            yield {}, [own.pop(name)(cell)]
            continue
        pages = estimator_pages(grid) if draw is draw_reliability else model_pages(grid)
        yield {name: needs}, [page for page in map(draw, pages) if page is not None]
    for draw_cell in own.values():
        yield {}, [draw_cell(cell)]


def model_pages(grid: Grid) -> Iterator[Grid]:
    """Yield the grid with as many models as a page has rows for."""
    for models in _pages(grid.models):
        yield grid.with_models(models)


def estimator_pages(grid: Grid) -> Iterator[Grid]:
    """Yield the grid with as many estimators as a page has rows for, the main ones first."""
    names = [name for name in grid.estimators if not grid.oracle(name)]
    first = main_estimators(names)
    for page in (first, *_pages([name for name in names if name not in first])):
        yield grid.with_estimators(page)


def _pages(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), MOST_ROWS):
        yield names[start : start + MOST_ROWS]


def _tell_missing_letters(grid: Grid) -> None:
    """Say which letters of the grid's names the figures show as boxes."""
    names = [
        *map(style.model_name, grid.models),
        *map(style.dataset_name, grid.datasets),
        *(style.estimator_look(name).name for name in grid.estimators),
    ]
    font = get_font(findfont(str(style.RC["font.family"]))).get_charmap()
    missing = sorted({char for char in "".join(names) if ord(char) not in font})
    if missing:
        _LOG.warning(
            "Figures: their font, %s, lacks %s and shows boxes in place of it; tables and page "
            "don't. Names in Latin, Greek or Cyrillic letters are there.",
            style.RC["font.family"],
            "".join(missing),
        )
