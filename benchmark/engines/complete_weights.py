"""Whether a model's files are all there: what is missing would be drawn at random, or left out."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import ModelError
from benchmark.store.files import pointer_fault, pointer_of

_READ = re.compile(  # what transformers reads of a folder
    r"(config|generation_config|tokenizer.*|special_tokens_map|vocab|merges|chat_template|model.*)"
    r"\.(json|safetensors|txt|jinja|model)"
)


def refuse_pointers(name: str, folder: Path) -> None:
    """Refuse a folder in which a file that transformers reads is a Git LFS pointer.

    Raises:
        ModelError: naming the file and what to do.
    """
    pointer = pointer_of(p for p in sorted(folder.iterdir()) if _READ.fullmatch(p.name))
    if pointer is not None:
        raise ModelError(f"model={name}: {pointer_fault(pointer)}")


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
