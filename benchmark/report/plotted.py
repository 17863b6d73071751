"""Stage 8: the numbers behind the figures, computed before anything is drawn."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmark.capability.counts import count_outcomes
from benchmark.metrics.brier import brier_loss, unbiased_brier_loss
from benchmark.metrics.ece import reliability_curve
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.records import BUDGET, METRIC, CellResult
from benchmark.statistics.bootstrap import divide, mean_of_defined, mean_over_draws
from benchmark.statistics.inputs import FloatArray
from benchmark.statistics.intervals import t_interval

RELIABILITY_BINS = 10
RESAMPLES = 200  # for the intervals of the reliability diagrams
SHOWN_DRAWS = 20  # of an estimator that is random; more don't change a figure
TARGET_BINS = 20
ID = "question_id"


class TwoTargets(NamedTuple):
    """The response target and the capability target of N questions.

    Attributes:
        response: correctness of the first response, [N], 0 or 1.
        accuracy: expected accuracy from the other responses, [N], in [0, 1].
        flip: the chance that two responses to one question differ in correctness, in [0, 1]; the
            unbiased estimate ``2 c (n - c) / (n (n - 1))``, averaged over the questions.
    """

    response: FloatArray
    accuracy: FloatArray
    flip: float


class Reliability(NamedTuple):
    """A reliability diagram of B equal-width bins, each [B]; NaN in an empty bin."""

    confidence: FloatArray  # mean in the bin
    accuracy: FloatArray  # mean expected accuracy
    low: FloatArray  # 95 % interval: other questions and responses; NaN for one question
    high: FloatArray
    share: FloatArray  # of the answered questions


class TargetHistogram(NamedTuple):
    """Questions by expected accuracy, apart by whether their first response is correct; B bins."""

    left: FloatArray  # [B]
    correct: FloatArray  # [B], share of all questions
    incorrect: FloatArray  # [B], likewise


class Convergence(NamedTuple):
    """Brier score against the number M of samples that the target is counted from."""

    samples: FloatArray  # [M]
    brier: FloatArray  # [M], in expectation over which samples are taken
    limit: float  # with infinitely many; unbiased


def pair(cell: CellResult, resamples: int = 0) -> dict[str, PairedEstimate]:
    """Return each estimator's confidences beside the target that they are evaluated against."""
    rng = np.random.default_rng(0)  # fixed: the same cell gives the same figure
    return dict(pair_estimates(cell.estimates, cell.grades, rng, resamples))


def two_targets(grades: pl.DataFrame) -> TwoTargets:
    """Return both targets of the questions that have at least two responses."""
    first = grades.filter(pl.col("sample_index") == 0).select(ID, first=pl.col("outcome"))
    rest = count_outcomes(grades, skip_samples=1)
    both = first.join(rest, on=ID).join(
        count_outcomes(grades).select(ID, all_n="n", all_c="c"), on=ID
    )
    both = both.sort(ID)
    n, c = both["all_n"].to_numpy(), both["all_c"].to_numpy()
    flips = divide(2.0 * c * (n - c), n * (n - 1))
    return TwoTargets(
        response=(both["first"] == "correct").cast(pl.Float64).to_numpy(),
        accuracy=(both["c"] / both["n"]).to_numpy(),
        flip=float(mean_of_defined(flips, axis=0)),
    )


def reliability(paired: PairedEstimate) -> Reliability:
    """Return the reliability diagram, the first ``SHOWN_DRAWS`` draws pooled.

    A question that was answered in fewer draws repeats its own, so that each counts the same. The
    bins are those of `benchmark.metrics.brier.reliability_curve`.
    """
    count, confidence, accuracy = (np.zeros((len(paired.weights), RELIABILITY_BINS)) for _ in "123")
    for draw in paired.evened().confidences[:SHOWN_DRAWS]:
        given = ~np.isnan(draw)
        weights = paired.weights[:, given].astype(np.float64)
        curve = reliability_curve(
            draw[given], paired.n[given], paired.c[given], weights, RELIABILITY_BINS
        )
        count += curve.counts
        confidence += np.nan_to_num(curve.counts * curve.mean_confidence)
        accuracy += np.nan_to_num(curve.counts * curve.expected_accuracy)
    accuracy = divide(accuracy, count)
    draws = len(paired.confidences[:SHOWN_DRAWS])
    intervals = np.array(
        [
            t_interval(bin_[0], bin_[1:], round(questions / draws), bounds=(0, 1))
            for bin_, questions in zip(accuracy.T, count[0], strict=True)
        ]
    )
    return Reliability(
        confidence=divide(confidence[0], count[0]),
        accuracy=accuracy[0],
        low=intervals[:, 0],
        high=intervals[:, 1],
        share=divide(count[0], count[0].sum()),
    )


def probe_selections(result: CellResult) -> dict[str, pl.DataFrame]:
    """Return how each different probe was chosen, of schema ``PROBE_SELECTION``.

    Those that are estimators come first, then those that estimators are made of, by the estimator
    and its place in the settings.
    """
    found: dict[str, pl.DataFrame] = {}
    probes = [
        (place, name, probe.selection)
        for name, estimate in result.estimates.items()
        for place, probe in estimate.probes.items()
    ]
    for place, name, selection in sorted(probes, key=lambda probe: bool(probe[0])):
        if not any(selection.equals(other) for other in found.values()):
            found[f"{name}{place}"] = selection
    return found


def target_histogram(response: FloatArray, accuracy: FloatArray) -> TargetHistogram:
    """Return how the questions spread over the two targets.

    Args:
        response: correctness of one response, [N], 0 or 1.
        accuracy: expected accuracy from other responses, [N]. Bins are of equal width, the lower
            edge closed, the last one with 1.
    """
    index = np.minimum((accuracy * TARGET_BINS + 1e-9).astype(int), TARGET_BINS - 1)
    left = np.arange(TARGET_BINS) / TARGET_BINS
    correct, every = (
        np.bincount(index, weights, minlength=TARGET_BINS) / len(index)
        for weights in (response, np.ones_like(response))
    )
    return TargetHistogram(left, correct, every - correct)


def count_histogram(c: NDArray[np.int64], n: NDArray[np.int64]) -> FloatArray:
    """Return the percentage of questions in each of ``TARGET_BINS`` bins of c / n.

    The lower edge of a bin is closed, the last one holds 1. Counted in integers, so that values on
    an edge are where they belong.
    """
    index = np.minimum(c * TARGET_BINS // n, TARGET_BINS - 1)
    return 100 * np.bincount(index, minlength=TARGET_BINS) / len(index)


def convergence(paired: PairedEstimate) -> Convergence:
    """Return the Brier score that m of each question's n samples give, m = 1 .. n.

    Exact: a count of m samples taken without replacement from c of n is hypergeometric, so that
    ``E (conf - c_m / m)^2 = (conf - p)^2 + p (1 - p) (n - m) / (m (n - 1))`` with p = c / n.
    m goes up to the fewest samples of any question, in about equal ratios.
    """
    most = int(paired.n.min())
    samples = np.unique(np.geomspace(1, most, num=min(most, 12)).round())
    p = paired.c / paired.n
    one = np.ones((1, len(p)), dtype=np.uint16)
    loss = brier_loss(paired.confidences, paired.n, paired.c)
    at_least_two = np.maximum(paired.n - 1, 1)  # of one sample the factor n - m is 0
    means = [
        mean_over_draws(
            loss + p * (1 - p) * (paired.n - m) / (m * at_least_two), paired.given, one
        )[0]
        for m in samples
    ]
    unbiased = unbiased_brier_loss(paired.confidences, paired.n, paired.c)
    limit = mean_over_draws(unbiased, paired.given, one)[0]
    return Convergence(samples, np.array(means), float(limit))


def observed_pass_at_k(cell: CellResult) -> pl.DataFrame:
    """Return the rows of ``PASS_AT_K`` whose ``observed`` speaks for the cell, by k.

    They are those of the estimator with the most k, since what reads responses leaves fewer for
    the target, and of several such of the one that answered the most questions.
    """
    table = cell.applications["pass_at_k"]
    answered = cell.metrics.filter(metric="brier").select("estimator", "answered")
    widest = (
        table.group_by("estimator", maintain_order=True)
        .len()
        .join(answered, on="estimator", how="left", maintain_order="left")
        .sort("len", "answered", descending=True, nulls_last=True, maintain_order=True)
    )
    return table.filter(estimator=widest["estimator"][0]).sort("k")


def brier_by_layer(selection: pl.DataFrame) -> pl.DataFrame:
    """Return each layer's Brier scores at the setting that is best on validation.

    Args:
        selection: of schema ``PROBE_SELECTION``.

    Returns:
        Columns ``depth`` (0 is the embedding), ``validation_brier``, ``test_brier`` and
        ``chosen``, by depth; poolings over layers have no depth and are left out.
    """
    layer = pl.col("feature").str.extract(r"^layer (\d+)$").cast(pl.Int64)
    best = pl.col("validation_brier") == pl.col("validation_brier").min().over("feature")
    return (
        selection.filter(best)
        .unique("feature", keep="first", maintain_order=True)
        .select(
            pl.when(feature="embedding").then(0).otherwise(layer).alias("depth"),
            "validation_brier",
            "test_brier",
            "chosen",
        )
        .drop_nulls("depth")
        .sort("depth")
    )


def cost_rows(cell: CellResult) -> pl.DataFrame:
    """Return the estimators of which tokens and Brier score are defined.

    Returns:
        Columns ``estimator``, ``oracle``, mean ``tokens``, ``brier`` and its interval's ``low``
        and ``high``.
    """
    brier, tokens = (
        cell.metrics.filter(pl.col("metric") == metric, pl.col("value").is_not_nan()).select(
            "estimator", "low", "high", pl.col("value").alias(metric)
        )
        for metric in ("brier", "tokens")
    )
    oracles = [name for name, estimate in cell.estimates.items() if estimate.oracle]
    both = brier.join(tokens.drop("low", "high"), on="estimator", maintain_order="left")
    return both.with_columns(pl.col("estimator").is_in(oracles).alias("oracle"))


def budget_rows(cell: CellResult) -> pl.DataFrame:
    """Return the success of uniform sampling and of the greedy allocation by each estimator.

    Returns:
        Columns of ``BUDGET`` and ``method``: ``uniform``, once, on the questions of the estimator
        that answered the most, or the estimator that greedy allocates by. Estimators that answered
        nothing have no rows. Empty without the table.
    """
    table = cell.applications.get("budget", BUDGET.to_frame())
    table = table.filter(pl.col("success").is_not_nan())
    greedy = table.filter(policy="greedy").with_columns(method=pl.col("estimator"))
    uniform = table.filter(policy="uniform").sort("answered", descending=True, maintain_order=True)
    widest = uniform.filter(pl.col("estimator") == pl.col("estimator").first())
    return pl.concat([widest.with_columns(method=pl.lit("uniform")), greedy])


def scaling_rows(cells: Iterable[CellResult]) -> pl.DataFrame:
    """Return the Brier score of each probe by the number of questions that it was trained on.

    Args:
        cells: of one model and dataset, the oldest first; the latest of a size counts.

    Returns:
        Columns ``estimator``, ``trained_on``, ``value``, ``low``, ``high``, by size, of the probes
        that were trained on more than one number of questions.
    """
    found = {}
    for cell in cells:
        for row in cell.metrics.filter(metric="brier").iter_rows(named=True):
            size = cell.estimates[row["estimator"]].trained_on
            if size is not None:
                found[row["estimator"], size] = row | {"trained_on": size}
    schema = METRIC | {"trained_on": pl.Int64()}
    rows = pl.DataFrame(list(found.values()), schema=schema).filter(pl.col("value").is_not_nan())
    several = pl.col("trained_on").n_unique().over("estimator") > 1
    return (
        rows.filter(several)
        .select("estimator", "trained_on", "value", "low", "high")
        .sort("estimator", "trained_on")
    )
