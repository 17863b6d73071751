"""Stage 8: the numbers behind the figures, computed before anything is drawn."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmark.capability.counts import count_outcomes
from benchmark.metrics.brier import brier_loss, response_brier_loss
from benchmark.metrics.ece import reliability_curve
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.records import CellResult
from benchmark.statistics.bootstrap import divide, mean_of_defined
from benchmark.statistics.inputs import FloatArray
from benchmark.statistics.intervals import t_interval

RELIABILITY_BINS = 10
RESAMPLES = 200  # for the intervals of the reliability diagrams
SHOWN_DRAWS = 20  # of an estimator that is random; more don't change a figure
HISTOGRAM_BINS = 20
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


class Losses(NamedTuple):
    """Squared losses of each of N answered questions, averaged over draws, [N]."""

    capability: FloatArray  # (conf - p)^2
    response: FloatArray  # (conf - p)^2 + p (1 - p)

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of the two over questions, in [-1, 1]; NaN where undefined."""
        if min(len(np.unique(self.capability)), len(np.unique(self.response))) < 2:
            return np.nan
        return float(spearmanr(self.capability, self.response).statistic)


class Reliability(NamedTuple):
    """A reliability diagram of B equal-width bins, each [B]; NaN in an empty bin."""

    confidence: FloatArray  # mean in the bin
    accuracy: FloatArray  # mean expected accuracy
    low: FloatArray  # 95 % interval: other questions and responses; NaN for one question
    high: FloatArray
    share: FloatArray  # of the answered questions


class Histogram(NamedTuple):
    """How many questions have which expected accuracy; B bars."""

    left: FloatArray  # [B]
    width: float
    counts: NDArray[np.int64]  # [B]


def pair(result: CellResult) -> dict[str, PairedEstimate]:
    """Return each estimator's confidences beside the target they are evaluated against."""
    rng = np.random.default_rng(0)  # fixed: the same cell gives the same figure
    return dict(pair_estimates(result.estimates, result.grades, rng, RESAMPLES))


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


def question_losses(paired: PairedEstimate) -> Losses:
    """Return the losses against both targets of the questions with a confidence."""
    answered = paired.given.any(axis=0)
    conf, n, c = paired.confidences[:, answered], paired.n[answered], paired.c[answered]
    return Losses(
        mean_of_defined(brier_loss(conf, n, c), axis=0),
        mean_of_defined(response_brier_loss(conf, n, c), axis=0),
    )


def first_draw(paired: PairedEstimate) -> tuple[FloatArray, FloatArray]:
    """Return confidence and expected accuracy of the questions that the first draw answered."""
    given = paired.given[0]
    return paired.confidences[0, given], paired.c[given] / paired.n[given]


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


def accuracy_histogram(capability: pl.DataFrame) -> Histogram:
    """Return the histogram of ``c / n``.

    One bar for each value where every question has the same ``n`` of at most ``HISTOGRAM_BINS``;
    else equal-width bins, lower edge closed, the last one with 1.0.
    """
    n, c = capability["n"].to_numpy(), capability["c"].to_numpy()
    if n.min() == n.max() <= HISTOGRAM_BINS:
        width, bars, index = 1 / int(n[0]), int(n[0]) + 1, c
        left = np.arange(bars, dtype=np.float64) * width - width / 2
    else:
        width, bars = 1 / HISTOGRAM_BINS, HISTOGRAM_BINS
        index = np.minimum(c * bars // n, bars - 1)  # in integers, so that edges are exact
        left = np.arange(bars, dtype=np.float64) * width
    return Histogram(left, width, np.bincount(index, minlength=bars))


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


def best_strengths(selection: pl.DataFrame) -> pl.DataFrame:
    """Return the row with the lowest validation Brier score of each feature, in their order."""
    best = pl.col("validation_brier") == pl.col("validation_brier").min().over("feature")
    return selection.filter(best).unique("feature", keep="first", maintain_order=True)


def tokens_spent(result: CellResult) -> bool:
    """Tell whether any estimator is known to have spent tokens."""
    tokens = result.metrics.filter(pl.col("metric") == "tokens")["value"]
    return bool((tokens.drop_nans() > 0).any())


def family_of(questions: pl.DataFrame) -> pl.DataFrame:
    """Return question_id and family of the questions whose metadata has one."""
    return (
        questions.select(ID, "metadata")
        .explode("metadata")
        .unnest("metadata")
        .filter(pl.col("key") == "family")
        .select(ID, family="value")
    )
