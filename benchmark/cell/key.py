"""What decides a cell's result, known before weights or rows are read.

It names the artifact of the finished cell, so that a run with nothing to do finds out in a second.
Nothing here imports what is slow to import.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.config.build import TARGET, dotted_path
from benchmark.config.checks import build_dataset
from benchmark.config.schema import Config, DatasetConfig
from benchmark.engines import Decoding
from benchmark.engines.construction import engine_config
from benchmark.engines.settings import layer_step
from benchmark.engines.weights import Weights, find_weights, known_identity
from benchmark.grading import build_graders
from benchmark.hub import hub_commit
from benchmark.store.artifact import Artifact, Store
from benchmark.store.checksums import file_checksum

_ELSEWHERE = (
    "hub_root",
    "licence",
    "near_duplicates",
    "path",
    "train_path",
    "validation_path",
)  # say where rows lie and which are refused, not what they hold


def cell_artifact(config: Config, console: Console) -> Artifact:
    """Return the artifact of the cell that a configuration describes.

    Neither weights nor rows are read, but for the checksums of local files that may have changed.
    """
    cache = Path(config.paths.cache).expanduser()
    inputs: dict[str, Any] = {
        "dataset": {TARGET: dotted_path(type(config.dataset)), **asdict(config.dataset)},
        "estimators": config.estimator,
        "applications": config.application,
        "statistics": asdict(config.statistics),
    }
    if not config.dataset.counted:
        weights = find_weights(config.model, cache, console)
        inputs |= {
            "model": engine_identity(config, weights),
            "decoding": Decoding(**asdict(config.model.decoding)).inputs,
            "sampling": asdict(config.sampling),
            "grading": config.grading,
            "capability": asdict(config.capability),
            "trainer": config.trainer.decisive,
        }
    if layer_step(config.engine) > 1:
        inputs["every_nth_layer"] = layer_step(config.engine)
    store = Store(outputs_of(config) / "store", console)
    return store.artifact(*_names(config), "cell", _named(inputs, cache))


def engine_identity(config: Config, weights: Weights) -> dict[str, Any]:
    """Return what of model and engine decides the responses, whichever machine runs them."""
    identity = known_identity(config.model, weights, Path(config.paths.cache).expanduser())
    return identity | engine_config(config.engine).identity(config.model)


def has_cells(config: Config) -> bool:
    """Tell whether the store has any cell of the configured model, dataset and split."""
    return any((outputs_of(config) / "store").joinpath(*_names(config)).glob("cell-*"))


def _names(config: Config) -> tuple[str, str, str]:
    return config.model.name, config.dataset.name, config.dataset.splits["evaluation"]


def outputs_of(config: Config) -> Path:
    """Return the folder of the store and of the runs."""
    return Path(config.paths.outputs).expanduser()


def _named(value: Any, cache: Path) -> Any:
    """Return settings with what they mean here: of datasets the rows, of graders their identity.

    Estimators may hold both, where they are trained on other datasets.
    """
    if isinstance(value, list):
        return [_named(item, cache) for item in value]
    if not isinstance(value, dict):
        return value
    named = {
        key: _graders(item) if key == "grading" and item else _named(item, cache)
        for key, item in value.items()
    }
    if "splits" not in value:
        return named
    settings = {key: item for key, item in named.items() if key not in _ELSEWHERE}
    return settings | {"rows": _rows(build_dataset(value, "dataset"), cache)}


def _graders(entries: Mapping[str, Mapping[str, Any]]) -> list[list[Any]]:
    """Return names and identities in their order: the first decides."""
    return [[name, grader.identity] for name, grader in build_graders(entries).items()]


def rows_known(inputs: Any) -> bool:
    """Tell whether the inputs of a cell name the rows of all datasets that it is made from."""
    if isinstance(inputs, dict):
        return inputs.get("rows", ()) is not None and all(map(rows_known, inputs.values()))
    return all(map(rows_known, inputs)) if isinstance(inputs, list) else True


def _rows(dataset: DatasetConfig, cache: Path) -> list[str] | None:
    """Return what names the rows that questions are made from; None where only reading them does.

    Of a file or a local mirror these are checksums, of the Hub commits. A branch whose commit the
    Hub doesn't tell gives None.
    """
    if not all(path.is_file() for path in dataset.files):
        return None
    files = [f"{path.name} {file_checksum(path, cache)}" for path in dataset.files]
    try:
        commits = [
            f"{hub_id}@{hub_commit(hub_id, revision, 'dataset')}"
            for hub_id, revision in dataset.revisions
        ]
    except OSError:
        return None
    return files + sorted(commits)
