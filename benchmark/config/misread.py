"""Texts that YAML, or Hydra's command line, has read as something else.

``12e4567`` becomes inf, ``1.10`` becomes 1.1, ``0123456`` an octal number, ``no`` false. The schema
makes a text of it again, another one, that would name another commit or folder without a word.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, StringNode
from omegaconf._utils import get_yaml_loader

from benchmark.errors import ConfigError

# What a text may look like that was a number, true or false before: as Python writes them.
_LIKE_NUMBER = re.compile(r"[+-]?(\d|\.\d).*|[+-]?inf|nan|True|False")
_BETWEEN = re.compile(r"[\[\]{},:\s]+")  # what separates values of a list on the command line


class _Written(NamedTuple):
    """A plain scalar that is no text: the last part of its key, and how it was written and read."""

    key: str
    written: str
    read: str
    place: str


def refuse_misread(
    composed: DictConfig | dict[str, Any], overrides: Sequence[str], folders: Iterable[Path]
) -> None:
    """Refuse texts of the configuration that were written in another way than they read now.

    Args:
        composed: configuration before it is checked, or its nodes by key.
        overrides: settings on the command line.
        folders: folders of configuration files.

    Raises:
        ConfigError: naming the key, and where it was written.
    """
    suspects = [leaf for leaf in _texts(composed, "") if _LIKE_NUMBER.fullmatch(leaf[1])]
    if not suspects:
        return
    written = [*_on_command_line(overrides), *_in_files(folders)]
    for where, text in suspects:
        key = where.rpartition(".")[-1]
        for found in written:
            if found.key == key and found.read == text and found.written != text:
                raise ConfigError(
                    f"{where} is a text, but {found.place} says {key}={found.written} without "
                    f"quotes, which reads as {text}. " + _quotes(where, found.written)
                )


def refuse_numbers(node: Any, raw: Any, where: str) -> None:
    """Refuse numbers, true and false where the schema has a text.

    In a list, such as the arguments of a command, numbers are taken as Python writes them.

    Args:
        node: node of the schema, merged with what was given.
        raw: what was given, as plain containers.
        where: key of the node.

    Raises:
        ConfigError: naming the key.
    """
    if isinstance(node, DictConfig) and isinstance(raw, dict):
        for key, value in raw.items():
            refuse_numbers(node._get_node(key), value, f"{where}.{key}")
    elif isinstance(node, ListConfig) and isinstance(raw, list):
        for index, value in enumerate(raw):
            if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
                refuse_numbers(node._get_node(index), value, where)
    elif isinstance(node, StringNode) and isinstance(raw, bool | int | float):
        raise ConfigError(
            f"{where} is a text, but it was read as {raw!r} ({type(raw).__name__}). "
            + _quotes(where, "...")
        )


def _quotes(where: str, text: str) -> str:
    key = where.rpartition(".")[-1]
    return f'Put it in quotes: {key}: "{text}" in a file, \'{where}="{text}"\' in a shell.'


def _texts(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield key and value of each text of the configuration; those of lists have the list's key."""
    if isinstance(node, dict):
        for name, part in node.items():
            yield from _texts(part, f"{where}.{name}".removeprefix("."))
    elif isinstance(node, DictConfig | ListConfig):
        if not (node._is_none() or node._is_missing() or node._is_interpolation()):
            listed = isinstance(node, ListConfig)
            for key in range(len(node)) if listed else [*node.keys()]:
                below = where if listed else f"{where}.{key}".removeprefix(".")
                yield from _texts(node._get_node(key), below)
    elif isinstance(node, StringNode) and isinstance(node._value(), str):
        yield where, node._value()


def _on_command_line(overrides: Sequence[str]) -> Iterator[_Written]:
    for override in OverridesParser.create().parse_overrides([*overrides]):
        whole = (override.input_line or "").partition("=")[2].strip()
        words = _BETWEEN.split(whole)
        for key, value in _scalars(override.value(), override.key_or_group):
            if str(value) not in words:
                yield _Written(key, whole, str(value), "the command line")


def _scalars(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _scalars(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item, key)
    elif isinstance(value, bool | int | float):
        yield key.rpartition(".")[-1], value


def _in_files(folders: Iterable[Path]) -> Iterator[_Written]:
    for path in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        loader = get_yaml_loader()(path.read_text(encoding="utf-8"))
        try:
            yield from _of_node(loader.get_single_node(), "", loader, path)
        except yaml.YAMLError:  # Hydra would have said so, so it hasn't read this file
            continue


def _of_node(node: Any, key: str, loader: Any, path: Path) -> Iterator[_Written]:
    if isinstance(node, yaml.MappingNode):
        for name, item in node.value:
            yield from _of_node(item, str(name.value), loader, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _of_node(item, key, loader, path)
    elif isinstance(node, yaml.ScalarNode) and node.style is None:
        value = loader.construct_object(node)
        if isinstance(value, bool | int | float):
            place = f"{path}, line {node.start_mark.line + 1},"
            yield _Written(key, node.value, str(value), place)
