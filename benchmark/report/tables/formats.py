"""Stage 8: a grid's table as Markdown, LaTeX (booktabs, graphicx) and CSV."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.report import style
from benchmark.report.grid import in_order
from benchmark.report.outside import latex_text, markdown_text, write_csv
from benchmark.report.ranking import BEST_COVERAGE
from benchmark.report.style import (
    broken,
    dataset_name,
    estimator_look,
    metric_look,
    model_name,
    number,
)
from benchmark.report.tables.grid import GridTable

FEW = "†"  # marks a value over too few of the questions
RANKED = (
    "Bold: the best, with all that the paired difference doesn't tell from it (Holm-adjusted "
    "p ≥ 0.05), where it tells any; italics: the next best, likewise."
)
COMPARED = "In brackets: the paper's number, and by how much this one is above it."
FEW_ANSWERED = f"{FEW}: fewer than {100 * BEST_COVERAGE:.0f} % of the questions answered, unranked."
LONGEST = 45  # lines of a LaTeX table, which fit a page at the size of footnotes


class Entry(NamedTuple):
    """One number as it is shown."""

    value: str
    number: float | str  # to sort by; empty where undefined
    rank: str | None = None  # best, runner-up; warn, alarm where something, most is missing
    few: bool = False  # of the questions answered
    notes: tuple[str, ...] = ()  # smaller, below it: the paper's number and the difference, ..


class Line(NamedTuple):
    """A row of numbers."""

    name: str
    entries: list[Entry | None]  # by column; None where the cell doesn't have it
    oracle: bool = False


class Block(NamedTuple):
    """Rows below a common heading."""

    heading: str  # may be empty
    lines: list[Line]


class Layout(NamedTuple):
    """A table as it is read: columns across, blocks of rows down."""

    columns: list[str]
    blocks: list[Block]


def layout(table: GridTable) -> Layout:
    """Return the table's numbers in their places, formatted."""
    rows = table.rows.to_dicts()
    columns = _values(rows, table.column)
    blocks: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        heading = ", ".join(_name(key, row[key]) for key in table.group)
        blocks.setdefault(heading, []).append(row)
    return Layout(
        [_name(table.column, value) for value in columns],
        [Block(heading, [*_lines(table, own, columns)]) for heading, own in blocks.items()],
    )


def _lines(table: GridTable, rows: list[dict[str, Any]], columns: list[Any]) -> Iterator[Line]:
    found = {(row[table.row], row[table.column]): row for row in rows}
    for value in _values(rows, table.row):
        entries = [found.get((value, column)) for column in columns]
        yield Line(_name(table.row, value), [None if e is None else _entry(e) for e in entries])


def _values(rows: list[dict[str, Any]], key: str) -> list[Any]:
    """Return what occurs in a column of the table, in the order in which it is shown."""
    values = [row[key] for row in rows]
    if key == "k":
        return sorted(set(values))
    listed: dict[str, Any] = {
        "model": style.MODELS,
        "dataset": style.DATASETS,
        "estimator": style.ESTIMATORS,
        "metric": style.METRICS,
    }
    return in_order(values, listed[key])


def _name(key: str, value: Any) -> str:
    names: dict[str, Callable[[Any], str]] = {
        "model": model_name,
        "dataset": dataset_name,
        "estimator": lambda name: estimator_look(name).name,
        "metric": lambda name: metric_look(name).name,
        "k": lambda k: f"k = {k}",
    }
    return names[key](value)


def _entry(row: dict[str, Any]) -> Entry:
    decimals = metric_look(row["metric"]).decimals
    notes: tuple[str, ...] = ()
    if row["reported"] is not None:
        sign = "+" if row["difference"] > 0 else ""
        difference = f"{sign}{number(row['difference'], decimals)}"
        notes = (f"({number(row['reported'], decimals)}, {difference})",)
    few = row["answered"] < BEST_COVERAGE * row["questions"]
    return Entry(number(row["value"], decimals), sort_key(row["value"]), row["rank"], few, notes)


def sort_key(value: float) -> float | str:
    """Return what a table sorts by: the number, empty where it is undefined."""
    return "" if math.isnan(value) else value


def explained(table: GridTable) -> str:
    """Return the table's note, and what the marks mean that occur in it."""
    rows = table.rows
    few = (rows["answered"] < BEST_COVERAGE * rows["questions"]).any()
    rules = {
        RANKED: rows["rank"].is_not_null().any(),
        COMPARED: rows["reported"].is_not_null().any(),
        FEW_ANSWERED: few,
    }
    return " ".join([table.note, *(rule for rule, occurs in rules.items() if occurs)])


def markdown(table: GridTable) -> str:
    """Return the table as Markdown, with its title and its rules."""
    shown = layout(table)
    head = "| | " + " | ".join(map(markdown_text, shown.columns)) + " |"
    lines = [head, "| --- |" + " ---: |" * len(shown.columns)]
    for block in shown.blocks:
        if block.heading:
            lines.append(f"| **{markdown_text(block.heading)}** |" + " |" * len(shown.columns))
        for line in block.lines:
            entries = " | ".join(_markdown_entry(entry) for entry in line.entries)
            lines.append(f"| {markdown_text(line.name)} | {entries} |")
    return "\n".join([f"## {table.title}", "", explained(table), "", *lines, ""])


def _markdown_entry(entry: Entry | None) -> str:
    if entry is None:
        return ""
    mark = {"best": "**", "runner-up": "*"}.get(entry.rank or "", "")
    value = f"{mark}{entry.value}{mark}{FEW if entry.few else ''}"
    return " ".join([value, *entry.notes])


def latex(table: GridTable) -> str:
    """Return the table for booktabs and graphicx, as several LaTeX tables where it is long.

    Each fits a page: a wide one is scaled down, and each has whole blocks up to
    ``LONGEST`` lines, part of a block only where that is longer by itself.
    """
    shown = layout(table)
    pages = _pages(shown.blocks)
    return "\n".join(
        _latex_page(table, shown.columns, blocks, f"{page} of {len(pages)}" if page > 1 else "")
        for page, blocks in enumerate(pages, start=1)
    )


def _pages(blocks: Iterable[Block]) -> list[list[Block]]:
    pages: list[list[Block]] = []
    left = 0
    for block in chain.from_iterable(map(_pieces, blocks)):
        if _height(block) > left:
            pages.append([])
            left = LONGEST
        pages[-1].append(block)
        left -= _height(block)
    return pages


def _pieces(block: Block) -> Iterator[Block]:
    """Yield the block in pieces that fit a page, most often in one."""
    piece = Block(block.heading, [])
    for line in block.lines:
        longer = Block(block.heading, [*piece.lines, line])
        if _height(longer) > LONGEST:
            yield piece
            longer = Block(block.heading, [line])
        piece = longer
    yield piece


def _height(block: Block) -> int:
    """Return the lines of a block in LaTeX."""
    return bool(block.heading) + sum(1 + any(map(_paper, line.entries)) for line in block.lines)


def _latex_page(table: GridTable, columns: list[str], blocks: list[Block], place: str) -> str:
    """Return one LaTeX table; ``place`` says which of several it is, empty for the first."""
    width = len(columns)
    caption = (
        f"{table.title}, continued ({place})." if place else f"{table.title}. {explained(table)}"
    )
    label = f"{table.name}-{place.split()[0]}" if place else table.name
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{2.5pt}",
        rf"\caption{{{latex_text(caption)}}}",
        rf"\label{{tab:{label}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * width}}}",
        r"\toprule",
        " & ".join(["", *map(_latex_head, columns)]) + r" \\",
    ]
    for block in blocks:
        lines.append(r"\midrule")
        if block.heading:
            text = latex_text(block.heading)
            lines.append(rf"\multicolumn{{{1 + width}}}{{l}}{{\textsc{{{text}}}}} \\")
        for line in block.lines:
            lines += _latex_line(line)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table*}", ""])


def _latex_head(name: str) -> str:
    """Return a column's name in two lines where it is long."""
    lines = [latex_text(line) for line in broken(name).split("\n")]
    return lines[0] if len(lines) == 1 else r"\shortstack[r]{" + r" \\ ".join(lines) + "}"


def _latex_line(line: Line) -> Iterator[str]:
    """Yield the row of values, and below it the paper's numbers where there are any."""
    yield " & ".join([latex_text(line.name), *map(_latex_entry, line.entries)]) + r" \\"
    paper = [*map(_paper, line.entries)]
    if any(paper):
        small = [rf"\scriptsize{latex_text(text)}" if text else "" for text in paper]
        yield " & ".join(["", *small]) + r" \\"


def _paper(entry: Entry | None) -> str:
    return " ".join(entry.notes) if entry else ""


def _latex_entry(entry: Entry | None) -> str:
    if entry is None:
        return ""
    value = latex_text(entry.value)
    command = {"best": r"\textbf", "runner-up": r"\textit"}.get(entry.rank or "")
    value = f"{command}{{{value}}}" if command else value
    return value + (latex_text(FEW) if entry.few else "")


def write_table(table: GridTable, folder: Path) -> None:
    """Write the table as ``<name>.md``, ``<name>.tex`` and, row by row, ``<name>.csv``."""
    (folder / f"{table.name}.md").write_text(markdown(table), encoding="utf-8")
    (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    write_csv(table.rows, folder / f"{table.name}.csv")
