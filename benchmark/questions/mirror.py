"""Checks a folder that mirrors a dataset of the Hub: reading it asks no network and leaves it not.

``datasets`` takes what a dataset's card says: addresses in place of files, which it would fetch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import ConfigError
from benchmark.questions.limits import check_file, check_packed, check_parquet

_TOOLS = {".git", ".cache"}  # folders of git and the Hub's client, which hold no rows
_CARDS = ("README.md", ".huggingface.yaml")
_LONGEST_CARD = 2**24  # bytes
_LONGEST_YAML = 2**20  # characters
_ARCHIVES = {".zip", ".tar", ".tgz", ".7z", ".rar", ".zst", ".lz4"}  # are unpacked unseen


def mirrored_files(folder: Path, root: Path) -> list[Path]:
    """Return the files of a dataset's folder in a mirror, sorted.

    Raises:
        ConfigError: a file lies outside of the mirror, or is none.
        DataError: a file is too large.
    """
    inside, found = root.resolve(), []
    for path in sorted(folder.rglob("*")):
        if _TOOLS.intersection(path.relative_to(folder).parts[:-1]):
            continue
        try:
            target = path.resolve()
        except (OSError, RuntimeError) as error:  # a link to itself
            raise ConfigError(f"{str(path)!r} can't be read as a file: {error}.") from error
        if not target.is_relative_to(inside):
            raise ConfigError(
                f"{str(path)!r} is a link out of the mirror, to {str(target)!r}; put the file "
                f"itself there."
            )
        if not path.is_dir():
            check_file(path)
            found.append(path)
    return found


def check_mirror(folder: Path, root: Path) -> None:
    """Refuse a dataset's folder that can't be read safely.

    Raises:
        ConfigError: as ``mirrored_files``; its card names files elsewhere, or an archive is there.
        DataError: a file is damaged or holds too much.
    """
    for path in mirrored_files(folder, root):
        kind = path.suffix.lower()
        if kind in _ARCHIVES:
            raise ConfigError(f"{str(path)!r} is an archive; unpack it, and take it away.")
        if kind == ".parquet":
            check_parquet(path)
        check_packed(path)
    for name in _CARDS:
        if (folder / name).is_file():
            _check_card(folder / name)


def _check_card(path: Path) -> None:
    for text in _places(_configurations(path)):
        hidden = any(part.startswith(".") for part in Path(text).parts)  # also ".."
        if "://" in text or "::" in text or hidden or Path(text).is_absolute():
            raise ConfigError(
                f"{path} takes rows from {text!r}. A mirror's card may only name files in its own "
                f"folder that aren't hidden: fetch the file and write its name there."
            )


def _configurations(path: Path) -> Any:
    """Return what a card says of the dataset's configurations, plain data from YAML."""
    from huggingface_hub.repocard import REGEX_YAML_BLOCK  # what the loader takes for a card's YAML

    with path.open("rb") as file:
        data = file.read(_LONGEST_CARD + 1)
    text = data.decode("utf-8-sig", errors="replace")
    if path.suffix == ".md":
        found = REGEX_YAML_BLOCK.search(text)
        text = found[2] if found else ""
    if len(data) > _LONGEST_CARD or len(text) > _LONGEST_YAML:
        raise ConfigError(
            f"{path} has more than {_LONGEST_CARD:,} bytes, or {_LONGEST_YAML:,} characters of "
            f"YAML. Shorten it."
        )
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ConfigError(f"{path} refers to other parts of itself (*name); write them out.")
        card = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} begins with YAML that can't be read: {line}") from error
    return card.get("configs") if isinstance(card, dict) else None


def _places(value: Any) -> Iterator[str]:
    """Yield all texts in plain data."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case list() as items:
                waiting += items
            case dict() as items:
                waiting += [*items.keys(), *items.values()]
