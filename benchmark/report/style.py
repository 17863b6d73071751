"""The one place for display names, colours and the look of figures.

Nothing else in the report spells a name or a colour. What isn't listed here still gets a readable
name and a colour of its own that stays the same from run to run.
"""

import math
import zlib
from typing import Literal, NamedTuple

from benchmark.report.outside import one_line


class Look(NamedTuple):
    """How an estimator or an outcome is shown; shape and colour both tell it apart."""

    name: str
    colour: str  # hex
    marker: str = "o"  # matplotlib's


class Metric(NamedTuple):
    """How a metric is shown.

    Attributes:
        name: the full name.
        short: the head of its column, in the terminal and on the page.
        best: which value is best; None where better or worse has no meaning.
        decimals: digits after the point.
        main: shown in the terminal.
        detail: shown in the page's second table of metrics.
    """

    name: str
    short: str
    best: Literal["lowest", "highest", "nearest zero"] | None
    decimals: int = 3
    main: bool = False
    detail: bool = False


# Okabe and Ito's palette (2008), safe for colour-blind readers; its yellow is too light on white.
BLACK, GREY, LIGHT_GREY = "#000000", "#757575", "#D0D0D0"
ORANGE, SKY, GREEN, BLUE = "#E69F00", "#56B4E9", "#009E73", "#0072B2"
VERMILLION, PURPLE = "#D55E00", "#CC79A7"

# A hue for each way to ask, dark for what is made of others; the marker says how.
DARK_ORANGE, DARK_BLUE, DARK_RED, BROWN = "#9A6A00", "#003F66", "#8A3B00", "#8C6D31"

ESTIMATORS = {
    "random": Look("Random", "#A6A6A6", "x"),
    "oracle_cc": Look("Capability oracle", BLACK, "*"),
    "oracle_rc": Look("Response oracle", GREY, "*"),
    "verbalized": Look("Verbalized", ORANGE, "s"),
    "verbalized_few_shot": Look("Verbalized, few-shot", ORANGE, "h"),
    "verbalized_response": Look("Verbalized, response", ORANGE, "v"),
    "verbalized_isotonic": Look("Verbalized + isotonic", DARK_ORANGE, "s"),
    "verbalized_platt": Look("Verbalized + Platt", DARK_ORANGE, "X"),
    "p_true": Look("P(True)", SKY, "D"),
    "p_true_response": Look("P(True), response", SKY, "v"),
    "p_true_isotonic": Look("P(True) + isotonic", DARK_BLUE, "D"),
    "p_true_platt": Look("P(True) + Platt", DARK_BLUE, "X"),
    "consistency_5": Look("Consistency of 5", GREEN, "v"),
    "consistency_10": Look("Consistency of 10", BLUE, "^"),
    "consistency_20": Look("Consistency of 20", GREEN, "s"),
    "consistency_response": Look("Consistency, response", BLUE, "v"),
    "probe_own": Look("Probe", VERMILLION, "o"),
    "probe_math": Look("Probe from MATH", "#882255", "p"),
    "probe_gsm8k": Look("Probe from GSM8K", "#AA4499", "h"),
    "probe_triviaqa": Look("Probe from TriviaQA", "#CC6677", "8"),
    "probe_mixture": Look("Probe from a mixture", "#661100", "H"),
    "probe_isotonic": Look("Probe + isotonic", DARK_RED, "o"),
    "average_verbalized_p_true": Look("Verbalized, P(True)", PURPLE, "h"),
    "average_verbalized_probe": Look("Verbalized, probe", PURPLE, "o"),
    "train_mean": Look("Train mean", BROWN, "X"),
    "family_mean": Look("Family mean", PURPLE, "P"),
    "question_length": Look("Question length", BROWN, "^"),
    "tfidf": Look("TF-IDF + ridge", BROWN, "D"),
}
FIRST_ESTIMATORS = (  # the first of these are drawn where a figure has too many: the paper's main
    "probe_own", "verbalized", "p_true", "consistency_10", "consistency_5", "oracle_cc",
    "oracle_rc", "random", "train_mean", "verbalized_few_shot", "verbalized_isotonic",
    "p_true_isotonic",
)  # fmt: skip
FALLBACK_COLOURS = (ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE)
FALLBACK_MARKERS = ("<", ">", "d", "p")
SERIES_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P")

POLICIES = {  # that spend a sampling budget
    "uniform": Look("Uniform", BLACK, "o"),
    "greedy": Look("Greedy", BLUE, "D"),
    "uniform_stopping": Look("Uniform, stopping", GREY, ""),
    "posterior": Look("Posterior", VERMILLION, ""),
    "thompson": Look("Thompson", GREEN, ""),
}

OUTCOMES = {
    "correct": Look("correct", BLUE),
    "incorrect": Look("incorrect", VERMILLION),
    "unparsed": Look("no answer found", "#B8860B"),
    "truncated": Look("truncated", GREY),
}

DESIGNS = {  # of sampling, in applications.adaptive
    "adaptive, c/n": Look("Adaptive, c/n", VERMILLION, "X"),
    "adaptive, unbiased": Look("Adaptive, unbiased", BLUE, "o"),
    "fixed, k_max": Look("Fixed, k_max for all", BLACK, "D"),
    "fixed, as many": Look("Fixed, as many in all", GREY, "s"),
}

COUNTED_OUTCOMES = {  # of counts from elsewhere, which say no more
    "correct": OUTCOMES["correct"],
    "incorrect": Look("not correct", VERMILLION),
}

METRICS = {
    "brier": Metric("Brier score", "Brier", "lowest", main=True),
    "brier_unbiased": Metric("Brier score, unbiased", "Brier,\nunbiased", "lowest", main=True),
    "brier_response": Metric("Brier score, single responses", "Brier,\nresponses", "lowest"),
    "variance": Metric("Mean p(1 − p)", "p(1 − p)", None, detail=True),
    "reliability": Metric("Reliability (Murphy)", "Reliability", "lowest", detail=True),
    "resolution": Metric("Resolution (Murphy)", "Resolution", "highest", detail=True),
    "uncertainty": Metric("Uncertainty (Murphy)", "Uncertainty", None, detail=True),
    "r2": Metric("R²", "R²", "highest"),
    "r2_ceiling": Metric("R², most that the noise of c/n allows", "R² ceiling", None, detail=True),
    "ece": Metric("ECE", "ECE", "lowest", main=True),
    "ece_equal_mass": Metric("ECE, bins of equal mass", "ECE,\nequal mass", "lowest", detail=True),
    "smooth_ece": Metric("Smooth ECE", "Smooth\nECE", "lowest"),
    "signed_error": Metric("Signed calibration error", "Signed\nerror", "nearest zero"),
    "pearson": Metric("Pearson r", "Pearson", "highest", detail=True),
    "spearman": Metric("Spearman ρ", "Spearman", "highest", main=True),
    "auroc": Metric("AUROC, single responses", "AUROC", "highest", main=True),
    "tokens": Metric("Mean tokens spent", "Tokens", None, decimals=1, main=True),
    "prompt_tokens": Metric("Of these, prompt", "Prompt\ntokens", None, decimals=1, detail=True),
    "completion_tokens": Metric(
        "Of these, completion", "Completion\ntokens", None, decimals=1, detail=True
    ),
    "selected": Metric("Selected by one response per question", "Selected", None),
    "flipped": Metric("Another selected than the best", "Flipped", None),
    "accuracy": Metric("Mean expected accuracy", "Accuracy", None),
    "pass_at_k_mse": Metric("MSE of pass@k", "MSE", "lowest", decimals=4),
    "success_rate": Metric("Share of questions solved", "Solved", "highest"),
}

DATASETS = {
    "basics": "Basics",
    "triviaqa": "TriviaQA",
    "simpleqa_verified": "SimpleQA-Verified",
    "gsm8k": "GSM8K",
    "math_500": "MATH-500",
    "aime25": "AIME25",
    "mmlu": "MMLU",
    "gpqa_diamond": "GPQA-Diamond",
}

MODELS = {
    "smollm2_135m": "SmolLM2-135M-Instruct",
    "gemma3_270m": "Gemma-3-270M",
    "olmo3_7b": "Olmo-3-7B-Instruct",
    "qwen3_8b": "Qwen3-8B",
    "gpt_oss_20b": "gpt-oss-20b",
}

MISSING = "–"
LONGEST_LABEL = 23  # characters
ONE_LINE = 10  # characters of a name that isn't broken into two lines
COLUMN_WIDTH, TEXT_WIDTH = 3.3, 6.8  # inches, of a two-column page
DPI = 250

RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures look alike everywhere
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlepad": 4.0,
    "axes.labelpad": 2.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "text.parse_math": False,  # names come from data; a dollar sign in them is a dollar sign
    "savefig.dpi": DPI,
    "savefig.facecolor": "white",
}


def estimator_look(estimator: str) -> Look:
    """Return how an estimator is shown; an unlisted one gets a colour and marker by its name.

    One inside another, such as ``probe_isotonic.base``, looks as that does, with its place.
    """
    if estimator in ESTIMATORS:
        return ESTIMATORS[estimator]
    whole, _, place = estimator.partition(".")
    if place:
        look = estimator_look(whole)
        return look._replace(name=one_line(f"{look.name} ({place})"))
    digest = zlib.crc32(estimator.encode())
    return Look(
        _readable(estimator),
        FALLBACK_COLOURS[digest % len(FALLBACK_COLOURS)],
        FALLBACK_MARKERS[digest // len(FALLBACK_COLOURS) % len(FALLBACK_MARKERS)],
    )


def series_looks(count: int) -> list[Look]:
    """Return how lines that have no look of their own are told apart, such as one for each model.

    From the seventh on the looks repeat in colour, with another marker.
    """
    colours, markers = len(SERIES_COLOURS), len(SERIES_MARKERS)
    return [
        Look("", SERIES_COLOURS[i % colours], SERIES_MARKERS[(i + i // colours) % markers])
        for i in range(count)
    ]


def metric_look(metric: str) -> Metric:
    """Return how a metric is shown; of an unlisted one nothing is called best."""
    return METRICS.get(metric, Metric(_readable(metric), _readable(metric), None))


def model_name(model: str) -> str:
    """Return the display name of a model; an unlisted one is shown as it is, in one line."""
    return MODELS.get(model) or one_line(model)


def dataset_name(dataset: str) -> str:
    """Return the display name of a dataset; an unlisted one is shown as it is, in one line."""
    return DATASETS.get(dataset) or one_line(dataset)


def number(value: float, decimals: int) -> str:
    """Return a number for people, with a real minus sign; NaN is shown as missing.

    Examples:
        >>> number(-0.0621, 2), number(-0.0001, 2), number(float("nan"), 2)
        ('−0.06', '0.00', '–')
    """
    if math.isnan(value):
        return MISSING
    text = f"{value:z.{decimals}f}"
    return text.replace("-", "−")


def clipped(name: str) -> str:
    """Return a name short enough for the title of a small multiple or the label of a row.

    Examples:
        >>> clipped("the larger of two numbers of four digits")
        'the larger of two numb…'
    """
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1].rstrip()}…"


def broken(name: str) -> str:
    r"""Return a long name in two lines, to stand over or beside a narrow panel or column.

    Examples:
        >>> broken("Olmo-3-7B-Instruct"), broken("Consistency of 10"), broken("GSM8K")
        ('Olmo-3-7B-\nInstruct', 'Consistency\nof 10', 'GSM8K')
    """
    if len(name) <= ONE_LINE:
        return name
    cuts = [i + 1 for i, char in enumerate(name[:-1]) if char in "- "]
    if not cuts:
        return name
    cut = min(cuts, key=lambda place: abs(place - 0.55 * len(name)))
    return f"{name[:cut].rstrip()}\n{name[cut:]}"


def _readable(name: str) -> str:
    words = one_line(name.replace("_", " ").strip())
    return words[:1].upper() + words[1:]
