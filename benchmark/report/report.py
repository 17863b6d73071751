"""Stage 8: everything that is made of a grid, written into one folder; one cell is a grid, too."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmark.report.figures.write import DrawCell, write_figures
from benchmark.report.grid import Grid
from benchmark.report.page.page import write_page
from benchmark.report.tables.cell import write_all_numbers
from benchmark.report.tables.formats import write_table
from benchmark.report.tables.grid import grid_tables

_WRITTEN = (".md", ".tex", ".csv", ".pdf", ".png")


def write_report(
    grid: Grid,
    folder: Path,
    provenance: Mapping[str, str] | None = None,
    more: Iterable[DrawCell] = (),
) -> Path:
    """Write ``report.html``, ``*.csv``, ``tables/*.{md,tex,csv}`` and ``figures/*.{pdf,png}``.

    ``report.html`` comes last, so that where it exists the rest is complete. It needs no other
    file and no network.

    Args:
        grid: at least one cell.
        folder: is made if it doesn't exist; files of an older report are replaced.
        provenance: what is known of the run, by name, such as versions and commit.
        more: figures beside the harness's own, of a grid of one cell.

    Returns:
        The path of ``report.html``.
    """
    page = folder / "report.html"
    page.unlink(missing_ok=True)
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for older in (folder / name).iterdir():
            if older.suffix in _WRITTEN:
                older.unlink(missing_ok=True)
    files = write_all_numbers(grid, folder)
    tables = grid_tables(grid)
    for table in tables:
        write_table(table, folder / "tables")
    plates, lacking = write_figures(grid, folder / "figures", more)
    write_page(grid, tables, plates, lacking, page, provenance, files)
    return page
