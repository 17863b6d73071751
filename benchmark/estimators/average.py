"""The mean of several estimators' confidences."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from omegaconf import MISSING

from benchmark.cell.asked import Asked
from benchmark.cell.cell import Cell
from benchmark.config.schema import Role
from benchmark.errors import ConfigError
from benchmark.estimators.estimator import Estimator, roles_of
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
        """Refuse what isn't several estimators."""
        if not isinstance(self.of, dict) or len(self.of) < 2:
            given = [*self.of] if isinstance(self.of, dict) else self.of
            raise ConfigError(f"average: of={given} must hold at least two estimators, by name.")

    @property
    def roles(self) -> tuple[Role, ...]:
        """The splits that any of them needs."""
        return roles_of(self.of.values())

    @property
    def hidden_states(self) -> bool:
        """Whether any of them reads hidden states."""
        return any(part.hidden_states for part in self.of.values())

    def check(self, cell: Cell, role: Role = "evaluation") -> None:
        """Check all of them."""
        for part in self.of.values():
            part.check(cell, role)

    def prepare(self, cell: Cell) -> None:
        """Prepare all of them."""
        for part in self.of.values():
            part.prepare(cell)

    def requests(self, cell: Cell, role: Role = "evaluation") -> Iterable[Asked]:
        """Yield what any of them asks for."""
        for part in self.of.values():
            yield from part.requests(cell, role)

    def collect(self, cell: Cell, role: Role = "evaluation") -> None:
        """Let all of them ask."""
        for name in self._in_order():
            self.of[name].collect(cell, role)

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the mean in each question, at the cost of all."""
        parts: dict[str, Estimate] = {
            name: self.of[name].estimate(cell, role) for name in self._in_order()
        }
        return Estimate(
            _mean([part.confidences for part in parts.values()]),
            samples_used=max(part.samples_used for part in parts.values()),
            oracle=any(part.oracle for part in parts.values()),
            probes={
                f".of.{name}{place}": probe
                for name, part in parts.items()
                for place, probe in part.probes.items()
            },
        )

    def _in_order(self) -> list[str]:
        """Return the names, last of those that read hidden states: a server stops before them."""
        return sorted(self.of, key=lambda name: self.of[name].hidden_states)


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
