"""Stage 8: which estimator one response to each question would select, against c / n."""

import numpy as np

from benchmark.records import CellResult
from benchmark.report.plotted import pair
from benchmark.report.ranking import BEST_COVERAGE

SELECTIONS = 10_000  # simulated draws of one response to each question
_AT_ONCE = 500  # of these, which bounds the memory


def selected_by_one_response(cell: CellResult) -> dict[str, float]:
    """Return how often each estimator has the best Brier score against one response per question.

    Those compete that are no oracle, are not random, have read no response and answered at least
    ``BEST_COVERAGE`` of the questions, on the questions that all of them answered.

    Returns:
        The share of ``SELECTIONS`` simulated draws of a response to each question, by estimator,
        the best by c / n first; empty where fewer than two compete.
    """
    pairs = {
        name: estimate
        for name, estimate in pair(cell).items()
        if not (cell.estimates[name].oracle or cell.estimates[name].samples_used)
        and len(estimate.confidences) == 1
        and estimate.answered >= BEST_COVERAGE * len(estimate.n)
    }
    if len(pairs) < 2:
        return {}
    answered = np.all([estimate.given[0] for estimate in pairs.values()], axis=0)
    some = next(iter(pairs.values()))
    p = (some.c / some.n)[answered]
    q = np.array([estimate.confidences[0, answered] for estimate in pairs.values()])
    rng, won = np.random.default_rng(0), np.zeros(len(q))
    for _ in range(SELECTIONS // _AT_ONCE):
        correct = rng.random((_AT_ONCE, len(p))) < p
        # (q - y)^2 but for y^2, which all estimators share
        losses = (q**2).sum(axis=1) - 2 * correct @ q.T
        best = losses <= losses.min(axis=1, keepdims=True) + 1e-9
        won += (best / best.sum(axis=1, keepdims=True)).sum(axis=0)
    share = dict(zip(pairs, won / SELECTIONS, strict=True))
    by_counts = np.argsort(((q - p) ** 2).sum(axis=1), kind="stable")
    return {name: float(share[name]) for name in np.array([*pairs])[by_counts].tolist()}
