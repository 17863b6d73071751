"""Whether a model's files are all there: what is missing would be drawn at random, or left out."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmark.errors import ModelError
from benchmark.store.artifact import read_json
from benchmark.store.files import pointer_fault, pointer_of

_READ = re.compile(  # what transformers reads of a folder
    r"(config|generation_config|tokenizer.*|special_tokens_map|vocab|merges|chat_template|model.*)"
    r"\.(json|safetensors|txt|jinja|model)"
)


def check_folder(name: str, folder: Path) -> None:
    """Refuse a folder whose files, as far as transformers reads them, aren't its own.

    Raises:
        ModelError: there is no config.json, one is a Git LFS pointer, or an index names weights
            elsewhere; it names the file and what to do.
    """
    if not (folder / "config.json").is_file():  # any folder would be read whole for its checksum
        raise ModelError(
            f"model={name}: {folder} can't be loaded: it holds no config.json. The folder must "
            f"hold a model as transformers saves it: config.json, safetensors and the tokenizer's "
            f"files, all of them whole."
        )
    pointer = pointer_of(p for p in sorted(folder.iterdir()) if _READ.fullmatch(p.name))
    if pointer is not None:
        raise ModelError(f"model={name}: {pointer_fault(pointer)}")
    for index in sorted(folder.glob("*.index.json")):  # config.json may choose any of them
        parts: set[Any] = set()
        with suppress(
            OSError, ValueError, LookupError, AttributeError, TypeError
        ):  # transformers says what is wrong
            parts = set(read_json(index.resolve())["weight_map"].values())
        for part in parts:
            if not isinstance(part, str) or Path(part).name != part:
                raise ModelError(
                    f"model={name}: {index} names weights in {part!a}, which is no file of its "
                    f"folder. Take index and weights from the same place, whole."
                )


def refuse_incomplete(name: str, location: str, report: Mapping[str, Any]) -> None:
    """Refuse a model of which the files lack weights: they would be drawn at random.

    Args:
        name: of the model.
        location: of its files.
        report: what ``from_pretrained`` tells of the loading.

    Raises:
        ModelError: naming a weight.
    """
    missing = sorted(report["missing_keys"])
    odd = [
        f"{key} ({[*found]} in place of {[*asked]})"
        for key, found, asked in sorted(report["mismatched_keys"])
    ]
    if missing or odd:
        what = f"{len(missing)} are missing, such as {missing[0]}" if missing else ""
        what = what or f"{len(odd)} have another shape, such as {odd[0]}"
        raise ModelError(
            f"model={name}: the weights of {location} are not those that its config.json "
            f"describes: {what}. Take both from the same place, whole."
        )
