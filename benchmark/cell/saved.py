"""The finished cell as an artifact of the store: what reports are made from, and reruns skip.

It holds every table of a ``CellResult``, but for the responses, whose texts stay in their own
artifact beside it. Nothing here imports what is slow to import.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import polars as pl
from rich.console import Console

from benchmark.cell.key import cell_artifact, has_cells, outputs_of, rows_known
from benchmark.config.schema import Config
from benchmark.errors import StoreError
from benchmark.records import RESPONSE, STORED_RESPONSE, CellResult, ChosenProbe, Estimate
from benchmark.store.artifact import Artifact, prompt_hash, read_json, read_manifest

_PROBE = ".probe"  # suffix of the parts that are files of an exported probe
CELL = "cell/"  # before the model's name, among the parents
_TABLES = [field.name for field in fields(CellResult) if field.type is pl.DataFrame]


class _Pointer(NamedTuple):
    """Where a cell's report is, and where the cell was logged, as of `_asked`."""

    report: str | None
    logged: set[str]


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


def save_cell(
    result: CellResult, artifact: Artifact, parents: Mapping[str, str], complete: bool
) -> None:
    """Write every table of the cell as a Parquet part, but for the responses.

    The part that lists the others comes last, so that where it exists the cell is whole.

    Args:
        result: the cell.
        artifact: of ``cell_artifact``.
        parents: fingerprints by stage; with ``responses`` they are read from their artifact, and
            ``cell/<model>`` are the cells that an application read.
        complete: whether running it again would change nothing.
    """
    tables = {name: getattr(result, name) for name in _TABLES}
    tables |= {f"application/{name}": table for name, table in result.applications.items()}
    estimates: dict[str, dict[str, Any]] = {name: {} for name in result.estimates}
    for name, estimate in result.estimates.items():
        for field in fields(Estimate):
            value = getattr(estimate, field.name)
            if isinstance(value, pl.DataFrame):
                tables[f"{field.name}/{name}"] = value
            elif field.name != "probes":
                estimates[name][field.name] = value
        for place, probe in estimate.probes.items():
            tables[f"selection/{name}{place}"] = probe.selection
        estimates[name]["probes"] = list(estimate.probes)
    drawn = _responses_folder(artifact.folder, parents)
    with artifact.lock():
        parts = {name: artifact.append_table(table) for name, table in tables.items()}
        probes = _append_probes(result, artifact)
        content = {
            "model": result.model,
            "dataset": result.dataset,
            "split": result.split,
            "tables": {name: path.name for name, path in parts.items()},
            "estimates": estimates,
            "probes": {name: path.name for name, path in probes.items()},
            "failed": result.failed,
            "parents": dict(parents),
            "responses": sorted(path.name for path in drawn.glob("part-*")) if drawn else [],
            "complete": complete,
        }
        listing = artifact.append(json.dumps(content, indent=2).encode(), ".json")
        artifact.keep_only([*parts.values(), *probes.values(), listing])
        counts = {name: table.height for name, table in tables.items()}
        artifact.write_manifest(counts, parents)


def _append_probes(result: CellResult, artifact: Artifact) -> dict[str, Path]:
    """Write the files of the exported probes as parts, by ``<estimator><place>/<file>``."""
    parts = {}
    for name, estimate in result.estimates.items():
        for place, probe in estimate.probes.items():
            if probe.exported is not None:
                with TemporaryDirectory() as folder:
                    probe.exported.save(Path(folder))
                    for file in Path(folder).iterdir():
                        part = artifact.append(file.read_bytes(), _PROBE)
                        parts[f"{name}{place}/{file.name}"] = part
    return parts


def export_probes(artifact: Artifact, folder: Path) -> None:
    """Write the probes of a finished cell into ``folder``, each to be used alone.

    That of an estimator is in ``<estimator>``, one that an estimator is made of in
    ``<estimator>.<its place in the settings>``, such as ``probe_isotonic.base``.

    Raises:
        StoreError: as ``load_cell``.
    """
    paths = {path.name: path for path in artifact.parts(_PROBE)}
    for name, part in _content(artifact)["probes"].items():
        if part not in paths:
            raise _not_whole(artifact.folder, f"{part} is missing")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths[part], target)


def load_cell(folder: Path) -> CellResult:
    """Return a finished cell; its responses are read when they are collected.

    It has no probes to be used, only how they were chosen; ``export_probes`` writes them.

    Raises:
        StoreError: the folder holds no whole cell, or a part of it is damaged.
    """
    artifact = Artifact(folder, {}, Console(quiet=True))
    content = _content(artifact)
    paths = {path.name: path for path in artifact.parts(".parquet")}
    try:
        tables = {
            name: pl.read_parquet(paths[part], hive_partitioning=False, glob=False)
            for name, part in content["tables"].items()
        }
        estimates = {name: _estimate(tables, name, content) for name in content["estimates"]}
        known: dict[str, Any] = {name: tables[name] for name in _TABLES}
        known |= {name: content[name] for name in ("model", "dataset", "split", "failed")}
        drawn, names = _responses_folder(folder, content["parents"]), content["responses"]
    except KeyError as error:
        raise _not_whole(folder, f"{error} is missing") from error
    return CellResult(
        **known,
        responses=_responses(drawn, names, known) if drawn else RESPONSE.to_frame().lazy(),
        estimates=estimates,
        applications={
            name.removeprefix("application/"): table
            for name, table in tables.items()
            if name.startswith("application/")
        },
    )


def _estimate(tables: Mapping[str, pl.DataFrame], name: str, content: dict[str, Any]) -> Estimate:
    """Return an estimate from its own tables and the values of its other fields."""
    values: dict[str, Any] = dict(content["estimates"][name])
    chosen = {place: ChosenProbe(tables[f"selection/{name}{place}"]) for place in values["probes"]}
    return Estimate(**values | {"confidences": tables[f"confidences/{name}"], "probes": chosen})


def _responses_folder(cell: Path, parents: Mapping[str, str]) -> Path | None:
    """Return the artifact of a cell's responses, beside its own; None without any."""
    return cell.parent / f"responses-{parents['responses']}" if "responses" in parents else None


def _responses(
    folder: Path, names: Sequence[str], tables: Mapping[str, pl.DataFrame]
) -> pl.LazyFrame:
    """Return the responses that were graded, to be read from their artifact when collected.

    Args:
        folder: of the artifact.
        names: of the parts that they are in; others may have been added since.
        tables: of the cell.
    """
    prompts = tables["questions"].select(
        "question_id",
        prompt_hash=pl.col("prompt").map_elements(prompt_hash, return_dtype=pl.String),
    )
    graded = pl.concat([tables["grades"], tables["left_out"]])["question_id", "sample_index"]
    key = ["question_id", "prompt_hash", "sample_index"]

    def read() -> pl.LazyFrame:
        parts = Artifact(folder, {}, Console(quiet=True)).parts(".parquet")
        gone = len({*names} - {path.name for path in parts})
        if gone or not parts:
            raise StoreError(
                f"{folder}: {gone} of {len(names)} parts are gone; run the cell again to draw "
                f"their responses again."
            )
        stored = pl.scan_parquet(parts, schema=STORED_RESPONSE, hive_partitioning=False, glob=False)
        wanted = graded.join(prompts, on="question_id").lazy()
        drawn = stored.filter(pl.col("finish_reason") != "error").join(wanted, on=key, how="semi")
        return drawn.unique(key).select(list(RESPONSE))

    return pl.defer(read, schema=RESPONSE)  # type: ignore[arg-type]  # a LazyFrame does as well


def is_finished(artifact: Artifact) -> bool:
    """Tell whether the cell is whole and running it again would change nothing.

    It would where requests had failed or an application had, where a cell of another model that an
    application read isn't the newest any more, where parts of its responses are gone, and where
    rows may have changed unseen.
    """
    if not rows_known(artifact.inputs):
        return False
    try:
        content = _content(artifact)
        read_manifest(artifact.folder)
        intact = {path.name for kind in (".parquet", _PROBE) for path in artifact.parts(kind)}
        drawn = _responses_folder(artifact.folder, content["parents"])
        return (
            content["complete"]
            and {*content["tables"].values(), *content["probes"].values()} <= intact
            and set(_TABLES) <= set(content["tables"])
            and all(drawn is not None and (drawn / name).is_file() for name in content["responses"])
            and all(
                newest_cell(artifact, stage.removeprefix(CELL)).name == name
                for stage, name in content["parents"].items()
                if stage.startswith(CELL)
            )
        )
    except (StoreError, KeyError):
        return False


def newest_cell(artifact: Artifact, model: str) -> Path:
    """Return the newest whole cell of another model on the artifact's dataset and split.

    Cells of the very same questions come before others.

    Raises:
        StoreError: there is none; the message says what to run.
    """
    split, dataset, _, root = artifact.folder.parents[:4]
    found = []
    for path in (root / model / dataset.name / split.name).glob("cell-*/manifest.json"):
        with suppress(StoreError):  # a damaged one is made anew by its own run
            manifest = read_manifest(path.parent)
            same = manifest["inputs"]["dataset"] == artifact.inputs["dataset"]
            found.append((same, manifest["written"], path.parent))
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


def point_to_cell(artifact: Artifact, report: Path, folder: Path, config: Config) -> None:
    """Let the run's folder point to the cell, and the cell to its report.

    ``cell.json`` in the run's folder says where both are, relative to ``paths.outputs``. The cell
    also keeps where it was logged, so that each grid of the tracker gets it once.
    """
    outputs = outputs_of(config)
    places = {"cell": artifact.folder, "report": report}
    relative = {name: os.path.relpath(path, outputs) for name, path in places.items()}
    partial = folder / ".partial-cell.json"
    partial.write_text(json.dumps(relative, indent=2))
    partial.rename(folder / "cell.json")
    with artifact.lock():  # which removes what others have half written
        logged = sorted(_pointer(artifact).logged | _asked(config))
        known = {"report": relative["report"], "logged": logged}
        artifact.write("report.json", json.dumps(known).encode())


def cell_of(run: Path) -> Path:
    """Return the finished cell that a run's folder points to.

    Raises:
        StoreError: the run didn't finish, or the cell isn't in the store any more.
    """
    try:
        place = str(read_json(run / "cell.json")["cell"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{run} is no folder of a finished run: it has no cell.json.") from error
    for outputs in run.absolute().parents:
        if (outputs / place).is_dir():
            return outputs / place
    raise StoreError(f"{run}: its cell, {place}, isn't in the store any more; run it again.")


def _report_of(artifact: Artifact, config: Config) -> Path | None:
    """Return the cell's report where there is one, logged as the tracker's settings ask."""
    pointer = _pointer(artifact)
    if pointer.report is None or not _asked(config) <= pointer.logged:
        return None
    report = outputs_of(config) / pointer.report
    return report if report.is_file() else None


def _asked(config: Config) -> set[str]:
    """Return where the configuration wants the cell logged: the tracker's kind and the grid."""
    kind = config.tracker.kind
    return set() if kind == "none" else {f"{kind}/{config.grid}"}


def _pointer(artifact: Artifact) -> _Pointer:
    """Return what the cell's report.json says: nothing, where it can't be read."""
    try:
        said = read_json(artifact.folder / "report.json")
        return _Pointer(str(said["report"]), {*map(str, said.get("logged", []))})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _Pointer(None, set())


def _content(artifact: Artifact) -> dict[str, Any]:
    listings = artifact.parts(".json")
    if len(listings) != 1:
        raise _not_whole(artifact.folder, f"it has {len(listings)} lists of its tables")
    content: dict[str, Any] = read_json(listings[0])
    return content


def _not_whole(folder: Path, why: str) -> StoreError:
    return StoreError(f"{folder} holds no whole cell ({why}). Run the cell again.")
