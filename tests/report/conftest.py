from pathlib import Path

import pytest
from cells import simulate_cell

from benchmark.records import CellResult
from benchmark.report.grid import make_grid
from benchmark.report.report import write_report


@pytest.fixture(scope="session")
def cell() -> CellResult:
    return simulate_cell(n_questions=60, k=20)


@pytest.fixture(scope="session")
def report(cell: CellResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the cell, with its figures and tables beside it."""
    return write_report(make_grid([cell]), tmp_path_factory.mktemp("report"), {"commit": "0123abc"})
