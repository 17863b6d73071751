"""Stage 8: logs a grid cell to Weights & Biases, if it is asked to."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from rich import get_console

from benchmark.config import Config, TrackerConfig
from benchmark.errors import StoreError
from benchmark.records import CellResult

LOGGED_GROUPS = (
    "dataset",
    "model",
    "engine",
    "grading",
    "sampling",
    "capability",
    "estimator",
    "application",
    "statistics",
)
_SECRET_KEY = re.compile(
    r"key$|(^|_)token$|secret|passw(or)?d|credential|authorization|headers$", re.IGNORECASE
)
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
_SETTINGS: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "x_save_requirements": False,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
}
ID = "question_id"


def track(result: CellResult, config: Config, folder: Path) -> None:
    """Log a cell as the configuration's tracker says; ``none`` does nothing.

    Args:
        result: the cell.
        config: the run's; of it only ``LOGGED_GROUPS`` are logged, without secrets.
        folder: the run's own. W&B's files go below ``folder/wandb``; the figures are taken from
            ``folder/figures``.

    Raises:
        StoreError: where W&B can't log.
    """
    if config.tracker.kind == "wandb":
        with _files_below(folder / "wandb"):
            _log_to_wandb(result, config, folder)


def _log_to_wandb(result: CellResult, config: Config, folder: Path) -> None:
    import wandb  # here, so that tracker=none never loads it

    logged = logged_config(config)
    name = f"{result.model}/{result.dataset}/{result.split}"
    table = question_table(result)
    figures = sorted((folder / "figures").glob("*.png"))
    try:
        with wandb.init(
            project=config.tracker.project,
            entity=config.tracker.entity,
            name=name,
            id=run_id(name, logged),
            resume="allow",
            config=logged,
            dir=folder,
            mode="online" if _may_go_online(config.tracker, wandb.login) else "offline",
            settings=wandb.Settings(**_SETTINGS),
        ) as run:
            rows = [list(row) for row in table.rows()]
            images = {f"figures/{path.stem}": wandb.Image(str(path)) for path in figures}
            questions = wandb.Table(columns=[*table.columns], data=rows)
            tables = {
                f"applications/{name}": wandb.Table(
                    columns=[*t.columns], data=[*map(list, t.rows())]
                )
                for name, t in result.applications.items()
            }
            run.log({"questions": questions, **tables, **images}, step=0)
            run.summary.update(metric_summary(result.metrics))
    except wandb.Error as error:
        raise StoreError(
            f"W&B could not log the cell: {error} Its report is in {folder}; with "
            "tracker.mode=offline it is logged without the network."
        ) from error


def _may_go_online(tracker: TrackerConfig, login: Any) -> bool:
    """Tell whether to log online: only where it is asked for and the user is logged in."""
    if tracker.mode == "offline":
        return False
    if login(prompt=False, verify=False):
        return True
    get_console().print(
        "W&B: tracker.mode=online, but nobody is logged in, so the run is logged offline. "
        "Log in with `wandb login` and upload it with `wandb sync`, or set WANDB_API_KEY before "
        "the next run.",
        soft_wrap=True,
    )
    return False


def logged_config(config: Config) -> dict[str, Any]:
    """Return what is logged of the configuration: ``LOGGED_GROUPS`` without secrets."""
    resolved = asdict(config)
    return {group: _without_secrets(resolved[group]) for group in LOGGED_GROUPS}


def _without_secrets(value: Any) -> Any:
    """Drop keys that are named like a secret, and logins in addresses."""
    if isinstance(value, dict):
        return {k: _without_secrets(v) for k, v in value.items() if not _SECRET_KEY.search(str(k))}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return _LOGIN_IN_URL.sub("", value) if isinstance(value, str) else value


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
    """Keep W&B's staged files and its log in ``folder``, unless the user chose another place."""
    places = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}
    ours = {variable: name for variable, name in places.items() if variable not in os.environ}
    os.environ.update(
        {variable: str((folder / name).absolute()) for variable, name in ours.items()}
    )
    try:
        yield
    finally:
        for variable in ours:
            del os.environ[variable]
