"""Stage 8: figures of confidences against both targets, each with the caption that explains it."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.metrics.pairing import PairedEstimate
from benchmark.records import CellResult
from benchmark.report import plotted, style
from benchmark.report.figures.axes import (
    REFERENCE,
    TICKS,
    UNIT,
    Drawing,
    errors,
    legend_below,
    marker,
    opacity,
    small_multiples,
)
from benchmark.report.style import estimator_look
from benchmark.report.tables.cell import best_estimators, number

_GAP = {"arrowstyle": "<->", "lw": 0.7, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}


def draw_divergence(result: CellResult, paired: dict[str, PairedEstimate]) -> Drawing:
    """Draw how the response target and the capability target differ."""
    figure = Figure(figsize=(style.TEXT_WIDTH, 2.75), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    targets = plotted.two_targets(result.grades)
    _draw_targets(left, targets)
    shown = next(iter([*best_estimators(result, "brier"), *paired]))
    losses = plotted.question_losses(paired[shown])
    _draw_losses(middle, losses, shown)
    variance = _draw_scores(right, result)
    legend_below(figure, right, columns=5)
    for axes, letter in zip((left, middle, right), "abc", strict=True):
        axes.set_title(f"({letter})", loc="left", fontweight="bold")
    return Drawing(
        "divergence",
        "Response target against capability target",
        "(a) One point per question. Across: its expected accuracy, from all responses but the "
        "first, which is the target of capability calibration. Up: whether its first response is "
        "correct, which is the target of response calibration; it is 0 or 1 (spread to show the "
        "points) where the other takes any value. Two responses to one question differ in "
        f"correctness with probability {number(targets.flip, 2)}, averaged over questions. "
        f"(b) The squared loss of each question for {estimator_look(shown).name}, under both "
        "targets. They differ by exactly p(1 − p), p = c/n, so every point lies in the shaded band "
        "up to 1/4 above the dashed line y = x: against single responses, a question that is a "
        "coin toss counts as badly known however well its p is known. Spearman's correlation of "
        f"the two losses is {number(losses.rank_correlation, 2)}. "
        "(c) The losses averaged over questions, the two Brier scores of each estimator, with 95 % "
        "intervals. Evaluated on the same questions and responses, all estimators lie on the "
        f"dashed line y = x + mean p(1 − p), here {number(variance, 3)}; those lie off it that "
        "left questions unanswered or used up some of the responses.",
        figure,
    )


def _draw_targets(axes: Axes, targets: plotted.TwoTargets) -> None:
    spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(targets.response))
    colours = [style.OUTCOMES["correct" if r else "incorrect"].colour for r in targets.response]
    alpha = opacity(len(spread))
    axes.scatter(targets.accuracy, targets.response + spread, s=9, c=colours, alpha=alpha, lw=0)
    axes.plot([0, 1], [0, 1], **REFERENCE)
    axes.set(xlabel="Expected accuracy c/n", ylabel="First response correct")
    axes.set(xlim=UNIT, ylim=(-0.2, 1.2), xticks=TICKS, yticks=(0, 1), yticklabels=("no", "yes"))


def _draw_losses(axes: Axes, losses: plotted.Losses, estimator: str) -> None:
    look = estimator_look(estimator)
    top = max([0.25, *losses.capability]) * 1.04
    x = np.array([0, top])
    axes.fill_between(x, x, x + 0.25, color=style.LIGHT_GREY, alpha=0.5, lw=0)
    axes.plot(x, x, **REFERENCE)
    alpha = opacity(len(losses.response))
    axes.scatter(losses.capability, losses.response, s=9, c=look.colour, alpha=alpha, lw=0)
    axes.set(xlabel="Squared loss against c/n", ylabel="Squared loss against responses")
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
    axes.plot([0, top], [variance, top + variance], **REFERENCE)
    axes.plot([0, top], [0, top], color=style.LIGHT_GREY, lw=0.8, zorder=0)
    at = 0.7 * top
    axes.annotate("", (at, at), (at, at + variance), arrowprops=_GAP)
    axes.text(0.98, 0.03, "gap: mean p(1 − p)", ha="right", transform=axes.transAxes)
    for row in scores.iter_rows(named=True):
        axes.errorbar(
            row["value"],
            row["value_right"],
            xerr=errors(row["value"], row["low"], row["high"]),
            yerr=errors(row["value_right"], row["low_right"], row["high_right"]),
            **marker(row["estimator"]),
        )
    axes.set(xlabel="Brier score against c/n", ylabel="Brier score against responses")
    return variance


def draw_confidences(result: CellResult, paired: dict[str, PairedEstimate]) -> Drawing:
    """Draw confidence against expected accuracy, one panel per estimator."""
    figure, panels = small_multiples(len(paired), "Confidence", "Expected accuracy c/n")
    correlation = dict(
        result.metrics.filter(pl.col("metric") == "spearman").select("estimator", "value").rows()
    )
    jitter = np.random.default_rng(0)
    for axes, (name, estimate) in zip(panels, paired.items(), strict=False):
        look = estimator_look(name)
        confidence, accuracy = plotted.first_draw(estimate)
        shift = jitter.uniform(-0.012, 0.012, (2, len(confidence)))
        axes.plot([0, 1], [0, 1], **REFERENCE)
        alpha = opacity(len(confidence))
        axes.scatter(
            confidence + shift[0], accuracy + shift[1], s=9, c=look.colour, alpha=alpha, lw=0
        )
        axes.set_title(
            f"{style.clipped(look.name)}\nρ = {number(correlation.get(name, np.nan), 2)}"
        )
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
    figure, panels = small_multiples(len(paired), "Mean confidence", "Mean expected accuracy")
    bins = plotted.RELIABILITY_BINS
    for axes, (name, estimate) in zip(panels, paired.items(), strict=False):
        look = estimator_look(name)
        curve = plotted.reliability(estimate)
        left = np.arange(bins) / bins
        axes.bar(
            left,
            curve.share,
            width=1 / bins,
            align="edge",
            color=style.LIGHT_GREY,
            ec="white",
            lw=0.4,
            zorder=-1,
        )
        axes.plot([0, 1], [0, 1], **REFERENCE)
        axes.vlines(curve.confidence, curve.low, curve.high, color=look.colour, lw=0.9)
        axes.plot(curve.confidence, curve.accuracy, marker="o", ms=3, lw=0.9, color=look.colour)
        axes.set_title(f"{style.clipped(look.name)}\nN = {estimate.answered}")
    return Drawing(
        "reliability",
        "Reliability diagrams",
        f"Mean expected accuracy in {bins} equal-width bins of confidence, both ends closed, with "
        "95 % intervals over the N answered questions and their responses (none for a bin of "
        "one). Bars show the share of them in each bin, on the same axis; a bin with few questions "
        "says little. Below the dashed line an estimator is overconfident, above it "
        "underconfident. Of estimators that are random "
        f"the first {plotted.SHOWN_DRAWS} draws are pooled.",
        figure,
    )
