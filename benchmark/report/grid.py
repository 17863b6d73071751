"""Stage 8: finished cells as a grid of models and datasets, in the order in which all is shown."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from benchmark.records import CellResult
from benchmark.report import style


@dataclass(frozen=True)
class Grid:
    """Cells by model and dataset.

    Attributes:
        cells: cells that are shown, by (model, dataset).
        every: all cells, the oldest first; of several with one model and dataset only the last is
            shown, and figures of a sweep take the others, too.
    """

    cells: dict[tuple[str, str], CellResult]
    every: list[CellResult]

    @property
    def models(self) -> list[str]:
        """Models in the style's order, unlisted ones last."""
        return in_order((model for model, _ in self.cells), style.MODELS)

    @property
    def datasets(self) -> list[str]:
        """Datasets in the style's order, unlisted ones last."""
        return in_order((dataset for _, dataset in self.cells), style.DATASETS)

    @property
    def estimators(self) -> list[str]:
        """Estimators of any cell in the style's order, unlisted ones last."""
        names = (name for cell in self.cells.values() for name in cell.estimates)
        return in_order(names, style.ESTIMATORS)

    def with_models(self, models: Collection[str]) -> "Grid":
        """Return the grid of these models alone."""
        cells = {place: cell for place, cell in self.cells.items() if place[0] in models}
        return Grid(cells, [cell for cell in self.every if cell.model in models])

    def with_estimators(self, names: Collection[str]) -> "Grid":
        """Return the grid with these estimators alone; tables of its cells are left as they are."""

        def cut(cell: CellResult) -> CellResult:
            kept = {name: made for name, made in cell.estimates.items() if name in names}
            return replace(cell, estimates=kept)

        cells = {place: cut(cell) for place, cell in self.cells.items()}
        return Grid(cells, [*map(cut, self.every)])

    @property
    def size(self) -> str:
        """How many models and datasets there are, in words."""
        counts = {"model": len(self.models), "dataset": len(self.datasets)}
        return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items())

    def oracle(self, estimator: str) -> bool:
        """Return whether an estimator is made from the target's own responses."""
        return any(
            cell.estimates[estimator].oracle
            for cell in self.cells.values()
            if estimator in cell.estimates
        )


def make_grid(cells: Iterable[CellResult]) -> Grid:
    """Return the grid of ``cells``, the oldest first: of two with one place, the later is shown."""
    every = list(cells)
    return Grid({(cell.model, cell.dataset): cell for cell in every}, every)


def in_order(names: Iterable[str], listed: Iterable[str]) -> list[str]:
    """Return each name once: those that are ``listed`` in that order, then the others as met.

    Examples:
        >>> in_order(["x", "b", "x", "a"], ["a", "b", "c"])
        ['a', 'b', 'x']
    """
    met = dict.fromkeys(names)
    first = [name for name in listed if name in met]
    return first + [name for name in met if name not in first]
