"""A row's columns by name, for datasets without code of their own."""

import json
from contextlib import suppress
from dataclasses import dataclass
from math import isnan
from typing import Any

from benchmark.questions.items import LETTERS, Item, Reader, Row


@dataclass
class Columns(Reader):
    """Names of the columns of a dataset.

    Attributes:
        question: column of the bare question.
        reference: column of the accepted answer, or of a list of them. With ``choices`` it holds
            the letter or text of the right choice, or its number as an integer, from 0.
        references: column of a list of accepted answers, in place of ``reference``.
        choices: column with a list of choices, or a list of columns with one choice each.
        id: column of the row's id; without it the row's content is its id.
        family: column of what a report may group by.
    """

    question: str = "question"
    reference: str = "answer"
    references: str | None = None
    choices: Any = None
    id: str | None = None
    family: str | None = None

    def __post_init__(self) -> None:
        """Name the columns that are needed."""
        choices = self.choices if isinstance(self.choices, list) else [self.choices]
        named = (self.question, self.references or self.reference, self.id, self.family, *choices)
        self.columns = tuple(name for name in named if name is not None)

    def read(self, row: Row) -> Item:
        """Return the row's item.

        Raises:
            ValueError: an answer is neither text nor number, or names none of the choices.
        """
        given = row[self.references or self.reference]
        choices: tuple[str, ...] = ()
        if self.choices is not None:
            listed = isinstance(self.choices, list)
            values = [row[name] for name in self.choices] if listed else _list(row[self.choices])
            choices = tuple(map(_text, values))
            references = tuple(_letter(answer, choices) for answer in _list(given))
        else:
            references = tuple(map(_text, _list(given)))
        return Item(
            _text(row[self.question]),
            references,
            choices,
            row_id=None if self.id is None else _text(row[self.id]),
            metadata={} if self.family is None else {"family": _text(row[self.family])},
        )


def _list(value: object) -> list[Any]:
    """Return a list, also of one that JSON writes in a text, as the only cell of a CSV file can."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):  # else a text that begins with a bracket
            value = json.loads(value)
    return value if isinstance(value, list) else [value]


def _text(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not isnan(value):  # type: ignore[arg-type]
        return str(value)
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} ({type(value).__name__}) is neither text nor number")


def _letter(answer: object, choices: tuple[str, ...]) -> str:
    if isinstance(answer, str) and choices.count(answer) == 1:
        return LETTERS[choices.index(answer)]
    letter = answer.strip().upper() if isinstance(answer, str) else ""
    if letter in [*LETTERS[: len(choices)]]:
        return letter
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return LETTERS[answer]
    raise ValueError(
        f"the answer {answer!r} is none of the {len(choices)} choices: it must be the text or the "
        f"letter of one, or its number from 0 as an integer"
    )
