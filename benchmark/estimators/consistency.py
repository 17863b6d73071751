"""Agreement between sampled responses."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from omegaconf import MISSING

from benchmark.cell.cell import Cell
from benchmark.config.schema import Role
from benchmark.errors import ConfigError
from benchmark.estimators.estimator import Estimator
from benchmark.records import CONFIDENCE, Estimate, sum_if_known


@dataclass
class Consistency(Estimator):
    """The share of the most frequent answer among the first m responses, or of a response's own.

    Responses without an answer agree with nothing. Where several answers are the most frequent, the
    share is the same for each, so a tie needs no breaking. Of the m responses those that the
    configuration leaves out are not counted; where fewer than two are, there is no confidence. The
    m responses are left out of the target that the confidence is evaluated against.

    Attributes:
        m: number of responses, at least 2.
        responses: number of responses, from 0 to m, that get a confidence each: the share of the m
            that have the response's answer, itself among them. 0 takes the most frequent answer.
    """

    m: int = MISSING
    responses: int = 0

    def __post_init__(self) -> None:
        if self.m < 2 or not 0 <= self.responses <= self.m:
            raise ConfigError(
                f"consistency: m={self.m} must be at least 2, responses={self.responses} from 0 to "
                f"m."
            )

    @property
    def reads(self) -> Mapping[str, int]:
        """The m responses."""
        return {"m": self.m}

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the share of each question or response, at the cost of m responses."""
        split = cell.split(role)
        used = pl.col("sample_index") < self.m
        answers = split.grades.filter(used, pl.col("answer").is_not_null())
        agreeing = answers.group_by("question_id", "answer").agg(pl.len(), "sample_index")
        if self.responses:
            agreeing = agreeing.explode("sample_index")
            rows = split.responses.filter(pl.col("sample_index") < self.responses)
        else:
            zero = pl.lit(0, pl.Int64)
            agreeing = agreeing.group_by("question_id").agg(pl.col("len").max(), sample_index=zero)
            rows = split.responses.select("question_id", sample_index=zero).unique()
        costs = (
            split.responses.filter(used)
            .group_by("question_id")
            .agg(pl.col("prompt_tokens").first(), sum_if_known("completion_tokens"))
        )
        counted = split.grades.filter(used).group_by("question_id").agg(counted=pl.len())
        costs = costs.join(counted, on="question_id", how="left")
        key = ["question_id", "sample_index"]
        table = rows.select(key).join(costs, on="question_id").join(agreeing, on=key, how="left")
        enough = pl.col("counted") >= 2
        share = pl.col("len").fill_null(0) / pl.col("counted")
        table = table.with_columns(
            confidence=pl.when(enough).then(share),
            status=pl.when(enough).then(pl.lit("ok")).otherwise(pl.lit("unparsed")),
        )
        return Estimate(table.select(list(CONFIDENCE)), samples_used=self.m)
