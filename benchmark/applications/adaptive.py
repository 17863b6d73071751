"""Stage 7: what adaptive sampling saved, and what stopping did to every metric.

The metrics elsewhere in a report take ``c / n`` for the expected accuracy, which stopping biases.
Here they stand beside the same metrics with the unbiased estimate of ``sequential``, and the errors
of both are simulated, next to those of sampling that doesn't stop.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from omegaconf import MISSING

from benchmark.applications.application import Study
from benchmark.capability.counts import count_outcomes
from benchmark.capability.sequential import SequentialEstimate, sequential_estimate
from benchmark.errors import ConfigError
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.metrics.resampling import resample_questions
from benchmark.records import ADAPTIVE, ADAPTIVE_QUESTION, COSTS, CellResult
from benchmark.sampling.adaptive import StoppingRule, is_narrow, stopped_counts
from benchmark.statistics.beta_binomial import fit_beta_binomial
from benchmark.statistics.bootstrap import mean_over_draws
from benchmark.statistics.inputs import FloatArray

STOPPED, UNBIASED = "adaptive, c/n", "adaptive, unbiased"
MOST, AS_MANY = "fixed, k_max", "fixed, as many"
DESIGNS = (STOPPED, UNBIASED, MOST, AS_MANY)
ACCURACY = "accuracy"
_MANY_RESPONSES = 100_000.0  # so many tell an expected accuracy to 5 digits

Key = tuple[str | None, str]  # estimator and metric


@dataclass
class Adaptive:
    """Compares adaptive sampling with a fixed number of responses.

    Expected accuracies are drawn for each simulation from what the counts say of them: the
    Beta-Binomial distribution that fits all questions best, given each question's own counts (the
    likelihood doesn't depend on the stopping rule). Responses are then drawn and stopped anew, the
    confidences staying as they are; an estimator with several draws gives the next one in turn.

    Attributes:
        k_min: fewest responses to a question, as ``sampling.k``.
        k_max: most responses to a question, as ``sampling.stopping.k_max``.
        round: counted responses between two checks, as ``sampling.stopping.round``.
        width: width of the interval at which a question stops, as ``sampling.stopping.width``.
        simulations: number of simulations; with 0 biases and errors are NaN.
    """

    k_min: int = MISSING
    k_max: int = MISSING
    round: int = MISSING
    width: float = MISSING
    simulations: int = MISSING

    def __post_init__(self) -> None:
        """Refuse a negative number of simulations; the rest is checked with the sampling."""
        if self.simulations < 0:
            raise ConfigError(f"adaptive: simulations={self.simulations} must be at least 0.")

    def evaluate(self, result: CellResult, study: Study) -> dict[str, pl.DataFrame]:
        """Return the metrics by design, with their simulated errors, and the stopped questions.

        Oracles are left out, whose confidences are the counts, and so are the ceilings, which tell
        of the counts' noise.

        Returns:
            Tables ``adaptive`` and ``adaptive_questions``, of schemas ``ADAPTIVE`` and
            ``ADAPTIVE_QUESTION``.

        Raises:
            DataError: the counts can't have been stopped by these settings.
        """
        rule = StoppingRule(self.k_min, self.k_max, self.round, self.width)
        questions = _questions(result, rule)
        sources = _sources(result, questions)
        drawn, counted = (float(questions[name].to_numpy().mean()) for name in ("drawn", "n"))
        as_many = max(rule.k_min, round(counted))
        errors = _simulate(sources, questions, rule, as_many, self.simulations, study.rng)
        responses = {STOPPED: drawn, UNBIASED: drawn, MOST: rule.k_max, AS_MANY: as_many}
        values = _values(sources, questions, rule)
        rows = [
            (*key, design, responses[design], known.get(design), *_summary(errors[key, design]))
            for key, known in values.items()
            for design in DESIGNS
        ]
        return {
            "adaptive": pl.DataFrame(rows, schema=ADAPTIVE, orient="row"),
            "adaptive_questions": questions,
        }


class _Source(NamedTuple):
    """An estimator's confidences, and which of the cell's questions they are evaluated on."""

    paired: PairedEstimate
    skip: int  # responses that made the confidence
    rows: NDArray[np.intp]  # [N], positions among the cell's questions


def _questions(result: CellResult, rule: StoppingRule) -> pl.DataFrame:
    counts = count_outcomes(result.grades)
    every = pl.concat([result.grades, result.left_out])["question_id"]
    drawn = every.value_counts().select("question_id", drawn=pl.col("count").cast(pl.Int64))
    n, c = counts["n"].to_numpy(), counts["c"].to_numpy()
    return (
        counts.join(drawn, on="question_id", maintain_order="left")
        .with_columns(
            accuracy=pl.Series(sequential_estimate(n, c, rule).accuracy),
            narrow=pl.Series(is_narrow(n, c, rule)),
        )
        .select(list(ADAPTIVE_QUESTION))
    )


def _sources(result: CellResult, questions: pl.DataFrame) -> dict[str, _Source]:
    estimates = {name: e for name, e in result.estimates.items() if not e.oracle}
    position = questions.with_row_index("position").select("question_id", "position")
    sources = {}
    no_resamples = np.random.default_rng(0)
    for name, paired in pair_estimates(estimates, result.grades, no_resamples, resamples=0):
        used = estimates[name].samples_used
        ids = count_outcomes(result.grades, used).select("question_id")  # in the order of the pairs
        rows = ids.join(position, on="question_id", maintain_order="left")["position"].to_numpy()
        sources[name] = _Source(paired, used, rows.astype(np.intp))
    return sources


def _values(
    sources: Mapping[str, _Source], questions: pl.DataFrame, rule: StoppingRule
) -> dict[Key, dict[str, float]]:
    """Return each metric of the cell with both estimates, by design."""
    n, c = (questions[name].cast(pl.Float64).to_numpy() for name in ("n", "c"))
    unbiased = float(questions["accuracy"].to_numpy().mean())
    values: dict[Key, dict[str, float]] = {
        (None, ACCURACY): {STOPPED: float((c / n).mean()), UNBIASED: unbiased}
    }
    for name, (paired, _, rows) in sources.items():
        skipped = n[rows] - paired.n, c[rows] - paired.c
        stopped = _metrics(paired)
        found = _metrics_at(paired, sequential_estimate(n[rows], c[rows], rule, *skipped))
        for metric in stopped:
            values[name, metric] = {STOPPED: stopped[metric], UNBIASED: found[metric]}
    return values


def _simulate(
    sources: Mapping[str, _Source],
    questions: pl.DataFrame,
    rule: StoppingRule,
    as_many: int,
    simulations: int,
    rng: np.random.Generator,
) -> Mapping[tuple[Key, str], list[float]]:
    """Return the errors of each metric in each simulation, by design.

    There are none where no response or every response is correct, which says nothing of the
    distribution of the expected accuracies.
    """
    errors: defaultdict[tuple[Key, str], list[float]] = defaultdict(list)
    n, c = (questions[name].cast(pl.Float64).to_numpy() for name in ("n", "c"))
    alpha, beta = fit_beta_binomial(n, c)
    for number in range(simulations if np.isfinite(alpha) else 0):
        p = rng.beta(alpha + c, beta + n - c)
        outcomes = rng.random((len(p), rule.k_max)) < p[:, None]
        totals = np.zeros((len(p), 1 + rule.k_max), dtype=np.int64)
        np.cumsum(outcomes, axis=1, out=totals[:, 1:])
        stops = stopped_counts(outcomes, rule)
        ends = {STOPPED: stops, MOST: np.full_like(stops, rule.k_max)}
        ends[AS_MANY] = np.full_like(stops, as_many)
        for key, design, error in _errors(sources, number, p, totals, ends, rule):
            errors[key, design].append(error)
    return errors


def _errors(
    sources: Mapping[str, _Source],
    number: int,
    p: FloatArray,
    totals: NDArray[np.int64],
    ends: Mapping[str, NDArray[np.int64]],
    rule: StoppingRule,
) -> Iterator[tuple[Key, str, float]]:
    """Yield the error of each metric and design in one simulation, whose number chooses the draw.

    ``p`` are expected accuracies, [N], ``totals`` correct ones among the first 0 .. k_max
    responses, [N, 1 + k_max], and ``ends`` the numbers of responses that each design draws, [N].
    """
    every = np.arange(len(p))
    unbiased = sequential_estimate(ends[STOPPED], totals[every, ends[STOPPED]], rule).accuracy
    shares = {design: totals[every, end] / end for design, end in ends.items()}
    for design, share in {**shares, UNBIASED: unbiased}.items():
        yield (None, ACCURACY), design, float((share - p).mean())
    for name, (paired, skip, rows) in sources.items():
        draw = number % len(paired.confidences)
        one = replace(paired, confidences=paired.confidences[draw : draw + 1])
        truth = _metrics_at(one, SequentialEstimate(p[rows], p[rows] ** 2))
        before = totals[rows, skip]
        found = {}
        for design, end in ends.items():
            counts = (end[rows] - skip).astype(np.float64), totals[rows, end[rows]] - before
            found[design] = _metrics(replace(one, n=counts[0], c=counts[1].astype(np.float64)))
        stops = ends[STOPPED][rows]
        estimate = sequential_estimate(stops, totals[rows, stops], rule, skip, before)
        found[UNBIASED] = _metrics_at(one, estimate)
        for design, metrics in found.items():
            for metric, value in metrics.items():
                yield (name, metric), design, value - truth[metric]


def _metrics(paired: PairedEstimate) -> dict[str, float]:
    """Return every metric that the responses enter."""
    every = resample_questions(paired)
    return {metric: float(values[0]) for metric, values in every.items() if metric not in COSTS}


def _metrics_at(paired: PairedEstimate, estimate: SequentialEstimate) -> dict[str, float]:
    """Return every metric with an estimate of the expected accuracy in place of c / n."""
    # The metrics take counts, so an accuracy is given to them as so many correct of a great many.
    n = np.full(len(estimate.accuracy), _MANY_RESPONSES)
    found = _metrics(replace(paired, n=n, c=np.round(estimate.accuracy * _MANY_RESPONSES)))
    confidences = paired.confidences
    losses = confidences**2 - 2 * confidences * estimate.accuracy + estimate.squared
    found["brier_unbiased"] = float(mean_over_draws(losses, paired.given, paired.weights[:1])[0])
    return found


def _summary(errors: list[float]) -> tuple[float, float, float]:
    """Return mean, standard error of the mean and root mean square of the defined errors."""
    defined = np.array([error for error in errors if not np.isnan(error)])
    if len(defined) < 2:
        return np.nan, np.nan, np.nan
    spread = defined.std(ddof=1) / np.sqrt(len(defined))
    return float(defined.mean()), float(spread), float(np.sqrt((defined**2).mean()))
