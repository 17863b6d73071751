"""Stage 8: the metric table, estimators by metrics, for the terminal, the HTML report and CSV."""

import math
from pathlib import Path
from typing import NamedTuple

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.records import METRIC, CellResult, check_table
from benchmark.report.style import (
    METRICS,
    MISSING,
    Metric,
    dataset_name,
    estimator_look,
    metric_look,
    model_name,
)

BEST_COVERAGE = 0.95
CAPTION = (
    "95 % bootstrap intervals over questions. "
    f"* best that is not an oracle and answered at least {BEST_COVERAGE:.0%} of the questions. "
    f"{MISSING} undefined."
)


class Value(NamedTuple):
    """One metric of one estimator, as it is shown."""

    value: str
    interval: str  # empty where undefined
    best: bool


class Row(NamedTuple):
    """All metrics of one estimator."""

    name: str
    oracle: bool
    values: dict[str, Value]  # by metric; a metric that it doesn't have is missing
    answered: int
    questions: int


def metric_rows(result: CellResult) -> list[Row]:
    """Return the metrics of each estimator, formatted, in the order of ``result.estimates``.

    Values that are best in their column are marked: among estimators which are not oracles and
    which answered at least ``BEST_COVERAGE`` of the questions, because metrics over the easy half
    of the questions can't be compared with metrics over all.

    Raises:
        DataError: where ``result.metrics`` breaks the schema ``METRIC``.
    """
    metrics = check_table(result.metrics, METRIC, "metrics")
    best = {name: _best_value(metrics, result, name) for name in metric_names(result)}
    rows = []
    for estimator, estimate in result.estimates.items():
        own = metrics.filter(pl.col("estimator") == estimator)
        rows.append(
            Row(
                estimator_look(estimator).name,
                estimate.oracle,
                {
                    row["metric"]: _format(row, best[row["metric"]], metric_look(row["metric"]))
                    for row in own.iter_rows(named=True)
                },
                own["answered"].max() or 0,  # type: ignore[arg-type]
                own["questions"].max() or 0,  # type: ignore[arg-type]
            )
        )
    return rows


def metric_names(result: CellResult) -> list[str]:
    """Return the metrics of the cell: listed ones in the order of the style, then the others."""
    present = result.metrics["metric"].unique(maintain_order=True).to_list()
    return [m for m in METRICS if m in present] + [m for m in present if m not in METRICS]


def terminal_table(result: CellResult) -> Table:
    """Return the main metrics with their intervals, about 105 columns wide."""
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
    for row in metric_rows(result):
        values = [_terminal_value(row.values.get(name)) for name in names]
        answered = Text(
            f"{row.answered}/{row.questions}",
            style="yellow" if row.answered < row.questions else "",
        )
        table.add_row(Text(row.name, style="italic" if row.oracle else ""), *values, answered)
    return table


def print_metrics(result: CellResult, console: Console) -> None:
    """Print the terminal table in full; a narrower console, or a log file, never crops it."""
    table = terminal_table(result)
    needed = console.measure(table, options=console.options.update(width=1000)).maximum
    width = console.width
    console.width = max(width, needed)
    try:
        console.print(table)
    finally:
        console.width = width


def write_metrics(result: CellResult, path: Path) -> None:
    """Write all metrics as CSV, one row per estimator and metric, with the cell's identity."""
    _with_cell(result, check_table(result.metrics, METRIC, "metrics")).write_csv(path)


def write_pass_at_k(result: CellResult, path: Path) -> None:
    """Write the pass@k table as CSV with the cell's identity."""
    _with_cell(result, result.pass_at_k).write_csv(path)


def _with_cell(result: CellResult, table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        pl.lit(result.model).alias("model"),
        pl.lit(result.dataset).alias("dataset"),
        pl.lit(result.split).alias("split"),
        pl.all(),
    )


def _best_value(metrics: pl.DataFrame, result: CellResult, metric: str) -> float:
    """Return the best value of a metric, NaN where nothing can be called best."""
    comparable = [name for name, estimate in result.estimates.items() if not estimate.oracle]
    values: list[float] = metrics.filter(
        pl.col("metric") == metric,
        pl.col("estimator").is_in(comparable),
        pl.col("answered") >= BEST_COVERAGE * pl.col("questions"),
        pl.col("value").is_not_nan(),
    )["value"].to_list()
    best = metric_look(metric).best
    if best is None or not values:
        return math.nan
    if best == "nearest zero":
        return min(values, key=abs)
    return min(values) if best == "lowest" else max(values)


def _format(row: dict[str, float], best: float, look: Metric) -> Value:
    value, low, high = row["value"], row["low"], row["high"]
    if math.isnan(low) or math.isnan(high):
        interval = ""
    else:
        joint = "–" if low >= 0 else " to "
        interval = f"{number(low, look.decimals)}{joint}{number(high, look.decimals)}"
    return Value(number(value, look.decimals), interval, value == best)


def number(value: float, decimals: int) -> str:
    """Return a number for people, with a real minus sign; NaN is shown as missing.

    Examples:
        >>> number(-0.0621, 2), number(-0.0001, 2), number(float("nan"), 2)
        ('−0.06', '0.00', '–')
    """
    if math.isnan(value):
        return MISSING
    text = f"{value:z.{decimals}f}"
    return text.replace("-", "−")


def _terminal_value(value: Value | None) -> Text:
    if value is None:
        return Text(f"{MISSING}\n")
    text = Text(f"*{value.value}", style="bold") if value.best else Text(value.value)
    return text.append(f"\n{value.interval}", style="dim not bold")
