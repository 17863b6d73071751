"""Stage 8: logs grid cells, and the grid's report, to Weights & Biases, if it is asked to."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import psutil

from benchmark.config.schema import WANDB_SETTINGS, Config, TrackerConfig
from benchmark.errors import StoreError
from benchmark.records import CellResult
from benchmark.terminal import Terminal

LOGGED_GROUPS = (
    "dataset",
    "model",
    "engine",
    "grading",
    "sampling",
    "capability",
    "estimator",
    "application",
    "trainer",
    "statistics",
)
COUNTED_GROUPS = ("dataset", "estimator", "application", "statistics")  # used by dataset=counts
_UPLOAD_SECONDS = 120.0  # longest time that an upload may take
_REACH_SECONDS = 10.0  # longest time until the server says anything
ID = "question_id"
STEP = "responses_per_question"  # since W&B's own step begins at 0 whenever a run is logged again


def track(result: CellResult, config: Config, folder: Path) -> None:
    """Log a cell as the configuration's tracker says; ``none`` does nothing.

    Runs of one grid form a group, in which the same cell is the same run, however often it is
    logged.

    Args:
        result: results of the cell.
        config: configuration of the run; only ``LOGGED_GROUPS`` are logged.
        folder: folder of the run. W&B's files go below ``folder/wandb``; the figures are those in
            ``folder/figures``.

    Raises:
        StoreError: where W&B can't write.
    """
    if config.tracker.kind != "wandb":
        return
    logged = logged_config(config)
    name = f"{result.model}/{result.dataset}/{result.split}"
    decisive = {group: value for group, value in logged.items() if group != "engine"}
    decisive["grid"] = config.grid
    about = {"name": name, "id": run_id(name, decisive), "config": logged}
    with _run(config.tracker, folder, group=config.grid, job_type="cell", **about) as run:
        run.define_metric("*", step_metric=STEP)
        tables = {"questions": question_table(result)}
        tables |= {f"applications/{name}": table for name, table in result.applications.items()}
        figures = sorted((folder / "figures").glob("*.png"))
        run.log({STEP: config.sampling.k, **_tables(tables), **_images(folder, figures)})
        run.summary.update(metric_summary(result.metrics))


def track_grid(grid: str, tracker: TrackerConfig, folder: Path, jobs: Sequence[object]) -> None:
    """Log a grid's report as one summary run in the group of its cells; ``none`` does nothing.

    Args:
        grid: name of the grid, ``Config.grid``.
        tracker: settings of the tracker.
        folder: folder of the report. Every CSV file in it is logged as a table, every PNG file as
            an image, named by its path without suffix. W&B's files go below ``folder/wandb``.
        jobs: what the grid's cells are made from; the same jobs give the same W&B run.

    Raises:
        StoreError: where W&B can't write.
    """
    if tracker.kind != "wandb":
        return
    about = {"name": f"{grid}/summary", "id": run_id(f"{grid}/summary", {"jobs": jobs})}
    with _run(tracker, folder, group=grid, job_type="summary", **about) as run:
        files = [path for path in sorted(folder.rglob("*")) if folder / "wandb" not in path.parents]
        tables = {_key(folder, p): pl.read_csv(p, glob=False) for p in files if p.suffix == ".csv"}
        run.log({**_tables(tables), **_images(folder, [p for p in files if p.suffix == ".png"])})


@contextmanager
def _run(tracker: TrackerConfig, folder: Path, **about: Any) -> Iterator[Any]:
    """Yield a W&B run that is written to the disk, and upload it at its end if that is asked for.

    A run that is on the disk first isn't lost with the network, and its upload can be given up.
    """
    import wandb  # here, so that tracker=none never loads it

    with _files_below(folder / "wandb"):
        try:
            with wandb.init(
                project=tracker.project, entity=tracker.entity, dir=folder, mode="offline",
                settings=wandb.Settings(**WANDB_SETTINGS), **about,
            ) as run:  # fmt: skip
                yield run
        except wandb.Error as error:
            raise StoreError(
                f"W&B could not log {about['name']}: {error} Its report is in {folder}."
            ) from error
        wandb.teardown()  # ends W&B's own process: until then it may still write the files
        if tracker.mode == "online":
            _upload(Path(run.settings.sync_dir).absolute(), run.settings.base_url)


def _tables(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    import wandb

    return {
        name: wandb.Table(columns=[*table.columns], data=[*map(list, table.rows())])
        for name, table in tables.items()
    }


def _images(folder: Path, paths: Iterable[Path]) -> dict[str, Any]:
    import wandb

    return {_key(folder, path): wandb.Image(str(path)) for path in paths}


def _key(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _upload(run: Path, base_url: str) -> None:
    """Upload an offline run; where that can't be done in time, say how to do it later."""
    fault = _sync(run) if anyio.run(_answers, base_url) else f"{base_url} can't be reached"
    if not list(run.glob("*.wandb.synced")):
        Terminal().print(
            f"W&B: {fault}, so the run stays offline. Upload it later: wandb sync {run}"
        )


def _sync(run: Path) -> str:
    """Run W&B's own upload and return its last words, or that it was given up."""
    command = [sys.executable, "-m", "wandb", "sync", str(run)]
    # A file, not a pipe: a process that W&B leaves behind would keep a pipe open.
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.STDOUT,
            cwd=run.parents[1],  # its log goes into ./wandb
        )  # fmt: skip
        try:
            process.wait(_UPLOAD_SECONDS)
        except subprocess.TimeoutExpired:
            return f"the upload didn't end in {_UPLOAD_SECONDS:g} s"
        finally:
            _end(process)
        told.seek(0)
        words = told.read().decode(errors="replace").strip()
    return words.splitlines()[-1].removesuffix(".") if words else "no upload"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with all that it has started, which may have sessions of their own."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


async def _answers(base_url: str) -> bool:
    """Tell whether there is a server, whatever it says; the system's proxies are used."""
    import httpx2

    from benchmark.engines.server.client import GuardedClient

    try:
        async with GuardedClient(_REACH_SECONDS, "WANDB") as client:
            await client.get(base_url)
    except (httpx2.RequestError, httpx2.InvalidURL):
        return False
    except Exception:  # noqa: BLE001  a reply that is too large, or a redirect, is one
        return True
    return True


def logged_config(config: Config) -> dict[str, Any]:
    """Return what is logged of the configuration, in which no secret stands: the groups in use."""
    resolved = asdict(config)
    groups = COUNTED_GROUPS if config.dataset.counted else LOGGED_GROUPS
    return {group: resolved[group] for group in groups}


def run_id(name: str, logged: dict[str, Any]) -> str:
    """Return the same id for the same cell and configuration, so that a repetition replaces it."""
    identity = json.dumps([name, logged], sort_keys=True, default=str)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def metric_summary(metrics: pl.DataFrame) -> dict[str, float]:
    """Return ``estimator/metric`` with its interval as ``.../low`` and ``.../high``."""
    summary: dict[str, float] = {}
    for row in metrics.iter_rows(named=True):
        name = f"{row['estimator']}/{row['metric']}"
        summary |= {name: row["value"], f"{name}/low": row["low"], f"{name}/high": row["high"]}
    return summary


def question_table(result: CellResult) -> pl.DataFrame:
    """Return question_id, n, c, expected_accuracy and a confidence column for each estimator.

    Of estimators that are random the confidence is the mean over their draws; it is null where
    there is none.
    """
    table = result.capability.select(ID, "n", "c", expected_accuracy=pl.col("c") / pl.col("n"))
    for name, estimate in result.estimates.items():
        means = estimate.confidences.group_by(ID).agg(pl.col("confidence").mean().alias(name))
        table = table.join(means, on=ID, how="left")
    return table.sort(ID)


@contextmanager
def _files_below(folder: Path) -> Iterator[None]:
    """Keep W&B's staged files and its log in ``folder``, unless the user chose another place.

    Without a home, as in containers whose user the system doesn't know, W&B gets one there, too.
    """
    places = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}
    try:
        Path.home()
    except RuntimeError:
        places["HOME"] = "home"
    ours = {variable: name for variable, name in places.items() if variable not in os.environ}
    os.environ.update(
        {variable: str((folder / name).absolute()) for variable, name in ours.items()}
    )
    try:
        yield
    finally:
        for variable in ours:
            del os.environ[variable]
