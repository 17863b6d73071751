"""One cell from configuration to report: the stages in order, from records to records.

Questions, responses, grades and capability come from ``cell``; estimators, metrics, applications
and the report follow here.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from benchmark.applications import Application, Study, build_applications
from benchmark.cell import Cell
from benchmark.config import Config, TransformersConfig, VLLMConfig
from benchmark.engines import Engine
from benchmark.engines.weights import find_weights, local_folder, model_identity
from benchmark.errors import BenchmarkError, StoreError
from benchmark.estimators import Estimator, build_estimators, needed_roles
from benchmark.metrics.evaluate import evaluate
from benchmark.questions import load_splits
from benchmark.records import CellResult, Estimate
from benchmark.report.html import write_report
from benchmark.report.tables import metric_table, outcome_line
from benchmark.rules import engine_config
from benchmark.store import Store, git_commit
from benchmark.tracking import track


def run_cell(config: Config, folder: Path, console: Console) -> CellResult:
    """Run one cell and write its report into ``folder``.

    Args:
        config: what to run.
        folder: the run's own; the store lies below ``config.paths.outputs``.
        console: shows progress, the table and where the report is.

    Raises:
        BenchmarkError: for whatever the user can mend.
    """
    estimators = build_estimators(config.estimator, config.sampling.k)
    applications = build_applications(config.application)
    questions = load_splits(config.dataset, needed_roles(estimators))
    store = Store(Path(config.paths.outputs).expanduser() / "store", console)
    console.print(f"Cell: model {config.model.name}, dataset {config.dataset.name}")
    cell = Cell(config, questions, build_engine(config, folder, console), store, console)
    try:
        evaluation = cell.split("evaluation")
        estimates = _estimate(cell, estimators)
    finally:
        cell.engine.close()
    rng = np.random.default_rng(config.statistics.seed)
    metrics = evaluate(estimates, evaluation.grades, rng, config.statistics.resamples)
    result = CellResult(
        model=config.model.name,
        dataset=config.dataset.name,
        split=config.dataset.splits["evaluation"],
        questions=evaluation.questions,
        responses=evaluation.responses,
        grades=evaluation.grades,
        left_out=evaluation.left_out,
        disagreements=evaluation.disagreements,
        capability=evaluation.capability,
        estimates=estimates,
        metrics=metrics,
    )
    result = _apply(result, applications, config)
    _finish(result, cell, folder)
    return result


def _estimate(cell: Cell, estimators: Mapping[str, Estimator]) -> dict[str, Estimate]:
    """Return the estimates, in the order of the estimators.

    Those that read hidden states come last, so that a server that the harness runs stops once.
    """
    made = {}
    for name in sorted(estimators, key=lambda n: getattr(estimators[n], "hidden_states", False)):
        made[name] = estimators[name].estimate(cell)
        inputs = {"estimator": asdict(estimators[name])}  # type: ignore[call-overload]
        artifact = cell.artifact("evaluation", "confidences", inputs)
        artifact.replace_table(made[name].confidences, {})
    return {name: made[name] for name in estimators}


def _apply(
    result: CellResult, applications: Mapping[str, Application], config: Config
) -> CellResult:
    """Return the cell with the applications' tables; one that fails doesn't lose the cell."""
    tables: dict[str, pl.DataFrame] = {}
    failed: dict[str, str] = {}
    for name, application in applications.items():
        rng = np.random.default_rng(config.statistics.seed)
        try:
            tables |= application.evaluate(
                result, Study(rng, config.statistics.resamples, _stored_cell)
            )
        except BenchmarkError as error:
            failed[name] = str(error)
    return replace(result, applications=tables, failed=failed)


def _stored_cell(model: str) -> CellResult:
    raise StoreError(f"There is no finished cell of model {model}; run it first.")


def build_engine(config: Config, folder: Path, console: Console) -> Engine:
    """Return the engine that runs the configured model; weights are read when first used.

    Args:
        config: of the run.
        folder: the run's own, for the log of a server that the harness starts.
        console: shows what takes long.
    """
    settings = engine_config(config.engine)
    weights = find_weights(config.model, Path(config.paths.cache).expanduser(), console)

    def in_process(settings: TransformersConfig) -> Engine:
        from benchmark.engines.transformers import TransformersEngine  # seconds to import

        return TransformersEngine(config.model, settings, weights)

    if isinstance(settings, TransformersConfig):
        return in_process(settings)
    from benchmark.engines.launch import LaunchedServer
    from benchmark.engines.server import ServerEngine

    launched = None
    if isinstance(settings, VLLMConfig):
        launched = LaunchedServer(
            settings.command,
            local_folder(weights, config.model.name),
            settings.health_path,
            settings.startup_seconds,
            folder / "server.log",
            console,
        )
    return ServerEngine(
        config.model,
        settings,
        model_identity(config.model, weights),
        os.environ.get(settings.api_key_env) or "none",
        console,
        lambda: in_process(settings.in_process),
        launched,
    )


def _finish(result: CellResult, cell: Cell, folder: Path) -> None:
    """Store the metrics, show the table, write the report and tell the tracker."""
    config, console = cell.config, cell.console
    inputs = {"estimators": sorted(result.estimates), "statistics": asdict(config.statistics)}
    cell.artifact("evaluation", "metrics", inputs).replace_table(result.metrics, {})
    provenance = {
        "weights": str(cell.engine.identity["weights"]),
        "decoding": str(asdict(config.model.decoding)),
        "responses per question": str(config.sampling.k),
        "git commit": git_commit() or "unknown",
    }
    report = write_report(result, folder, provenance)
    console.print(metric_table(result))
    console.print(outcome_line(result))
    console.print(f"Report: {report}")
    track(result, config, folder)
