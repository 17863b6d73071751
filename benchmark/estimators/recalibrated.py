"""Any estimator, its confidences mapped to the expected accuracy that was seen at them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from omegaconf import MISSING
from scipy.special import logit

from benchmark.capability.counts import count_outcomes
from benchmark.cell.asked import Asked
from benchmark.cell.cell import Cell
from benchmark.config.schema import Role
from benchmark.errors import ConfigError
from benchmark.estimators.estimator import Estimator
from benchmark.estimators.isotonic import Curve, fit_isotonic
from benchmark.estimators.platt import fit_logistic
from benchmark.records import Estimate
from benchmark.statistics.inputs import FloatArray

# Platt takes confidences from [0.001, 0.999]: the logits of 0 and 1 are infinite.
_LOWEST_CONFIDENCE = 1e-3


@dataclass
class Recalibrated(Estimator):
    """Recalibrates ``base`` on questions that it wasn't trained on.

    The curve is fitted on the train split (the paper's isotonic regression is, too). A base that
    itself uses the train split is more confident there than elsewhere, so for it, and for probes,
    whatever they were trained on, the curve is fitted on the validation split. Responses that the
    base read are left out of the counts, a question's draws share its n, and questions without a
    confidence are left out.

    Attributes:
        method: isotonic, or platt (logistic in the logit of the confidence).
        base: an estimator; in the configuration its settings.
    """

    method: str = MISSING
    base: Any = MISSING

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            raise ConfigError(
                f"recalibrated: method={self.method} is unknown; choose one of {[*_METHODS]}."
            )

    @property
    def fitted_on(self) -> Role:
        """The split that the curve is fitted on."""
        trained = "train" in self.base.roles or self.base.hidden_states
        return "validation" if trained else "train"

    @property
    def roles(self) -> tuple[Role, ...]:
        """The splits of the base, and the one that the curve is fitted on."""
        return (*self.base.roles, self.fitted_on)

    @property
    def parts(self) -> Mapping[str, Estimator]:
        """The base."""
        return {".base": self.base}

    def check(self, cell: Cell, role: Role = "evaluation") -> None:
        """Check the base, also for the questions that the curve is fitted on."""
        for estimated in (role, self.fitted_on):
            super().check(cell, estimated)

    def requests(self, cell: Cell, role: Role = "evaluation") -> Iterable[Asked]:
        """Yield what the base asks for, also about the questions that the curve is fitted on."""
        for estimated in (role, self.fitted_on):
            yield from super().requests(cell, estimated)

    def collect(self, cell: Cell, role: Role = "evaluation") -> None:
        """Let the base ask, also about the questions that the curve is fitted on."""
        for estimated in (role, self.fitted_on):
            cell.split(estimated)
            super().collect(cell, estimated)

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the base's confidences, recalibrated; they cost what the base's cost.

        What the base left unanswered stays so. Where it answered none of the questions that the
        curve is fitted on, there is no curve, and the status of its answers becomes ``error``.
        """
        curve = self._curve(cell)
        estimate: Estimate = self.base.estimate(cell, role)
        ok = pl.col("status") == "ok"
        answered, others = estimate.confidences.filter(ok), estimate.confidences.filter(~ok)
        if curve is None:
            answered = answered.with_columns(
                confidence=pl.lit(None, pl.Float64), status=pl.lit("error")
            )
        elif not answered.is_empty():
            mapped = curve(answered["confidence"].to_numpy())
            answered = answered.with_columns(confidence=pl.Series(mapped))
        confidences = pl.concat([answered, others]).sort("question_id", "sample_index")
        probes = {f".base{place}": probe for place, probe in estimate.probes.items()}
        return replace(estimate, confidences=confidences, probes=probes)

    def _curve(self, cell: Cell) -> Curve | None:
        """Return the fitted curve, or None where there is no confidence to fit it on."""
        split = cell.split(self.fitted_on)
        estimate: Estimate = self.base.estimate(cell, self.fitted_on)
        counts = count_outcomes(split.grades, estimate.samples_used)
        given = estimate.confidences.filter(status="ok").join(counts, on="question_id")
        answered = given["question_id"].n_unique()
        if answered < counts.height:
            cell.console.print(
                f"Recalibration ({self.method}): {answered} of {counts.height} questions of the "
                f"{self.fitted_on} split have a confidence; the others are left out."
            )
        if given.is_empty():
            return None
        draws = pl.len().over("question_id")
        shared = given.select("confidence", n=pl.col("n") / draws, c=pl.col("c") / draws)
        return _METHODS[self.method](*(shared[name].to_numpy() for name in shared.columns))


def _fit_platt(x: FloatArray, n: FloatArray, c: FloatArray) -> Curve:
    """Return the curve whose logit is linear in the logit of the confidence; see Platt (1999)."""

    def logits(confidences: FloatArray) -> FloatArray:
        return np.asarray(
            logit(np.clip(confidences, _LOWEST_CONFIDENCE, 1 - _LOWEST_CONFIDENCE)),
            dtype=np.float64,
        )

    curve = fit_logistic(logits(x), n, c)
    return lambda confidences: curve(logits(confidences))


_METHODS = {"isotonic": fit_isotonic, "platt": _fit_platt}
