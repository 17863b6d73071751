"""Where a model's weights come from: a GGUF file in an installed package, or the Hub.

A GGUF takes many seconds to read, so it is converted once into a folder of safetensors and
tokenizer files in the cache, named by the file's checksum.
"""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from benchmark.config import ModelConfig
from benchmark.errors import ModelError


@dataclass(frozen=True)
class Weights:
    """A source that ``from_pretrained`` can load.

    Attributes:
        location: a folder, or a hub id.
        revision: of the hub id; None for a folder.
        identity: names the exact weights: the checksum of a file, or hub id and revision.
    """

    location: str
    revision: str | None
    identity: str


def find_weights(config: ModelConfig, cache: Path, console: Console) -> Weights:
    """Return the model's weights, converting its GGUF into ``cache`` where that is their source.

    Raises:
        ModelError: the package holds no such file, or the conversion failed.
    """
    if config.gguf is not None:
        package = importlib.util.find_spec(config.gguf.package)
        if package is not None and package.submodule_search_locations:
            path = Path(package.submodule_search_locations[0]) / config.gguf.file
            return _converted(path, config, cache, console)
        console.print(
            f"Package '{config.gguf.package}' is not installed: {config.name} comes from the "
            f"Hugging Face Hub ({config.hub_id})."
        )
    return Weights(config.hub_id, config.revision, f"{config.hub_id}@{config.revision}")


def _converted(path: Path, config: ModelConfig, cache: Path, console: Console) -> Weights:
    if not path.is_file():
        raise ModelError(
            f"model={config.name}: the package '{path.parent.name}' holds no '{path.name}'; "
            f"install the version that constraints.txt pins, or set model.gguf=null for the Hub."
        )
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    target = cache / "models" / f"{config.name}-{checksum[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not target.exists():
                console.print(f"Converting {path.name} once (about half a minute) ..")
                _convert(path, target)
    return Weights(str(target), None, f"gguf-sha256:{checksum}")


def _convert(path: Path, target: Path) -> None:
    """Write ``path`` as safetensors and tokenizer files; ``target`` appears only when complete."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    for stale in target.parent.glob(f"{target.name}.partial-*"):
        shutil.rmtree(stale)
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    AutoTokenizer.from_pretrained(**source).save_pretrained(partial)
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype="float32")
    # A model that was read from GGUF counts as quantised and refuses to be saved.
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    model = type(loaded)(loaded.config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(partial)
    for file in partial.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    partial.rename(target)
