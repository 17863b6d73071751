"""Oracles read the target's own responses; they bound what any estimator can reach."""

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from benchmark.cell import Cell
from benchmark.records import CONFIDENCE, Estimate


@dataclass
class OracleCC:
    """The capability oracle: the expected accuracy c / n itself."""

    kind: str = "oracle_cc"
    counts_suffice: ClassVar[bool] = True

    def estimate(self, cell: Cell) -> Estimate:
        """Return c / n of each question."""
        capability = cell.split("evaluation").capability
        table = capability.select(
            "question_id", sample_index=pl.lit(0, pl.Int64), confidence=pl.col("c") / pl.col("n")
        )
        return Estimate(_free(table), oracle=True)


@dataclass
class OracleRC:
    """The response oracle: the correctness of one response.

    Every response is one draw, so that metrics are their expectation over which one is taken.
    """

    kind: str = "oracle_rc"
    counts_suffice: ClassVar[bool] = True

    def estimate(self, cell: Cell) -> Estimate:
        """Return 1 for each correct response and 0 for each other."""
        table = cell.split("evaluation").grades.select(
            "question_id",
            "sample_index",
            confidence=(pl.col("outcome") == "correct").cast(pl.Float64),
        )
        return Estimate(_free(table), oracle=True)


def _free(table: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of an answered confidence that costs no tokens."""
    none = pl.lit(0, pl.Int64)
    return table.with_columns(
        status=pl.lit("ok"), prompt_tokens=none, completion_tokens=none
    ).select(list(CONFIDENCE))
