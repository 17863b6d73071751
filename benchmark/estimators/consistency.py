"""Agreement between sampled responses."""

from dataclasses import dataclass

import polars as pl
from omegaconf import MISSING

from benchmark.cell import Cell
from benchmark.config import Role
from benchmark.records import CONFIDENCE, Estimate


@dataclass
class Consistency:
    """The share of the most frequent answer among the first m responses.

    Responses without an answer agree with nothing. Where several answers are the most frequent, the
    share is the same for each, so a tie needs no breaking. The m responses are left out of the
    target that the confidence is evaluated against.

    Attributes:
        m: number of responses, at least 2.
        chance_corrected: rescale the share from [1 / m, 1] to [0, 1]: one response always agrees
            with itself, so m different answers have share 1 / m although none agree. The paper
            doesn't correct.
    """

    kind: str = "consistency"
    m: int = MISSING
    chance_corrected: bool = False

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the share of each question, at the cost of m responses."""
        split = cell.split(role)
        used = pl.col("sample_index") < self.m
        agreeing = (
            split.grades.filter(used, pl.col("answer").is_not_null())
            .group_by("question_id", "answer")
            .len()
            .group_by("question_id")
            .agg(pl.col("len").max())
        )
        costs = (
            split.responses.filter(used)
            .group_by("question_id")
            .agg(pl.col("prompt_tokens").first(), pl.col("completion_tokens").sum())
        )
        share = pl.col("len").fill_null(0) / self.m
        if self.chance_corrected:
            share = ((share * self.m - 1) / (self.m - 1)).clip(0, 1)
        table = costs.join(agreeing, on="question_id", how="left").with_columns(
            confidence=share, sample_index=pl.lit(0, pl.Int64), status=pl.lit("ok")
        )
        return Estimate(table.select(list(CONFIDENCE)), samples_used=self.m)
