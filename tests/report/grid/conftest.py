import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from cells import only, simulate_cell

from benchmark.applications import Budget, Study
from benchmark.report.grid import Grid, make_grid

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
def paper_grid() -> Grid:
    """A grid as large as the paper's: 3 x 7 cells of 28 estimators, all cells alike."""
    path = Path(__file__).parents[3] / "conf" / "experiment" / "paper_grid.yaml"
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    cell = with_estimators(given["defaults"][0]["override /estimator"])
    axes = given["hydra"]["sweeper"]["params"]
    return make_grid(
        replace(cell, model=model, dataset=dataset)
        for model in axes["model"].split(",")
        for dataset in axes["dataset"].split(",")
    )


def with_estimators(names):
    """Return a cell with these estimators, most of them copies of others, and two applications."""
    cell = simulate_cell(n_questions=30, k=80)
    budget = Budget(budgets=[1, 4, 16, 64], orders=1)
    cell = replace(
        cell,
        applications=cell.applications
        | budget.evaluate(only(cell, "p_true"), Study(np.random.default_rng(0), 2, None)),
    )
    others = cycle(["p_true", "probe", "verbalized", "family_mean"])
    source = {name: name if name in cell.estimates else next(others) for name in names}

    def copied(table, source):
        if table.is_empty():
            return table
        parts = [table.filter(estimator=old).with_columns(estimator=pl.lit(new))
                 for new, old in source.items()]  # fmt: skip
        return pl.concat(parts)

    return replace(
        cell,
        estimates={new: cell.estimates[old] for new, old in source.items()},
        metrics=copied(cell.metrics, source),
        differences=cell.differences.clear(),
        applications={
            name: copied(table, dict.fromkeys(names, "p_true") if name == "budget" else source)
            for name, table in cell.applications.items()
        },
    )


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
