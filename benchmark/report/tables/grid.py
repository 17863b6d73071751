"""Stage 8: the tables of a grid: every number beside the paper's, and which of them stand out."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmark.records import CellResult
from benchmark.report import plotted
from benchmark.report.grid import Grid
from benchmark.report.ranking import ranks
from benchmark.report.reported import reported
from benchmark.statistics.bootstrap import bootstrap_weights, value_and_interval

RESAMPLES = 1000  # for the interval of the mean accuracy

GRID_TABLE = pl.Schema(
    {
        "model": pl.String(),
        "dataset": pl.String(),
        "estimator": pl.String(),  # null for what belongs to the cell
        "metric": pl.String(),
        "k": pl.Int64(),  # of pass@k, or mean samples per question of a budget; else null
        "value": pl.Float64(),  # NaN where undefined
        "low": pl.Float64(),  # 95 % interval over questions
        "high": pl.Float64(),
        "answered": pl.Int64(),  # questions with a confidence
        "questions": pl.Int64(),
        "rank": pl.String(),  # best, runner-up, or null where nothing supports either
        "reported": pl.Float64(),  # by the paper; null where it has none
        "difference": pl.Float64(),  # value minus reported
        "source": pl.String(),  # of the reported number
    }
)


class GridTable(NamedTuple):
    """A table of numbers and how it is laid out.

    Attributes:
        name: of its files.
        title: says what the numbers are.
        note: what a reader must know beside the general rules.
        rows: of schema ``GRID_TABLE``.
        group: columns whose values head a block of rows.
        row: the column whose values name the rows.
        column: the column whose values head the columns.
    """

    name: str
    title: str
    note: str
    rows: pl.DataFrame
    group: tuple[str, ...]
    row: str
    column: str


def grid_tables(grid: Grid) -> list[GridTable]:
    """Return every table that the grid has numbers for."""
    tables = [
        metric_table(
            grid,
            "brier",
            "Capability Brier score",
            "Mean squared error of the confidence against the expected accuracy c/n.",
        ),
        metric_table(
            grid,
            "ece",
            "Expected calibration error",
            "Ten equal-width bins of confidence, both ends closed.",
        ),
        metric_table(
            grid,
            "spearman",
            "Spearman's correlation with the expected accuracy",
            "Undefined (–) for constant confidences.",
        ),
        transfer_table(grid),
        oracle_table(grid),
        pass_at_k_table(grid),
        budget_table(grid),
        accuracy_table(grid),
    ]
    return [table for table in tables if not table.rows.is_empty()]


def metric_table(grid: Grid, metric: str, title: str, note: str) -> GridTable:
    """Return one metric of all estimators but the oracles, by model, estimator and dataset."""

    def of_cell(cell: CellResult) -> Iterator[dict[str, Any]]:
        ranked = _supported_ranks(cell, metric)
        for row in _metric_rows(cell, metric):
            if not cell.estimates[row["estimator"]].oracle:
                yield {**row, "rank": ranked.get(row["estimator"])}

    return GridTable(metric, title, note, _table(grid, of_cell), ("model",), "estimator", "dataset")


def _supported_ranks(
    cell: CellResult, metric: str, among: Collection[str] | None = None
) -> dict[str, str]:
    """Return who stands out, as in `ranks`; nobody where nobody is told apart from the first."""
    found = ranks(cell, metric, among)
    return found if "runner-up" in found.values() else {}


def transfer_table(grid: Grid) -> GridTable:
    """Return the Brier scores of the probes, by the data that they were trained on."""

    def of_cell(cell: CellResult) -> Iterator[dict[str, Any]]:
        probes = [name for name, made in cell.estimates.items() if "" in made.probes]
        ranked = _supported_ranks(cell, "brier", probes)
        for row in _metric_rows(cell, "brier"):
            if row["estimator"] in probes:
                yield {**row, "rank": ranked.get(row["estimator"])}

    return GridTable(
        "transfer",
        "Transfer of probes: capability Brier score by training data",
        "A probe that names no training data was trained on the dataset's own training split.",
        _table(grid, of_cell),
        ("model",),
        "estimator",
        "dataset",
    )


def oracle_table(grid: Grid) -> GridTable:
    """Return what the oracles score: the response oracle bounds what one response can tell."""

    def of_cell(cell: CellResult) -> Iterator[dict[str, Any]]:
        for metric in ("brier", "ece", "spearman"):
            for row in _metric_rows(cell, metric):
                if cell.estimates[row["estimator"]].oracle:
                    yield row

    return GridTable(
        "oracles",
        "Oracles of the response target and of the capability target",
        "The response oracle says whether one response is correct, here in expectation over which "
        "response it is; the capability oracle says c/n. The paper averages five draws.",
        _table(grid, of_cell),
        ("model", "estimator"),
        "metric",
        "dataset",
    )


def pass_at_k_table(grid: Grid) -> GridTable:
    """Return the squared error of the pass@k that each confidence predicts, by k."""

    def of_cell(cell: CellResult) -> Iterator[dict[str, Any]]:
        table = cell.applications.get("pass_at_k")
        if table is None:
            return
        counts = {row["estimator"]: row for row in _metric_rows(cell, "brier")}
        for row in table.iter_rows(named=True):
            own = counts[row["estimator"]]
            yield {
                "estimator": row["estimator"],
                "metric": "pass_at_k_mse",
                "k": row["k"],
                "value": row["mse"],
                "answered": own["answered"],
                "questions": own["questions"],
            }

    return GridTable(
        "pass_at_k",
        "Mean squared error of predicted pass@k",
        "Of single questions: 1 − (1 − confidence)^k against 1 − C(n−c, k)/C(n, k).",
        _table(grid, of_cell),
        ("model", "dataset"),
        "estimator",
        "k",
    )


def budget_table(grid: Grid) -> GridTable:
    """Return the share of questions that a sampling budget solves, by mean samples per question."""

    def of_cell(cell: CellResult) -> Iterator[dict[str, Any]]:
        for row in plotted.budget_rows(cell).iter_rows(named=True):
            yield {
                "estimator": row["method"],
                "metric": "success_rate",
                "k": row["budget"],
                "value": row["success"],
                "low": row["success_low"],
                "high": row["success_high"],
                "answered": row["answered"],
                "questions": len(cell.capability),
            }

    return GridTable(
        "budget",
        "Questions solved with a sampling budget of k samples per question on average",
        "Uniform, or allocated greedily by an estimator's confidences; exact in expectation over "
        "which responses are drawn. The paper's numbers are read from a figure, and its evaluation "
        "drew the samples of every question with one seed, which puts them too high at small k.",
        _table(grid, of_cell),
        ("model", "dataset"),
        "estimator",
        "k",
    )


def accuracy_table(grid: Grid) -> GridTable:
    """Return the mean expected accuracy of each cell."""

    def of_cell(cell: CellResult) -> Iterator[dict[str, Any]]:
        accuracy = (cell.capability["c"] / cell.capability["n"]).to_numpy()
        weights = np.ones((1 + RESAMPLES, len(accuracy)))
        weights[1:] = bootstrap_weights(len(accuracy), RESAMPLES, np.random.default_rng(0))
        value, low, high = value_and_interval(weights @ accuracy / len(accuracy))
        yield {
            "metric": "accuracy",
            "value": value,
            "low": low,
            "high": high,
            "answered": len(accuracy),
            "questions": len(accuracy),
        }

    return GridTable(
        "accuracy",
        "Mean expected accuracy",
        "Share of correct responses, averaged over the questions.",
        _table(grid, of_cell),
        (),
        "model",
        "dataset",
    )


def _metric_rows(cell: CellResult, metric: str) -> Iterator[dict[str, Any]]:
    return cell.metrics.filter(pl.col("metric") == metric).iter_rows(named=True)


def _table(grid: Grid, of_cell: Callable[[CellResult], Iterable[dict[str, Any]]]) -> pl.DataFrame:
    """Return the rows of all cells, in the order of the grid, beside the paper's numbers."""
    rows = []
    for model in grid.models:
        for dataset in grid.datasets:
            cell = grid.cells.get((model, dataset))
            for row in () if cell is None else of_cell(cell):
                estimator, k = row.get("estimator"), row.get("k")
                theirs = reported(row["metric"], model, dataset, estimator, k)
                rows.append(
                    {
                        "low": np.nan,
                        "high": np.nan,
                        **row,
                        "model": model,
                        "dataset": dataset,
                        "reported": theirs and theirs.value,
                        "difference": theirs and row["value"] - theirs.value,
                        "source": theirs and theirs.source,
                    }
                )
    return pl.DataFrame(rows, schema=GRID_TABLE)
