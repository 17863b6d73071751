"""The dataset ``counts``: questions whose responses were sampled and judged elsewhere."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING

from benchmark.config.schema import DatasetConfig
from benchmark.errors import ConfigError
from benchmark.records import Question


@dataclass
class ColumnsConfig:
    """What the columns of a file of counts are called; see ``cell.counted``.

    Attributes:
        question_id: names the question.
        n: how many responses were judged.
        c: how many of them were correct.
        question: its text, to be shown where the file has it.
        confidences: one column per confidence source; None takes every other column of numbers.
    """

    question_id: str = "question_id"
    n: str = "n"
    c: str = "c"
    question: str = "question"
    confidences: list[str] | None = None


@dataclass
class CountedDataset(DatasetConfig):
    """A CSV file with a row per question; see ``cell.counted``.

    Attributes:
        path: of the file.
        columns: what its columns are called.
    """

    path: str = MISSING
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    counted: ClassVar[bool] = True

    @property
    def files(self) -> list[Path]:
        """The file."""
        return [Path(self.path).expanduser()]

    def load(self, split: str) -> list[Question]:  # noqa: ARG002
        """Refuse to be asked for questions that a model should answer."""
        raise ConfigError(f"dataset={self.name} holds counts, which no model can be asked about.")
