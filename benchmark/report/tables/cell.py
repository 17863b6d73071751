"""Stage 8: the metric table, estimators by metrics, for the terminal, the HTML report and CSV."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.metrics.pairing import IMPUTED
from benchmark.records import COSTS, DIFFERENCE, METRIC, OUTCOMES, CellResult, check_table
from benchmark.report import plotted
from benchmark.report.grid import Grid
from benchmark.report.outside import file_name, write_csv
from benchmark.report.ranking import BEST_COVERAGE, LEVEL, p_values, paired_losses, ranks
from benchmark.report.style import (
    METRICS,
    MISSING,
    dataset_name,
    estimator_look,
    metric_look,
    model_name,
    number,
)
from benchmark.report.tables.formats import Block, Entry, Layout, Line, sort_key

_OWN_TABLES = (  # names that no application can take
    "metrics", "differences", "disagreements", "probe_selection",
)  # fmt: skip
CAPTION = (
    f"95 % intervals over questions and their responses. {MISSING} undefined. All: with "
    f"{IMPUTED} for each missing confidence.\n"
    "* best of those that are no oracle and answered at "
    f"least {BEST_COVERAGE * 100:.0f} % of the questions, and what no paired\n"
    "difference tells apart from it (5 %, Holm's correction for all pairs). These\n"
    "decide: Brier scores, R² and correlations against different n don't compare."
)


def metric_lines(result: CellResult, metrics: Sequence[str]) -> list[Line]:
    """Return these metrics of each estimator, in the order of ``result.estimates``.

    The last column says how many questions were answered.

    Raises:
        DataError: where ``result.metrics`` breaks the schema ``METRIC``.
    """
    table = check_table(result.metrics, METRIC, "metrics")
    best = {name: best_estimators(result, name) for name in metrics}
    lines = []
    for name, estimate in result.estimates.items():
        own = {row["metric"]: row for row in table.filter(estimator=name).iter_rows(named=True)}
        if own:
            first = next(iter(own.values()))
            answered, questions = first["answered"], first["questions"]
            entries = [_entry(own[m], name in best[m]) if m in own else None for m in metrics]
            half = 2 * answered < questions
            rank = "alarm" if half else "warn" if answered < questions else None
            share = Entry(f"{answered}/{questions}", answered, rank)
            lines.append(Line(estimator_look(name).name, [*entries, share], estimate.oracle))
    return lines


def best_estimators(result: CellResult, metric: str) -> list[str]:
    """Return the best estimators of a metric: the first, then those not told apart from it.

    See `ranks`. Where no pair was tested (a single estimator, no resamples), the one that the
    differences put first, and those that don't differ from it. Only those compete that are no
    oracle and answered at least ``BEST_COVERAGE`` of the questions.
    """
    ranked = ranks(result, metric)
    if ranked:
        return [name for name, rank in ranked.items() if rank == "best"]
    losses = paired_losses(result, metric)
    tested = any(pair <= losses.keys() for pair in p_values(result, metric))
    if tested or any(map(math.isnan, losses.values())):
        return []
    least = min(losses.values(), default=math.nan)
    return [name for name, loss in losses.items() if math.isclose(loss, least, abs_tol=1e-12)]


def comparisons(result: CellResult, reference: str) -> Layout:
    """Return how each other estimator differs from one of them, in the order of the cell.

    Only the main metrics are shown, and the unbiased Brier score isn't, whose differences are those
    of the Brier score. Oracles are compared with nobody. The last column says how many questions
    both answered; ``best`` is who is told from the reference.
    """
    table = check_table(result.differences, DIFFERENCE, "differences")
    forward = table.filter(pl.col("other") == reference)
    backward = table.filter(pl.col("estimator") == reference).with_columns(
        estimator="other", difference=-pl.col("difference"), low=-pl.col("high"),
        high=-pl.col("low"),
    )  # fmt: skip
    rows = pl.concat([forward, backward])
    shown = [m for m in rows["metric"].unique(maintain_order=True) if _is_compared(m)]
    lines = []
    for name in result.estimates:
        own = {row["metric"]: row for row in rows.filter(estimator=name).iter_rows(named=True)}
        if own:
            both = next(iter(own.values()))["questions"]
            entries = [_difference(own[m]) if m in own else None for m in shown]
            lines.append(Line(estimator_look(name).name, [*entries, Entry(str(both), both)]))
    columns = [metric_look(metric).short for metric in shown]
    return Layout([*columns, "Questions"], [Block("", lines)])


def _is_compared(metric: str) -> bool:
    return metric_look(metric).main and metric != "brier_unbiased"


def _difference(row: dict[str, Any]) -> Entry:
    decimals, p = metric_look(row["metric"]).decimals, row["p_holm"]
    p_value = "" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    plus = "+" if row["difference"] > 0 else ""
    interval = _interval(row, decimals, " to ")
    notes = tuple(filter(None, (interval, p_value)))
    value = plus + number(row["difference"], decimals)
    return Entry(value, sort_key(row["difference"]), "best" if p < LEVEL else None, notes=notes)


def _interval(row: dict[str, Any], decimals: int, between: str) -> str:
    low, high = (number(row[key], decimals) for key in ("low", "high"))
    return "" if MISSING in (low, high) else f"{low}{between}{high}"


def metric_names(result: CellResult) -> list[str]:
    """Return the metrics of the cell: listed ones in the order of the style, then the others."""
    present = result.metrics["metric"].unique(maintain_order=True).to_list()
    return [m for m in METRICS if m in present] + [m for m in present if m not in METRICS]


def page_tables(result: CellResult) -> list[Layout]:
    """Return the page's two tables of metrics: what is shown first, then the details."""
    tables = []
    for detail in (False, True):
        names = [name for name in metric_names(result) if metric_look(name).detail is detail]
        columns = [*(metric_look(name).short for name in names), "Answered"]
        tables.append(Layout(columns, [Block("", metric_lines(result, names))]))
    return tables


def metric_table(result: CellResult) -> Table:
    """Return the main metrics with their intervals, for the terminal.

    It is as wide as its content, about 115 columns: print it with ``soft_wrap=True``, so that a
    narrower terminal or a log file doesn't crop it.
    """
    names = [name for name in metric_names(result) if metric_look(name).main]
    table = Table(
        title=f"{model_name(result.model)} on {dataset_name(result.dataset)}, {result.split}",
        caption=CAPTION,
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        title_justify="left",
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("Estimator", no_wrap=True)
    for name in names:
        table.add_column(metric_look(name).short, justify="right", no_wrap=True)
    table.add_column("Answered", justify="right", no_wrap=True)
    for line in metric_lines(result, names):
        values = map(_terminal_value, line.entries)
        table.add_row(Text(line.name, style="italic" if line.oracle else ""), *values)
    table.width = Console(width=1000, markup=False).measure(table).maximum
    return table


def write_all_numbers(grid: Grid, folder: Path) -> list[str]:
    """Write metrics, differences, disagreements and what applications found, one file of each.

    Each row names its cell. What no cell has isn't written.

    Returns:
        The names of the files.
    """
    parts: dict[str, list[pl.DataFrame]] = {}
    for cell in grid.cells.values():
        own = {"metrics": cell.metrics, "differences": cell.differences}
        if len(cell.disagreements):
            own["disagreements"] = cell.disagreements
        probes = plotted.probe_selections(cell)
        if probes:
            parted = (t.select(pl.lit(n).alias("probe"), pl.all()) for n, t in probes.items())
            own["probe_selection"] = pl.concat(parted)
        for name, table in cell.applications.items():
            own[f"application_{name}" if name in _OWN_TABLES else name] = table
        identity = {"model": cell.model, "dataset": cell.dataset, "split": cell.split}
        for name, table in own.items():
            columns = {f"cell_{k}" if k in table.columns else k: v for k, v in identity.items()}
            named = table.select(*(pl.lit(v).alias(k) for k, v in columns.items()), pl.all())
            parts.setdefault(f"{file_name(name)}.csv", []).append(named)
    for file, tables in parts.items():
        write_csv(pl.concat(tables, how="diagonal_relaxed"), folder / file)
    return list(parts)


def _entry(row: dict[str, Any], best: bool) -> Entry:
    decimals = metric_look(row["metric"]).decimals
    interval = _interval(row, decimals, "–" if row["low"] >= 0 else " to ")
    imputed = ""
    if row["answered"] < row["questions"] and row["metric"] not in COSTS:
        imputed = f"all {number(row['imputed'], decimals)}"
    value = f"{'*' * best}{number(row['value'], decimals)}"
    notes = tuple(filter(None, (interval, imputed)))
    return Entry(value, sort_key(row["value"]), "best" if best else None, notes=notes)


def _terminal_value(entry: Entry | None) -> Text:
    if entry is None:
        return Text(f"{MISSING}\n")
    styles = {"best": "bold", "warn": "yellow", "alarm": "bold red"}
    text = Text(entry.value, style=styles.get(entry.rank or "", ""))
    return text.append("".join(f"\n{note}" for note in entry.notes), style="dim not bold")


def outcome_line(result: CellResult) -> str:
    """Return the shares of the outcomes, and how often further graders disagree, as text."""
    every = pl.concat([result.grades, result.left_out])["outcome"]
    if result.counted:
        share = 100 * float((every == "correct").mean())  # type: ignore[arg-type]
        return f"{len(every):,} responses that were judged elsewhere: correct {share:.1f} %."
    counts = {outcome: int((every == outcome).sum()) for outcome in OUTCOMES}
    shares = [f"{name} {100 * count / len(every):.1f} %" for name, count in counts.items()]
    line = f"Outcomes of {len(every):,} responses: {', '.join(shares)}."
    if len(result.left_out):
        line += f" {len(result.left_out):,} without an answer are left out."
    if len(result.disagreements):
        differing = int(result.disagreements["responses"].sum())
        line += f" Graders disagree on {differing:,} of them, listed in disagreements.csv."
    return line
