"""Stage 1 for datasets of the Hugging Face Hub: load rows, leave questions out, word prompts.

A dataset's own file says which columns it reads and how one row becomes an ``Item``; what all of
them share is here: the hub or a local mirror of it, the rows that other splits forbid, the
validation questions held out of a training split, and the prompt.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.config import DatasetConfig, SourceConfig
from benchmark.errors import ConfigError, DataError
from benchmark.questions.overlap import normalised
from benchmark.records import Question

if TYPE_CHECKING:
    import datasets  # a second to import

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
    """

    columns: tuple[str, ...]
    read: Callable[[Row], Item | None]
    optional: tuple[str, ...] = ()


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
            item = dataset.read(row)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{where}, row {index}: {error}") from error
        if item is None:
            continue
        if not any(reference.strip() for reference in item.references):
            if source.unanswered == "drop":
                continue
            raise DataError(
                f"{where}, row {index}: it has no reference answer "
                f"({item.question[:_SHOWN]!r}); leave such rows out with "
                f"dataset.sources.<split>.unanswered=drop."
            )
        key = f"{prefix}{item.row_id or index}"
        if key not in seen:
            seen[key] = item.question
            yield key, item
        elif seen[key] != item.question:
            raise DataError(f"{where}, row {index}: its id '{key}' is another question's, too.")


def _rows(
    dataset: HubDataset, config: DatasetConfig, source: SourceConfig, where: str
) -> Iterator[tuple[str, int, Row]]:
    """Yield prefix of the key, index and row, of each of the source's configurations in turn."""
    names: list[str | None] = [*source.configs] or [None]
    for name in names:
        table = _table(source, name, config.hub_root, where)
        for column in dataset.columns:
            if column not in table.column_names:
                raise DataError(
                    f"{where}: column '{column}' is missing; it has {table.column_names}. "
                    f"Is the revision ({source.revision}) the one that the harness knows?"
                )
        wanted = {*dataset.columns, *dataset.optional}
        table = table.select_columns([c for c in table.column_names if c in wanted])
        prefix = f"{name}/" if len(source.configs) > 1 else ""
        for index, row in enumerate(table):
            yield prefix, index, {**row, "index": index}


def _table(
    source: SourceConfig, name: str | None, hub_root: str | None, where: str
) -> "datasets.Dataset":
    """Return the rows, from the hub or from the mirror."""
    import datasets

    if hub_root is not None:
        folder = Path(hub_root).expanduser() / source.hub_id
        if not folder.is_dir():
            raise ConfigError(
                f"{where}: {folder} doesn't exist. paths.hub_root={hub_root} must hold the "
                f"dataset as <organisation>/<name>, or be null for the Hub."
            )
        path, revision, cache = str(folder), None, _mirror_cache(folder)
    else:
        path, revision, cache = source.hub_id, source.revision, None
    try:
        return datasets.load_dataset(
            path, name, split=source.split, revision=revision, cache_dir=cache
        )
    except Exception as error:  # datasets raises many kinds; each means: these rows can't be had
        raise ConfigError(_explained(error, source, name, where, hub_root)) from error


def _mirror_cache(folder: Path) -> str:
    """Return a cache of its own for this state of a local folder.

    The library's cache tells folders of the same name apart by neither place nor content.
    """
    from datasets.config import HF_DATASETS_CACHE

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    state = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    digest = sha256(repr(state).encode()).hexdigest()[:16]
    return str(Path(HF_DATASETS_CACHE) / f"mirror-{digest}")


def _explained(
    error: Exception, source: SourceConfig, name: str | None, where: str, hub_root: str | None
) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "gated" in str(error).lower():
        return (
            f"{where}: this dataset is gated. Ask for access on "
            f"https://huggingface.co/datasets/{source.hub_id}, then log in with `hf auth login` "
            f"or set HF_TOKEN."
        )
    configuration = f", configuration {name}" if name else ""
    way_out = (
        "Without the Hub, name a local mirror with paths.hub_root=<folder>."
        if hub_root is None
        else f"The mirror is paths.hub_root={hub_root}."
    )
    return f"{where}{configuration} can't be loaded: {text} {way_out}"


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
