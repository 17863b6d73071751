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

from benchmark.config.composing import job_overrides
from benchmark.config.schema import TrackerConfig
from benchmark.errors import StoreError
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
    """Hydra's callback that lists the jobs of a multirun in its folder before any starts."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Write the list."""
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        jobs = job_overrides(config.hydra.sweeper.params, config.hydra.overrides.task)
        (folder / _JOBS).write_text(json.dumps(jobs, indent=1))
        tracker: Any = OmegaConf.to_object(config.tracker)
        launched.append(Launched(folder, config.grid, tracker, jobs))


@contextmanager
def recorded(
    folder: Path, number: int | None = None, overrides: Sequence[str] = ()
) -> Iterator[list[str]]:
    """Write into a job's folder that it runs, and how it ended: finished, or failed and why.

    A job that is stopped or killed leaves what was written at its start.

    Args:
        folder: folder of the job.
        number: place of the job in its grid.
        overrides: settings on the command line that make it.

    Yields:
        A list to which the job adds faults; with any of them, it has failed.
    """

    def write(state: State, reason: str = "") -> None:
        known = {"number": number, "overrides": [*overrides], "state": state, "reason": reason}
        write_whole(folder / _STATE, json.dumps(known).encode())

    write("not ended")
    faults: list[str] = []
    try:
        yield faults
    except Exception as error:
        write("failed", str(error) or type(error).__name__)
        raise
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
