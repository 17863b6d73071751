"""What an estimator is, and what it says about itself that the pipeline must know beforehand."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from benchmark.cell.asked import Asked
from benchmark.cell.cell import Cell
from benchmark.config.schema import ROLES, Role
from benchmark.records import Estimate


class Estimator(ABC):
    """Gives each question of one of a cell's splits a confidence.

    Attributes:
        counts_suffice: whether it needs no more than the questions and their grades.
    """

    counts_suffice: ClassVar[bool] = False

    @property
    def roles(self) -> tuple[Role, ...]:
        """The splits that it needs beside the one that it estimates."""
        return ()

    @property
    def hidden_states(self) -> bool:
        """Whether it reads hidden states.

        Such estimators come last: a server that the harness runs is stopped before it reads them.
        """
        return False

    def check(self, cell: Cell, role: Role = "evaluation") -> None:  # noqa: B027 - most need none
        """Refuse to estimate a split where that can't be done, before the model is asked."""

    def prepare(self, cell: Cell) -> None:  # noqa: B027
        """Sample what is needed before the first hidden state."""

    def requests(self, cell: Cell, role: Role = "evaluation") -> Iterable[Asked]:  # noqa: ARG002
        """Return what it asks the model for, beside the responses to the cell's own questions.

        A plan calls it as well, and asks nothing: there a response has no text yet, and no training
        question has been solved.
        """
        return ()

    def collect(self, cell: Cell, role: Role = "evaluation") -> None:
        """Ask the model for all that `estimate` reads, where it has an accelerator.

        By default it estimates. An estimator whose estimate costs much beside the model's answers,
        such as the training of a probe, only asks.
        """
        self.estimate(cell, role)

    @abstractmethod
    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the confidences in a split's questions, asking the cell for what they need."""


def roles_of(estimators: Iterable[Estimator]) -> tuple[Role, ...]:
    """Return the splits that any of the estimators needs beside the one that it estimates."""
    needed = {role for estimator in estimators for role in estimator.roles}
    return tuple(role for role in ROLES if role in needed)
