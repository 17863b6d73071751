"""What an estimator is, and what it says about itself that the pipeline must know beforehand."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from benchmark.cell.asked import Asked
from benchmark.cell.cell import Cell
from benchmark.config.schema import ROLES, Role
from benchmark.records import Estimate


class Estimator(ABC):
    """Gives each question of one of a cell's splits a confidence.

    All but ``estimate`` has a default: that of an estimator that asks for nothing of its own, and
    needs what the estimators need that it is made of.

    Attributes:
        counts_suffice: whether it needs no more than the questions and their grades.
    """

    counts_suffice: ClassVar[bool] = False

    @property
    def parts(self) -> Mapping[str, "Estimator"]:
        """The estimators that it is made of, by their place in its settings, such as ``.base``."""
        return {}

    @property
    def reads(self) -> Mapping[str, int]:
        """How many of a question's first responses it reads, by the setting that says so.

        Fewer must be read than there are: the others are the target of its confidence.
        """
        return {}

    @property
    def roles(self) -> tuple[Role, ...]:
        """The splits that it needs beside the one that it estimates."""
        return roles_of(self.parts.values())

    @property
    def hidden_states(self) -> bool:
        """Whether it reads hidden states.

        Such estimators come last: a server that the harness runs is stopped before it reads them.
        """
        return any(part.hidden_states for part in self.parts.values())

    def check(self, cell: Cell, role: Role = "evaluation") -> None:
        """Refuse to estimate a split where that can't be done, before the model is asked."""
        for part in self.parts.values():
            part.check(cell, role)

    def prepare(self, cell: Cell) -> None:
        """Sample what is needed before the first hidden state."""
        for part in self.parts.values():
            part.prepare(cell)

    def requests(self, cell: Cell, role: Role = "evaluation") -> Iterable[Asked]:
        """Yield what it asks the model for, beside the responses to the cell's own questions.

        A plan calls it as well, and asks nothing: there a response has no text yet, and no training
        question has been solved.
        """
        for part in self.parts.values():
            yield from part.requests(cell, role)

    def collect(self, cell: Cell, role: Role = "evaluation") -> None:
        """Ask the model for all that `estimate` reads, where it has an accelerator.

        By default it lets its parts ask, or estimates where it has none. One whose estimate costs
        much beside the model's answers, such as the training of a probe, only asks.
        """
        for part in sorted(self.parts.values(), key=lambda part: part.hidden_states):
            part.collect(cell, role)
        if not self.parts:
            self.estimate(cell, role)

    @abstractmethod
    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the confidences in a split's questions, asking the cell for what they need."""


def roles_of(estimators: Iterable[Estimator]) -> tuple[Role, ...]:
    """Return the splits that any of the estimators needs beside the one that it estimates."""
    needed = {role for estimator in estimators for role in estimator.roles}
    return tuple(role for role in ROLES if role in needed)
