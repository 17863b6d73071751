"""The finished cell as a folder of the store: what reports are made from, and reruns skip.

    cell.json              what it is made from, and the checksums of its files
    metrics.parquet        every metric of every estimator; differences.parquet compares them
    confidences.parquet    every confidence, by estimator
    capability.parquet     n and c of each question; questions.parquet, grades.parquet ..
    applications/*.parquet
    probes/<estimator>/    each trained probe, to be used elsewhere

Responses stay in their own artifact beside it. Nothing here imports what is slow to import.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import polars as pl
from polars.io.plugins import register_io_source

from benchmark.errors import DataError, StoreError
from benchmark.records import (
    CAPABILITY,
    CONFIDENCE,
    DIFFERENCE,
    DISAGREEMENT,
    GRADE,
    METRIC,
    PROBE_SELECTION,
    QUESTION,
    RESPONSE,
    CellResult,
    ChosenProbe,
    Estimate,
    check_table,
)
from benchmark.sampling.responses import RESPONSES
from benchmark.store.artifact import (
    Artifact,
    prompt_hash,
    read_json,
    read_sealed,
    refuse_renamed,
)
from benchmark.store.folder import read_folder, replace_folder
from benchmark.store.names import file_name, inside
from benchmark.store.parts import PART, whole_parts
from benchmark.store.rows import parquet, read_parquet

CELL = "cell/"  # before the model's name, among the parents
LISTING = "cell.json"
REPORT = "report.json"  # where the cell's report is
_OF_RESULT = {
    "questions": QUESTION, "grades": GRADE, "left_out": GRADE, "disagreements": DISAGREEMENT,
    "capability": CAPABILITY, "metrics": METRIC, "differences": DIFFERENCE,
}  # fmt: skip
_SELECTION = pl.Schema({"estimator": pl.String(), "place": pl.String(), **PROBE_SELECTION})
_CONFIDENCES = pl.Schema({"estimator": pl.String(), **CONFIDENCE})
TABLES = {**_OF_RESULT, "confidences": _CONFIDENCES, "selections": _SELECTION}
FILES = rf"({'|'.join(TABLES)}|applications/[^/]+)\.parquet|probes/[^/]+/[^/]+"
_CONTENT = {  # types of what a listing says
    "model": str, "dataset": str, "split": str, "estimates": dict, "failed": dict, "parents": dict,
    "responses": list, "complete": bool, "inputs": dict, "written": str,
}  # fmt: skip


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
    tables = {name: getattr(result, name) for name in _OF_RESULT}
    tables |= {f"applications/{file_name(n)}": table for n, table in result.applications.items()}
    tables["confidences"] = _confidences(result)
    tables["selections"] = _selections(result)
    drawn = responses_folder(artifact.folder, parents)
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


def _confidences(result: CellResult) -> pl.DataFrame:
    """Return the confidences of all estimators, one below the other."""
    tables = [
        estimate.confidences.with_columns(estimator=pl.lit(name)).select(list(_CONFIDENCES))
        for name, estimate in result.estimates.items()
    ]
    return pl.concat([_CONFIDENCES.to_frame(), *tables])


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
                        yield f"probes/{file_name(name + place)}/{file.name}", file.read_bytes()


def export_probes(artifact: Artifact, folder: Path) -> None:
    """Write the probes of a finished cell into ``folder``, each to be used alone.

    That of an estimator is in ``<estimator>``, one that an estimator is made of in
    ``<estimator>.<its place in the settings>``, such as ``probe_isotonic.base``.

    Raises:
        StoreError: as ``load_cell``.
    """
    for name, data in read_folder(artifact.folder, LISTING, FILES):
        if name.startswith("probes/"):
            target = inside(folder, name.removeprefix("probes/"), artifact.folder / LISTING)
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
    with suppress(OSError, ValueError):
        said = read_json(folder / LISTING)
        folder = cell_of(folder) if isinstance(said, dict) and "cell" in said else folder
    content = read_listing(folder)
    try:
        tables = {
            name.removesuffix(".parquet"): read_parquet(data)[0]
            for name, data in read_folder(folder, LISTING, FILES)
            if name.endswith(".parquet")
        }
        tables |= {name: check_table(tables[name], TABLES[name], name) for name in TABLES}
        estimates = _estimates(tables, content["estimates"])
    except (
        KeyError, TypeError, ValueError, OverflowError, DataError, pl.exceptions.PolarsError
    ) as error:  # fmt: skip
        raise _not_whole(folder, f"{type(error).__name__}: {error}") from error
    known: dict[str, Any] = {name: tables[name] for name in _OF_RESULT}
    return CellResult(
        **known,
        **{name: content[name] for name in ("model", "dataset", "split", "failed")},
        responses=_responses(folder, content, known),
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
    return {
        name: Estimate(
            confidences.get((name,), CONFIDENCE.to_frame()),
            samples_used=int(values["samples_used"]),
            oracle=bool(values["oracle"]),
            trained_on=None if values["trained_on"] is None else int(values["trained_on"]),
            probes={place: ChosenProbe(selections[name, place]) for place in values["probes"]},
        )
        for name, values in settings.items()
    }


def _parts(table: pl.DataFrame, *keys: str) -> dict[tuple[Any, ...], pl.DataFrame]:
    return table.partition_by(*keys, as_dict=True, include_key=False, maintain_order=True)


def read_listing(folder: Path) -> dict[str, Any]:
    """Return what the ``cell.json`` of a finished cell says.

    Raises:
        StoreError: there is none, or it is damaged, or it is not that of the folder's cell.
    """
    try:
        content = read_sealed(folder / LISTING)
    except StoreError as error:
        raise _not_whole(folder, str(error)) from error
    for name, of in _CONTENT.items():
        if not isinstance(content.get(name), of):
            raise _not_whole(folder, f"{LISTING} has no {name}")
    if not all(isinstance(why, str) for why in content["failed"].values()):
        raise _not_whole(folder, f"{LISTING} has no reasons under failed")
    if folder.name.startswith("cell-"):  # a copy under another name is nobody's
        refuse_renamed(folder / LISTING, content, folder.name.removeprefix("cell-"))
    return content


def responses_folder(cell: Path, parents: Mapping[str, str]) -> Path | None:
    """Return the artifact of a cell's responses, beside its own; None without any."""
    if "responses" not in parents:
        return None
    name = f"responses-{parents['responses']}"
    return inside(cell.parent, name, cell / LISTING, r"responses-[0-9a-f]+")


def _responses(
    cell: Path, content: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]
) -> pl.LazyFrame:
    """Return the responses that were graded, to be read from their parts when collected.

    Other parts may have been added since.
    """
    folder = responses_folder(cell, content["parents"])
    if folder is None:
        return RESPONSE.to_frame().lazy()
    paths = [inside(folder, name, cell / LISTING, PART) for name in content["responses"]]
    prompts = tables["questions"].select(
        "question_id",
        prompt_hash=pl.col("prompt").map_elements(prompt_hash, return_dtype=pl.String),
    )
    graded = pl.concat([tables["grades"], tables["left_out"]])["question_id", "sample_index"]
    key = ["question_id", "prompt_hash", "sample_index"]

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, most: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        gone = sum(not path.exists() for path in paths)
        if gone or not paths:
            raise StoreError(
                f"{folder}: {gone} of {len(paths)} parts are gone; run the cell again to draw "
                f"their responses again."
            )
        of_cell = graded.join(prompts, on="question_id")
        for path in whole_parts(paths):
            try:
                table = RESPONSES.read(path)[0]
            except DataError as error:
                raise StoreError(f"{path} holds no responses: {error} Move it away.") from error
            drawn = table.filter(RESPONSES.done).join(of_cell, on=key, how="semi")
            drawn = drawn.select(list(RESPONSE))
            if most is not None:  # rows before those that the predicate leaves out
                drawn, most = drawn.head(most), max(0, most - drawn.height)
            drawn = drawn if predicate is None else drawn.filter(predicate)
            yield drawn if columns is None else drawn.select(columns)

    return register_io_source(read, schema=RESPONSE)


def cell_of(run: Path) -> Path:
    """Return the finished cell that a run's folder points to.

    Raises:
        StoreError: the run didn't finish, or the cell isn't in the store any more.
    """
    try:
        place = read_json(run / LISTING)["cell"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoreError(f"{run} is no folder of a finished run: it has no cell.json.") from error
    within = str(place).removeprefix("store/")
    for outputs in run.absolute().parents:
        cell = inside(outputs / "store", within, run / LISTING, r"([^/]+/){3}cell-[0-9a-f]+")
        if cell.is_dir():
            return cell
    raise StoreError(f"{run}: its cell, {place}, isn't in the store any more; run it again.")


def _not_whole(folder: Path, why: str) -> StoreError:
    return StoreError(f"{folder} holds no whole cell ({why}). Run the cell again.")
