"""The way from a dataset's row to a question: what a reader makes of the row, and its wording."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.config.filling import filled
from benchmark.config.schema import DatasetConfig
from benchmark.errors import ConfigError, DataError
from benchmark.records import Question, storable

Row = Mapping[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SHOWN = 80  # characters of a value that a message shows
_LISTED = 20  # columns that a message shows
_LONGEST = 1_000_000  # characters of a question, an answer or a choice
_LONGEST_ID = 500  # characters of an id


@dataclass(frozen=True)
class Item:
    """What a reader makes of one row.

    Attributes:
        question: bare question.
        references: accepted answers; empty where the row gives none.
        choices: choices of a multiple-choice question, in the order of their letters.
        row_id: id that the row has; None takes its index.
        identity: name that this question has in every split that holds it, if the dataset has one.
        metadata: values that a report may group by.
    """

    question: str
    references: tuple[str, ...]
    choices: tuple[str, ...] = ()
    row_id: str | None = None
    identity: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


class Reader(ABC):
    """How the rows of a dataset are read; a dataclass, whose fields are its settings.

    Attributes:
        columns: names of the columns that ``read`` needs.
        optional: names of columns that ``read`` takes where a source has them.
        nullable: names of those ``columns`` that may be null in a row.
    """

    columns: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    nullable: tuple[str, ...] = ()

    @abstractmethod
    def read(self, row: Row) -> Item | None:
        """Return one row's item; None leaves the row out.

        ``row["index"]`` is the number of the row.

        Raises:
            ValueError: a value breaks the dataset's contract.
        """


class UnansweredError(DataError):
    """A row lacks a value or a reference answer."""


def read_item(reader: Reader, row: Row, where: str) -> Item | None:
    """Return one row's item; None leaves it out.

    Raises:
        UnansweredError: a column is null, or the row has no reference answer.
        DataError: the question is empty, a part of the item is no text, or ``reader.read`` fails;
            the message begins with ``where``.
    """
    try:
        return _read(reader, row)
    except UnansweredError as error:
        raise UnansweredError(f"{where}: {error}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        shown = [(name[:_SHOWN], str(value)[:_SHOWN]) for name, value in row.items()][:_LISTED]
        values = ", ".join(f"{ascii(name)[1:-1]}={value!r}" for name, value in shown)
        raise DataError(f"{where}: {error} ({values})") from error


def listed(columns: Sequence[str]) -> str:
    """Return the names of columns for a message, the first of them where they are many."""
    more = f" and {len(columns) - _LISTED:,} more" if len(columns) > _LISTED else ""
    return f"{[name[:_SHOWN] for name in columns[:_LISTED]]}{more}"


def _read(reader: Reader, row: Row) -> Item | None:
    for column in reader.columns:
        if row[column] is None and column not in reader.nullable:
            raise UnansweredError(f"column '{column}' is null")
    item = reader.read(row)
    if item is not None:
        _check_texts(item)
    return item


def _check_texts(item: Item) -> None:
    parts = {"question": [item.question], "reference": item.references, "choice": item.choices}
    for name, text in ((name, text) for name, texts in parts.items() for text in texts):
        if not isinstance(text, str):
            raise TypeError(f"its {name} is {text!r}, no text")
        if storable(text) != text:
            raise ValueError(f"its {name} is no text in UTF-8")
        if len(text) > _LONGEST:
            raise ValueError(f"its {name} has {len(text):,} characters, over {_LONGEST:,}")
    row_id = item.row_id or ""
    if not row_id.isprintable() or len(row_id) > _LONGEST_ID:
        raise ValueError(f"its id is too long, or not all of it can be shown: {row_id[:_SHOWN]!r}")
    if not item.question.strip():
        raise ValueError("its question is empty")
    if not any(reference.strip() for reference in item.references):
        raise UnansweredError(f"it has no reference answer ({item.question[:_SHOWN]!r})")


def question_of(config: DatasetConfig, split: str, key: str, item: Item) -> Question:
    """Return the question of an item; its id is made of dataset, split and key."""
    return Question(
        f"{config.name}/{split}/{key}",
        word_prompt(config, item, config.instruction),
        word_prompt(config, item, "").strip(),
        item.references,
        item.metadata,
    )


def word_prompt(config: DatasetConfig, item: Item, instruction: str) -> str:
    """Return the user turn: ``prompts.question`` with the question, choices and instruction.

    Raises:
        ConfigError: the wording has no place for the question, or for the choices of one.
    """
    prompt = config.prompts.get("question", "")
    needed = ("{question}", "{choices}") if item.choices else ("{question}",)
    for place in needed:
        if place not in prompt:
            raise ConfigError(f"dataset.prompts.question has no '{place}' in it: {prompt!r}.")
    line = config.prompts.get("choice", "")
    if item.choices and not ("{letter}" in line and "{choice}" in line):
        raise ConfigError(f"dataset.prompts.choice needs {{letter}} and {{choice}}: {line!r}.")
    choices = "\n".join(
        filled(line, {"letter": letter, "choice": choice})
        for letter, choice in zip(LETTERS, item.choices, strict=False)
    )
    values = {"instruction": instruction, "choices": choices, "question": item.question}
    return filled(prompt, values)
