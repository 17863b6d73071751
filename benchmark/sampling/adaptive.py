"""Stage 2, adaptive: draw responses to a question until its expected accuracy is known well enough.

A question stops at the first *check* at which the 95 % Wilson interval of its expected accuracy is
narrower than asked, or at the largest number of responses. Wilson's interval has a width at 0 and 1
correct, too, where most questions stop (Wilson, JASA 1927; Brown, Cai and DasGupta, Statistical
Science 2001). It only decides about stopping: an interval that is looked at so often covers less
than 95 %. ``capability.sequential`` corrects the estimates for it.

Whether and where a question stops depends on its counted responses in order alone: not on rounds,
batches, what was drawn before or how often a run was interrupted.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import DataError
from benchmark.statistics.intervals import wilson_width

_ROUNDING = 1e-12  # by which a width may exceed the one that is asked for


class StoppingRule(NamedTuple):
    """When a question has enough responses.

    Attributes:
        k_min: number of responses before the first check, at least 1.
        k_max: largest number of responses, at least ``k_min``.
        round: number of counted responses between two checks, at least 1.
        width: width of the interval at which a question stops, in (0, 1).
    """

    k_min: int
    k_max: int
    round: int
    width: float

    @property
    def checks(self) -> range:
        """How many responses are counted at each check; at ``k_max`` none is needed."""
        return range(self.k_min, self.k_max, self.round)

    def next_check(self, n: int) -> int:
        """Return how many counted responses are looked at next, beyond ``n``."""
        return next((check for check in self.checks if check > n), self.k_max)


def is_narrow(n: ArrayLike, c: ArrayLike, rule: StoppingRule) -> NDArray[np.bool_]:
    """Return where counts at a check are enough, [N]."""
    return np.asarray(wilson_width(n, c) <= rule.width + _ROUNDING)


def stopped_counts(correct: ArrayLike, rule: StoppingRule) -> NDArray[np.int64]:
    """Return after how many responses each question stops, [N].

    Args:
        correct: whether each of the first ``k_max`` responses is correct, [N, k_max].
        rule: when to stop.

    Raises:
        DataError: the shape isn't [N, k_max].

    Examples:
        >>> rule = StoppingRule(k_min=2, k_max=6, round=2, width=0.5)
        >>> stopped_counts([[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0]], rule).tolist()
        [4, 6]
    """
    outcomes = np.asarray(correct, dtype=np.int64)
    if outcomes.ndim != 2 or outcomes.shape[1] != rule.k_max:
        raise DataError(f"correct has shape {outcomes.shape}; expected [questions, {rule.k_max}].")
    stops = np.full(len(outcomes), rule.k_max)
    totals = np.cumsum(outcomes, axis=1)
    for check in reversed(rule.checks):
        stops[is_narrow(np.full(len(outcomes), check), totals[:, check - 1], rule)] = check
    return stops


def sample_until_narrow(
    responses: pl.DataFrame,
    rule: StoppingRule,
    draw: Callable[[Mapping[str, int]], pl.DataFrame],
    count: Callable[[pl.DataFrame], pl.DataFrame],
) -> pl.DataFrame:
    """Return the responses to each question up to where it stops, drawn in rounds.

    A round goes on with the questions that are open: each asks for as many responses as its next
    check lacks. Responses that don't count (left out, or failed) leave a check open, so a question
    may reach ``k_max`` responses with fewer that count.

    Args:
        responses: the first ``k_min`` to each question, of schema ``RESPONSE``; failed ones are
            among them.
        rule: when to stop.
        draw: returns responses 0 .. k - 1 to each question of a mapping to k.
        count: returns the grades of those responses that count, of schema ``GRADE``.

    Returns:
        Of schema ``RESPONSE``, sorted by question id and sample index.
    """
    open_ = dict.fromkeys(responses["question_id"], rule.k_min)
    finished = []
    while open_:
        grades = count(responses)
        last = dict(stops(grades, rule).iter_rows())
        counted = dict(grades["question_id"].value_counts().iter_rows())
        going_on = {
            key: min(rule.k_max, k + rule.next_check(n) - n)
            for key, k in open_.items()
            if key not in last and k < rule.k_max
            for n in [counted.get(key, 0)]
        }
        ends = {key: last.get(key, rule.k_max) for key in open_ if key not in going_on}
        finished.append(_up_to(responses, ends))
        open_ = going_on
        if open_:
            responses = draw(open_)
    return pl.concat(finished).sort("question_id", "sample_index")


def stops(grades: pl.DataFrame, rule: StoppingRule) -> pl.DataFrame:
    """Return the sample index of the last response of each question that stops before ``k_max``.

    Args:
        grades: those that count, of schema ``GRADE``.
        rule: when to stop.

    Returns:
        Columns ``question_id`` and ``sample_index``; questions that stay open have no row.
    """
    correct = (pl.col("outcome") == "correct").cast(pl.Int64)
    running = grades.sort("question_id", "sample_index").select(
        "question_id",
        "sample_index",
        n=pl.col("sample_index").cum_count().over("question_id"),
        c=correct.cum_sum().over("question_id"),
    )
    checked = running.filter(pl.col("n").is_in(list(rule.checks)))
    narrow = checked.filter(is_narrow(checked["n"].to_numpy(), checked["c"].to_numpy(), rule))
    return narrow.group_by("question_id", maintain_order=True).agg(pl.col("sample_index").first())


def _up_to(responses: pl.DataFrame, ends: Mapping[str, int]) -> pl.DataFrame:
    """Return the responses to the questions in ``ends``, each up to that sample index."""
    end = pl.col("question_id").replace_strict(ends, default=-1, return_dtype=pl.Int64)
    return responses.filter(pl.col("sample_index") <= end)
