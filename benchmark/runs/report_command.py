"""The command ``capcal report``: every table and figure of the paper from finished runs.

Nothing is sampled or evaluated: all comes from the finished cells that runs' folders point to.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from polars.exceptions import PolarsError
from rich.console import Console

from benchmark.cell.saved import LISTING, cell_of, load_cell, read_listing
from benchmark.errors import BenchmarkError, DataError, StoreError
from benchmark.records import CellResult
from benchmark.report.doubts import doubts
from benchmark.report.grid import Grid, make_grid
from benchmark.report.report import write_report
from benchmark.report.style import dataset_name, model_name
from benchmark.runs.jobs import read_jobs
from benchmark.store.files import with_cause
from benchmark.terminal import Terminal

_DESCRIPTION = """\
Regenerates every table and figure from finished runs, beside the paper's numbers, and one
self-contained page: outputs/reports/<name>/ with report.html, tables/ and figures/.
"""
_NAMED = 3  # cells that a message names


def main(arguments: Sequence[str]) -> None:
    """Run the command line; exit status 1 after a fault that its user can mend."""
    parser = argparse.ArgumentParser("capcal report", description=_DESCRIPTION)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="FOLDER",
        help="a run's folder, a multirun's, any folder of those, or outputs/store",
    )  # fmt: skip
    parser.add_argument("--name", help="name of the report's folder (default: the first FOLDER's)")
    given = parser.parse_args(arguments)
    console = Terminal()
    try:
        page = report(given.runs, given.name or given.runs[0].resolve().name, console)
    except BenchmarkError as error:
        _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}. Free space or mend its permissions; run again.")
    else:
        console.print(f"Report: {page}", markup=False)


def report(runs: Sequence[Path], name: str, console: Console) -> Path:
    """Write the report of runs beside the store that holds their cells.

    Args:
        runs: folders of runs, or folders that hold such.
        name: name of the report's folder.
        console: where it is said what is shown and what is left out.

    Returns:
        The path of ``report.html``.

    Raises:
        BenchmarkError: nothing is found, no cell is whole, or the name is no plain name.
    """
    if name in ("", ".", "..") or Path(name).name != name:
        raise DataError(f"--name={name} must be the name of a folder, without a path.")
    folders = find_cells(runs, console)
    outputs = folders[0].parents[4]  # of outputs/store/<model>/<dataset>/<split>/<cell>
    cells = _whole(folders, console)
    try:
        grid = make_grid(cells)
        _tell(grid, console)
        return write_report(grid, outputs / "reports" / name)
    except BenchmarkError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, PolarsError) as error:
        # Checksums don't tell that a cell's tables are those that an application writes.
        among = ", ".join(map(str, folders[:_NAMED]))
        raise StoreError(
            f"No report can be made of the cells in {among}{' ..' if folders[_NAMED:] else ''}: a "
            f"table of one isn't what this version writes ({type(error).__name__}: "
            f"{with_cause(error)}). Report them one by one to find it, and run that one again."
        ) from error


def _whole(folders: Sequence[Path], console: Console) -> list[CellResult]:
    """Return the cells, without those of which the store has lost or damaged something."""
    cells, faults = [], []
    for folder in folders:
        try:
            cells.append(load_cell(folder))
        except StoreError as error:
            faults.append(error)
            console.print(f"Left out: {error}", markup=False)
    if not cells:
        raise faults[0]
    return cells


def find_cells(runs: Sequence[Path], console: Console) -> list[Path]:
    """Return the folders of the finished cells of runs, the oldest first, each once.

    Args:
        runs: each a run's folder, a folder in the store, or one that holds such.
        console: where runs that didn't finish are named.

    Raises:
        DataError: a folder doesn't exist, or holds no finished run.
        StoreError: no run has its cell in the store any more, as a whole.
    """
    found: dict[Path, tuple[str, Path]] = {}
    faults: list[StoreError] = []
    for folder in runs:
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder; give the folder of a run or of a multirun.")
        places = [path.parent for path in sorted(folder.rglob(LISTING)) if not _is_aside(path)]
        for unfinished in _unfinished(folder):
            console.print(unfinished, markup=False)
        if not places:
            raise DataError(
                f"{folder} holds no finished run. A finished run's folder has a cell.json; "
                f"start it again to finish it."
            )
        for place in places:
            try:
                cell = place if _is_cell(place) else cell_of(place)
                found[cell.resolve()] = str(read_listing(cell)["written"]), cell
            except StoreError as error:
                faults.append(error)
                console.print(f"Left out: {error}", markup=False)
    if not found:
        raise faults[0]
    return [cell for _, cell in sorted(found.values())]


def _unfinished(folder: Path) -> Iterator[str]:
    """Yield what is known of each run below a folder that has failed or not ended."""
    told = set()
    for listing in sorted(folder.rglob("jobs.json")):
        for job in read_jobs(listing.parent):
            told.add(job.folder)
            if job.state != "finished":
                how = f"{job.state}: {job.name}{f' ({job.reason})' if job.reason else ''}"
                yield f"{'Shown, but' if job.has_cell else 'Left out,'} {how}"
    for run in (path.parent for path in sorted(folder.rglob(".hydra"))):
        if run not in told and not (run / "cell.json").exists():
            yield f"Left out, not finished: {run}"


def _is_aside(path: Path) -> bool:
    """Tell whether a listing is of a cell that was half written."""
    return path.parent.parent.name.startswith(".cell-")


def _is_cell(folder: Path) -> bool:
    return folder.name.startswith("cell-")


def _tell(grid: Grid, console: Console) -> None:
    """Say what the grid shows, of which cells only the newest, and which are doubtful."""
    places = [(cell.model, cell.dataset) for cell in grid.every]
    console.print(f"Grid of {grid.size}; finished cells: {len(grid.cells)}")
    for (model, dataset), cell in grid.cells.items():
        times = places.count((model, dataset))
        name = f"{model_name(model)} on {dataset_name(dataset)}"
        if times > 1:
            console.print(f"{name}: the newest of {times} cells is shown.", markup=False)
        for doubt in doubts(cell):
            console.print(f"{name}: {doubt}", markup=False, style="bold red")


def _fail(message: str) -> None:
    Terminal(stderr=True).print(f"Error: {message}")
    sys.exit(1)
