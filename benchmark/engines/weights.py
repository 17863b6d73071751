"""Where a model's weights come from: a GGUF file in an installed package, or the Hub.

A GGUF takes many seconds to read, so it is converted once into a folder of safetensors and
tokenizer files in the cache, named by the GGUF's checksum and by its own: a damaged one is noticed.
"""

import glob
import hashlib
import importlib.util
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors
from filelock import FileLock
from huggingface_hub.errors import HFValidationError
from rich.console import Console

from benchmark.config.schema import GGUFConfig, ModelConfig
from benchmark.engines.complete_weights import check_folder, refuse_incomplete
from benchmark.engines.pretrained import pretrained
from benchmark.engines.prompts import rendering
from benchmark.errors import ModelError, StoreError
from benchmark.hub import NO_HUB, hub_commit, reach_hub
from benchmark.store.artifact import fingerprint
from benchmark.store.checksums import file_checksum
from benchmark.store.files import is_pointer, pointer_fault, remember, sync, with_cause

_DIGEST = 16  # characters of a checksum in a file's name


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
        StoreError: what was converted before is damaged.
    """
    if config.gguf is not None and config.gguf.stands_for(config.hub_id, config.revision):
        _check_gguf(config.gguf)
        package = None
        with suppress(ImportError, ValueError):  # no package can have that name
            package = importlib.util.find_spec(config.gguf.package)
        if package is not None and package.submodule_search_locations:
            if config.gguf.file is None:
                path = _assembled(config.gguf.package, cache)
            else:
                path = Path(package.submodule_search_locations[0]) / config.gguf.file
            return _converted(path, config, cache, console)
        console.print(
            f"Package '{config.gguf.package}' is not installed: {config.name} comes from the "
            f"Hugging Face Hub ({config.hub_id})."
        )
    folder = Path(config.hub_id).expanduser()
    if folder.is_dir():
        check_folder(config.name, folder)
        return Weights(str(folder), None, f"folder-sha256:{folder_checksum(folder, cache)}")
    commit = _commit(config)
    return Weights(config.hub_id, commit, f"{config.hub_id}@{commit}")


def _check_gguf(gguf: GGUFConfig) -> None:
    """Refuse a path that leads out of the package.

    Raises:
        ModelError: naming the setting.
    """
    if not gguf.package.isidentifier():  # a dotted name would import the packages above it
        raise ModelError(f"model.gguf.package={gguf.package!a} is not the name of a package.")
    if gguf.file is not None and (Path(gguf.file).name != gguf.file or gguf.file in ("", "..")):
        raise ModelError(f"model.gguf.file={gguf.file!a} is not the name of a file in the package.")


def model_identity(config: ModelConfig, weights: Weights, rendering: str | None) -> dict[str, Any]:
    """Return what of the model decides its responses, whatever engine runs it.

    Args:
        config: of the model.
        weights: whose ``identity`` covers the files of the tokenizer and its chat template, too.
        rendering: what these give, as ``wording.rendering`` says; None where they can't be had.
    """
    return {
        "weights": weights.identity,
        "chat_template_kwargs": dict(config.chat_template_kwargs),
        "system_prompt": config.system_prompt,
        "few_shot": None if config.few_shot is None else asdict(config.few_shot),
        "reasoning": config.reasoning,
        "rendering": rendering,
    }


def known_identity(config: ModelConfig, weights: Weights, cache: Path) -> dict[str, Any]:
    """Return ``model_identity`` without an engine.

    Transformers takes seconds to import, so that what a template renders is remembered in
    ``cache``. A model behind a server may have no tokenizer here; its rendering is None.
    """
    known = model_identity(config, weights, None)
    settings = known | {"date": config.template_date, "transformers": version("transformers")}
    kept = cache / "renderings" / f"{fingerprint(settings)}.txt"
    with suppress(OSError, ValueError):
        found, checksum = kept.read_text().split()
        if checksum == fingerprint({found: settings}):
            return known | {"rendering": found}
    from transformers import AutoTokenizer

    try:
        found = rendering(config, pretrained(AutoTokenizer, weights.location, weights.revision))
    except Exception:  # noqa: BLE001 - of many libraries; only a model in this process needs it
        return known
    remember(kept, f"{found} {fingerprint({found: settings})}")
    return known | {"rendering": found}


def local_folder(weights: Weights, name: str) -> str:
    """Return a folder with the weights, downloading them from the Hub where they aren't local.

    Raises:
        ModelError: the Hub doesn't give them.
    """
    if Path(weights.location).is_dir():
        return weights.location
    try:
        return str(huggingface_hub.snapshot_download(weights.location, revision=weights.revision))
    except (OSError, ValueError) as error:
        raise unavailable(name, weights.location, error) from error


def _assembled(package: str, cache: Path) -> Path:
    """Return the GGUF that a package puts together from its parts, once.

    Raises:
        ModelError: it is a package that does nothing of the kind.
    """
    try:
        name = f"{package}-{version(package)}"
        assemble = importlib.import_module(package).assemble
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"model.gguf.package={package} puts no GGUF together ({error}); name the file that it "
            f"holds as model.gguf.file, or set model.gguf=null for the Hub."
        ) from error
    folder = cache / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        if (made := _made(folder, name)) is None:
            partial = folder / f"{name}.partial"
            assemble(partial, overwrite=True)
            made = partial.rename(folder / f"{name}-{_checksum(partial, cache)}.gguf")
    _refuse_damaged(made, cache)
    return made


def _made(folder: Path, name: str) -> Path | None:
    """Return what was made of this name before, followed by its checksum."""
    pattern = f"{glob.escape(name)}-{'[0-9a-f]' * _DIGEST}*"
    return next(iter(sorted(folder.glob(pattern))), None)


def _checksum(path: Path, cache: Path) -> str:
    whole = folder_checksum(path, cache) if path.is_dir() else file_checksum(path, cache)
    return whole[:_DIGEST]


def _refuse_damaged(made: Path, cache: Path) -> None:
    """Refuse a file or a folder in the cache whose name ends in another checksum than it has.

    Raises:
        StoreError: it was changed, or a disk lost some of it.
    """
    if made.name.removesuffix(".gguf")[-_DIGEST:] != _checksum(made, cache):
        raise StoreError(f"{made} is damaged. Delete it and run again: it is made anew.")


def folder_checksum(folder: Path, cache: Path) -> str:
    """Return a checksum of the names and contents of a folder's files: weights may be retrained."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        whole.update(f"{path.name} {file_checksum(path, cache)}\n".encode())
    return whole.hexdigest()


def _commit(config: ModelConfig) -> str:
    """Return the commit of the model; without the Hub it is the one that was downloaded last."""
    reach_hub()
    try:
        return hub_commit(config.hub_id, config.revision)
    except OSError as error:
        revision = config.revision or "main"
        with suppress(HFValidationError):  # a folder that isn't there is no id of the Hub
            cached = huggingface_hub.try_to_load_from_cache(
                config.hub_id, "config.json", revision=revision
            )
            if isinstance(cached, str):
                return Path(cached).parent.name
        raise unavailable(config.name, config.hub_id, error) from error


def unavailable(name: str, location: str, error: Exception) -> ModelError:
    """Return what a user reads where a model can't be had."""
    way_out = (
        "Without the Hugging Face Hub, install the model's package or give a local folder as "
        "model.hub_id."
    )
    if Path(location).expanduser().is_dir():
        way_out = (
            "The folder must hold a model as transformers saves it: config.json, safetensors and "
            "the tokenizer's files, all of them whole."
        )
    elif Path(location).expanduser().is_file():
        way_out = "model.hub_id must be the folder that holds this file, not the file."
    elif not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", location):
        way_out = "There is no such folder, and it is no name on the Hugging Face Hub."
    elif huggingface_hub.is_offline_mode():
        return ModelError(f"model={name}: {location} isn't in the cache, and {NO_HUB}. {way_out}")
    return ModelError(f"model={name}: {location} can't be loaded: {with_cause(error)}. {way_out}")


def _converted(path: Path, config: ModelConfig, cache: Path, console: Console) -> Weights:
    if not path.is_file():
        raise ModelError(
            f"model={config.name}: the package '{path.parent.name}' holds no '{path.name}'; "
            f"install the version that constraints.txt pins, or set model.gguf=null for the Hub."
        )
    if is_pointer(path):
        raise ModelError(f"model={config.name}: {pointer_fault(path)}")
    checksum = file_checksum(path, cache)
    folder, name = cache / "models", f"{config.name}-{checksum[:_DIGEST]}"
    if (made := _made(folder, name)) is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            if (made := _made(folder, name)) is None:
                console.print(f"Converting {path.name} once (about half a minute) ..")
                made = _convert(path, folder, name, cache)
    _refuse_damaged(made, cache)
    return Weights(str(made), None, f"gguf-sha256:{checksum}")


def _convert(path: Path, folder: Path, name: str, cache: Path) -> Path:
    """Return ``path`` as a folder of safetensors and tokenizer files, there only when complete."""
    for stale in folder.glob(f"{glob.escape(name)}.partial-*"):
        shutil.rmtree(stale)
    partial = Path(tempfile.mkdtemp(prefix=f"{name}.partial-", dir=folder))
    try:
        _write_converted(path, partial)
    except safetensors.SafetensorError as error:
        raise StoreError(
            f"{partial} can't be written: {error}. Free space, or choose another folder with "
            f"paths.cache=..."
        ) from error
    for file in partial.iterdir():
        sync(file)
    return partial.rename(folder / f"{name}-{_checksum(partial, cache)}")


def _write_converted(path: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    source = str(path.parent)
    pretrained(AutoTokenizer, source, gguf_file=path.name).save_pretrained(folder)
    loaded, report = pretrained(
        AutoModelForCausalLM, source, gguf_file=path.name, dtype="float32",
        output_loading_info=True, ignore_mismatched_sizes=True,
    )  # fmt: skip
    refuse_incomplete(path.stem, str(path), report)
    # A model that was read from GGUF counts as quantised and refuses to be saved.
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    model = type(loaded)(loaded.config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)
