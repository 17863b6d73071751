"""Stage 8: the numbers behind a grid's figures, computed before anything is drawn."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmark.metrics.brier import brier_loss, unbiased_brier_loss
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.records import BUDGET, METRIC, CellResult
from benchmark.report.plotted import best_strengths
from benchmark.statistics.bootstrap import mean_over_draws
from benchmark.statistics.inputs import FloatArray

TARGET_BINS = 20


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


def paired(cell: CellResult) -> dict[str, PairedEstimate]:
    """Return each estimator's confidences beside their target, without resamples."""
    rng = np.random.default_rng(0)
    return dict(pair_estimates(cell.estimates, cell.grades, rng, resamples=0))


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
    """Return each layer's test Brier score at the setting that is best on validation.

    Args:
        selection: of schema ``PROBE_SELECTION``.

    Returns:
        Columns ``depth`` (0 is the embedding), ``test_brier`` and ``chosen``, by depth; poolings
        over layers have no depth and are left out.
    """
    layer = pl.col("feature").str.extract(r"^layer (\d+)$").cast(pl.Int64)
    return (
        best_strengths(selection)
        .select(
            pl.when(feature="embedding").then(0).otherwise(layer).alias("depth"),
            "test_brier",
            "chosen",
        )
        .drop_nulls("depth")
        .sort("depth")
    )


def cost_rows(cell: CellResult) -> pl.DataFrame:
    """Return ``estimator``, ``oracle``, mean ``tokens`` and ``brier``, where both are defined."""
    brier, tokens = (
        cell.metrics.filter(pl.col("metric") == metric, pl.col("value").is_not_nan()).select(
            "estimator", pl.col("value").alias(metric)
        )
        for metric in ("brier", "tokens")
    )
    oracles = [name for name, estimate in cell.estimates.items() if estimate.oracle]
    return brier.join(tokens, on="estimator", maintain_order="left").select(
        "estimator", pl.col("estimator").is_in(oracles).alias("oracle"), "tokens", "brier"
    )


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
