"""Stage 8: figures of sampling budgets, beside the paper's numbers, and of pass@k beyond n."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmark.records import CellResult
from benchmark.report import style
from benchmark.report.figures.axes import Drawing, legend_under, log_axis, small_multiples
from benchmark.report.reported import reported_by_k
from benchmark.report.style import POLICIES, clipped, estimator_look, number

_LINES: dict[str, Any] = {  # of the policies that are shown
    "uniform": "-",
    "greedy": "-",
    "uniform_stopping": (0, (4, 1.5)),
    "posterior": (0, (2, 1)),
    "thompson": (0, (1, 1)),
}
_FAR = 1e12  # beyond every axis
_REPORTED_NOTE = (
    " Hollow: reported by the paper (arXiv 2602.13540; mean of 10 runs, read from its figure), "
    "whose evaluation draws the samples of every question with the same seed, so that its values "
    "are off by what all questions share, most at small budgets."
)


def draw_cell_budget(result: CellResult) -> Drawing:
    """Draw the share of solved questions against the budget, one panel per estimator."""
    table = result.applications["budget"].filter(pl.col("policy").is_in(list(_LINES)))
    names = [name for name in result.estimates if name in set(table["estimator"])]
    figure, panels = small_multiples(
        len(names), "Samples per question, on average", "Share of questions solved"
    )
    middle = _middle(table)
    theirs: list[float] = []
    for axes, name in zip(panels, names, strict=True):
        rows = table.filter(pl.col("estimator") == name)
        _draw_policies(axes, rows)
        for policy, line in _reported_lines(result, name).items():
            _draw_reported(axes, policy, line)
            theirs += line.values()
        axes.set_title(f"{clipped(estimator_look(name).name)}\n{_gain(rows, middle)}")
    _scale(panels[0], table["budget"])
    _zoom(panels[0], table, theirs)
    entries = {
        label: line
        for axes in panels
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend_under(figure, list(entries.values()), list(entries))
    return Drawing(
        "budget",
        "Questions solved with a sampling budget",
        "Expected share of the questions that get at least one correct sample. Uniform: the same "
        "number of samples for each; greedy: allocated beforehand by the confidences; both exact "
        "in expectation over which responses are drawn. Below the names: greedy's gain in "
        f"percentage points at {middle} samples per question, with the paired 95 % bootstrap "
        "interval over questions. Broken lines see whether a sample is correct and stop there; "
        "next comes the next round over the unsolved questions, the highest posterior mean, or the "
        "highest draw from the posteriors (Thompson). Lines may leave a panel at the bottom."
        + (_REPORTED_NOTE if theirs else ""),
        figure,
    )


def draw_pass_at_k_extrapolation(result: CellResult) -> Drawing:
    """Draw pass@k up to n, and apart from it what a Beta-Binomial fit says beyond."""
    tables = result.applications["pass_at_k"], result.applications["pass_at_k_extrapolation"]
    names = [name for name in result.estimates if name in set(tables[1]["estimator"])]
    figure, panels = small_multiples(len(names), "k, responses that may be tried", "pass@k")
    for axes, name in zip(panels, names, strict=True):
        measured, beyond = (t.filter(pl.col("estimator") == name).sort("k") for t in tables)
        _draw_beyond(axes, measured, beyond, estimator_look(name).colour)
        fit = beyond.row(0, named=True)
        axes.set_title(
            f"{clipped(estimator_look(name).name)}\nBeta({fit['alpha']:.2g}, {fit['beta']:.2g})"
        )
    _scale(panels[0], (k for table in tables for k in table["k"]))
    return Drawing(
        "pass_at_k_extrapolation",
        "pass@k beyond the responses that were drawn",
        "White: k up to the responses that were drawn; black is the unbiased estimate. Grey: "
        "larger k, where broken lines are the expectation given each question's counts if expected "
        "accuracies follow the Beta distribution below the names, the one of greatest likelihood: "
        "an assumption about its shape near 0, which the responses can't test. "
        "Coloured: the mean of 1 − (1 − confidence)^k. Bands are 95 % bootstrap intervals over "
        "questions, with a fit of its own in each resample.",
        figure,
    )


def _draw_beyond(axes: Axes, measured: pl.DataFrame, beyond: pl.DataFrame, colour: str) -> None:
    """Draw the measured and the extrapolated part, the latter on grey."""
    last, first = measured["k"].to_numpy().max(initial=0), beyond["k"].to_numpy().min()
    shade: dict[str, Any] = {"color": style.LIGHT_GREY, "alpha": 0.45, "lw": 0, "zorder": -1}
    axes.axvspan((last + first) / 2, _FAR, **shade)
    for rows, value, line in ((measured, "observed", "-"), (beyond, "extrapolated", (0, (3, 1.5)))):
        low, high = rows[f"{value}_low"], rows[f"{value}_high"]
        axes.fill_between(rows["k"], low, high, color=style.GREY, alpha=0.35, lw=0)
        axes.plot(rows["k"], rows[value], color=style.BLACK, lw=0.9, ls=line, marker=".", ms=2)
        low, high = rows["predicted_low"], rows["predicted_high"]
        axes.fill_between(rows["k"], low, high, color=colour, alpha=0.3, lw=0)
        axes.plot(rows["k"], rows["predicted"], color=colour, marker="o", ms=2.5)


def _draw_policies(axes: Axes, table: pl.DataFrame) -> None:
    for policy, line in _LINES.items():
        look, rows = POLICIES[policy], table.filter(pl.col("policy") == policy).sort("budget")
        shown: dict[str, Any] = {"color": look.colour, "marker": look.marker, "label": look.name}
        axes.plot(rows["budget"], rows["success"], ls=line, ms=2.5, **shown)


def _reported_lines(result: CellResult, estimator: str) -> dict[str, dict[int, float]]:
    """Return what the paper reports beside an estimator, success by budget, by policy."""
    lines = {
        policy: reported_by_k("success_rate", result.model, result.dataset, method)
        for policy, method in (("uniform", "uniform"), ("greedy", estimator))
    }
    return {policy: line for policy, line in lines.items() if line}


def _draw_reported(axes: Axes, policy: str, line: dict[int, float]) -> None:
    look = POLICIES[policy]
    axes.plot(
        [*line], [*line.values()], ls="none", marker=look.marker, ms=4, mew=0.8, mfc="none",
        mec=look.colour, label=f"{look.name}, reported",
    )  # fmt: skip


def _zoom(axes: Axes, table: pl.DataFrame, theirs: list[float]) -> None:
    """Limit the panels, which share their axes, to what is not far below uniform sampling."""
    ours = table.filter(pl.col("success").is_not_nan())
    uniform = ours.filter(pl.col("policy") == "uniform")["success"].to_numpy()
    every = np.concatenate([ours["success"], theirs])
    if len(uniform):
        room = max(every.max() - uniform.min(), 0.02)
        bottom = max(uniform.min() - 0.4 * room, -0.04 * room)  # no share is below 0
        axes.set_ylim(bottom, every.max() + 0.08 * room)


def _middle(table: pl.DataFrame) -> int:
    """Return the middle one of the budgets that all estimators have."""
    estimators = table["estimator"].n_unique()
    shared = table.group_by("budget").agg(pl.col("estimator").n_unique()).sort("budget")
    budgets = shared.filter(pl.col("estimator") == estimators)["budget"]
    return int(budgets[len(budgets) // 2])


def _gain(rows: pl.DataFrame, budget: int) -> str:
    """Return greedy's gain in percentage points with its interval."""
    row = rows.row(
        by_predicate=(pl.col("policy") == "greedy") & (pl.col("budget") == budget), named=True
    )
    gain, low, high = (number(100 * row[key], 1) for key in ("gain", "gain_low", "gain_high"))
    return f"{'+' if row['gain'] > 0 else ''}{gain} [{low}, {high}]"


def _scale(axes: Axes, budgets: Iterable[int]) -> None:
    """Scale the panels, which share their axes, to what is drawn in them."""
    log_axis(axes, budgets)
    axes.autoscale(axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda share, _: f"{share:.3g}".removeprefix("0") or "0")
    )
