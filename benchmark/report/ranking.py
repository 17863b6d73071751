"""Stage 8: which estimators of a cell stand out, as far as paired differences support it."""

from collections.abc import Callable, Collection, Mapping
from itertools import combinations
from math import nan
from statistics import fmean

import polars as pl

from benchmark.records import CellResult
from benchmark.report.style import metric_look

# Share of the questions that an estimator must answer to compete: metrics over the easy half of the
# questions don't compare with those over all.
BEST_COVERAGE = 0.95
LEVEL = 0.05  # of significance: a Holm-adjusted p-value below it tells two estimators apart
_PAIR = ("estimator", "other")


def ranks(cell: CellResult, metric: str, among: Collection[str] | None = None) -> dict[str, str]:
    """Return which estimators of a cell are ``best`` and ``runner-up`` in a metric; see `ranked`.

    Those compete that are no oracle and answered at least ``BEST_COVERAGE`` of the questions, and
    that the cell's paired differences compare with every other of them. The differences order them,
    too: values in the table of metrics don't compare where estimators have read different numbers
    of responses, because what is left to each as its target has more or less noise.

    Args:
        cell: a cell with its paired differences.
        metric: name of one of its metrics; where better has no meaning nothing is ranked.
        among: the only estimators that compete; None for all.
    """
    losses, tested = paired_losses(cell, metric, among), p_values(cell, metric)
    if any(frozenset(pair) not in tested for pair in combinations(losses, 2)):
        return {}
    return ranked(losses, lambda a, b: tested[frozenset((a, b))] < LEVEL)


def paired_losses(
    cell: CellResult, metric: str, among: Collection[str] | None = None
) -> dict[str, float]:
    """Return how much worse each competitor is than the average of the others; see `ranks`.

    Args:
        cell: a cell with its paired differences.
        metric: name of one of its metrics.
        among: the only estimators that compete; None for all.

    Returns:
        By estimator, in the unit of the metric, lower is better; NaN for one without a defined
        difference from each other, 0 for one alone. Empty where better has no meaning.
    """
    best = metric_look(metric).best
    rows = cell.metrics.filter(
        pl.col("metric") == metric,
        pl.col("value").is_not_nan(),
        pl.col("answered") >= BEST_COVERAGE * pl.col("questions"),
    )
    names = [
        name
        for name in rows["estimator"]
        if best and not cell.estimates[name].oracle and (among is None or name in among)
    ]
    worse = -1.0 if best == "highest" else 1.0  # differences of signed errors are those of sizes
    behind: dict[tuple[str, str], float] = {}
    for first, second, by in _compared(cell, metric).select(*_PAIR, "difference").iter_rows():
        behind |= {(first, second): worse * by, (second, first): -worse * by}
    return {
        name: fmean([behind.get((name, other), nan) for other in names if other != name] or [0.0])
        for name in names
    }


def p_values(cell: CellResult, metric: str) -> dict[frozenset[str], float]:
    """Return the adjusted p-value of each pair that was tested in a metric."""
    rows = _compared(cell, metric).filter(pl.col("p_holm").is_not_nan())
    return {frozenset(pair): p for *pair, p in rows.select(*_PAIR, "p_holm").iter_rows()}


def _compared(cell: CellResult, metric: str) -> pl.DataFrame:
    """Return the rows of a metric's differences.

    Those of unbiased Brier scores are those of the Brier scores, which single responses have, too.
    """
    metric = "brier" if metric == "brier_unbiased" else metric
    return cell.differences.filter(pl.col("metric") == metric)


def ranked(losses: Mapping[str, float], apart: Callable[[str, str], bool]) -> dict[str, str]:
    """Return ``best`` or ``runner-up`` for the estimators that deserve it.

    Best are the estimator of the lowest loss and all that aren't told apart from it; of the others,
    runners-up are the one of the lowest loss and all that aren't told apart from that one. Two that
    share a rank may be told apart from each other: only the first is compared with each.

    Args:
        losses: loss of each estimator; lower is better.
        apart: tells whether a paired difference tells two estimators apart.

    Examples:
        >>> close = {("a", "b"), ("c", "d")}
        >>> ranked({"c": 3, "a": 1, "b": 2, "d": 4, "e": 9}, lambda *pair: pair not in close)
        {'a': 'best', 'b': 'best', 'c': 'runner-up', 'd': 'runner-up'}
    """
    order = sorted(losses, key=lambda name: losses[name])
    found: dict[str, str] = {}
    for rank in ("best", "runner-up"):
        left = [name for name in order if name not in found]
        if len(left) + len(found) < 2:
            break
        first = next(iter(left), None)
        found |= {name: rank for name in left if name == first or not apart(str(first), name)}
    return found
