"""Finished cells: whether one is, which is the newest, and what a run does where its own is."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.cell.key import cell_artifact, has_cells, outputs_of, rows_known
from benchmark.cell.saved import (
    CELL,
    FILES,
    LISTING,
    REPORT,
    TABLES,
    export_probes,
    read_listing,
    responses_folder,
)
from benchmark.config.schema import Config
from benchmark.errors import StoreError
from benchmark.store.artifact import Artifact, read_json, read_sealed, refuse_renamed
from benchmark.store.files import write_whole
from benchmark.store.folder import aside, read_folder
from benchmark.store.names import inside, refuse_links
from benchmark.store.parts import PART


def is_finished(artifact: Artifact) -> bool:
    """Tell whether the cell is whole and running it again would change nothing.

    It would where requests had failed or an application had, where a cell of another model that an
    application read isn't the newest any more, where parts of its responses are gone, and where
    rows may have changed unseen.

    Raises:
        StoreError: the folder holds another cell, or is a symbolic link.
    """
    if not rows_known(artifact.inputs):
        return False
    artifact.refuse_links()
    folder = artifact.folder
    try:
        said = read_sealed(folder / LISTING)
    except StoreError:  # there is none, or it is damaged: it is made anew
        return False
    _refuse_other(folder, said)
    try:
        content = read_listing(folder)
        intact = {name for name, _ in read_folder(folder, LISTING, FILES)}
        drawn = responses_folder(folder, content["parents"])
        parts = [inside(drawn or folder, name, LISTING, PART) for name in content["responses"]]
        return (
            content["complete"]
            and {f"{name}.parquet" for name in TABLES} <= intact
            and all(drawn is not None and part.is_file() for part in parts)
            and all(
                newest_cell(artifact, stage.removeprefix(CELL)).name == name
                for stage, name in content["parents"].items()
                if stage.startswith(CELL)
            )
        )
    except StoreError:
        return False


def _refuse_other(folder: Path, said: Mapping[str, Any]) -> None:
    """Refuse a folder of the store that holds a cell with other inputs, or of another place."""
    refuse_renamed(folder / LISTING, said, folder.name.removeprefix("cell-"))
    place = [said.get(name) for name in ("model", "dataset", "split")]
    if place != [*folder.parts[-4:-1]]:
        raise StoreError(
            f"{folder / LISTING} is that of {'/'.join(map(str, place)):.200}: the folder was "
            f"copied from there. Move it away and run again."
        )


def newest_cell(artifact: Artifact, model: str) -> Path:
    """Return the newest whole cell of another model on the artifact's dataset and split.

    Cells of the very same questions come before others.

    Raises:
        StoreError: there is none; the message says what to run.
    """
    split, dataset, _, root = artifact.folder.parents[:4]
    found = []
    place = inside(root, f"{model}/{dataset.name}/{split.name}", f"The application for {model}")
    for path in place.glob(f"cell-*/{LISTING}"):
        with suppress(StoreError):  # a damaged one is made anew by its own run
            refuse_links(place, path.parent.name)
            content = read_listing(path.parent)
            same = content["inputs"].get("dataset") == artifact.inputs["dataset"]
            found.append((same, content["written"], path.parent))
    if not found:
        settings = f"model={model} dataset={dataset.name}"
        if "model" not in artifact.inputs:  # of counts
            settings = f"model.name={model} dataset.name={dataset.name} dataset=counts"
            settings += " dataset.path=<its file>"
        raise StoreError(
            f"The store has no finished cell of model {model} on {dataset.name}, split "
            f"{split.name}. Run it first: python -m benchmark {settings}"
        )
    return max(found)[-1]


def skip_finished(config: Config, folder: Path, console: Console) -> bool:
    """Tell whether there is nothing to do: the cell is finished and its report is there.

    It says where both are, and lets the run's folder point to them; the cell's probes are there.
    """
    if not has_cells(config):  # the rest of the configuration is checked before weights are sought
        return False
    artifact = cell_artifact(config, console)
    report = _report_of(artifact, config)
    if report is None or not is_finished(artifact):
        return False
    export_probes(artifact, folder / "probes")
    point_to_cell(artifact, report, folder, config)
    console.print(
        f"Cell: model {config.model.name}, dataset {config.dataset.name}: finished before.\n"
        f"Result: {artifact.folder} (delete it to evaluate the cell anew)\nReport: {report}"
    )
    return True


def point_to_cell(artifact: Artifact, report: Path, folder: Path, config: Config) -> None:
    """Let the run's folder point to the cell, and the cell to its report.

    ``cell.json`` in the run's folder says where both are, relative to ``paths.outputs``. The cell
    also keeps where it was logged, so that each grid of the tracker gets it once.
    """
    outputs = outputs_of(config)
    places = {"cell": artifact.folder, "report": report}
    relative = {
        name: Path(os.path.relpath(path, outputs)).as_posix() for name, path in places.items()
    }
    write_whole(folder / LISTING, json.dumps(relative, indent=2).encode())
    with aside(artifact).lock():  # so that it isn't replaced meanwhile
        _, logged = _pointer(artifact)
        known = {"report": relative["report"], "logged": sorted(logged | _asked(config))}
        artifact.write(REPORT, json.dumps(known).encode())


def _report_of(artifact: Artifact, config: Config) -> Path | None:
    """Return the cell's report where there is one, logged as the tracker's settings ask."""
    report, logged = _pointer(artifact)
    if report is None or not _asked(config) <= logged:
        return None
    with suppress(StoreError):  # it is not in the outputs: the report is written again
        path = inside(outputs_of(config), report, artifact.folder / REPORT, r"(.+/)?report\.html")
        return path if path.is_file() else None
    return None


def _asked(config: Config) -> set[str]:
    """Return where the configuration wants the cell logged: the tracker's kind and the grid."""
    kind = config.tracker.kind
    return set() if kind == "none" else {f"{kind}/{config.grid}"}


def _pointer(artifact: Artifact) -> tuple[str | None, set[str]]:
    """Return where the cell's report is, and where the cell was logged, if that can be read."""
    try:
        said = read_json(artifact.folder / REPORT)
        return str(said["report"]), {*map(str, said.get("logged", []))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StoreError):
        return None, set()
