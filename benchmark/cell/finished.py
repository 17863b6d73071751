"""What a run does where its cell is finished: it points to the cell and to its report."""

import json
import os
from pathlib import Path

from rich.console import Console

from benchmark.cell.key import cell_artifact, has_cells, outputs_of
from benchmark.cell.saved import LISTING, REPORT, export_probes, is_finished
from benchmark.config.schema import Config
from benchmark.store.artifact import Artifact, read_json
from benchmark.store.files import write_whole
from benchmark.store.folder import aside


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
    relative = {name: os.path.relpath(path, outputs) for name, path in places.items()}
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
    path = outputs_of(config) / report
    return path if path.is_file() else None


def _asked(config: Config) -> set[str]:
    """Return where the configuration wants the cell logged: the tracker's kind and the grid."""
    kind = config.tracker.kind
    return set() if kind == "none" else {f"{kind}/{config.grid}"}


def _pointer(artifact: Artifact) -> tuple[str | None, set[str]]:
    """Return where the cell's report is, and where the cell was logged, if that can be read."""
    try:
        said = read_json(artifact.folder / REPORT)
        return str(said["report"]), {*map(str, said.get("logged", []))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, set()
