"""What an application gets beside the cell: chance, and the finished cells of other models."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmark.records import CellResult


class Study(NamedTuple):
    """What an application evaluates a cell with.

    Attributes:
        rng: generator of the application's own, so that its numbers don't depend on the other
            applications.
        resamples: number of bootstrap resamples over questions; with 0 intervals are NaN.
        stored_cell: function that returns the newest finished cell of another model, by its name,
            on the same dataset and split; it raises StoreError, saying what to run, where there is
            none.
    """

    rng: np.random.Generator
    resamples: int
    stored_cell: Callable[[str], CellResult]
