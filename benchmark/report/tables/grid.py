"""Stage 8: the tables of a grid: every number beside the paper's, and which of them stand out."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmark.records import PASS_AT_K, CellResult
from benchmark.report import plotted
from benchmark.report.grid import Grid
from benchmark.report.ranking import ranks
from benchmark.report.reported import reported
from benchmark.report.selection import SELECTIONS, selected_by_one_response
from benchmark.statistics.bootstrap import bootstrap_weights, value_and_interval

RESAMPLES = 1000  # of the bootstrap for the interval of the mean accuracy

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
        name: name of its files, without the ending.
        title: what the numbers are.
        note: what a reader must know beside the general rules.
        rows: the numbers, of schema ``GRID_TABLE``.
        group: names of the columns of ``rows`` whose values head a block.
        row: name of the column whose values name the lines.
        column: name of the column whose values head the columns.
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
        GridTable(name, title, note, _table(grid, of_cell), *shape)
        for name, title, note, of_cell, *shape in _TABLES
    ]
    return [table for table in tables if not table.rows.is_empty()]


def _ranked(cell: CellResult, metric: str, among: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield a metric's rows; nobody stands out where nobody is told apart from the first."""
    found = ranks(cell, metric, among)
    found = found if "runner-up" in found.values() else {}
    for row in _metric_rows(cell, metric):
        if row["estimator"] in among:
            yield {**row, "rank": found.get(row["estimator"])}


def _of_metric(metric: str) -> Callable[[CellResult], Iterator[dict[str, Any]]]:
    """Return what yields one metric of all estimators but the oracles."""

    def of_cell(cell: CellResult) -> Iterator[dict[str, Any]]:
        return _ranked(cell, metric, [n for n, made in cell.estimates.items() if not made.oracle])

    return of_cell


def _transfer(cell: CellResult) -> Iterator[dict[str, Any]]:
    """Yield the Brier scores of the probes, by the data that they were trained on."""
    return _ranked(cell, "brier", [n for n, made in cell.estimates.items() if "" in made.probes])


def _oracles(cell: CellResult) -> Iterator[dict[str, Any]]:
    """Yield what the oracles score: the response oracle bounds what one response can tell."""
    for metric in ("brier", "ece", "spearman"):
        for row in _metric_rows(cell, metric):
            if cell.estimates[row["estimator"]].oracle:
                yield row


def _pass_at_k(cell: CellResult) -> Iterator[dict[str, Any]]:
    """Yield the squared error of the pass@k that each confidence predicts, by k."""
    counts = {row["estimator"]: row for row in _metric_rows(cell, "brier")}
    for row in cell.applications.get("pass_at_k", PASS_AT_K.to_frame()).iter_rows(named=True):
        own = counts[row["estimator"]]
        known = {"metric": "pass_at_k_mse", "value": row["mse"], "questions": own["questions"]}
        yield {k: row[k] for k in ("estimator", "k")} | known | {"answered": own["answered"]}


def _budget(cell: CellResult) -> Iterator[dict[str, Any]]:
    """Yield the share of questions that a budget solves, by mean samples per question."""
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


def _selected(cell: CellResult) -> Iterator[dict[str, Any]]:
    """Yield how often one response per question selects each estimator."""
    counts = {row["estimator"]: row for row in _metric_rows(cell, "brier")}
    for name, share in selected_by_one_response(cell).items():
        of = {key: counts[name][key] for key in ("answered", "questions")}
        yield {"estimator": name, "metric": "selected", "value": share, **of}


def _flipped(cell: CellResult) -> Iterator[dict[str, Any]]:
    """Yield how often one response per question selects another than the best."""
    questions = {"answered": len(cell.capability), "questions": len(cell.capability)}
    for share in [*selected_by_one_response(cell).values()][:1]:
        yield {"metric": "flipped", "value": 1 - share, **questions}


def _accuracy(cell: CellResult) -> Iterator[dict[str, Any]]:
    """Yield the mean expected accuracy."""
    accuracy = (cell.capability["c"] / cell.capability["n"]).to_numpy()
    weights = np.ones((1 + RESAMPLES, len(accuracy)))
    weights[1:] = bootstrap_weights(len(accuracy), RESAMPLES, np.random.default_rng(0))
    value, low, high = value_and_interval(weights @ accuracy / len(accuracy))
    counts = {"answered": len(accuracy), "questions": len(accuracy)}
    yield {"metric": "accuracy", "value": value, "low": low, "high": high, **counts}


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


_BY_ESTIMATOR = ("model",), "estimator", "dataset"  # heads of blocks, rows, columns
_BY_K = ("model", "dataset"), "estimator", "k"
_TABLES: tuple[Any, ...] = (  # name, title, note, rows of a cell, and where they stand
    (
        "brier", "Capability Brier score",
        "Mean squared error of the confidence against the expected accuracy c/n.",
        _of_metric("brier"), *_BY_ESTIMATOR,
    ),
    (
        "ece", "Expected calibration error",
        "Ten equal-width bins of confidence, both ends closed.",
        _of_metric("ece"), *_BY_ESTIMATOR,
    ),
    (
        "spearman", "Spearman's correlation with the expected accuracy",
        "Undefined (–) for constant confidences.",
        _of_metric("spearman"), *_BY_ESTIMATOR,
    ),
    (
        "auroc", "AUROC of single responses",
        "Of all pairs of a correct and a wrong response, ties counted half, whichever questions "
        "they answer. The paper's is called soft-label AUROC.",
        _of_metric("auroc"), *_BY_ESTIMATOR,
    ),
    (
        "selected", "Selection by response calibration",
        "How often an estimator has the lowest Brier score where one response to each question is "
        f"all that is known, in {SELECTIONS:,} simulated draws from c/n. Those compete that aren't "
        "random, have read no response and answered nearly all questions; three in the paper.",
        _selected, *_BY_ESTIMATOR,
    ),
    (
        "flipped", "Selection of another estimator than the best by c/n",
        "How often one response to each question selects another one; among three in the paper.",
        _flipped, (), "model", "dataset",
    ),
    (
        "transfer", "Transfer of probes: capability Brier score by training data",
        "A probe that names no training data was trained on the dataset's own training split.",
        _transfer, *_BY_ESTIMATOR,
    ),
    (
        "oracles", "Oracles of the response target and of the capability target",
        "The response oracle says whether one response is correct, here in expectation over which "
        "response it is; the capability oracle says c/n. The paper averages five draws.",
        _oracles, ("model", "estimator"), "metric", "dataset",
    ),
    (
        "pass_at_k", "Mean squared error of predicted pass@k",
        "Of single questions: 1 − (1 − confidence)^k against 1 − C(n−c, k)/C(n, k).",
        _pass_at_k, *_BY_K,
    ),
    (
        "budget", "Questions solved with a sampling budget of k samples per question on average",
        "Uniform, or allocated greedily by an estimator's confidences; exact in expectation over "
        "which responses are drawn. The paper's numbers are read from a figure, and its evaluation "
        "drew the samples of every question with one seed, which puts them too high at small k.",
        _budget, *_BY_K,
    ),
    (
        "accuracy", "Mean expected accuracy",
        "Share of correct responses, averaged over the questions.",
        _accuracy, (), "model", "dataset",
    ),
)  # fmt: skip
