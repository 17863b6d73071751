"""Datasets of the Hugging Face Hub: their rows are loaded, and questions left out.

A reader in a file of its own says which columns a dataset has and how one row becomes an ``Item``.
What all datasets share is here: the Hub or a local mirror of it, questions that are left out since
another split has them, and validation questions that are held out of a training split.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from omegaconf import MISSING

from benchmark.config.build import build
from benchmark.config.rules import at_least, one_of
from benchmark.config.schema import DatasetConfig
from benchmark.errors import ConfigError, DataError
from benchmark.questions.content import asked, content, representatives
from benchmark.questions.items import (
    Item,
    Reader,
    Row,
    UnansweredError,
    listed,
    question_of,
    read_item,
)
from benchmark.questions.mirror import mirrored_files
from benchmark.questions.rows import SourceConfig, read_table, rows_of
from benchmark.records import Question


@dataclass
class HubDataset(DatasetConfig):
    """Rows of the Hugging Face Hub, or of a folder that mirrors it.

    Attributes:
        sources: place of each split's rows, by split.
        hub_root: folder that mirrors the Hub's datasets; None takes the Hub.
        prompts: wordings: ``question`` with the places {question}, {choices} and {instruction},
            and ``choice`` with {letter} and {choice}, for one choice.
    """

    sources: dict[str, SourceConfig] = MISSING
    hub_root: str | None = None

    def __post_init__(self) -> None:
        """Refuse sources whose settings break a rule, before rows are read."""
        for name, source in self.sources.items():
            where = f"dataset.sources.{name}"
            one_of(("rest", "held_out"), source, where, "part")
            one_of(("refuse", "drop"), source, where, "unanswered")
            at_least(0, source, where, "held_out")
            build(source.reader, f"{where}.reader", "read")

    @property
    def files(self) -> list[Path]:
        """The files of the mirror."""
        if self.hub_root is None:
            return []
        root = Path(self.hub_root).expanduser()
        ids = {source.hub_id for source in self.sources.values()}
        return sorted(path for hub_id in ids for path in mirrored_files(root / hub_id, root))

    @property
    def revisions(self) -> set[tuple[str, str | None]]:
        """The datasets of the Hub, where there is no mirror."""
        if self.hub_root is not None:
            return set()
        return {(source.hub_id, source.revision) for source in self.sources.values()}

    def load(self, split: str) -> list[Question]:
        """Return all questions of one split.

        Raises:
            ConfigError: an unknown split or source, gated data without access, a prompt without
                its places.
            DataError: a missing column or a value that breaks the dataset's contract.
        """
        source = _source(self, split)
        items = list(_items(self, source, split))
        forbidden = {
            key
            for other in source.without
            for _, item in _items(self, _source(self, other), other)
            for key in _keys(item)
        }
        items = [(key, item) for key, item in items if forbidden.isdisjoint(_keys(item))]
        if source.held_out:
            held = _held_out((item.question for _, item in items), source.held_out)
            wanted = source.part == "held_out"
            items = [pair for pair in items if (content(pair[1].question) in held) == wanted]
        return [question_of(self, split, key, item) for key, item in items]


def _source(config: HubDataset, split: str) -> SourceConfig:
    if split not in config.sources:
        raise ConfigError(
            f"dataset={config.name} has no split '{split}'; it has {sorted(config.sources)}."
        )
    return config.sources[split]


def _items(config: HubDataset, source: SourceConfig, split: str) -> Iterator[tuple[str, Item]]:
    """Yield the key and the item of every row, once where a source repeats a row with its id."""
    reader: Reader = build(source.reader, f"dataset.sources.{split}.reader", "read")
    where = f"dataset {source.hub_id}, split {source.split}"
    seen: dict[str, str] = {}
    for prefix, index, row in _rows(reader, config, source, where):
        place = f"{where}, row {prefix}{index}"
        try:
            item = read_item(reader, row, place)
        except UnansweredError as error:
            if source.unanswered == "drop":
                continue
            raise DataError(
                f"{error}; leave such rows out with dataset.sources.<split>.unanswered=drop."
            ) from error
        if item is None:
            continue
        key = f"{prefix}{item.row_id or index}"
        if key not in seen:
            seen[key] = item.question
            yield key, item
        elif seen[key] != item.question:
            raise DataError(f"{place}: its id '{key}' is another question's, too.")


def _rows(
    reader: Reader, config: HubDataset, source: SourceConfig, where: str
) -> Iterator[tuple[str, int, Row]]:
    """Yield prefix of the key, index and row, of each of the source's configurations in turn."""
    names: list[str | None] = [*source.configs] or [None]
    for name in names:
        place = f"{where}, configuration {name}" if name else where
        table = read_table(source, name, config.hub_root, place)
        for column in reader.columns:
            if column not in table.column_names:
                raise DataError(
                    f"{where}: column '{column}' is missing; it has {listed(table.column_names)}. "
                    f"Is the revision ({source.revision}) the one that the harness knows?"
                )
        wanted = {*reader.columns, *reader.optional}
        table = table.select_columns([c for c in table.column_names if c in wanted])
        prefix = f"{name}/" if len(source.configs) > 1 else ""
        for index, row in enumerate(rows_of(table, place)):
            yield prefix, index, {**row, "index": index}


def _keys(item: Item) -> set[str]:
    keys = {asked(item.question, item.choices)}
    return keys | ({f"identity {item.identity}"} if item.identity is not None else set())


def _held_out(questions: Iterable[str], count: int) -> set[str]:
    """Return the contents of ``count`` questions, chosen by their content alone."""
    texts = representatives((content(question), question) for question in questions)
    ranked = sorted(texts, key=lambda key: sha256(f"held out/{texts[key]}".encode()).digest())
    if count >= len(ranked):
        raise ConfigError(
            f"dataset.sources: held_out={count} leaves nothing of {len(ranked)} questions."
        )
    return set(ranked[:count])
