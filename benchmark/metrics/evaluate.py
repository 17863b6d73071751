"""Stage 6: estimates and grades -> every metric with its intervals, and every paired difference."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from benchmark.metrics.noise_ceiling import r2_ceiling
from benchmark.metrics.paired_differences import compare_estimators
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.metrics.resampling import BOUNDS, costs_of, redraw_responses, resample_questions
from benchmark.records import METRIC, Estimate
from benchmark.statistics.bootstrap import redrawn_counts, row_blocks
from benchmark.statistics.inputs import FloatArray
from benchmark.statistics.intervals import t_interval

_REDRAWS = 200  # other responses to the same questions: they tell a standard deviation to 5 %


class Evaluation(NamedTuple):
    """What the estimators of a cell are worth.

    Attributes:
        metrics: table of schema ``METRIC``.
        differences: table of schema ``DIFFERENCE``.
    """

    metrics: pl.DataFrame
    differences: pl.DataFrame


def evaluate(
    estimates: dict[str, Estimate],
    grades: pl.DataFrame,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> Evaluation:
    """Return every metric of every estimator with its intervals, and their paired differences.

    **Target.** That of an estimator is counted from the responses that did not make its
    confidence. A metric is computed on the questions with a confidence and a target (``answered``
    of ``questions``, all that have a graded response). Means over questions take the mean of each
    question's draws; other metrics are computed for each draw on its own, where a question with
    fewer draws than others repeats its own, and averaged over the draws where they are defined.
    ``imputed`` is the same over all questions with a target, with 0.5 for each confidence that is
    missing. ``tokens``, the sum of ``prompt_tokens`` and ``completion_tokens``, is the mean spent
    on one confidence, over all questions for which it is known, answered or not.
    ``brier_unbiased`` is undefined for an oracle, whose error can't be told from its target's.

    **Intervals** are of 95 %, and cover the mean of the metric over repetitions of the study with
    as many questions and responses; of a Brier score this includes the noise of c / n, of a
    binned calibration error what noise adds to it, on average. ``low`` to ``high`` is about other
    questions from the population that these come from, with other responses: questions are
    resampled, and bring their counts along with the noise that is in them. ``samples_low`` to
    ``samples_high`` is about other responses to these very questions: their counts are redrawn.
    It is undefined for oracles, whose confidences would change as well, and where one of the
    questions has a single response, which doesn't tell its noise. See ``t_interval``.

    **Differences** between each two estimators that are no oracles are taken on the questions
    that both answered, in the same resamples, and against one target for all: the responses that
    no estimator read. So c / n has the same noise for both and their Brier scores differ by what
    their errors differ by.

    Args:
        estimates: estimates by the name of the estimator.
        grades: table of schema ``GRADE``.
        rng: generator that draws the resamples, the same for all estimators.
        resamples: number of resamples; with 0 the intervals are NaN.

    Raises:
        DataError: where a table breaks its contract, or an estimator used all responses.
    """
    seed, redraw_seed = rng.integers(2**63, size=2)
    rows: list[tuple[object, ...]] = []
    known: dict[str, dict[str, FloatArray]] = {}
    ceilings: dict[bytes, FloatArray] = {}
    questions = grades["question_id"].n_unique()
    with threadpool_limits(1):  # the blocks of resamples have threads of their own
        for name, paired in _pairs(estimates, grades, seed, resamples):
            oracle = estimates[name].oracle
            known[name] = scores = _resampled(paired, oracle)
            imputed = _resampled(paired.imputed(), oracle) if paired.missing.any() else scores
            redraws, redraw_rng = min(resamples, _REDRAWS), np.random.default_rng(redraw_seed)
            counts = redrawn_counts(paired.n, paired.c, redraws, redraw_rng)
            unknown = oracle or (paired.n[paired.answers] == 1).any()
            redrawn = {} if unknown else redraw_responses(paired, counts)
            answered = paired.among(paired.answers)
            scores = scores | {"r2_ceiling": _r2_ceilings(answered, ceilings)}
            imputed = imputed | {"r2_ceiling": _r2_ceilings(paired, ceilings)}
            rows += _rows(name, paired, questions, scores, redrawn, imputed)
        competing = {name: each for name, each in estimates.items() if not each.oracle}
        most = max((each.samples_used for each in competing.values()), default=0)
        shared = {name: replace(each, samples_used=most) for name, each in competing.items()}
        differences = compare_estimators(
            dict(_pairs(shared, grades, seed, resamples)),
            {name: known[name] for name, each in competing.items() if each.samples_used == most},
        )
    return Evaluation(pl.DataFrame(rows, schema=METRIC, orient="row"), differences)


def _pairs(
    estimates: dict[str, Estimate], grades: pl.DataFrame, seed: int, resamples: int
) -> Iterator[tuple[str, PairedEstimate]]:
    """Yield each estimator beside its target; the same seed resamples the same questions."""
    return pair_estimates(estimates, grades, np.random.default_rng(seed), resamples)


def _resampled(paired: PairedEstimate, oracle: bool) -> dict[str, FloatArray]:
    scores = resample_questions(paired)
    if oracle:
        scores["brier_unbiased"] = np.full_like(scores["brier"], np.nan)
    return scores


def _r2_ceilings(target: PairedEstimate, made: dict[bytes, FloatArray]) -> FloatArray:
    """Return the ceiling of a target, then in resamples of its questions; each is made once."""
    n, c, weights = target.n, target.c, target.weights
    key = n.tobytes() + c.tobytes()
    if key not in made:
        blocks = row_blocks(len(weights))
        made[key] = np.concatenate([r2_ceiling(n, c, weights[rows]) for rows in blocks])
    return made[key]


def _rows(
    name: str,
    paired: PairedEstimate,
    questions: int,
    scores: dict[str, FloatArray],
    redrawn: dict[str, FloatArray],
    imputed: dict[str, FloatArray],
) -> list[tuple[object, ...]]:
    """Return the rows of an estimator in the table of metrics, from metrics [1 + resamples]."""
    answered = paired.answered
    responses = int(paired.n[paired.answers].sum())
    paid = {cost: int(np.count_nonzero(~np.isnan(t))) for cost, t in costs_of(paired).items()}
    rows: list[tuple[object, ...]] = []
    for metric in BOUNDS:
        asked, all_asked = paid.get(metric, answered), paid.get(metric, len(paired.n))
        again = redrawn.get(metric, np.full(1, np.nan))
        rows.append(
            (
                name, metric,
                scores[metric][0], *_interval(metric, scores[metric], asked),
                *_interval(metric, again, responses, groups=answered),
                imputed[metric][0], *_interval(metric, imputed[metric], all_asked),
                answered, questions,
            )
        )  # fmt: skip
    return rows


def _interval(
    metric: str, values: FloatArray, drawn: int, groups: int | None = None
) -> tuple[float, float]:
    """Return the interval of a metric [1 + B]."""
    return t_interval(float(values[0]), values[1:], drawn, groups, BOUNDS[metric])
