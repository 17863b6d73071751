"""A probe on the hidden states of the question's last prompt token."""

from dataclasses import dataclass
from typing import ClassVar

import polars as pl
from omegaconf import MISSING

from benchmark.cell import Cell
from benchmark.config import Role
from benchmark.probes import ProbeSettings, train_probe
from benchmark.records import CONFIDENCE, Estimate


@dataclass
class Probe:
    """Trained on the train split's counts; layer and setting are chosen on the validation split.

    Attributes:
        settings: how probes are trained and which settings are tried.
    """

    kind: str = "probe"
    settings: ProbeSettings = MISSING
    roles: ClassVar[tuple[Role, ...]] = ("train", "validation")
    hidden_states: ClassVar[bool] = True

    def estimate(self, cell: Cell) -> Estimate:
        """Return the probe's confidence in each question; reading the prompt is its cost."""
        roles: tuple[Role, ...] = (*self.roles, "evaluation")
        for role in roles:  # all sampling comes before the first hidden state
            cell.split(role)
        features = {role: cell.features(role) for role in roles}
        evaluation = features["evaluation"]
        probe = train_probe(
            features["train"], features["validation"], self.settings, test=evaluation
        )
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
        return Estimate(
            table.select(list(CONFIDENCE)),
            selection=probe.selection,
            trained_on=len(features["train"].question_ids),
        )
