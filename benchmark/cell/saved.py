"""The finished cell as a folder of the store: what reports are made from, and reruns skip.

    cell.json              what it is made from, and the checksums of its files
    metrics.parquet        every metric of every estimator; differences.parquet compares them
    confidences.parquet    every confidence, by estimator
    capability.parquet     n and c of each question; questions.parquet, grades.parquet ..
    applications/*.parquet
    probes/<estimator>/    each trained probe, to be used elsewhere

Responses stay in their own artifact beside it. Nothing here imports what is slow to import.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote

import polars as pl
from rich.console import Console

from benchmark.cell.key import rows_known
from benchmark.errors import StoreError
from benchmark.records import (
    CONFIDENCE,
    PROBE_SELECTION,
    RESPONSE,
    STORED_RESPONSE,
    CellResult,
    ChosenProbe,
    Estimate,
)
from benchmark.store.artifact import Artifact, prompt_hash, read_json, read_sealed
from benchmark.store.folder import read_folder, replace_folder
from benchmark.store.rows import parquet

CELL = "cell/"  # before the model's name, among the parents
LISTING = "cell.json"
REPORT = "report.json"  # where the cell's report is
_TABLES = [field.name for field in fields(CellResult) if field.type is pl.DataFrame]
_SELECTION = pl.Schema({"estimator": pl.String(), "place": pl.String(), **PROBE_SELECTION})


def save_cell(
    result: CellResult, artifact: Artifact, parents: Mapping[str, str], complete: bool
) -> None:
    """Write the cell as a folder, all of it or nothing.

    Args:
        result: the cell.
        artifact: of ``cell_artifact``.
        parents: fingerprints by stage; with ``responses`` they are read from their artifact, and
            ``cell/<model>`` are the cells that an application read.
        complete: whether running it again would change nothing.
    """
    tables = {name: getattr(result, name) for name in _TABLES}
    tables |= {f"applications/{_plain(n)}": table for n, table in result.applications.items()}
    tables["confidences"] = _confidences(result)
    tables["selections"] = _selections(result)
    drawn = _responses_folder(artifact.folder, parents)
    content = {
        "model": result.model,
        "dataset": result.dataset,
        "split": result.split,
        "estimates": {
            name: {
                "samples_used": estimate.samples_used,
                "oracle": estimate.oracle,
                "trained_on": estimate.trained_on,
                "probes": [*estimate.probes],
            }
            for name, estimate in result.estimates.items()
        },
        "failed": result.failed,
        "parents": dict(parents),
        "responses": sorted(path.name for path in drawn.glob("part-*")) if drawn else [],
        "complete": complete,
        "rows": {name: table.height for name, table in tables.items()},
    }
    files = {f"{name}.parquet": parquet(table) for name, table in tables.items()}
    replace_folder(artifact, files | dict(_probes(result)), LISTING, content, kept=[REPORT])


def _plain(name: str) -> str:
    """Return a name as that of a file or folder."""
    plain = quote(name, safe=" ")
    return plain if plain.strip(".") else plain.replace(".", "%2E")


def _confidences(result: CellResult) -> pl.DataFrame:
    """Return the confidences of all estimators, one below the other."""
    schema = pl.Schema({"estimator": pl.String(), **CONFIDENCE})
    tables = [
        estimate.confidences.with_columns(estimator=pl.lit(name)).select(list(schema))
        for name, estimate in result.estimates.items()
    ]
    return pl.concat([schema.to_frame(), *tables])


def _selections(result: CellResult) -> pl.DataFrame:
    """Return how probes were chosen, by estimator and by their place in it."""
    tables = [
        probe.selection.with_columns(estimator=pl.lit(name), place=pl.lit(place))
        for name, estimate in result.estimates.items()
        for place, probe in estimate.probes.items()
    ]
    return pl.concat([_SELECTION.to_frame(), *(table.select(list(_SELECTION)) for table in tables)])


def _probes(result: CellResult) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the exported probes, ``probes/<estimator><place>/<file>``."""
    for name, estimate in result.estimates.items():
        for place, probe in estimate.probes.items():
            if probe.exported is not None:
                with TemporaryDirectory() as folder:
                    probe.exported.save(Path(folder))
                    for file in Path(folder).iterdir():
                        yield f"probes/{_plain(name + place)}/{file.name}", file.read_bytes()


def export_probes(artifact: Artifact, folder: Path) -> None:
    """Write the probes of a finished cell into ``folder``, each to be used alone.

    That of an estimator is in ``<estimator>``, one that an estimator is made of in
    ``<estimator>.<its place in the settings>``, such as ``probe_isotonic.base``.

    Raises:
        StoreError: as ``load_cell``.
    """
    for name, data in read_folder(artifact.folder, LISTING):
        if name.startswith("probes/"):
            target = folder / name.removeprefix("probes/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def load_cell(folder: str | Path) -> CellResult:
    """Return a finished cell, its tables as polars frames; responses are read when collected.

    It has no probes to be used, only how they were chosen; the folder's ``probes`` has them.

    Args:
        folder: of the cell in the store, or of a run that finished it.

    Raises:
        StoreError: the folder holds no whole cell, or a file of it is damaged.
    """
    folder = Path(folder).expanduser()
    with suppress(OSError, ValueError, TypeError):
        folder = cell_of(folder) if "cell" in read_json(folder / LISTING) else folder
    content = read_listing(folder)
    tables = {
        name.removesuffix(".parquet"): pl.read_parquet(io.BytesIO(data))
        for name, data in read_folder(folder, LISTING)
        if name.endswith(".parquet")
    }
    try:
        known: dict[str, Any] = {name: tables[name] for name in _TABLES}
        known |= {name: content[name] for name in ("model", "dataset", "split", "failed")}
        estimates = _estimates(tables, content["estimates"])
        drawn, names = _responses_folder(folder, content["parents"]), content["responses"]
    except KeyError as error:
        raise _not_whole(folder, f"{error} is missing") from error
    return CellResult(
        **known,
        responses=_responses(drawn, names, known) if drawn else RESPONSE.to_frame().lazy(),
        estimates=estimates,
        applications={
            unquote(name.removeprefix("applications/")): table
            for name, table in tables.items()
            if name.startswith("applications/")
        },
    )


def _estimates(
    tables: Mapping[str, pl.DataFrame], settings: Mapping[str, Any]
) -> dict[str, Estimate]:
    """Return the estimates from the tables of all and the settings of each."""
    confidences = _parts(tables["confidences"], "estimator")
    selections = _parts(tables["selections"], "estimator", "place")
    none = CONFIDENCE.to_frame()
    return {
        name: Estimate(
            **values
            | {
                "confidences": confidences.get((name,), none),
                "probes": {p: ChosenProbe(selections[name, p]) for p in values["probes"]},
            }
        )
        for name, values in settings.items()
    }


def _parts(table: pl.DataFrame, *keys: str) -> dict[tuple[Any, ...], pl.DataFrame]:
    return table.partition_by(*keys, as_dict=True, include_key=False, maintain_order=True)


def read_listing(folder: Path) -> dict[str, Any]:
    """Return what the ``cell.json`` of a finished cell says.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    try:
        return read_sealed(folder / LISTING)
    except StoreError as error:
        raise _not_whole(folder, str(error)) from error


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
        content = read_listing(artifact.folder)
        intact = {name for name, _ in read_folder(artifact.folder, LISTING)}
        drawn = _responses_folder(artifact.folder, content["parents"])
        return (
            content["complete"]
            and {f"{name}.parquet" for name in (*_TABLES, "confidences", "selections")} <= intact
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
    for path in (root / model / dataset.name / split.name).glob(f"cell-*/{LISTING}"):
        with suppress(StoreError):  # a damaged one is made anew by its own run
            manifest = read_sealed(path)
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


def _not_whole(folder: Path, why: str) -> StoreError:
    return StoreError(f"{folder} holds no whole cell ({why}). Run the cell again.")
