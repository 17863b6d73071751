"""The mean of several estimators' confidences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from omegaconf import MISSING

from benchmark.cell.cell import Cell
from benchmark.config.schema import Role
from benchmark.errors import ConfigError
from benchmark.estimators.estimator import Estimator
from benchmark.records import CONFIDENCE, Estimate, sum_if_known


@dataclass
class Average(Estimator):
    """The unweighted mean of two or more estimators.

    Draw j averages draw j of each; one with fewer draws begins again with its first. A question
    that one of them left unanswered has no mean, one that has no row in one of them no row.

    Attributes:
        of: estimators by any names; in the configuration their settings.
    """

    of: Any = MISSING

    def __post_init__(self) -> None:
        if not isinstance(self.of, dict) or len(self.of) < 2:
            given = [*self.of] if isinstance(self.of, dict) else self.of
            raise ConfigError(f"average: of={given} must hold at least two estimators, by name.")

    @property
    def parts(self) -> Mapping[str, Estimator]:
        """Those that are averaged."""
        return {f".of.{name}": part for name, part in self.of.items()}

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the mean in each question, at the cost of all."""
        parts = {
            place: self.parts[place].estimate(cell, role)
            for place in sorted(self.parts, key=lambda place: self.parts[place].hidden_states)
        }
        return Estimate(
            _mean([part.confidences for part in parts.values()]),
            samples_used=max(part.samples_used for part in parts.values()),
            oracle=any(part.oracle for part in parts.values()),
            probes={
                f"{place}{inner}": probe
                for place, part in parts.items()
                for inner, probe in part.probes.items()
            },
        )


def _mean(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the mean of tables of schema ``CONFIDENCE``, in the same schema."""
    draws = max(table["sample_index"].n_unique() for table in tables)
    every = pl.concat([_drawn(table, draws) for table in tables], how="diagonal")
    ok, error = pl.col("status") == "ok", pl.col("status") == "error"
    means = every.group_by("question_id", "sample_index").agg(
        confidence=pl.when(ok.all()).then(pl.col("confidence").mean()),
        status=pl.when(ok.all()).then(pl.lit("ok")).when(error.any()).then(pl.lit("error"))
        .otherwise(pl.lit("unparsed")),
        prompt_tokens=sum_if_known("prompt_tokens"),
        completion_tokens=sum_if_known("completion_tokens"),
        parts=pl.len(),
    ).filter(parts=len(tables))  # fmt: skip
    return means.sort("question_id", "sample_index").select(list(CONFIDENCE))


def _drawn(table: pl.DataFrame, draws: int) -> pl.DataFrame:
    """Return the table with its draws numbered from 0 and repeated until there are ``draws``."""
    table = table.with_columns(own=pl.col("sample_index").rank("dense").cast(pl.Int64) - 1)
    number = pl.int_range(draws, dtype=pl.Int64)
    again = pl.select(sample_index=number, own=number % table["own"].n_unique())
    return table.drop("sample_index").join(again, on="own").drop("own")
