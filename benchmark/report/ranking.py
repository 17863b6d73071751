"""Stage 8: which estimators of a cell stand out, as far as paired differences support it."""

from collections.abc import Callable, Collection, Mapping

import polars as pl

from benchmark.records import CellResult
from benchmark.report.style import metric_look

BEST_COVERAGE = (
    0.95  # metrics over the easy half of the questions don't compare with those over all
)
LEVEL = 0.05  # two estimators are told apart by a Holm-adjusted p-value below it


def ranks(cell: CellResult, metric: str, among: Collection[str] | None = None) -> dict[str, str]:
    """Return which estimators of a cell are ``best`` and ``runner-up`` in a metric; see `ranked`.

    Those compete that are no oracle and answered at least ``BEST_COVERAGE`` of the questions, and
    that the cell's paired differences compare with every other of them.

    Args:
        cell: with its differences.
        metric: of the cell's metrics; where better has no meaning nothing is ranked.
        among: leaves all others out of the competition.
    """
    look = metric_look(metric)
    rows = cell.metrics.filter(
        pl.col("metric") == metric,
        pl.col("value").is_not_nan(),
        pl.col("answered") >= BEST_COVERAGE * pl.col("questions"),
    )
    loss = {"lowest": 1.0, "highest": -1.0}
    losses = {
        name: abs(value) if look.best == "nearest zero" else loss[look.best] * value
        for name, value in rows.select("estimator", "value").iter_rows()
        if look.best and not cell.estimates[name].oracle and (among is None or name in among)
    }
    tested = cell.differences.filter(
        pl.col("metric") == metric, pl.col("p_holm").is_not_nan()
    ).select("estimator", "other", "p_holm")
    p_values = {frozenset(pair): p for *pair, p in tested.iter_rows()}
    if any(frozenset((a, b)) not in p_values for a in losses for b in losses if a != b):
        return {}
    return ranked(losses, lambda a, b: p_values[frozenset((a, b))] < LEVEL)


def ranked(losses: Mapping[str, float], apart: Callable[[str, str], bool]) -> dict[str, str]:
    """Return ``best`` or ``runner-up`` for the estimators that deserve it.

    Best are the estimator of the lowest loss and all that aren't told apart from it; of the others,
    runners-up are the one of the lowest loss and all that aren't told apart from that one. So each
    best one is told apart from no other best one, and nobody is runner-up by chance alone.

    Args:
        losses: of each estimator; lower is better.
        apart: whether a paired difference tells two estimators apart.

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
