"""Stage 8: everything that is made of a grid, written into one folder."""

from pathlib import Path

from benchmark.report.figures.grid import write_figures
from benchmark.report.grid import Grid
from benchmark.report.page.grid import write_page
from benchmark.report.tables.formats import write_table
from benchmark.report.tables.grid import grid_tables

_WRITTEN = (".md", ".tex", ".csv", ".pdf", ".png")


def write_grid_report(grid: Grid, folder: Path) -> Path:
    """Write ``report.html``, ``tables/*.{md,tex,csv}`` and ``figures/*.{pdf,png}`` of a grid.

    ``report.html`` comes last, so that where it exists the rest is complete.

    Args:
        grid: at least one cell.
        folder: is made if it doesn't exist; files of an older report are replaced.

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
    tables = grid_tables(grid)
    for table in tables:
        write_table(table, folder / "tables")
    plates, lacking = write_figures(grid, folder / "figures")
    write_page(grid, tables, plates, lacking, page)
    return page
