"""Stage 8: the figures of one grid cell, each with the caption that says what is drawn."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from benchmark.metrics.pairing import PairedEstimate
from benchmark.records import CellResult
from benchmark.report import points, style
from benchmark.report.style import COLUMN_WIDTH, TEXT_WIDTH, estimator_look
from benchmark.report.tables import best_estimators, number

UNIT = (-0.04, 1.04)  # axis limits of a share, with room for the markers at 0 and 1
TICKS = (0, 0.5, 1)
COLUMNS = 5  # of small multiples
MOST_FAMILIES = 20  # more rows aren't legible


class Drawing(NamedTuple):
    """A figure in memory."""

    name: str  # of the file
    title: str
    caption: str
    figure: Figure


class Plate(NamedTuple):
    """A figure on the disk."""

    title: str
    caption: str
    path: Path


def write_figures(result: CellResult, folder: Path) -> list[Plate]:
    """Draw every figure that the cell has data for into ``folder``, as PNG, and list them."""
    folder.mkdir(parents=True, exist_ok=True)
    plates = []
    with mpl.rc_context(style.RC):
        for drawing in _draw(result):
            path = folder / f"{drawing.name}.png"
            drawing.figure.savefig(path)
            plates.append(Plate(drawing.title, drawing.caption, path))
    return plates


def _draw(result: CellResult) -> Iterator[Drawing]:
    paired = points.pair(result)
    yield draw_divergence(result, paired)
    yield draw_confidences(result, paired)
    yield draw_reliability(paired)
    yield draw_cost(result)
    yield draw_pass_at_k(result)
    yield draw_histogram(result)
    for name, estimate in result.estimates.items():
        if estimate.selection is not None:
            yield draw_selection(name, estimate.selection)


def draw_divergence(result: CellResult, paired: dict[str, PairedEstimate]) -> Drawing:
    """Draw how the response target and the capability target differ."""
    figure = Figure(figsize=(TEXT_WIDTH, 2.75))
    left, middle, right = figure.subplots(1, 3)
    targets = points.two_targets(result.grades)
    _draw_targets(left, targets)
    shown = next(iter([*best_estimators(result, "brier"), *paired]))
    _draw_losses(middle, points.question_losses(paired[shown]), shown)
    variance = _draw_scores(right, result)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    for axes, letter in zip((left, middle, right), "abc", strict=True):
        axes.set_title(f"({letter})", loc="left", fontweight="bold")
    return Drawing(
        "divergence",
        "Response target against capability target",
        "(a) Each question twice: the correctness of its first response, which is what response "
        "calibration aims at, and its expected accuracy c/n from the other responses, which is "
        "what capability calibration aims at. The response target is 0 or 1 (spread vertically to "
        "show the points) where the capability target takes any value: two responses to the same "
        f"question differ in correctness with probability {targets.flip:.2f} on average. "
        f"(b) Each question's squared loss under both targets, for {estimator_look(shown).name}. "
        "The difference is exactly p(1 − p) with p = c/n, so that every point lies in the shaded "
        "band: the response target blames a confidence for questions that are a coin toss, "
        "however well it knows them. "
        "(c) The same losses averaged over questions: the Brier scores of each estimator, with "
        "95 % intervals. With the same questions and responses all estimators lie on the line "
        f"y = x + mean p(1 − p), here {variance:.3f}; off it lie those that leave questions "
        "unanswered or were made from some of the responses.",
        figure,
    )


def _draw_targets(axes: Axes, targets: points.TwoTargets) -> None:
    spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(targets.response))
    colours = [style.OUTCOMES["correct" if r else "incorrect"].colour for r in targets.response]
    axes.scatter(targets.accuracy, targets.response + spread, s=9, c=colours, alpha=0.4, lw=0)
    axes.plot([0, 1], [0, 1], **_REFERENCE)
    axes.set(xlabel="Expected accuracy, other responses", ylabel="First response correct")
    axes.set(xlim=UNIT, ylim=(-0.2, 1.2), xticks=TICKS, yticks=(0, 1), yticklabels=("no", "yes"))


def _draw_losses(axes: Axes, losses: points.Losses, estimator: str) -> None:
    look = estimator_look(estimator)
    top = max([0.25, *losses.capability]) * 1.04
    x = np.array([0, top])
    axes.fill_between(x, x, x + 0.25, color=style.LIGHT_GREY, alpha=0.5, lw=0)
    axes.plot(x, x, **_REFERENCE)
    axes.scatter(losses.capability, losses.response, s=9, c=look.colour, alpha=0.4, lw=0)
    axes.set(xlabel="Loss, expected accuracy", ylabel="Loss, single responses")
    axes.set(xlim=(-0.03 * top, top), ylim=(-0.02 * top, top + 0.25))
    axes.text(0.97, 0.03, look.name, ha="right", va="bottom", transform=axes.transAxes)


def _draw_scores(axes: Axes, result: CellResult) -> float:
    """Draw each estimator's two Brier scores and return the mean variance between them."""
    c, n = result.capability["c"], result.capability["n"]
    variance = float(((c / n) * (1 - c / n)).mean())  # type: ignore[arg-type]
    scores = result.metrics.filter(pl.col("metric") == "brier").join(
        result.metrics.filter(pl.col("metric") == "brier_response"), on="estimator"
    )
    top = max([0.1, *scores["high"].drop_nans(), *scores["value"].drop_nans()])
    axes.plot([0, top], [variance, top + variance], **_REFERENCE)
    axes.plot([0, top], [0, top], color=style.LIGHT_GREY, lw=0.8, zorder=0)
    for row in scores.iter_rows(named=True):
        across = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
        up = [
            [row["value_right"] - row["low_right"]],
            [row["high_right"] - row["value_right"]],
        ]
        axes.errorbar(
            row["value"],
            row["value_right"],
            xerr=np.clip(across, 0, None),
            yerr=np.clip(up, 0, None),
            **_marker(row["estimator"]),
        )
    axes.set(xlabel="Brier score, expected accuracy", ylabel="Brier score, single responses")
    return variance


def draw_confidences(result: CellResult, paired: dict[str, PairedEstimate]) -> Drawing:
    """Draw confidence against expected accuracy, one panel per estimator."""
    figure, panels = _small_multiples(len(paired), "Confidence", "Expected accuracy c/n")
    correlation = dict(
        result.metrics.filter(pl.col("metric") == "spearman").select("estimator", "value").rows()
    )
    jitter = np.random.default_rng(0)
    for axes, (name, estimate) in zip(panels, paired.items(), strict=False):
        look = estimator_look(name)
        confidence, accuracy = points.first_draw(estimate)
        shift = jitter.uniform(-0.012, 0.012, (2, len(confidence)))
        axes.plot([0, 1], [0, 1], **_REFERENCE)
        alpha = float(np.clip(60 / max(1, len(confidence)), 0.05, 0.4))
        axes.scatter(
            confidence + shift[0], accuracy + shift[1], s=9, c=look.colour, alpha=alpha, lw=0
        )
        axes.set_title(f"{look.name}\nρ = {number(correlation.get(name, np.nan), 2)}")
    return Drawing(
        "confidences",
        "Confidence against expected accuracy",
        "One point per question; points are shifted by up to 0.012 either way so that equal values "
        "show. ρ is Spearman's correlation. Of estimators that are random the first draw is "
        "shown, and ρ is the mean over all draws. The dashed line is perfect calibration. "
        "The oracles are made from the target's own responses.",
        figure,
    )


def draw_reliability(paired: dict[str, PairedEstimate]) -> Drawing:
    """Draw a reliability diagram per estimator."""
    figure, panels = _small_multiples(len(paired), "Mean confidence", "Mean expected accuracy")
    bins = points.RELIABILITY_BINS
    for axes, (name, estimate) in zip(panels, paired.items(), strict=False):
        look = estimator_look(name)
        curve = points.reliability(estimate)
        left = np.arange(bins) / bins
        axes.bar(
            left, curve.share, width=1 / bins, align="edge", color=style.LIGHT_GREY, ec="white", lw=0.4
        )
        axes.plot([0, 1], [0, 1], **_REFERENCE)
        axes.vlines(curve.confidence, curve.low, curve.high, color=look.colour, lw=0.9)
        axes.plot(curve.confidence, curve.accuracy, marker="o", ms=3, lw=0.9, color=look.colour)
        axes.set_title(f"{look.name}\n{estimate.answered} questions")
    return Drawing(
        "reliability",
        "Reliability diagrams",
        f"Mean expected accuracy in {bins} equal-width bins of confidence, both ends closed, with "
        "95 % bootstrap intervals over questions. Bars show the share of the questions in "
        "each bin, on the same axis; a bin with few of them says little. Below the dashed line "
        "an estimator is overconfident, above it underconfident. Of estimators that are random "
        f"the first {points.SHOWN_DRAWS} draws are pooled.",
        figure,
    )
