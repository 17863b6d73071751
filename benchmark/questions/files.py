"""Datasets in files of one's own: JSON Lines, CSV or Parquet, without any code."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import MISSING

from benchmark.config.schema import DatasetConfig
from benchmark.errors import ConfigError, DataError
from benchmark.questions.columns import Columns
from benchmark.questions.content import asked, normalised, representatives
from benchmark.questions.items import Item, Row, listed, question_of, read_item
from benchmark.questions.limits import check_file, check_parquet, text_lines
from benchmark.records import Question
from benchmark.store.files import with_cause

_SPLITS = ("test", "train", "validation")
_WHOLE = 100  # percent
_KEY = 16  # digits of a question's checksum that name it
_PROMPTS = {"question": "{question}\n\n{instruction}"}
_CHOOSING = {
    "question": "{question}\n\n{choices}\n\n{instruction}", "choice": "{letter}. {choice}"
}  # fmt: skip


@dataclass
class FileDataset(DatasetConfig):
    """Questions in one file, or in a file for each split.

    Without training questions only estimators run that train on none.

    Attributes:
        path: file of the evaluation questions.
        train_path: file of the training questions, if any.
        validation_path: file of the validation questions, if any.
        shares: percents of the file at ``path`` that go to test, train and validation, by the
            content of the questions; None takes all for test.
        columns: names of the columns.
        splits: split of each role; made from the above.
    """

    path: str = MISSING
    train_path: str | None = None
    validation_path: str | None = None
    shares: dict[str, int] | None = None
    columns: Columns = field(default_factory=Columns)
    splits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse shares that are none, and fill in the splits and the wording."""
        if self.shares is not None:
            known = {"test"} <= set(self.shares) <= set(_SPLITS) and min(self.shares.values()) > 0
            if not (known and sum(self.shares.values()) == _WHOLE):
                raise ConfigError(
                    f"dataset.shares={self.shares} must be percents above 0 for test and any of "
                    f"train and validation, 100 in all."
                )
            if self.train_path or self.validation_path:
                raise ConfigError("dataset.shares splits one file: leave out the other paths.")
        roles = dict(zip(("evaluation", *_SPLITS[1:]), _SPLITS, strict=True))
        there = self.shares or self._paths
        self.splits = self.splits or {r: split for r, split in roles.items() if split in there}
        self.prompts = self.prompts or (_CHOOSING if self.columns.choices else _PROMPTS)

    @property
    def files(self) -> list[Path]:
        """The files."""
        return [Path(path).expanduser() for path in self._paths.values()]

    @property
    def _paths(self) -> dict[str, str]:
        paths = zip(_SPLITS, (self.path, self.train_path, self.validation_path), strict=True)
        return {split: path for split, path in paths if path is not None}

    def load(self, split: str) -> list[Question]:
        """Return all questions of a split, each content once.

        Raises:
            ConfigError: there is no such split or no such file.
            DataError: the file is no table of its kind, or a row breaks its contract.
        """
        known = [*(self.shares or self._paths)]
        if split not in known:
            raise ConfigError(f"dataset={self.name} has no split '{split}'; it has {known}.")
        items = _items(Path(self._paths["test" if self.shares else split]).expanduser(), self)
        if self.shares is not None:
            sides = _sides(self.shares, items.values())
            items = {k: i for k, i in items.items() if sides[asked(i.question, i.choices)] == split}
        return [question_of(self, split, key, item) for key, item in items.items()]


def _sides(shares: dict[str, int], items: Iterable[Item]) -> dict[str, str]:
    """Return the split of each content: it alone decides, so new questions move no old ones."""
    texts = representatives((asked(i.question, i.choices), _text_of(i)) for i in items)
    bounds = [*zip(shares, accumulate(shares.values()), strict=True)]
    percents = {key: int(_checksum(text), 16) % _WHOLE for key, text in texts.items()}
    return {key: next(s for s, b in bounds if percent < b) for key, percent in percents.items()}


def _text_of(item: Item) -> str:
    return item.question + "\n" + "\n".join(item.choices)


def _checksum(text: str) -> str:
    return sha256(normalised(text).encode()).hexdigest()


def _items(path: Path, config: FileDataset) -> dict[str, Item]:
    """Return the item of every row by its key."""
    found: dict[str, Item] = {}
    for place, row in _rows(path):
        where = f"{path}, {place}"
        missing = [column for column in config.columns.columns if column not in row]
        if missing:
            has = listed([*row])
            raise DataError(
                f"{where} has no column '{missing[0]}'; it has {has}. Say what your columns are "
                f"called: dataset.columns.question=..., dataset.columns.reference=..."
            )
        item = read_item(config.columns, row, where)
        assert item is not None  # columns leave no row out
        key = item.row_id or _checksum(_text_of(item))[:_KEY]
        other = found.setdefault(key, item)
        if other != item:
            raise DataError(
                f"{where}: its id, or its question, is another row's with another content "
                f"({other.question[:80]!r} with the answers {[*other.references]})."
            )
    if not found:
        raise DataError(f"{path} holds no question.")
    return found


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a file and where each is."""
    readers: dict[str, Callable[[Path], Iterator[tuple[str, Row]]]] = {
        ".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv, ".parquet": _parquet,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise ConfigError(
            f"{path} is read by how its name ends, which must be one of {[*readers]}."
        )
    check_file(path)
    return readers[path.suffix.lower()](path)


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} must be an object with columns: {line[:80]!r}")
        yield f"line {number}", row


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    rows = csv.DictReader((line for _, line in text_lines(path)), strict=True)
    try:
        for row in rows:
            if None in row:
                raise DataError(f"{path}, line {rows.line_num} has more values than columns.")
            yield f"line {rows.line_num}", row
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num + 1}: {error}.") from error


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    check_parquet(path)
    try:
        table = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} can't be read as Parquet: {with_cause(error)}.") from error
    for number, row in enumerate(table.iter_rows(named=True), 1):
        yield f"row {number}", row
