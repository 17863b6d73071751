"""Stage 7: abstention, answering only the questions whose confidence is high."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from omegaconf import MISSING

from benchmark.applications.abstention.aurc import (
    ROUNDING,
    answered_share,
    area_under,
    normalise_area,
    passing_threshold,
    rank,
    ranked_accuracy,
)
from benchmark.applications.application import Study
from benchmark.capability.counts import count_outcomes
from benchmark.errors import ConfigError
from benchmark.metrics.pairing import PairedEstimate, pair_estimates
from benchmark.records import ABSTENTION, ABSTENTION_METRIC, ABSTENTION_TARGET, CellResult
from benchmark.statistics.bootstrap import row_blocks, value_and_interval, weighted_mean
from benchmark.statistics.inputs import FloatArray

CURVE = np.arange(1, 101) / 100  # the coverages at which the table holds the curve
_UNGIVEN = -1.0  # ranks a question without a confidence below every other
_INTERVAL_CONFIDENCES = 20_000  # draws times questions that the intervals average
_FEWEST_DRAWS = 4  # that the intervals average, however many questions there are


def validation_half(question_ids: Iterable[str]) -> NDArray[np.bool_]:
    """Return which questions thresholds are chosen on; the others verify them: [N].

    The evaluated questions themselves are cut in two, by one bit of a checksum of the id. So it
    costs no model time, works on counts that were made elsewhere, and a question stays on its side
    for every model, estimator, limit and order. The halves differ in size by chance.

    Examples:
        >>> validation_half(["a", "b", "c", "d"]).tolist()
        [False, True, True, True]
    """
    return np.array(
        [sha256(f"half of {key}".encode()).digest()[0] % 2 == 0 for key in question_ids],
        dtype=np.bool_,
    )


@dataclass
class Abstention:
    """Evaluates abstention by every estimator's confidence.

    A question without a confidence is answered last and never at a threshold, so that all
    estimators are judged on the same questions.

    Attributes:
        coverages: shares of the questions whose accuracy is listed, each in (0, 1].
        targets: accuracies that the answered questions shall have, each in (0, 1]. Its threshold
            is chosen on `validation_half` of the questions and verified on the others.
    """

    coverages: list[float] = MISSING
    targets: list[float] = MISSING

    def __post_init__(self) -> None:
        """Refuse shares out of range."""
        for name in ("coverages", "targets"):
            for value in getattr(self, name):
                if not 0 < value <= 1:
                    raise ConfigError(
                        f"abstention: {name} has {value:g} in it; each must be in (0, 1]."
                    )

    def evaluate(self, result: CellResult, study: Study) -> dict[str, pl.DataFrame]:
        """Return the curves, the areas under them, and the thresholds with what they give.

        Intervals are bootstrapped over questions, the same resamples for all estimators. Those of
        curves and areas average as many of an estimator's draws as 20,000 confidences hold (at
        least 4), which makes them wider rather than narrower; those of thresholds all of them,
        with the threshold held fixed.

        Returns:
            Tables ``abstention``, ``abstention_metrics`` and ``abstention_targets``, of schemas
            ``ABSTENTION``, ``ABSTENTION_METRIC`` and ``ABSTENTION_TARGET``.
        """
        curves, metrics, targets = [], [], []
        coverages = np.array(self.coverages, dtype=np.float64)
        for name, paired in pair_estimates(
            result.estimates, result.grades, study.rng, study.resamples
        ):
            measured = _measure(paired, np.concatenate([CURVE, coverages]))
            curves += [(name, *row) for row in _curve_rows(measured)]
            counts = paired.answered, len(paired.n)
            metrics += [(name, *row, *counts) for row in _metric_rows(measured, coverages)]
            used = result.estimates[name].samples_used
            ids = count_outcomes(result.grades, used)["question_id"]  # in the order of the pairs
            half = validation_half(ids)
            targets += [(name, *_target_row(paired, half, target)) for target in self.targets]
        return {
            "abstention": pl.DataFrame(curves, schema=ABSTENTION, orient="row"),
            "abstention_metrics": pl.DataFrame(metrics, schema=ABSTENTION_METRIC, orient="row"),
            "abstention_targets": pl.DataFrame(targets, schema=ABSTENTION_TARGET, orient="row"),
        }


class _Measured(NamedTuple):
    """Values of an estimator, then of each resample, averaged over its draws.

    All are NaN for an estimator that gave no confidence at all.
    """

    risk: FloatArray  # [1 + resamples, coverages]
    oracle_risk: FloatArray  # [1 + resamples, coverages]
    aurc: FloatArray  # [1 + resamples]
    oracle_aurc: FloatArray  # [1 + resamples]
    full_risk: FloatArray  # [1 + resamples], where every question is answered


def _measure(paired: PairedEstimate, coverages: FloatArray) -> _Measured:
    scores = np.where(paired.given, paired.confidences, _UNGIVEN)
    accuracy = paired.c / paired.n
    few = scores[: max(_FEWEST_DRAWS, _INTERVAL_CONFIDENCES // len(accuracy))]
    blocks = [(scores, paired.weights[:1])]
    blocks += [(few, paired.weights[1:][rows]) for rows in row_blocks(len(paired.weights) - 1)]
    measured = []
    for draws, rows in blocks:
        weights = rows.astype(np.float64)
        oracle = rank(accuracy, accuracy, weights)
        start = 0.0 if paired.answered else np.nan
        areas = np.full(len(weights), start)
        risks = np.full((len(weights), len(coverages)), start)
        for draw in draws:
            ranked = rank(draw, accuracy, weights)
            areas += area_under(ranked) / len(draws)
            risks += (1 - ranked_accuracy(ranked, coverages)) / len(draws)
        full = 1 - weighted_mean(accuracy, weights)
        measured.append(
            (risks, 1 - ranked_accuracy(oracle, coverages), areas, area_under(oracle), full)
        )
    return _Measured(*(np.concatenate(parts) for parts in zip(*measured, strict=True)))


def _curve_rows(measured: _Measured) -> list[tuple[float, ...]]:
    return [
        (coverage, *value_and_interval(measured.risk[:, i]), float(measured.oracle_risk[0, i]))
        for i, coverage in enumerate(CURVE)
    ]


def _metric_rows(
    measured: _Measured, coverages: FloatArray
) -> list[tuple[str | float | None, ...]]:
    excess = measured.aurc - measured.oracle_aurc
    normalised = normalise_area(measured.aurc, measured.oracle_aurc, measured.full_risk)
    areas = {"aurc": measured.aurc, "excess_aurc": excess, "normalised_aurc": normalised}
    rows: list[tuple[str | float | None, ...]] = [
        (name, None, *value_and_interval(values)) for name, values in areas.items()
    ]
    return rows + [
        ("accuracy", coverage, *value_and_interval(1 - measured.risk[:, len(CURVE) + i]))
        for i, coverage in enumerate(coverages)
    ]


def _target_row(
    paired: PairedEstimate, half: NDArray[np.bool_], target: float
) -> tuple[float | int | bool | None, ...]:
    """Return the threshold chosen on one half, and what it gives on either."""
    accuracy = paired.c / paired.n
    draws, given = paired.confidences[:, half], paired.given[:, half]
    every = np.broadcast_to(accuracy[half], draws.shape)
    threshold = passing_threshold(draws[given], every[given], target)
    passed = (paired.confidences >= threshold).mean(axis=0)
    weights = paired.weights.astype(np.float64)
    chosen = answered_share(passed[half], accuracy[half], weights[:1, half])
    test = answered_share(passed[~half], accuracy[~half], weights[:, ~half])
    value = float(test.accuracy[0])
    return (
        target, threshold,
        int(half.sum()), float(chosen.coverage[0]), float(chosen.accuracy[0]),
        int((~half).sum()), *value_and_interval(test.coverage), *value_and_interval(test.accuracy),
        None if np.isnan(value) else value >= target - ROUNDING,
    )  # fmt: skip
