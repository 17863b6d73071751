"""Baselines that know nothing, or no more than a question's family."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from benchmark.cell import Cell
from benchmark.config import Role
from benchmark.errors import ConfigError
from benchmark.records import CONFIDENCE, Estimate


@dataclass
class Random:
    """A uniform number per question, in many draws: metrics are expectations over U(0, 1)."""

    kind: str = "random"
    draws: int = 100
    seed: int = 0
    counts_suffice: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse settings that give no confidence."""
        if self.draws < 1 or self.seed < 0:
            raise ConfigError(
                f"random: draws={self.draws} must be at least 1, seed={self.seed} at least 0."
            )

    def estimate(self, cell: Cell) -> Estimate:
        """Return ``draws`` independent confidences per question."""
        ids = cell.questions["evaluation"]["question_id"]
        rng = np.random.default_rng(self.seed)
        table = pl.DataFrame(
            {
                "question_id": np.tile(ids.to_numpy(), self.draws),
                "sample_index": np.repeat(np.arange(self.draws), len(ids)),
                "confidence": rng.random(self.draws * len(ids)),
                "status": "ok",
                "prompt_tokens": 0,
                "completion_tokens": 0,
            },
            schema_overrides=CONFIDENCE,
        )
        return Estimate(table)


@dataclass
class FamilyMean:
    """The mean expected accuracy of a question's family on the training split.

    What a probe must beat to know more than the topic. A family without training questions gets the
    mean over all of them.
    """

    kind: str = "family_mean"
    roles: ClassVar[tuple[Role, ...]] = ("train",)

    def estimate(self, cell: Cell) -> Estimate:
        """Return the family's training mean of each question."""
        train = cell.split("train")
        accuracy = pl.col("c").sum() / pl.col("n").sum()
        counts = train.capability.join(_families(train.questions), on="question_id")
        means = counts.group_by("family").agg(confidence=accuracy)
        overall = counts.select(accuracy).item()
        table = _families(cell.questions["evaluation"]).join(
            means, on="family", how="left", nulls_equal=True
        )
        none = pl.lit(0, pl.Int64)
        table = table.with_columns(
            pl.col("confidence").fill_null(overall),
            sample_index=none, status=pl.lit("ok"), prompt_tokens=none, completion_tokens=none,
        )  # fmt: skip
        return Estimate(table.select(list(CONFIDENCE)))


def _families(questions: pl.DataFrame) -> pl.DataFrame:
    """Return (question_id, family), the family null where a question names none."""
    pairs = questions.select("question_id", "metadata").explode("metadata").unnest("metadata")
    named = pairs.filter(pl.col("key") == "family").select("question_id", family="value")
    return questions.select("question_id").join(named, on="question_id", how="left")
