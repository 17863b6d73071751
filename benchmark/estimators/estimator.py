"""What an estimator is, and what it may say about itself that the pipeline must know beforehand."""

from collections.abc import Iterable
from typing import Protocol

from benchmark.cell.cell import Cell
from benchmark.config.schema import ROLES, Role
from benchmark.records import Estimate


class Estimator(Protocol):
    """Gives each question of one of a cell's splits a confidence.

    A class may say ``roles``, the splits it needs beside the one that it estimates (default none),
    ``hidden_states``, whether it reads them, ``counts_suffice``, whether it needs no more than the
    questions and their grades (default False), ``check(cell, role)``, which refuses to estimate a
    split where that can't be done, and ``prepare(cell)``, which samples what is needed before the
    first hidden state.
    """

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the confidences in a split's questions, asking the cell for what they need."""


def roles_of(estimators: Iterable[Estimator]) -> tuple[Role, ...]:
    """Return the splits that any of the estimators needs beside the one that it estimates."""
    needed = {role for estimator in estimators for role in getattr(estimator, "roles", ())}
    return tuple(role for role in ROLES if role in needed)


def check(estimators: Iterable[Estimator], cell: Cell, role: Role = "evaluation") -> None:
    """Let the estimators refuse a split, before the model is asked anything."""
    for estimator in estimators:
        if hasattr(estimator, "check"):
            estimator.check(cell, role)


def prepare(estimators: Iterable[Estimator], cell: Cell) -> None:
    """Let the estimators sample what they need first."""
    for estimator in estimators:
        if hasattr(estimator, "prepare"):
            estimator.prepare(cell)


def reads_hidden_states(estimator: Estimator) -> bool:
    """Return whether the estimator reads hidden states.

    Such estimators come last: a server that the harness runs is stopped before it reads them.
    """
    return bool(getattr(estimator, "hidden_states", False))
