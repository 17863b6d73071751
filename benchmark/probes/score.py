"""The command ``capcal score``: an exported probe's confidence in questions from anywhere.

    capcal score probe=<folder> < questions.jsonl > confidences.jsonl

Every input line is a JSON object with ``question``, worded as in training, or ``prompt``, the whole
user turn. Every output line is the same object with ``confidence``, in [0, 1], in the same order.
A ``confidence`` that is there already is replaced.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from typing import Any, NoReturn

from omegaconf import OmegaConf

from benchmark.config.checks import check_folder
from benchmark.config.composing import system_fault
from benchmark.config.schema import typed
from benchmark.engines.settings import TransformersConfig
from benchmark.errors import BenchmarkError, ConfigError, DataError, StoreError
from benchmark.records import storable
from benchmark.terminal import Terminal

_TEXTS = ("question", "prompt")
_FOLDERS = ("probe", "cache")


@dataclass
class ScoreConfig:
    """What the command line may set.

    Attributes:
        probe: folder of an exported probe.
        engine: where and in which precision the model runs.
        cache: folder of converted models.
    """

    probe: str = ""
    engine: TransformersConfig = field(default_factory=TransformersConfig)
    cache: str = os.environ.get("CAPCAL_CACHE", "~/.cache/capcal")


def main(arguments: Sequence[str]) -> None:
    """Read questions from standard input and write their confidences to standard output."""
    try:
        _write(_scored(arguments))
    except (BenchmarkError, OSError) as error:
        told = system_fault(error) if isinstance(error, OSError) else error  # of the cache
        console = Terminal(stderr=True)
        console.print(f"Error: {told}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _scored(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of standard input with their confidences."""
    config = _config(arguments)
    if sys.stdin is None or sys.stdout is None:
        raise DataError("Standard input and standard output must be open.")
    try:
        rows = read_rows(TextIOWrapper(sys.stdin.buffer, "utf-8-sig"))
    except UnicodeDecodeError as error:  # while a line is read
        raise DataError(f"Standard input is not text in UTF-8: {error}.") from error
    from benchmark.probes import CapabilityProbe  # after the input is known to be right

    probe = CapabilityProbe.load(config.probe, config.engine, config.cache)
    name = _TEXTS[0] if _TEXTS[0] in rows[0] else _TEXTS[1]
    predict = probe.predict if name == "question" else probe.predict_prompts
    confidences = predict([row[name] for row in rows])
    return [row | {"confidence": c} for row, c in zip(rows, confidences.tolist(), strict=True)]


def _write(rows: list[dict[str, Any]]) -> None:
    try:
        for row in rows:
            sys.stdout.buffer.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # else what is left fails again at exit
        os.dup2(nowhere, sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever reads has read enough
            raise StoreError(f"The confidences can't be written: {error.strerror}.") from error


def read_rows(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return the objects of JSON lines, all of which have a ``question`` or all a ``prompt``.

    Raises:
        DataError: naming the line that is no such object, or if there is none.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise DataError(f"Line {number} is not JSON ({error}): {line.strip()[:80]}") from error
        given = [key for key in _TEXTS if isinstance(row, dict) and key in row]
        text = row[given[0]] if len(given) == 1 else None
        if not isinstance(text, str) or not text.strip():
            raise DataError(
                f'Line {number} must be a JSON object with a text as either "question" or '
                f'"prompt": {line.strip()[:80]}'
            )
        try:
            written = json.dumps(row, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise DataError(
                f"Line {number} holds a number beyond floating point: {line.strip()[:80]}"
            ) from error
        if storable(written) != written:
            raise DataError(f"Line {number} is not text in UTF-8: {line.strip()[:80]!a}")
        if rows and given[0] not in rows[0]:
            raise DataError(f"Line {number} gives a {given[0]}, the lines before it another kind.")
        rows.append(row)
    if not rows:
        raise DataError(
            "There is no question on standard input: capcal score probe=<folder> < questions.jsonl"
        )
    return rows


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _config(arguments: Sequence[str]) -> ScoreConfig:
    """Return the settings: folders as they are written, the engine's as YAML."""
    pairs = [argument.split("=", 1) for argument in arguments]
    folders = dict(pair for pair in pairs if len(pair) > 1 and pair[0] in _FOLDERS)
    others = ["=".join(pair) for pair in pairs if pair[0] not in folders]
    if not folders.get("probe") or any("=" not in argument for argument in others):
        raise ConfigError(f"{__doc__.splitlines()[0]} Usage: {__doc__.splitlines()[2].strip()}")
    for key, folder in folders.items():
        check_folder(key, folder)
    try:
        config: ScoreConfig = typed(OmegaConf.from_dotlist(others), ScoreConfig, "capcal score")
    except ConfigError:
        raise
    except Exception as error:  # of OmegaConf or of YAML, of many kinds
        why = " ".join(str(error).split())
        raise ConfigError(f"capcal score: {others!a} can't be read: {why[:200]}") from error
    config.probe, config.cache = folders["probe"], folders.get("cache", config.cache)
    return config
