"""A linear probe on the hidden states of the question's last prompt token."""

from dataclasses import dataclass, field

import polars as pl

from benchmark.cell import Cell, Role
from benchmark.probes import train_probe
from benchmark.questions import refuse_overlap
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

    def estimate(self, cell: Cell) -> Estimate:
        """Return the probe's confidence in each question; reading the prompt is its cost.

        Raises:
            DataError: two of the three splits share a question.
        """
        roles: tuple[Role, ...] = ("train", "validation", "evaluation")
        splits = {role: cell.questions(role) for role in roles}
        for first, second in (roles[:2], roles[1:], roles[::2]):
            refuse_overlap(splits[first], splits[second], (first, second))
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
