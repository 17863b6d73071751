"""Stage 8: one self-contained, interactive HTML page of a grid; one cell is a grid, too.

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
from benchmark.report.doubts import doubts
from benchmark.report.figures.write import Plate
from benchmark.report.grid import Grid
from benchmark.report.outside import plain
from benchmark.report.page.payload import (
    BLOCK,
    MOST_CHARACTERS,
    Payload,
    clip,
    family_of,
    pack_cells,
)
from benchmark.report.plotted import ID
from benchmark.report.style import dataset_name, estimator_look, metric_look, model_name
from benchmark.report.tables import cell as cell_tables
from benchmark.report.tables.formats import Layout, explained, layout
from benchmark.report.tables.grid import GridTable

MOST_BYTES = 40_000_000  # of all texts; packed they take about half of it
SHOWN_DISAGREEMENTS = 100
_FOLDER = Path(__file__).parent / "assets"
_SCRIPTS = (("uPlot.min.js",), ("dom.js", "tables.js", "scatter.js", "questions.js", "main.js"))
_STYLES = ("uPlot.min.css", "page.css")


def write_page(
    grid: Grid,
    tables: Sequence[GridTable],
    plates: Sequence[Plate],
    lacking: Mapping[str, str],
    path: Path,
    provenance: Mapping[str, str] | None = None,
    files: Sequence[str] = (),
) -> None:
    """Write the page of a grid; it needs no other file and no network.

    Args:
        grid: its cells.
        tables: shown in this order.
        plates: figures as PNG.
        lacking: what the grid lacks for each figure that couldn't be drawn.
        path: of the page; an older one is replaced.
        provenance: what is known of the run, by name, such as versions and commit.
        files: names of CSV files beside the page, which links to them.
    """
    shown = _shown_cells(grid)
    payloads = pack_cells(shown, MOST_BYTES)
    held = {p.shown for p, cell in zip(payloads, shown, strict=True) if not cell.counted}
    blocks: dict[str, str] = {}
    cells = [_cell(*both, blocks) for both in zip(shown, payloads, strict=True)]
    scripts = [_asset(names) for names in _SCRIPTS]
    counted = all(cell.counted for cell in shown)
    looks = style.COUNTED_OUTCOMES if counted else style.OUTCOMES
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.finalize = _shown_text
    environment.filters["base64"] = lambda file: Markup(
        base64.b64encode(file.read_bytes()).decode()
    )
    html = environment.get_template("report.html").render(
        title=cells[0]["name"] if len(shown) == 1 else f"Capability calibration: {grid.size}",
        policy=_policy(scripts),
        styles=_asset(_STYLES),
        scripts=scripts,
        what_was_run=_what_was_run(grid, held),
        provenance=provenance or {},
        files=files,
        tables=[_shown(table) for table in tables],
        cell=_only(shown[0]) if len(shown) == 1 else None,
        doubts={_cell_name(cell): doubts(cell) for cell in shown},
        failed={_cell_name(cell): cell.failed for cell in shown},
        outcome_looks=looks,
        outcomes=[row for cell in shown for row in outcome_rows(cell, families=len(shown) == 1)],
        statuses=[row for cell in shown for row in status_rows(cell)],
        disagreements=_disagreements(shown),
        shown_disagreements=SHOWN_DISAGREEMENTS,
        missing=style.MISSING,
        plates=plates,
        lacking=lacking,
        index=Markup(embedded(_index(grid, cells))),
        blocks={name: Markup(text) for name, text in blocks.items()},
    )
    path.write_text(html, encoding="utf-8")


def _only(cell: CellResult) -> dict[str, Any]:
    """Return what the page shows of a cell alone: all metrics, and which estimators differ."""
    first = next(iter(cell_tables.best_estimators(cell, "brier")), None)
    compared = cell_tables.comparisons(cell, first) if first else None
    return {
        "metrics": [_rows(table, ["Estimator"]) for table in cell_tables.page_tables(cell)],
        "caption": cell_tables.CAPTION,
        "reference": estimator_look(first).name if first else None,
        "comparisons": compared and _rows(compared, ["Estimator"]),
    }


def outcome_rows(cell: CellResult, *, families: bool) -> list[dict[str, Any]]:
    """Return the outcome rates of all responses of a cell, and of each family where wanted."""
    every = pl.concat([cell.grades, cell.left_out])
    groups = {_cell_name(cell): every}
    if families:
        by_family = every.join(family_of(cell.questions), on=ID).sort("family")
        groups |= {str(f): g for (f,), g in by_family.group_by("family", maintain_order=True)}
    rows = []
    for name, grades in groups.items():
        counts = dict(grades["outcome"].value_counts().rows())
        rates = {outcome: counts.get(outcome, 0) / len(grades) for outcome in OUTCOMES}
        questions = grades[ID].n_unique()
        row = {"name": name, "questions": questions, "responses": len(grades), "rates": rates}
        rows.append(row | {"left_out": len(cell.left_out) if grades is every else None})
    return rows


def status_rows(cell: CellResult) -> list[dict[str, Any]]:
    """Return how many confidences of each estimator are ok, unparsed and failed."""
    rows = []
    for name, estimate in cell.estimates.items():
        counts = dict(estimate.confidences["status"].value_counts().rows())
        states = {status: counts.get(status, 0) for status in ("ok", "unparsed", "error")}
        row = {"cell": _cell_name(cell), "name": estimator_look(name).name, **states}
        used = estimate.samples_used
        rows.append(row | {"rows": len(estimate.confidences), "samples_used": used})
    return rows


def _disagreements(cells: Sequence[CellResult]) -> pl.DataFrame:
    return pl.concat(cell.disagreements for cell in cells).sort("responses", descending=True)


def _cell_name(cell: CellResult) -> str:
    return f"{model_name(cell.model)} on {dataset_name(cell.dataset)}, {cell.split}"


def _shown_text(value: Any) -> Any:
    """Return a text as the page may show it: cut, and without hidden characters."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return clip(plain(value), MOST_CHARACTERS)
    return value


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
        "name": _cell_name(cell),
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
    grouped = [", ".join(table.group).capitalize()] if table.group else []
    rows = _rows(layout(table), [*grouped, table.row.capitalize()])
    return {"title": table.title, "note": explained(table), **rows}


def _rows(shown: Layout, names: Sequence[str]) -> dict[str, Any]:
    """Return a table with each row's names first, so that rows can be sorted."""
    rows = [
        {"names": [block.heading, line.name][-len(names) :], "line": line}
        for block in shown.blocks
        for line in block.lines
    ]
    return {"names": names, "columns": shown.columns, "rows": rows}


def _what_was_run(grid: Grid, most: set[int]) -> str:
    """Return what was run, and how much of it the page shows.

    Args:
        grid: its cells.
        most: responses per question that the page holds, in any cell that isn't counted elsewhere.
    """
    cells = grid.cells.values()
    questions = sum(len(cell.questions) for cell in cells)
    judged = sum(len(cell.grades) + len(cell.left_out) for cell in cells)
    counted = {n for cell in cells for n in cell.capability["n"].unique()}
    held = f"at most {_span(most)} per question" if most else "none"
    if any(cell.counted for cell in cells):
        held += "; of some cells only counts were given" if most else ": only counts were given"
    places = len(grid.models) * len(grid.datasets)
    shown = f"{len(cells)} of {places} cells, " if len(cells) > 1 else ""
    return (
        f"{shown}{questions:,} questions and {judged:,} judged responses, {_span(counted)} per "
        f"question, of which the page holds {held}."
    )


def _span(numbers: set[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least}" if least == most else f"{least} to {most}"
