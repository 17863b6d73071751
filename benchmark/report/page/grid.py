"""Stage 8: one self-contained, interactive HTML page of a grid.

What models and datasets wrote is untrusted text. The static part is escaped by the template engine;
the rest comes packed (``payload``) and reaches the page as text nodes only. The page's policy names
the checksums of its own scripts, so that no other runs, and forbids the network.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from benchmark.records import OUTCOMES, CellResult
from benchmark.report import style
from benchmark.report.figures.cell import Plate
from benchmark.report.grid import Grid
from benchmark.report.page.payload import BLOCK, Payload, pack_cells
from benchmark.report.style import dataset_name, estimator_look, metric_look, model_name
from benchmark.report.tables.formats import explained, layout
from benchmark.report.tables.grid import GridTable
from benchmark.store.files import write_whole

MOST_CHARACTERS = 22_000_000  # of all payloads; the page's other parts take a few million
_FOLDER = Path(__file__).parent / "assets"
_SCRIPTS = (("uPlot.min.js",), ("dom.js", "tables.js", "scatter.js", "questions.js", "main.js"))
_STYLES = ("uPlot.min.css", "page.css")


def write_page(
    grid: Grid,
    tables: Sequence[GridTable],
    plates: Sequence[Plate],
    lacking: Mapping[str, str],
    path: Path,
) -> None:
    """Write the page of a grid; it needs no other file and no network.

    Args:
        grid: its cells.
        tables: shown in this order.
        plates: figures as PNG.
        lacking: what the grid lacks for each figure that couldn't be drawn.
        path: of the page; an older one is replaced.
    """
    shown = _shown_cells(grid)
    payloads = pack_cells(shown, MOST_CHARACTERS)
    held = {p.shown for p, cell in zip(payloads, shown, strict=True) if not cell.counted}
    blocks: dict[str, str] = {}
    cells = [_cell(*both, blocks) for both in zip(shown, payloads, strict=True)]
    scripts = [_asset(names) for names in _SCRIPTS]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["base64"] = lambda file: base64.b64encode(file.read_bytes()).decode()
    html = environment.get_template("grid.html").render(
        title=f"Capability calibration: {grid.size}",
        policy=_policy(scripts),
        styles=_asset(_STYLES),
        scripts=scripts,
        notes=_notes(grid, held),
        tables=[_shown(table) for table in tables],
        plates=plates,
        lacking=lacking,
        index=Markup(embedded(_index(grid, cells))),
        blocks=blocks,
    )
    write_whole(path, html.encode())


def embedded(value: Any) -> str:
    r"""Return JSON that can stand in a script element, whatever its texts hold.

    Examples:
        >>> embedded("</script>&")
        '"\\u003c/script\\u003e\\u0026"'
    """
    text = json.dumps(value, allow_nan=False)  # non-ASCII, such as U+2028, is escaped by default
    return "".join(f"\\u{ord(char):04x}" if char in "<>&" else char for char in text)


def _asset(names: Sequence[str]) -> Markup:
    return Markup("\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names))


def _policy(scripts: Sequence[str]) -> str:
    """Return a policy that allows these scripts, inline styles and inline images only."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _shown_cells(grid: Grid) -> list[CellResult]:
    """Return the cells in the order in which they are shown."""
    places = [(model, dataset) for model in grid.models for dataset in grid.datasets]
    return [grid.cells[place] for place in places if place in grid.cells]


def _cell(cell: CellResult, payload: Payload, blocks: dict[str, str]) -> dict[str, Any]:
    """Return what the page's index says of a cell, and add its packed blocks to ``blocks``."""

    def block(text: str) -> str:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        blocks[f"b-{digest}"] = text  # questions that several models share are there once
        return f"b-{digest}"

    estimators: dict[str, Any] = {}
    for name, estimate in cell.estimates.items():
        rows = cell.metrics.filter(pl.col("estimator") == name, pl.col("value").is_not_nan())
        draws = estimate.confidences["sample_index"].n_unique()
        estimators[name] = {
            "draws": draws,
            "metrics": {
                row["metric"]: [_or_null(row[key]) for key in ("value", "low", "high")]
                for row in rows.iter_rows(named=True)
            },
        }
    return {
        "model": cell.model,
        "dataset": cell.dataset,
        "name": f"{model_name(cell.model)} on {dataset_name(cell.dataset)}, {cell.split}",
        "counted": cell.counted,
        "estimators": estimators,
        "points": block(payload.points),
        "texts": block(payload.texts),
        "blocks": [block(text) for text in payload.responses],
        "block": BLOCK,
    }


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _index(grid: Grid, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the page knows before any block is unpacked."""
    metrics = {metric for cell in grid.cells.values() for metric in cell.metrics["metric"]}
    listed = [name for name in style.METRICS if name in metrics]
    listed += sorted(metrics - set(listed))
    return {
        "models": [{"key": name, "name": model_name(name)} for name in grid.models],
        "datasets": [{"key": name, "name": dataset_name(name)} for name in grid.datasets],
        "outcomes": _outcomes(style.OUTCOMES),
        "counted_outcomes": _outcomes(style.COUNTED_OUTCOMES),
        "estimators": [
            {"key": name, "name": estimator_look(name).name, "oracle": grid.oracle(name)}
            for name in grid.estimators
        ],
        "metrics": [
            {
                "key": name,
                "name": metric_look(name).name,
                "best": metric_look(name).best,
                "decimals": metric_look(name).decimals,
            }
            for name in listed
        ],
        "cells": cells,
    }


def _outcomes(looks: Mapping[str, style.Look]) -> list[dict[str, str]]:
    """Return how outcomes are shown, in their order in the packed data."""
    order = sorted(looks, key=OUTCOMES.index)
    return [{"key": o, "name": looks[o].name, "colour": looks[o].colour} for o in order]


def _shown(table: GridTable) -> dict[str, Any]:
    """Return a table with each row's names first, so that rows can be sorted."""
    shown = layout(table)
    grouped = [", ".join(table.group).capitalize()] if table.group else []
    return {
        "title": table.title,
        "note": explained(table),
        "names": [*grouped, table.row.capitalize()],
        "columns": shown.columns,
        "rows": [
            {
                "names": [*([block.heading] if table.group else []), line.name],
                "entries": line.entries,
            }
            for block in shown.blocks
            for line in block.lines
        ],
    }


def _notes(grid: Grid, most: set[int]) -> list[str]:
    """Return what was run, and how much of it the page shows.

    Args:
        grid: its cells.
        most: responses per question that the page holds, in any cell that isn't counted elsewhere.
    """
    cells = grid.cells.values()
    questions = sum(len(cell.questions) for cell in cells)
    graded = sum(len(cell.grades) + len(cell.left_out) for cell in cells)
    held = "none"
    if most:
        span = f"{min(most)}" if len(most) == 1 else f"{min(most)} to {max(most)}, by cell,"
        held = f"at most {span} per question"
    if any(cell.counted for cell in cells):
        held += ": only counts were given" if not most else "; of some cells only counts were given"
    places = len(grid.models) * len(grid.datasets)
    return [
        f"{len(grid.cells)} of {places} cells, {questions:,} questions and {graded:,} judged "
        f"responses, of which the page holds {held}.",
    ]
