"""Rows of a dataset of the Hugging Face Hub, or of a local mirror, as ``datasets`` reads them.

The library's own message often hides the cause of a fault; ours name it.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from benchmark.errors import ConfigError, DataError
from benchmark.hub import reach_hub
from benchmark.questions.mirror import check_mirror
from benchmark.store.files import pointer_fault, pointer_of, with_cause

if TYPE_CHECKING:
    import datasets  # a second to import

_PATTERN = re.compile(r"[*?\[\]]|::")  # what `datasets` doesn't take for a part of a name
_BATCH = 1000  # rows that are read at once
_LONGEST = 400  # characters of a library's fault that a message shows


@dataclass
class SourceConfig:
    """Place of the rows of one split.

    Attributes:
        hub_id: id of the dataset on the Hugging Face Hub, or its folder in ``paths.hub_root``.
        configs: names of the dataset's configurations to be joined; empty takes its default.
        split: name of the split on the Hub.
        revision: commit of the dataset on the Hub.
        reader: entry whose class, a ``questions.items.Reader``, reads a row.
        without: splits of this dataset whose questions are left out.
        held_out: number of questions, chosen by their content, that are kept apart.
        part: side of that cut: rest or held_out.
        unanswered: what becomes of a row with a null or without a reference: refuse or drop.
    """

    hub_id: str = MISSING
    configs: list[str] = field(default_factory=list)
    split: str = MISSING
    revision: str | None = None
    reader: Any = MISSING
    without: list[str] = field(default_factory=list)
    held_out: int = 0
    part: str = "rest"
    unanswered: str = "refuse"


def read_table(
    source: SourceConfig, name: str | None, hub_root: str | None, where: str
) -> "datasets.Dataset":
    """Return the rows of one of the source's configurations, from the Hub or from the mirror.

    Raises:
        ConfigError: they can't be had; the message says why and what to do.
    """
    if hub_root is None:
        reach_hub()
    import datasets  # reads when it is imported whether there is a Hub

    path, revision, cache = source.hub_id, source.revision, None
    folder = None if hub_root is None else Path(hub_root).expanduser() / source.hub_id
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(
                f"{where}: {folder} doesn't exist. paths.hub_root={hub_root} must hold the "
                f"dataset as <organisation>/<name>, or be null for the Hub."
            )
        check_mirror(folder, Path(hub_root).expanduser())  # type: ignore[arg-type]
        cache = _mirror_cache(folder)
        path, revision = _plain(folder, Path(cache)), None
    with _logged() as lines:
        try:
            return datasets.load_dataset(
                path, name, split=source.split, revision=revision, cache_dir=cache
            )
        except Exception as error:  # of many kinds; each means: these rows can't be had
            raise ConfigError(_explained(error, lines, source, where, folder)) from error


def rows_of(table: "datasets.Dataset", where: str) -> Iterator[dict[str, Any]]:
    """Yield the rows.

    Raises:
        DataError: a value is no text in UTF-8, which JSON files and Parquet may hold unseen.
    """
    # As Arrow holds them: what is declared to be an image or a sound isn't opened or fetched.
    for number, batch in enumerate(table.with_format("arrow").iter(_BATCH)):
        try:
            yield from batch.to_pylist()
        except UnicodeDecodeError as error:
            index, column = _undecodable(batch)
            raise DataError(
                f"{where}, row {number * _BATCH + index}, column '{column}' is not text in "
                f"UTF-8 ({error}). Convert its file, for example: "
                f"iconv -f LATIN1 -t UTF-8 old > new"
            ) from error


def _undecodable(batch: Any) -> tuple[int, str]:
    """Return row and column of the first value of an Arrow table that is no text in UTF-8."""
    for column in batch.column_names:
        for index, value in enumerate(batch[column]):
            try:
                value.as_py()
            except UnicodeDecodeError:
                return index, column
    return 0, "?"


def _mirror_cache(folder: Path) -> str:
    """Return a cache of its own for this state of a local folder.

    The library's cache tells folders of the same name apart by neither place nor content.
    """
    from datasets.config import HF_DATASETS_CACHE

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    state = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    digest = sha256(repr(state).encode()).hexdigest()[:16]
    return str(Path(HF_DATASETS_CACHE) / f"mirror-{digest}")


def _plain(folder: Path, cache: Path) -> str:
    """Return a folder of the same files whose path is no pattern: that matches others, too."""
    if not _PATTERN.search(str(folder.resolve())):
        return str(folder)
    links = cache / "files"
    for file in (path for path in folder.rglob("*") if path.is_file()):
        link = links / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(file.resolve())
    return str(links)


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Yield the faults that ``datasets`` logs, which name the file, in place of their print."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(" ".join(record.getMessage().split()))

    logger = logging.getLogger("datasets")
    handlers, logger.handlers = logger.handlers, [Kept(logging.ERROR)]
    try:
        yield lines
    finally:
        logger.handlers = handlers


def _explained(
    error: Exception,
    lines: list[str],
    source: SourceConfig,
    where: str,
    folder: Path | None,
) -> str:
    """Return what a user reads where rows can't be had."""
    if "gated" in str(error).lower():
        return (
            f"{where}: this dataset is gated. Ask for access on "
            f"https://huggingface.co/datasets/{source.hub_id}, then log in with `hf auth login` "
            f"or set HF_TOKEN."
        )
    pointer = None if folder is None else pointer_of(sorted(folder.rglob("*")))
    if pointer is not None:
        return f"{where}: {pointer_fault(pointer)}"
    why = (lines[-1] if lines else with_cause(error)).rstrip(".")[:_LONGEST]
    if "codec can't decode" in why or "Invalid encoding" in why or "Invalid UTF8" in why:
        why += ". Convert the file to UTF-8, for example: iconv -f LATIN1 -t UTF-8 old > new"
    return f"{where} can't be loaded: {why}. {_way_out(str(error), source, folder)}"


def _way_out(text: str, source: SourceConfig, folder: Path | None) -> str:
    if text.startswith("Unknown split"):
        return "Choose one with dataset.sources.<split>.split=..."
    if "BuilderConfig" in text or "Config name is missing" in text:
        return "Choose among them with dataset.sources.<split>.configs=[...]."
    if folder is not None:
        return f"The mirror is in {folder}."
    return (
        f"Is dataset.sources.<split>.hub_id={source.hub_id} with revision={source.revision} on the "
        f"Hub? Without the Hub, name a local mirror with paths.hub_root=<folder>."
    )
