"""Stage 8: logs grid cells, and the grid's report, to Weights & Biases, if it is asked to."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from benchmark.cell.cell import RESPONSES_OF
from benchmark.cell.saved import FILES, LISTING, read_listing
from benchmark.config.composing import swept_run
from benchmark.config.schema import Config, TrackerConfig
from benchmark.errors import StoreError
from benchmark.records import OUTCOMES, CellResult, Outcome
from benchmark.runs.wandb_run import logging, wandb_run
from benchmark.store.artifact import read_manifest
from benchmark.store.folder import read_folder
from benchmark.store.names import inside

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
# Of a finished cell's files; the others hold questions and answers.
LOGGED_TABLES = ("metrics", "differences", "confidences", "capability", "selections")
_MOST_POINTS = 10_000  # that a chart of W&B shows
_MOST_CHARACTERS = 64  # of a tag
ID = "question_id"


def cell_run(config: Config, folder: Path, console: Console) -> AbstractContextManager[Any]:
    """Return the context of the W&B run that a cell is logged to; None is the run without one.

    Runs of one grid form a group, in which the same cell is the same run, however often it is
    begun or logged. Where an agent of a sweep started this process, its run is taken.

    Args:
        config: configuration of the run; only ``LOGGED_GROUPS`` are logged.
        folder: folder of the run; W&B's files go below ``folder/wandb``.
        console: terminal, which is told what W&B can't do.
    """
    logged, dataset = logged_config(config), config.dataset
    name = f"{config.model.name}/{dataset.name}/{dataset.splits['evaluation']}"
    decisive = {group: value for group, value in logged.items() if group != "engine"}
    decisive["grid"] = config.grid
    tags = [config.model.name, dataset.name, *config.tracker.tags]
    return wandb_run(
        config.tracker, folder, console, name=name, id=swept_run() or run_id(name, decisive),
        config=logged, group=config.grid, job_type="cell",
        tags=[*dict.fromkeys(tag[:_MOST_CHARACTERS] for tag in tags)],
    )  # fmt: skip


def log_cell(
    run: Any, result: CellResult, config: Config, folder: Path, kept: Path, console: Console
) -> bool:
    """Log a finished cell to the run of ``cell_run``; tell whether it is logged.

    Args:
        run: the run; None logs nothing.
        result: results of the cell.
        config: configuration of the run.
        folder: folder of the run; the figures are those in ``folder/figures``.
        kept: folder of the finished cell in the store.
        console: terminal, which is told what W&B can't do.
    """
    if run is None:
        return False
    with logging(folder, console):
        tables = {"questions": question_table(result)}
        tables |= {f"applications/{name}": table for name, table in result.applications.items()}
        figures = sorted((folder / "figures").glob("*.png"))
        run.log({**_tables(tables), **_charts(result), **_images(folder, figures)})
        run.summary.update(metric_summary(result.metrics) | outcome_summary(result))
        for artifact in _used(kept):
            # What ``run.use_artifact`` does; that refuses runs which another process uploads.
            run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
        for artifact in _made(kept, config):
            run.log_artifact(artifact)
        return True
    return False


def track_grid(
    grid: str, tracker: TrackerConfig, folder: Path, jobs: Sequence[object], console: Console
) -> None:
    """Log a grid's report as one summary run in the group of its cells; ``none`` does nothing.

    Args:
        grid: name of the grid, ``Config.grid``.
        tracker: settings of the tracker.
        folder: folder of the report. Every CSV file in it is logged as a table, every PNG file as
            an image, named by its path without suffix. W&B's files go below ``folder/wandb``.
        jobs: what the grid's cells are made from; the same jobs give the same W&B run.
        console: terminal, which is told what W&B can't do.
    """
    name = f"{grid}/summary"
    about = {"id": run_id(name, {"jobs": jobs}), "group": grid, "job_type": "summary"}
    with wandb_run(tracker, folder, console, name=name, tags=tracker.tags, **about) as run:
        if run is None:
            return
        with logging(folder, console):
            files = [p for p in sorted(folder.rglob("*")) if folder / "wandb" not in p.parents]
            csv = [path for path in files if path.suffix == ".csv"]
            tables = {_key(folder, path): pl.read_csv(path, glob=False) for path in csv}
            images = [path for path in files if path.suffix == ".png"]
            run.log({**_tables(tables), **_images(folder, images)})


def _tables(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    import wandb

    return {
        name: wandb.Table(columns=[*table.columns], data=[*map(list, table.rows())])
        for name, table in tables.items()
    }


def _charts(result: CellResult) -> dict[str, Any]:
    """Return a scatter plot for each estimator, in which every point tells its question."""
    import wandb

    questions = question_table(result)
    if questions.height > _MOST_POINTS:
        questions = questions.sample(_MOST_POINTS, seed=0)
    charts = {}
    for name in result.estimates:
        table = questions.select(
            ID, "n", confidence=pl.col(name), expected_accuracy=pl.col("c") / pl.col("n")
        ).drop_nulls()
        (points,) = _tables({name: table}).values()
        title = f"{name}: confidence against expected accuracy"
        charts[f"scatter/{name}"] = wandb.plot.scatter(
            points, "confidence", "expected_accuracy", title
        )
    return charts


def _images(folder: Path, paths: Iterable[Path]) -> dict[str, Any]:
    import wandb

    return {_key(folder, path): wandb.Image(str(path)) for path in paths}


def _key(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _used(kept: Path) -> Iterator[Any]:
    """Yield what names the responses that a finished cell is made from: they stay in the store."""
    import wandb

    listing, model = read_listing(kept), kept.parents[2]
    for stage, fingerprint in listing["parents"].items():
        if stage == "responses":
            place = f"{listing['dataset']}/{listing['split']}"
        elif stage.startswith(RESPONSES_OF):
            place = stage.removeprefix(RESPONSES_OF)
        else:
            continue
        known = {"fingerprint": fingerprint}
        with suppress(StoreError):
            folder = inside(model, f"{place}/responses-{fingerprint}", kept / LISTING)
            manifest = read_manifest(folder)
            known |= {name: manifest[name] for name in ("counts", "parts")}
        name = _artifact_name(listing["model"], place, "responses")
        artifact = wandb.Artifact(name, "responses", metadata={"fingerprint": fingerprint})
        with artifact.new_file("responses.json") as file:
            json.dump(known, file, indent=1)
        yield artifact


def _made(kept: Path, config: Config) -> Iterator[Any]:
    """Yield the tables of a finished cell, and each of its probes, as it can be used elsewhere."""
    import wandb

    cell = config.model.name, config.dataset.name
    split = config.dataset.splits["evaluation"]
    made = {"": wandb.Artifact(_artifact_name(*cell, split), "cell")}
    for path, data in read_folder(kept, LISTING, FILES):
        where, _, file = path.rpartition("/")
        if where.startswith("probes/"):
            probe = where.removeprefix("probes/")
            made.setdefault(probe, wandb.Artifact(_artifact_name(*cell, probe), "model"))
            with made[probe].new_file(file, mode="wb") as written:
                written.write(_as_configured(data, config) if file == "card.json" else data)
        elif where == "applications" or file.removesuffix(".parquet") in LOGGED_TABLES:
            with made[""].new_file(path, mode="wb") as written:
                written.write(data)
    yield from made.values()


def _as_configured(data: bytes, config: Config) -> bytes:
    """Return a probe's card that names the model as the configuration does.

    It may name a folder of this machine.
    """
    card = json.loads(data)
    card["model"]["hub_id"] = config.model.hub_id
    return json.dumps(card, indent=2, ensure_ascii=False).encode()


def _artifact_name(*parts: str) -> str:
    return re.sub(r"[^\w.-]", "-", "-".join(parts))[:128]


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


def outcome_summary(result: CellResult) -> dict[str, float]:
    """Return the mean expected accuracy, the numbers, and the share of each outcome.

    Of counts from elsewhere only the share of correct responses is known.
    """
    outcomes = pl.concat([result.grades, result.left_out])["outcome"]
    known: tuple[Outcome, ...] = ("correct",) if result.counted else OUTCOMES
    shares = {f"outcomes/{name}": int((outcomes == name).sum()) / len(outcomes) for name in known}
    accuracy = (result.capability["c"] / result.capability["n"]).mean()
    numbers = {"questions": result.capability.height, "responses": len(outcomes)}
    return {"accuracy": float(accuracy), **numbers, **shares}  # type: ignore[arg-type]


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
