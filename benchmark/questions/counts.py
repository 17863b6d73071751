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
    """Names of the columns of a file of counts; see ``cell.counted``.

    Attributes:
        question_id: column of the question's id.
        n: column of the number of responses that were judged.
        c: column of the number of correct ones.
        question: column of the question's text, which the report shows; a file may lack it.
        confidences: columns of confidences; None takes every other column of numbers.
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
        path: place of the file.
        columns: names of its columns.
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
