"""One cell from configuration to report: the stages in order, from records to records.

Questions, responses, grades and capability come from ``cell``; estimators, metrics, applications
and the report follow here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from benchmark.applications import Application, Study, build_applications
from benchmark.cell.cell import Cell, KnownModel, Split
from benchmark.cell.counted import counted_cell, read_counts
from benchmark.cell.finished import is_finished, newest_cell, point_to_cell
from benchmark.cell.key import cell_artifact, engine_identity, outputs_of
from benchmark.cell.saved import (
    CELL,
    export_probes,
    load_cell,
    save_cell,
)
from benchmark.cell.stages import SAMPLED
from benchmark.cell.watching import Watch
from benchmark.config.build import TARGET
from benchmark.config.schema import Config
from benchmark.engines import Engine
from benchmark.engines.construction import Surroundings, engine_config
from benchmark.engines.weights import find_weights
from benchmark.errors import BenchmarkError
from benchmark.estimators import (
    Estimator,
    build_estimators,
    check_counted,
    check_splits,
    needed_roles,
)
from benchmark.metrics.evaluate import evaluate
from benchmark.records import CellResult, Estimate
from benchmark.report.doubts import doubts
from benchmark.report.grid import make_grid
from benchmark.report.report import write_report
from benchmark.report.tables.cell import metric_table, outcome_line
from benchmark.runs.tracking import cell_run, log_cell
from benchmark.runs.wandb_run import watching
from benchmark.store.artifact import Artifact, Store, git_commit


def run_cell(config: Config, folder: Path, console: Console) -> CellResult:
    """Run one cell and write its report into ``folder``; a finished one is only reported.

    An application that fails doesn't lose the cell: its reason is in the result's ``failed``, and
    the next run evaluates it again.

    Args:
        config: configuration of the run.
        folder: folder of the run; the store lies below ``config.paths.outputs``.
        console: terminal, which shows progress, the table and where the report is.

    Raises:
        BenchmarkError: for whatever the user can mend.
    """
    estimators = build_estimators(config.estimator, config.sampling)
    applications = build_applications(config.application)
    artifact = cell_artifact(config, console)
    with cell_run(config, folder, console) as run:
        if is_finished(artifact):
            result = load_cell(artifact.folder)
        else:
            cell, given = _open(config, estimators, folder, console, watching(run, console))
            _tell(cell, [*given, *estimators], console)
            try:
                result = _evaluate(cell, given, estimators)
            finally:
                cell.close()
            result, read = _apply(result, applications, artifact, config)
            statuses = pl.concat([e.confidences["status"] for e in result.estimates.values()])
            complete = not (result.failed or cell.failed_requests or "error" in statuses)
            save_cell(result, artifact, cell.parents | read, complete)
        export_probes(artifact, folder / "probes")
        more = [made.draw for made in applications.values() if hasattr(made, "draw")]
        report = write_report(make_grid([result]), folder, _provenance(artifact, config), more)
        console.print(metric_table(result))
        console.print(outcome_line(result))
        for doubt in doubts(result):
            console.print(doubt, style="bold red")
        console.print(f"Report: {report}")
        logged = log_cell(run, result, config, folder, artifact.folder, console)
        point_to_cell(artifact, report, folder, config, logged)
    return result


def sample_cell(config: Config, folder: Path, console: Console) -> None:
    """Ask the model for all that a cell needs, and keep it; ``phase=evaluate`` makes the cell.

    Args and errors are those of ``run_cell``.
    """
    estimators = build_estimators(config.estimator, config.sampling)
    build_applications(config.application)  # a mistake in them shows before anything is spent
    if is_finished(cell_artifact(config, console)):
        return
    with cell_run(config, folder, console) as run:
        cell, given = _open(config, estimators, folder, console, watching(run, console))
        _tell(cell, [*given, *estimators], console)
        try:
            _prepare(cell, estimators)
            for name in _in_order(estimators):
                estimators[name].collect(cell)
        finally:
            cell.close()
    console.print(f"Sampled: model {config.model.name}, dataset {config.dataset.name}.")


def _open(
    config: Config,
    estimators: Mapping[str, Estimator],
    folder: Path,
    console: Console,
    watch: Watch,
) -> tuple[Cell, dict[str, Estimate]]:
    """Return the cell, and the confidences that come with its questions."""
    store = Store(outputs_of(config) / "store", console)
    if config.dataset.counted:
        counts = read_counts(config.dataset, console)
        check_counted(estimators, counts.estimates)
        return counted_cell(config, counts, store, console), counts.estimates
    check_splits(estimators, config.dataset)
    questions = SAMPLED.questions(config.dataset, needed_roles(estimators))
    model = (
        _known_model(config, console)
        if config.phase == "evaluate"
        else build_engine(config, folder, console)
    )
    return Cell(config, questions, model, store, console, SAMPLED, watch), {}


def _tell(cell: Cell, names: Iterable[str], console: Console) -> None:
    """Say what was resolved, before anything is spent; ``build_engine`` has told the model."""
    dataset = cell.config.dataset
    sizes = [
        f"{table.height:,} for {role} ({dataset.splits[role]})"
        for role, table in cell.questions.items()
    ]
    console.print(f"Dataset: {dataset.name}, questions: {', '.join(sizes)}")
    console.print(f"Estimators: {', '.join(names)}")


def _evaluate(
    cell: Cell, given: Mapping[str, Estimate], estimators: Mapping[str, Estimator]
) -> CellResult:
    """Return the cell with its estimates and metrics."""
    config = cell.config
    evaluation = _prepare(cell, estimators)
    estimates = {**given, **_estimate(cell, estimators)}
    rng = np.random.default_rng(config.statistics.seed)
    metrics, differences = evaluate(estimates, evaluation.grades, rng, config.statistics.resamples)
    return CellResult(
        model=config.model.name,
        dataset=config.dataset.name,
        split=config.dataset.splits["evaluation"],
        questions=evaluation.questions,
        responses=evaluation.responses.lazy(),
        grades=evaluation.grades,
        left_out=evaluation.left_out,
        disagreements=evaluation.disagreements,
        capability=evaluation.capability,
        estimates=estimates,
        metrics=metrics,
        differences=differences,
    )


def _prepare(cell: Cell, estimators: Mapping[str, Estimator]) -> Split:
    """Return the evaluated split, once nothing refuses it and what comes first is sampled."""
    for estimator in estimators.values():
        estimator.check(cell)
    for estimator in estimators.values():
        estimator.prepare(cell)
    return cell.split("evaluation")


def _in_order(estimators: Mapping[str, Estimator]) -> list[str]:
    """Return their names; last come those that read hidden states, so that a server stops once."""
    return sorted(estimators, key=lambda name: estimators[name].hidden_states)


def _estimate(cell: Cell, estimators: Mapping[str, Estimator]) -> dict[str, Estimate]:
    """Return the estimates, in the order of the estimators."""
    made = {name: estimators[name].estimate(cell) for name in _in_order(estimators)}
    return {name: made[name] for name in estimators}


def _apply(
    result: CellResult,
    applications: Mapping[str, Application],
    artifact: Artifact,
    config: Config,
) -> tuple[CellResult, dict[str, str]]:
    """Return the cell with the applications' tables, and the other cells that they read."""
    tables: dict[str, pl.DataFrame] = {}
    failed: dict[str, str] = {}
    read: dict[str, str] = {}

    def stored_cell(model: str) -> CellResult:
        found = newest_cell(artifact, model)
        read[f"{CELL}{model}"] = found.name
        return load_cell(found)

    for name, application in applications.items():
        rng = np.random.default_rng(config.statistics.seed)
        study = Study(rng, config.statistics.resamples, stored_cell)
        try:
            tables |= application.evaluate(result, study)
        except BenchmarkError as error:
            failed[name] = str(error)
    return replace(result, applications=tables, failed=failed), read


def _provenance(artifact: Artifact, config: Config) -> dict[str, str]:
    """Return what the report says about where the cell comes from."""
    inputs, sampling = artifact.inputs, config.sampling
    if "model" in inputs:
        most = sampling.stopping and sampling.stopping.k_max
        drawn = f"{sampling.k} to {most}, adaptive" if most else sampling.k
        known = {
            "weights": inputs["model"]["weights"],
            "decoding": inputs["decoding"],
            "responses per question": drawn,
        }
    else:
        known = {"counts": config.dataset.path, "their SHA-256": inputs["dataset"]["rows"][0]}
    known |= {"git commit": git_commit() or "unknown", "fingerprint": artifact.fingerprint}
    return {name: str(value) for name, value in known.items()}


def build_engine(config: Config, folder: Path, console: Console) -> Engine:
    """Return the engine that runs the configured model; weights are read when first used.

    Args:
        config: configuration of the run.
        folder: folder of the run, for the log of a server that the harness starts.
        console: terminal, which is told what takes long.
    """
    cache = Path(config.paths.cache).expanduser()
    weights = find_weights(config.model, cache, console)
    target = str(config.engine[TARGET]).rpartition(".")[2]
    named = re.sub(r"[0-9a-f]{40,}", lambda found: found[0][:12], weights.identity)
    console.print(f"Model: {config.model.name}, weights {named}, run by {target}")
    store = outputs_of(config) / "store"
    run = Surroundings(config.model, weights, cache, folder, store, console)
    return engine_config(config.engine).start(run)


def _known_model(config: Config, console: Console) -> KnownModel:
    """Return what is known of the model where it isn't run: all that it is asked for is stored."""
    weights = find_weights(config.model, Path(config.paths.cache).expanduser(), console)
    return KnownModel(
        engine_identity(config, weights),
        engine_config(config.engine).precisions,
        f"model={config.model.name} dataset={config.dataset.name} is not sampled whole, and "
        f"phase=evaluate asks no model. Run the same with phase=sample first.",
    )
