"""A grid: the cells of one command, each a job that leaves its state in its own folder.

Jobs run one after another, in processes (joblib) or on a cluster (submitit); each of them, and the
process that launched them, may be killed. So the summary at the end is made from what lies on the
disk: ``jobs.json`` in the grid's folder lists the jobs, ``state.json`` in a job's folder says how
far it came.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from benchmark.config.composing import config_folders, job_overrides
from benchmark.config.schema import PHASES, TrackerConfig
from benchmark.config.secrets import refuse_secrets
from benchmark.errors import StoreError
from benchmark.redaction import told
from benchmark.store.artifact import read_json
from benchmark.store.files import write_whole

State = Literal["finished", "failed", "not ended", "not started"]

_STATES: tuple[State, ...] = get_args(State)
_UNREADABLE = (ValueError, TypeError, LookupError)
_JOBS = "jobs.json"
_STATE = "state.json"


class Launched(NamedTuple):
    """The multirun that this process has launched.

    Attributes:
        folder: folder of the grid, with a folder for each job.
        name: name of the grid, ``Config.grid``.
        tracker: where the grid's report is logged.
        jobs: overrides of each job.
    """

    folder: Path
    name: str
    tracker: TrackerConfig
    jobs: list[list[str]]


launched: list[Launched] = []  # none or one


class Job(NamedTuple):
    """One cell of a grid as the disk shows it.

    Attributes:
        name: overrides that aren't the same for all jobs of the grid.
        state: how far it came; ``not ended`` is a job that still runs, or was killed.
        reason: why it failed; empty where it hasn't.
        folder: folder of the job; None where it has not started.
    """

    name: str
    state: State
    reason: str = ""
    folder: Path | None = None

    @property
    def has_cell(self) -> bool:
        """Whether its cell is evaluated, even if an application failed."""
        return self.folder is not None and (self.folder / "cell.json").exists()


class JobList(Callback):  # type: ignore[misc]
    """Hydra's callback before any job starts, and before Hydra writes any file.

    It refuses secrets in the configuration and lists the jobs of a multirun in its folder. It stops
    the command with ``SystemExit``, since Hydra goes on after any other fault of a callback.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check a single run."""
        _check(config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check all jobs and write their list."""
        _check(config)
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        _keep_private(OmegaConf.select(config, "hydra.launcher.submitit_folder"))
        jobs = job_overrides(config.hydra.sweeper.params, config.hydra.overrides.task)
        (folder / _JOBS).write_text(json.dumps(jobs, indent=1))
        tracker: Any = OmegaConf.to_object(config.tracker)
        launched.append(Launched(folder, config.grid, tracker, jobs))


def _check(config: DictConfig) -> None:
    """Refuse secrets in what Hydra is about to write.

    Raises:
        SystemExit: with the whole message.
    """
    try:
        overrides: Any = OmegaConf.to_container(config.hydra.overrides)  # as they were written
        folders = config_folders(config.hydra)  # those of ``hydra.searchpath`` among them
        refuse_secrets(config, [*overrides["task"], *overrides["hydra"]], folders)
    except Exception as error:  # Hydra would go on after any other than SystemExit
        raise SystemExit(str(error)) from error


def _keep_private(folder: str | None) -> None:
    """Let nobody else read, or put others in place of, the pickles of jobs on a cluster."""
    if folder is not None:
        above = Path(folder.partition("%")[0])  # the rest is a folder for each job
        above.mkdir(parents=True, exist_ok=True)
        above.chmod(0o700)


@contextmanager
def recorded(
    folder: Path, phase: str = "whole", number: int | None = None, overrides: Sequence[str] = ()
) -> Iterator[list[str]]:
    """Write into a job's folder that it runs, and how it ended: finished, or failed and why.

    A job that is stopped or killed leaves what was written at its start. So does one that only
    samples, for another one of the same folder evaluates.

    Args:
        folder: folder of the job.
        phase: part of the run that the job is, as in ``Config.phase``.
        number: place of the job in its grid.
        overrides: settings on the command line that make it.

    Yields:
        A list to which the job adds faults; with any of them, it has failed.
    """

    def write(state: State, reason: str = "") -> None:
        known = {
            "number": number,
            "overrides": [*overrides],
            "state": state,
            "reason": told(reason),
        }
        write_whole(folder / _STATE, json.dumps(known).encode())

    write("not ended")
    faults: list[str] = []
    try:
        yield faults
    except Exception as error:
        write("failed", str(error) or type(error).__name__)
        raise
    if phase != "sample":
        write("failed" if faults else "finished", "; ".join(faults))


def wait_for_submitted() -> None:
    """Wait for the jobs on a cluster; their launcher gives up at the first that is killed."""
    submitted = [p for grid in launched for p in grid.folder.glob(".submitit/*/*_submitted.pkl")]
    if submitted:
        from submitit import SlurmJob

        jobs: list[SlurmJob[Any]] = [SlurmJob(p.parent, p.parent.name) for p in submitted]
        for job in jobs:
            job.wait()


def read_jobs(grid: Path) -> list[Job]:
    """Return a grid's jobs in their order; a ``StoreError`` where their list is damaged."""
    try:
        planned = [[*map(str, job)] for job in read_json(grid / _JOBS)]
    except _UNREADABLE as error:
        raise StoreError(f"{grid / _JOBS} is damaged; launch the grid again.") from error
    shared = set.intersection(*map(set, planned)) if len(planned) > 1 else set()
    shared |= {f"phase={phase}" for phase in PHASES}  # told to a cell's jobs by their launcher
    jobs = [Job(_name(job, shared), "not started") for job in planned]
    for path in sorted(grid.rglob(_STATE)):
        with suppress(*_UNREADABLE):  # a damaged state counts as a job that has not started
            found = read_json(path)
            state: State = _STATES[_STATES.index(found["state"])]
            # Not those of the list: ``shuffle`` in an override draws another order for each.
            name = _name([*map(str, found["overrides"])], shared)
            jobs[found["number"]] = Job(name, state, str(found["reason"]), path.parent)
    return jobs


def _name(overrides: Sequence[str], shared: set[str]) -> str:
    return " ".join(override for override in overrides if override not in shared)
