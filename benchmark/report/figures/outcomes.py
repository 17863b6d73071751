"""Stage 8: figures of cost, pass@k, the target itself and the probe's choice."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from benchmark.records import CellResult
from benchmark.report import plotted, style
from benchmark.report.figures.axes import (
    TICKS,
    UNIT,
    Drawing,
    errors,
    legend_below,
    log_axis,
    marker,
    opacity,
    small_multiples,
)
from benchmark.report.style import estimator_look
from benchmark.report.tables.cell import number

MOST_FAMILIES = 20  # more rows aren't legible
POOLED = {"mean over layers": "M", "maximum over layers": "X"}


def draw_cost(result: CellResult) -> Drawing:
    """Draw mean tokens against 1 - Brier score, oracles as reference lines."""
    figure = Figure(figsize=(style.COLUMN_WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    brier = result.metrics.filter(pl.col("metric") == "brier")
    tokens = result.metrics.filter(pl.col("metric") == "tokens").select("estimator", x="value")
    rows = brier.join(tokens, on="estimator").filter(pl.col("x").is_not_nan()).to_dicts()
    for row in [r for r in rows if result.estimates[r["estimator"]].oracle]:
        look = estimator_look(row["estimator"])
        axes.axhline(
            1 - row["value"], color=look.colour, lw=0.8, ls=(0, (4, 3)), zorder=0, label=look.name
        )
    real = [r for r in rows if not result.estimates[r["estimator"]].oracle]
    free = [r for r in real if r["x"] == 0]
    for row, x in zip(free, np.linspace(-0.6, 0.6, len(free) + 2)[1:-1], strict=True):
        row["x"] = x
    for row in real:
        bars = errors(1 - row["value"], 1 - row["high"], 1 - row["low"])
        axes.errorbar(row["x"], 1 - row["value"], yerr=bars, **marker(row["estimator"]))
    scale_tokens(axes, max([0.0, *(r["x"] for r in real)]))
    axes.set(ylabel="1 − Brier score", ylim=(None, 1.02))
    legend_below(figure, axes, columns=2)
    return Drawing(
        "cost",
        "Cost against 1 − Brier score",
        "Mean prompt and completion tokens spent on one confidence, beyond answering the question, "
        "against 1 − Brier score (target c/n), with 95 % intervals over questions. The axis is "
        "logarithmic above 1 token; estimators that spend none stand side by side at 0. Oracles "
        "are lines: they know the target's own responses.",
        figure,
    )


def scale_tokens(axes: Axes, most: float) -> None:
    """Make the horizontal axis one of tokens up to ``most``, logarithmic above 1, 0 apart."""
    most = max(most, 1.0)
    decades = 10 ** np.arange(np.floor(np.log10(most)) + 1)
    axes.axvspan(-0.85, 0.85, color=style.LIGHT_GREY, alpha=0.35, lw=0, zorder=-1)
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    axes.set(xlim=(-0.85, 2 * most), xlabel="Tokens per confidence")
    axes.xaxis.set_major_locator(FixedLocator([0, *decades]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(["0", *(f"{d:,.0f}" for d in decades)])


def draw_pass_at_k(result: CellResult) -> Drawing:
    """Draw pass@k as each confidence predicts it, over the unbiased estimate."""
    table = result.applications["pass_at_k"]
    names = [n for n in result.estimates if n in set(table["estimator"])]
    figure, panels = small_multiples(len(names), "k, responses that may be tried", "pass@k")
    for axes, name in zip(panels, names, strict=True):
        look = estimator_look(name)
        rows = table.filter(pl.col("estimator") == name).sort("k")
        k = rows["k"].to_numpy()
        axes.fill_between(
            k, rows["observed_low"], rows["observed_high"], color=style.LIGHT_GREY, lw=0
        )
        axes.plot(k, rows["observed"], color=style.BLACK, lw=0.9, marker=".", ms=2)
        axes.fill_between(
            k, rows["predicted_low"], rows["predicted_high"], color=look.colour, alpha=0.3, lw=0
        )
        axes.plot(k, rows["predicted"], color=look.colour, marker="o", ms=2.5)
        error = number(rows["mse"][-1], 3)
        axes.set_title(f"{style.clipped(look.name)}\nMSE {error} at k = {k[-1]}")
    log_axis(panels[0], table["k"])
    return Drawing(
        "pass_at_k",
        "pass@k, predicted and observed",
        "Coloured: the mean of 1 − (1 − confidence)^k over the answered questions, which needs no "
        "sampling. Black: the unbiased estimate 1 − C(n−c, k)/C(n, k) from the responses on the "
        "same questions. Bands are 95 % bootstrap intervals over questions. MSE is the mean "
        "squared error of single questions at the panel's largest k, a smaller "
        "one for estimators that read responses, since those are no part of the target.",
        figure,
    )


def draw_histogram(result: CellResult) -> Drawing:
    """Draw how the expected accuracies spread, overall and by family."""
    families = plotted.family_of(result.questions).join(result.capability, on="question_id")
    names = sorted(families["family"].unique())
    by_family = 0 < len(names) <= MOST_FAMILIES
    figure = Figure(
        figsize=(style.TEXT_WIDTH if by_family else style.COLUMN_WIDTH, 2.3), layout="constrained"
    )
    panels = figure.subplots(1, 2 if by_family else 1, squeeze=False)[0]
    bars = plotted.accuracy_histogram(result.capability)
    panels[0].bar(
        bars.left, bars.counts, bars.width, align="edge", color=style.BLUE, ec="white", lw=0.4
    )
    panels[0].set(xlabel="Expected accuracy c/n", ylabel="Questions", xticks=TICKS)
    panels[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_xlim(min(0, bars.left[0]) - 0.02, bars.left[-1] + bars.width + 0.02)
    if by_family:
        _draw_families(panels[1], families.with_columns(p=pl.col("c") / pl.col("n")), names)
    mean = float((result.capability["c"] / result.capability["n"]).to_numpy().mean())
    return Drawing(
        "expected_accuracy",
        "Expected accuracy of the questions",
        f"Share c/n of correct responses of each of {len(result.capability)} questions; their mean "
        f"is {mean:.3f}."
        + (
            " Right: by family, spread vertically; the bar is the family's mean."
            if by_family
            else ""
        ),
        figure,
    )


def _draw_families(axes: Axes, families: pl.DataFrame, names: list[str]) -> None:
    spread = np.random.default_rng(0)
    for row, name in enumerate(names):
        p = families.filter(pl.col("family") == name)["p"].to_numpy()
        y = row + spread.uniform(-0.25, 0.25, len(p))
        axes.scatter(p, y, s=9, c=style.BLUE, alpha=opacity(3 * len(p)), lw=0)
        axes.vlines(p.mean(), row - 0.36, row + 0.36, color=style.BLACK, lw=1.6)
    axes.set_yticks(range(len(names)), [style.clipped(name) for name in names])
    axes.set(xlim=UNIT, xticks=TICKS, xlabel="Expected accuracy c/n")
    axes.set_ylim(len(names) - 0.4, -0.6)


def draw_selection(name: str, selection: pl.DataFrame) -> Drawing:
    """Draw the validation Brier score of each feature at its best strength, and the choice."""
    figure = Figure(figsize=(style.COLUMN_WIDTH, 2.3), layout="constrained")
    axes = figure.subplots()
    look = estimator_look(name)
    best = plotted.best_strengths(selection)
    features = best["feature"].to_list()
    x = np.arange(len(features))
    joined = np.array([feature not in POOLED for feature in features])
    lines = (
        ("train", style.GREY, ":"),
        ("validation", look.colour, "-"),
        ("test", style.BLACK, "--"),
    )
    for column, colour, line in lines:
        y = best[f"{column}_brier"].to_numpy()
        axes.plot(x[joined], y[joined], color=colour, ls=line, marker="o", ms=3, label=column)
        axes.plot(x[~joined], y[~joined], color=colour, ls="none", marker="o", ms=3)
    chosen = selection.row(by_predicate=pl.col("chosen"), named=True)
    at = features.index(chosen["feature"]), chosen["validation_brier"]
    axes.plot(*at, marker="o", ms=8, mfc="none", mec=style.BLACK, mew=1, ls="none", label="chosen")
    axes.set_xticks(*_feature_ticks(features))
    axes.set(xlabel="Layer", ylabel="Brier score")
    figure.legend(loc="outside lower center", ncols=4)
    return Drawing(
        f"selection_{name}",
        f"Choice of the {look.name.lower()}'s features",
        "Brier score against c/n of a probe on each layer's hidden state at the last prompt "
        "token (E: the embeddings, M and X: mean and maximum over layers), at the setting "
        "that is best on the validation questions. Chosen, without a look at the test questions: "
        f"{chosen['feature']} at strength {chosen['strength']:.2g}.",
        figure,
    )


def _feature_ticks(features: list[str]) -> tuple[list[int], list[str]]:
    """Return positions and short names of the features, every few layers only."""
    layers = [i for i, feature in enumerate(features) if feature.startswith("layer ")]
    step = max(1, len(layers) // 6)
    special = {"embedding": "E", **POOLED}
    apart = layers[step - 1 : len(layers) - step // 2 : step]  # from the mean's tick
    ticks = {i: features[i].removeprefix("layer ") for i in apart}
    ticks |= {i: special.get(f, f) for i, f in enumerate(features) if i not in layers}
    return list(ticks), list(ticks.values())
