"""A linear probe on the hidden states of the question's last prompt token."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl

from benchmark.cell import Cell
from benchmark.config import Role
from benchmark.errors import ConfigError
from benchmark.probes import train_probe
from benchmark.records import CONFIDENCE, Estimate


@dataclass
class Probe:
    """Trained on the train split's counts; layer and strength are chosen on the validation split.

    Attributes:
        strengths: L2 strengths that are tried, for every layer and the mean over layers.
        seed: of the training.
    """

    kind: str = "probe"
    strengths: list[float] = field(default_factory=list)
    seed: int = 0
    roles: ClassVar[tuple[Role, ...]] = ("train", "validation")
    hidden_states: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse strengths that regularise nothing, or none at all."""
        if not self.strengths or not all(0 < s < math.inf for s in self.strengths):
            raise ConfigError(f"probe: strengths={self.strengths} must be positive numbers.")
        if self.seed < 0:
            raise ConfigError(f"probe: seed={self.seed} must be at least 0.")

    def estimate(self, cell: Cell) -> Estimate:
        """Return the probe's confidence in each question; reading the prompt is its cost."""
        roles: tuple[Role, ...] = (*self.roles, "evaluation")
        for role in roles:  # all sampling comes before the first hidden state
            cell.split(role)
        features = {role: cell.features(role) for role in roles}
        probe = train_probe(features["train"], features["validation"], self.strengths, self.seed)
        evaluation = features["evaluation"]
        read = (
            cell.split("evaluation")
            .responses.group_by("question_id")
            .agg(pl.col("prompt_tokens").first())
        )
        table = pl.DataFrame(
            {
                "question_id": evaluation.question_ids,
                "confidence": probe.predict(evaluation.features).double().tolist(),
            }
        ).join(read, on="question_id")
        table = table.with_columns(
            sample_index=pl.lit(0, pl.Int64), status=pl.lit("ok"),
            completion_tokens=pl.lit(0, pl.Int64),
        )  # fmt: skip
        return Estimate(table.select(list(CONFIDENCE)), selection=probe.selection)
