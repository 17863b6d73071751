"""The end of a grid: how many cells are finished, which are not and why, and the report of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from benchmark.runs.jobs import Job, State, launched, read_jobs


def conclude(console: Console) -> bool:
    """Print how a launched grid ended, and write and track the report of its finished cells.

    Returns:
        Whether all cells are finished; true where no grid was launched.

    Raises:
        BenchmarkError: the report can't be made.
    """
    if not launched:
        return True
    grid = launched.pop()
    jobs = read_jobs(grid.folder)
    if any(job.folder is not None for job in jobs):  # else the launcher refused, and has said why
        _tell(grid.folder, jobs, console)
    if any(job.has_cell for job in jobs):
        from benchmark.runs.report_command import report  # seconds to import
        from benchmark.runs.tracking import track_grid

        page = report([grid.folder], grid.folder.name, console)
        console.print(f"Report of the grid: {page}", markup=False)
        track_grid(grid.name, grid.tracker, page.parent, grid.jobs, console)
    return all(job.state == "finished" for job in jobs)


def _tell(grid: Path, jobs: Sequence[Job], console: Console) -> None:
    """Print how many cells are finished, and which are not and why."""
    counts = Counter(job.state for job in jobs)
    told = ", ".join(f"{counts[state]} {state}" for state in get_args(State) if counts[state])
    console.print(f"\nGrid of {len(jobs)} cells in {grid}: {told}.", markup=False)
    missing = [job for job in jobs if job.state != "finished"]
    for job in missing:
        said = job.reason or ("" if job.folder is None else f"see {job.folder}")
        console.print(f"  {job.state}: {job.name}{': ' if said else ''}{said}", markup=False)
    if missing:
        console.print("The same command goes on with these; finished cells are not run again.")
