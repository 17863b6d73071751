"""Stage 8: figures of a grid's curves: over k, layers, samples and training questions."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmark.records import PASS_AT_K, CellResult
from benchmark.report import plotted, style
from benchmark.report.figures.axes import TICKS, UNIT, Drawing, log_axis
from benchmark.report.figures.grid_panels import (
    REPORTED,
    draw_cells,
    draw_reported,
    left_out,
    legend_of,
    line_style,
    main_estimators,
)
from benchmark.report.grid import Grid, in_order
from benchmark.report.ranking import BEST_COVERAGE
from benchmark.report.reported import reported_by_k

_CHOSEN: dict[str, Any] = {
    "ls": "none", "marker": "o", "ms": 6, "mfc": "none", "mec": style.BLACK, "mew": 0.8,
    "clip_on": False,
}  # fmt: skip
_UNIFORM: dict[str, Any] = {"color": style.BLACK, "lw": 1.5, "zorder": 3}


def draw_pass_at_k(grid: Grid) -> Drawing | None:
    """Draw pass@k as each confidence predicts it, over the unbiased estimate."""
    tables = {
        place: cell.applications.get("pass_at_k", PASS_AT_K.to_frame())
        for place, cell in grid.cells.items()
    }
    every = pl.concat(tables.values())
    predicted = set(every.filter(pl.col("predicted").is_not_nan())["estimator"])
    names = [name for name in grid.estimators if name in predicted]
    shown = main_estimators(names)

    def draw(axes: Axes, cell: CellResult) -> str | None:
        table = tables[cell.model, cell.dataset]
        if table.is_empty():
            return "no pass@k"
        observed = plotted.observed_pass_at_k(cell)
        axes.plot(observed["k"], observed["observed"], color=style.BLACK, lw=1.8, zorder=3)
        drawn = table.filter(pl.col("estimator").is_in(shown)).sort("k")
        for (name,), rows in drawn.group_by("estimator", maintain_order=True):
            axes.plot(rows["k"], rows["predicted"], **line_style(str(name)))
        log_axis(axes, every["k"].unique())
        axes.set(ylim=UNIT, yticks=TICKS, yticklabels=("0", ".5", "1"))
        return None

    legend = [
        Line2D([], [], color=style.BLACK, lw=1.8, label="observed"),
        *legend_of(shown),
    ]
    figure = draw_cells(grid, draw, "k, responses that may be tried", "pass@k", legend)
    if figure is None:
        return None
    return Drawing(
        "pass_at_k",
        "pass@k, predicted and observed",
        "Coloured: the mean of 1 − (1 − confidence)^k over the answered questions, which needs no "
        "sampling. Black: the unbiased estimate 1 − C(n−c, k)/C(n, k) from the responses."
        + left_out(shown, names),
        figure,
    )


def draw_budget(grid: Grid) -> Drawing | None:
    """Draw the share of solved questions against the sampling budget."""
    rows = {
        place: plotted.budget_rows(cell).filter(
            pl.col("answered") >= BEST_COVERAGE * len(cell.questions)
        )
        for place, cell in grid.cells.items()
    }
    budgets = sorted({budget for table in rows.values() for budget in table["budget"]})
    methods = {method for table in rows.values() for method in table["method"]}
    names = [name for name in grid.estimators if name in methods]
    shown = main_estimators(names)

    def draw(axes: Axes, cell: CellResult) -> str | None:
        table = rows[cell.model, cell.dataset]
        if table.is_empty():
            return "no budget"
        drawn = table.filter(pl.col("method").is_in(["uniform", *shown])).sort("budget")
        for (method,), line in drawn.group_by("method", maintain_order=True):
            mark = _UNIFORM if method == "uniform" else line_style(str(method))
            axes.plot(line["budget"], line["success"], **mark)
            theirs = reported_by_k("success_rate", cell.model, cell.dataset, str(method))
            draw_reported(axes, theirs, {"marker": "o"} | mark)
        log_axis(axes, budgets)
        return None

    legend = [
        Line2D([], [], label="Uniform", **_UNIFORM),
        *legend_of(shown),
    ]
    figure = draw_cells(
        grid, draw, "Samples per question, on average", "Share of questions solved", legend
    )
    if figure is None:
        return None
    return Drawing(
        "budget",
        "Questions solved with a sampling budget",
        "Expected share of the questions that get at least one correct sample. Black: the same "
        "number of samples for each question. Coloured: allocated greedily by the confidences of "
        "an estimator. Both exact in expectation over which responses are drawn. A cell's panel "
        f"leaves out estimators that answered fewer than {100 * BEST_COVERAGE:.0f} % of its "
        f"questions.{REPORTED} where it has any; one seed for all questions puts them too high."
        + left_out(shown, names),
        figure,
    )


def draw_layers(grid: Grid) -> Drawing | None:
    """Draw the Brier score of a probe on each layer."""
    selections = {place: plotted.probe_selections(cell) for place, cell in grid.cells.items()}
    names = in_order((name for own in selections.values() for name in own), grid.estimators)
    shown = main_estimators(names)

    def draw(axes: Axes, cell: CellResult) -> str | None:
        own = selections[cell.model, cell.dataset]
        for name in (name for name in shown if name in own):
            rows = plotted.brier_by_layer(own[name])
            mark = line_style(name)
            axes.plot(rows["depth"], rows["validation_brier"], color=mark["color"], lw=0.8, ls=":")
            axes.plot(rows["depth"], rows["test_brier"], **mark | {"ms": 1.8})
            at = rows.filter("chosen")
            axes.plot(at["depth"], at["test_brier"], **_CHOSEN)
        axes.margins(y=0.12)  # room for the circle around the lowest point
        return None if own else "no probe"

    legend = legend_of(shown)
    legend.append(Line2D([], [], label="chosen", **_CHOSEN))
    figure = draw_cells(grid, draw, "Layer (0: embedding)", "Brier score", legend)
    if figure is None:
        return None
    return Drawing(
        "layers",
        "Brier score by layer",
        "Of a probe on each layer's hidden state at the last prompt token, against c/n of the test "
        "questions (solid) and of the validation questions (dotted), at the setting that is best "
        "on the latter. Circled: the layer "
        "that the validation questions chose, without a look at the test questions; none is "
        "circled where they chose the mean or the maximum over layers." + left_out(shown, names),
        figure,
    )


def draw_scaling(grid: Grid) -> Drawing | None:
    """Draw the Brier score of the probes against the number of their training questions."""
    rows = {
        place: plotted.scaling_rows(c for c in grid.every if (c.model, c.dataset) == place)
        for place in grid.cells
    }
    every = pl.concat(rows.values())
    names = [name for name in grid.estimators if name in set(every["estimator"])]
    shown = main_estimators(names)

    def draw(axes: Axes, cell: CellResult) -> str | None:
        table = rows[cell.model, cell.dataset].filter(pl.col("estimator").is_in(shown))
        for (name,), line in table.group_by("estimator", maintain_order=True):
            mark, x = line_style(str(name)), line["trained_on"]
            axes.vlines(x, line["low"], line["high"], color=mark["color"], lw=0.7)
            axes.plot(x, line["value"], **mark)
        log_axis(axes, every["trained_on"].unique())
        axes.margins(x=0.15)
        return "one training\nsize" if table.is_empty() else None

    legend = legend_of(shown)
    figure = draw_cells(grid, draw, "Training questions", "Brier score", legend)
    if figure is None:
        return None
    return Drawing(
        "scaling",
        "Brier score by the probe's training questions",
        "Against c/n of the test questions, with 95 % bootstrap intervals over them. One point for "
        "each run of a sweep over dataset.train_limit." + left_out(shown, names),
        figure,
    )


def draw_convergence(grid: Grid) -> Drawing | None:
    """Draw the Brier score against the number of samples that the target is counted from."""
    lines = {place: _convergence_lines(cell) for place, cell in grid.cells.items()}
    theirs = {
        (*place, name): points
        for place, own in lines.items()
        for name in own
        if (points := reported_by_k("brier", *place, name))
    }
    present = {name for own in lines.values() for name in own}
    names = [name for name in grid.estimators if name in present]
    shown = main_estimators(names)
    most = max(
        [int(line.samples[-1]) for own in lines.values() for line in own.values()]
        + [max(points) for points in theirs.values()],
        default=1,
    )

    def draw(axes: Axes, cell: CellResult) -> str | None:
        own = lines[cell.model, cell.dataset]
        for name in (name for name in shown if name in own):
            mark, line = line_style(name), own[name]
            axes.plot(line.samples, line.brier, **mark | {"ms": 2.2})
            axes.axhline(line.limit, xmin=0.9, color=mark["color"], lw=1.2)
            draw_reported(axes, theirs.get((cell.model, cell.dataset, name), {}), mark)
        log_axis(axes, (1, round(most**0.5), most))
        axes.set(xlim=(0.85, 1.5 * most))
        return None if own else "one response\nper question"

    legend = legend_of(shown)
    figure = draw_cells(grid, draw, "Samples per question, k", "Brier score against c/k", legend)
    if figure is None:
        return None
    return Drawing(
        "convergence",
        "Convergence of the Brier score with the number of samples",
        "The Brier score that k samples of each question give, in exact expectation over which k "
        "of the n responses are taken. Dashes at the right edge: where the lines end with ever "
        "more samples, the unbiased estimate. Oracles, which read the target, are left out."
        + (f"{REPORTED}, the median over sets of 200 questions." if theirs else "")
        + left_out(shown, names),
        figure,
    )


def _convergence_lines(cell: CellResult) -> dict[str, plotted.Convergence]:
    """Return the line of each estimator that answered, is no oracle and has a target to shorten."""
    return {
        name: plotted.convergence(estimate)
        for name, estimate in plotted.pair(cell).items()
        if not cell.estimates[name].oracle and estimate.answered and estimate.n.min() >= 2
    }
