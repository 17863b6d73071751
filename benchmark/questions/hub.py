"""Stage 1 for datasets of the Hugging Face Hub: load rows, leave questions out, word prompts.

A dataset's own file says which columns it reads and how one row becomes an ``Item``; what all of
them share is here: the hub or a local mirror of it, the rows that other splits forbid, the
validation questions held out of a training split, and the prompt.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from benchmark.config.schema import DatasetConfig, SourceConfig
from benchmark.errors import ConfigError, DataError
from benchmark.questions.overlap import normalised
from benchmark.questions.rows import read_table, rows_of
from benchmark.records import Question

Row = Mapping[str, Any]
LETTERS = "ABCDEFGHIJ"
_SHOWN = 80  # characters of a value that a message shows


@dataclass(frozen=True)
class Item:
    """What a dataset's file reads from one row.

    Attributes:
        question: the bare question.
        references: accepted answers; empty where the row gives none.
        choices: of a multiple-choice question, in the order of their letters.
        row_id: the row's own id; None takes its index.
        identity: the same in every split that holds this question, where the dataset says so.
        metadata: what a report may group by.
    """

    question: str
    references: tuple[str, ...]
    choices: tuple[str, ...] = ()
    row_id: str | None = None
    identity: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


class HubDataset(NamedTuple):
    """How the rows of one dataset are read.

    Attributes:
        columns: that ``read`` needs.
        read: one row's item; None leaves the row out; raises ``ValueError`` for a value that
            breaks the dataset's contract.
        optional: columns that ``read`` takes where a source has them.
        nullable: those of ``columns`` that ``read`` can do without in a row.
    """

    columns: tuple[str, ...]
    read: Callable[[Row], Item | None]
    optional: tuple[str, ...] = ()
    nullable: tuple[str, ...] = ()


Readers = Mapping[str, HubDataset]


def load_hub(readers: Readers, config: DatasetConfig, split: str) -> list[Question]:
    """Return all questions of one split.

    Args:
        readers: how rows are read, by the name that a source gives.
        config: ``sources`` says where each split comes from.
        split: a name in ``config.sources``.

    Raises:
        ConfigError: an unknown split or source, gated data without access, a prompt without its
            places.
        DataError: a missing column or a value that breaks the dataset's contract.
    """
    source = _source(config, split)
    items = list(_items(readers, config, source))
    forbidden = {
        key
        for other in source.without
        for _, item in _items(readers, config, _source(config, other))
        for key in _keys(item)
    }
    items = [(key, item) for key, item in items if forbidden.isdisjoint(_keys(item))]
    if source.held_out:
        held = _held_out((item for _, item in items), source.held_out)
        wanted = source.part == "held_out"
        items = [pair for pair in items if (normalised(pair[1].question) in held) == wanted]
    return [
        Question(
            f"{config.name}/{split}/{key}",
            word_prompt(config, item, config.instruction),
            word_prompt(config, item, "").strip(),
            item.references,
            item.metadata,
        )
        for key, item in items
    ]


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
        _filled(line, {"{letter}": letter, "{choice}": choice})
        for letter, choice in zip(LETTERS, item.choices, strict=False)
    )
    places = {
        "{instruction}": instruction,
        "{choices}": choices,
        "{question}": item.question,
    }
    return _filled(prompt, places)


def _filled(template: str, places: Mapping[str, str]) -> str:
    """Return the template with each place filled once; what is filled in is left as it is."""
    parts = [template]
    for place, value in places.items():
        split: list[str] = []
        for index, part in enumerate(parts):
            if index % 2:  # already filled in
                split.append(part)
                continue
            for number, piece in enumerate(part.split(place)):
                split += [value, piece] if number else [piece]
        parts = split
    return "".join(parts)


def _source(config: DatasetConfig, split: str) -> SourceConfig:
    if split not in config.sources:
        raise ConfigError(
            f"dataset={config.name} has no split '{split}'; it has {sorted(config.sources)}."
        )
    return config.sources[split]


def _items(
    readers: Readers, config: DatasetConfig, source: SourceConfig
) -> Iterator[tuple[str, Item]]:
    """Yield the key and the item of every row, once where a source repeats a row with its id."""
    if source.reader not in readers:
        raise ConfigError(
            f"dataset.sources: there is no reader '{source.reader}'; choose one of {[*readers]}."
        )
    dataset = readers[source.reader]
    where = f"dataset {source.hub_id}, split {source.split}"
    seen: dict[str, str] = {}
    for prefix, index, row in _rows(dataset, config, source, where):
        try:
            item = _item(dataset, row)
        except _UnansweredError as error:
            if source.unanswered == "drop":
                continue
            raise DataError(
                f"{where}, row {prefix}{index}: {error}; leave such rows out with "
                f"dataset.sources.<split>.unanswered=drop."
            ) from error
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise DataError(f"{where}, row {prefix}{index}: {error} ({_shown(row)})") from error
        if item is None:
            continue
        key = f"{prefix}{item.row_id or index}"
        if key not in seen:
            seen[key] = item.question
            yield key, item
        elif seen[key] != item.question:
            raise DataError(
                f"{where}, row {prefix}{index}: its id '{key}' is another question's, too."
            )


class _UnansweredError(Exception):
    """A row lacks a value or a reference answer."""


def _item(dataset: HubDataset, row: Row) -> Item | None:
    """Return one row's item; None leaves it out.

    Raises:
        _UnansweredError: a column is null, or the row has no reference answer.
        ValueError: the question is empty; as ``dataset.read``.
        TypeError: a part of the item is no text.
    """
    for column in dataset.columns:
        if row[column] is None and column not in dataset.nullable:
            raise _UnansweredError(f"column '{column}' is null")
    item = dataset.read(row)
    if item is None:
        return None
    parts = {"question": [item.question], "reference": item.references, "choice": item.choices}
    for name, texts in parts.items():
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"its {name} is {text!r}, no text")
    if not item.question.strip():
        raise ValueError("its question is empty")
    if not any(reference.strip() for reference in item.references):
        raise _UnansweredError(f"it has no reference answer ({item.question[:_SHOWN]!r})")
    return item


def _shown(row: Row) -> str:
    """Return a row's values, shortened."""
    return ", ".join(f"{name}={str(value)[:_SHOWN]!r}" for name, value in row.items())


def _rows(
    dataset: HubDataset, config: DatasetConfig, source: SourceConfig, where: str
) -> Iterator[tuple[str, int, Row]]:
    """Yield prefix of the key, index and row, of each of the source's configurations in turn."""
    names: list[str | None] = [*source.configs] or [None]
    for name in names:
        place = f"{where}, configuration {name}" if name else where
        table = read_table(source, name, config.hub_root, place)
        for column in dataset.columns:
            if column not in table.column_names:
                raise DataError(
                    f"{where}: column '{column}' is missing; it has {table.column_names}. "
                    f"Is the revision ({source.revision}) the one that the harness knows?"
                )
        wanted = {*dataset.columns, *dataset.optional}
        table = table.select_columns([c for c in table.column_names if c in wanted])
        prefix = f"{name}/" if len(source.configs) > 1 else ""
        for index, row in enumerate(rows_of(table, place)):
            yield prefix, index, {**row, "index": index}


def _keys(item: Item) -> set[str]:
    keys = {normalised(item.question + "\n" + "\n".join(item.choices))}
    return keys | ({f"identity {item.identity}"} if item.identity is not None else set())


def _held_out(items: Iterable[Item], count: int) -> set[str]:
    """Return the contents of ``count`` questions, chosen by their content alone."""
    contents = {normalised(item.question) for item in items}
    ranked = sorted(contents, key=lambda text: sha256(f"held out/{text}".encode()).digest())
    if count >= len(ranked):
        raise ConfigError(
            f"dataset.sources: held_out={count} leaves nothing of {len(ranked)} questions."
        )
    return set(ranked[:count])
