"""Stage 8: the metric table, estimators by metrics, for the terminal, the HTML report and CSV."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.metrics.pairing import IMPUTED
from benchmark.records import COSTS, DIFFERENCE, METRIC, OUTCOMES, CellResult, check_table
from benchmark.report.ranking import BEST_COVERAGE, LEVEL, p_values, paired_losses, ranks
from benchmark.report.style import (
    METRICS,
    MISSING,
    dataset_name,
    estimator_look,
    metric_look,
    model_name,
)
from benchmark.store.names import file_name

CAPTION = (
    f"95 % intervals over questions and their responses. {MISSING} undefined. All: with "
    f"{IMPUTED} for each missing confidence.\n"
    "* best of those that are no oracle and answered at "
    f"least {BEST_COVERAGE * 100:.0f} % of the questions, and what no paired\n"
    "difference tells apart from it (5 %, Holm's correction for all pairs). These\n"
    "decide: Brier scores, R² and correlations against different n don't compare."
)


class Value(NamedTuple):
    """One metric of one estimator, as it is shown."""

    value: str
    interval: str  # empty where undefined
    best: bool
    imputed: str  # over all questions; empty where all were answered


class Difference(NamedTuple):
    """How one estimator differs from the reference in a metric, as it is shown."""

    value: str
    interval: str
    p_value: str  # adjusted by Holm
    apart: bool  # whether it tells the two apart


class Comparison(NamedTuple):
    """All differences of one estimator from the reference."""

    name: str
    values: dict[str, Difference]  # by metric
    questions: int  # that both answered


class Row(NamedTuple):
    """All metrics of one estimator."""

    name: str
    oracle: bool
    values: dict[str, Value]  # by metric; a metric that it doesn't have is missing
    answered: int
    questions: int


def metric_rows(result: CellResult) -> list[Row]:
    """Return the metrics of each estimator, formatted, in the order of ``result.estimates``.

    Raises:
        DataError: where ``result.metrics`` breaks the schema ``METRIC``.
    """
    metrics = check_table(result.metrics, METRIC, "metrics")
    best = {name: best_estimators(result, name) for name in metric_names(result)}
    rows = []
    for estimator, estimate in result.estimates.items():
        own = metrics.filter(pl.col("estimator") == estimator).to_dicts()
        if own:
            values = {m["metric"]: _format(m, estimator in best[m["metric"]]) for m in own}
            counts = own[0]["answered"], own[0]["questions"]
            rows.append(Row(estimator_look(estimator).name, estimate.oracle, values, *counts))
    return rows


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


def comparisons(result: CellResult, reference: str) -> list[Comparison]:
    """Return how each other estimator differs from one of them, in the order of the cell.

    Only the main metrics are shown, and the unbiased Brier score isn't, whose differences are those
    of the Brier score. Oracles are compared with nobody.
    """
    table = check_table(result.differences, DIFFERENCE, "differences")
    forward = table.filter(pl.col("other") == reference)
    backward = table.filter(pl.col("estimator") == reference).with_columns(
        estimator="other", difference=-pl.col("difference"), low=-pl.col("high"),
        high=-pl.col("low"),
    )  # fmt: skip
    rows = pl.concat([forward, backward]).to_dicts()
    shown = []
    for name in result.estimates:
        own = {row["metric"]: row for row in rows if row["estimator"] == name}
        if own:
            values = {metric: _difference(own[metric]) for metric in own if _is_compared(metric)}
            look = estimator_look(name)
            shown.append(Comparison(look.name, values, next(iter(own.values()))["questions"]))
    return shown


def _is_compared(metric: str) -> bool:
    return metric_look(metric).main and metric != "brier_unbiased"


def _difference(row: dict[str, Any]) -> Difference:
    decimals, p = metric_look(row["metric"]).decimals, row["p_holm"]
    p_value = "" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    difference, low, high = (number(row[key], decimals) for key in ("difference", "low", "high"))
    plus = "+" if row["difference"] > 0 else ""
    interval = "" if MISSING in (low, high) else f"{low} to {high}"
    return Difference(f"{plus}{difference}", interval, p_value, p < LEVEL)


def metric_names(result: CellResult) -> list[str]:
    """Return the metrics of the cell: listed ones in the order of the style, then the others."""
    present = result.metrics["metric"].unique(maintain_order=True).to_list()
    return [m for m in METRICS if m in present] + [m for m in present if m not in METRICS]


def metric_groups(result: CellResult) -> list[list[str]]:
    """Return the metrics of the page's two tables: what is shown first, then the details."""
    names = metric_names(result)
    return [
        [name for name in names if metric_look(name).detail is detail] for detail in (False, True)
    ]


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
    for row in metric_rows(result):
        values = [_terminal_value(row.values.get(name)) for name in names]
        share = f"{row.answered}/{row.questions}"
        answered = Text(share, style="yellow" if row.answered < row.questions else "")
        table.add_row(Text(row.name, style="italic" if row.oracle else ""), *values, answered)
    table.width = Console(width=1000, markup=False).measure(table).maximum
    return table


def write_metrics(result: CellResult, path: Path) -> None:
    """Write all metrics as CSV, one row per estimator and metric, with the cell's identity."""
    _with_cell(result, check_table(result.metrics, METRIC, "metrics")).write_csv(path)


def write_differences(result: CellResult, path: Path) -> None:
    """Write the paired differences of all estimators as CSV, with the cell's identity."""
    _with_cell(result, check_table(result.differences, DIFFERENCE, "differences")).write_csv(path)


def write_applications(result: CellResult, folder: Path) -> list[str]:
    """Write each table of the applications as ``<name>.csv`` with the cell's identity.

    Returns:
        The names of the files.
    """
    files = {f"{file_name(name)}.csv": table for name, table in result.applications.items()}
    for name, table in files.items():
        _with_cell(result, table).write_csv(folder / name)
    return [*files]


def _with_cell(result: CellResult, table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        pl.lit(result.model).alias("model"),
        pl.lit(result.dataset).alias("dataset"),
        pl.lit(result.split).alias("split"),
        pl.all(),
    )


def _format(row: dict[str, Any], best: bool) -> Value:
    decimals = metric_look(row["metric"]).decimals
    value, low, high = (number(row[key], decimals) for key in ("value", "low", "high"))
    imputed = ""
    if row["answered"] < row["questions"] and row["metric"] not in COSTS:
        imputed = f"all {number(row['imputed'], decimals)}"
    if MISSING in (low, high):
        return Value(value, "", best, imputed)
    between = f"{low}–{high}" if row["low"] >= 0 else f"{low} to {high}"
    return Value(value, between, best, imputed)


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
    text.append(f"\n{value.interval}", style="dim not bold")
    return text.append(f"\n{value.imputed}", style="dim not bold") if value.imputed else text


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
