"""Oracles read the target's own responses; they bound what any estimator can reach."""

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from benchmark.cell.cell import Cell
from benchmark.config.schema import Role
from benchmark.estimators.baselines import without_cost
from benchmark.estimators.estimator import Estimator
from benchmark.records import Estimate


@dataclass
class OracleCC(Estimator):
    """The capability oracle: the expected accuracy c / n itself."""

    counts_suffice: ClassVar[bool] = True

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return c / n of each question."""
        capability = cell.split(role).capability
        table = capability.select("question_id", confidence=pl.col("c") / pl.col("n"))
        return Estimate(without_cost(table), oracle=True)


@dataclass
class OracleRC(Estimator):
    """The response oracle: the correctness of one response.

    Every response is one draw of its question, so that metrics are their expectation over which one
    is taken, however many responses each question has.
    """

    counts_suffice: ClassVar[bool] = True

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return 1 for each correct response and 0 for each other."""
        table = cell.split(role).grades.select(
            "question_id",
            "sample_index",
            confidence=(pl.col("outcome") == "correct").cast(pl.Float64),
        )
        return Estimate(without_cost(table), oracle=True)
