import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from cells import simulate_cell

from benchmark.report.grid.grid import Grid, make_grid

MODELS, DATASETS = ("olmo3_7b", "gpt_oss_20b"), ("triviaqa", "math_500")


@pytest.fixture(scope="session")
def grid() -> Grid:
    """Three of the four cells of two models and two datasets."""
    places = [(model, dataset) for dataset in DATASETS for model in MODELS][:3]
    cells = [
        replace(simulate_cell(n_questions=40, k=24, seed=seed), model=model, dataset=dataset)
        for seed, (model, dataset) in enumerate(places)
    ]
    return make_grid(cells)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real headless Chromium."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
