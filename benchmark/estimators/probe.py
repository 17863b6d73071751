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

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the probe's confidence in each question; reading the prompt is its cost.

        Of the training questions it is better than of others, since it was trained on them.
        """
        roles: tuple[Role, ...] = (*self.roles, "evaluation")
        for each in roles:  # all sampling comes before the first hidden state
            cell.split(each)
        features = {each: cell.features(each) for each in roles}
        probe = train_probe(
            features["train"], features["validation"], self.settings, test=features["evaluation"]
        )
        read = (
            cell.split(role).responses.group_by("question_id").agg(pl.col("prompt_tokens").first())
        )
        table = pl.DataFrame(
            {
                "question_id": features[role].question_ids,
                "confidence": probe.predict(features[role].features).double().tolist(),
            }
        ).join(read, on="question_id")
        table = table.with_columns(
            sample_index=pl.lit(0, pl.Int64), status=pl.lit("ok"),
            completion_tokens=pl.lit(0, pl.Int64),
        )  # fmt: skip
        return Estimate(table.select(list(CONFIDENCE)), selection=probe.selection)
