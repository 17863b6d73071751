"""Stage 8: everything that is made of a grid, written into one folder; one cell is a grid, too."""

import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmark.report.figures.write import DrawCell, write_figures
from benchmark.report.grid import Grid
from benchmark.report.page.page import write_page
from benchmark.report.tables.cell import write_all_numbers
from benchmark.report.tables.formats import write_table
from benchmark.report.tables.grid import grid_tables

_PAGE = "report.html"
_WRITTEN = (".md", ".tex", ".csv", ".pdf", ".png")
_ASIDE = ".report-"  # how the folder of a report that is being written begins
_ABANDONED_SECONDS = 3600  # after which such a folder is that of a killed process


def write_report(
    grid: Grid,
    folder: Path,
    provenance: Mapping[str, str] | None = None,
    more: Iterable[DrawCell] = (),
) -> Path:
    """Write ``report.html``, ``*.csv``, ``tables/*.{md,tex,csv}`` and ``figures/*.{pdf,png}``.

    All is written aside first, and an older report stays as it is until then. ``report.html`` is
    replaced last; it needs no other file and no network.

    Args:
        grid: at least one cell.
        folder: is made if it doesn't exist; files of an older report are replaced.
        provenance: what is known of the run, by name, such as versions and commit.
        more: figures beside the harness's own, of a grid of one cell.

    Returns:
        The path of ``report.html``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for older in folder.glob(f"{_ASIDE}*"):
        if time.time() - older.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(older, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=folder) as made:
        aside = Path(made)
        (aside / "tables").mkdir()
        files = write_all_numbers(grid, aside)
        tables = grid_tables(grid)
        for table in tables:
            write_table(table, aside / "tables")
        plates, lacking = write_figures(grid, aside / "figures", more)
        write_page(grid, tables, plates, lacking, aside / _PAGE, provenance, files)
        _replace(aside, folder)
    return folder / _PAGE


def _replace(aside: Path, folder: Path) -> None:
    """Move a whole report over an older one, whose other files go; the page comes last."""
    new = [path.relative_to(aside) for path in sorted(aside.rglob("*")) if path.is_file()]
    older = [*folder.glob("tables/*"), *folder.glob("figures/*"), folder / "disagreements.csv"]
    for path in older:
        if path.suffix in _WRITTEN and path.relative_to(folder) not in new:
            path.unlink(missing_ok=True)
    for path in sorted(new, key=lambda path: path.name == _PAGE):
        (folder / path.parent).mkdir(exist_ok=True)
        (aside / path).replace(folder / path)
