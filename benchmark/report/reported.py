"""Stage 8: the numbers that the paper reports, found by this project's names.

``reported.csv`` holds them as the paper spells them, each with the branch, file and table of the
authors' repository that it was taken from. Of two values for one thing it holds the corrected one.
What the paper measured on other questions (AIME24-26, MMLU's validation split) and what a single
draw of the random baseline gave aren't in it: neither compares with a cell of this project.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import polars as pl

MODELS = {
    "Olmo-3-7B-Instruct": "olmo3_7b",
    "Qwen3-8B-non-thinking": "qwen3_8b",
    "gpt-oss-20b": "gpt_oss_20b",
}
DATASETS = {
    "TriviaQA": "triviaqa",
    "SimpleQA-Verified": "simpleqa_verified",
    "GSM8K": "gsm8k",
    "MATH-500": "math_500",
    "AIME25": "aime25",
    "MMLU-test": "mmlu",
    "GPQA-Diamond": "gpqa_diamond",
}
ESTIMATORS = {
    "Uniform random baseline": "random",
    "Oracle-CC": "oracle_cc",
    "Oracle-RC": "oracle_rc",
    "Verbalized confidence": "verbalized",
    "Verbalized confidence (training-free)": "verbalized",
    "Verbalized confidence (CC-selected)": "verbalized",
    "Verbalized confidence (RC alternative)": "verbalized",
    "Verbalized confidence (few-shot-3)": "verbalized_few_shot",
    "Verbalized confidence + isotonic": "verbalized_isotonic",
    "P(True)": "p_true",
    "P(True) (training-free)": "p_true",
    "P(True) + isotonic": "p_true_isotonic",
    "Probe": "probe_own",
    "Probe (CC-selected)": "probe_own",
    "Probe (RC alternative)": "probe_own",
    "Probe (train on TriviaQA)": "probe_triviaqa",
    "Probe (train on GSM8K)": "probe_gsm8k",
    "Probe (train on MATH)": "probe_math",
    "Probe train=math-train": "probe_math",
    "Uniform": "uniform",
    "greedy Oracle-CC": "oracle_cc",
    "greedy Oracle-RC": "oracle_rc",
    "greedy Probe train=math-train": "probe_math",
    "greedy Verbalized": "verbalized",
    "Response consistency k=5": "consistency_5",
}
METRICS = {
    "brier": "brier",
    "ece": "ece",
    "spearman_r": "spearman",
    "mean_expected_accuracy": "accuracy",
    "passk_mse": "pass_at_k_mse",
    "success_rate": "success_rate",
    "soft_auroc": "auroc",
    "rc_selection_probability": "selected",
    "flip_probability": "flipped",
    "output_tokens": "output_tokens",
    "one_minus_brier": "one_minus_brier",
    "questions_with_this_many_correct": "questions",
}
OF_CELLS = ("flipped",)  # metrics that belong to a cell, whatever method the paper names beside


class Reported(NamedTuple):
    """A number of the paper."""

    value: float
    source: str  # table, file and branch of the authors' repository


def reported(
    metric: str, model: str, dataset: str, estimator: str | None = None, k: int | None = None
) -> Reported | None:
    """Return the paper's number for a cell, or None where it has none.

    Args:
        metric: one of the values of ``METRICS``: ``brier``, ``ece``, ``spearman``, ``auroc``,
            ``accuracy`` (mean expected accuracy), ``pass_at_k_mse``, ``success_rate`` (of a
            sampling budget), ``selected`` and ``flipped`` (by one response per question),
            ``output_tokens`` and ``one_minus_brier`` (read from a figure), or ``questions`` (that
            were answered correctly k times).
        model: name of the model in this project, as of dataset and estimator.
        dataset: name of the dataset whose evaluation questions were asked.
        estimator: name of the estimator; None for what belongs to the cell.
        k: number of tries of pass@k, samples per question of a budget or of a Brier score's
            target, or correct responses; else None.
    """
    return _by_our_names().get((metric, model, dataset, estimator, k))


def reported_by_k(
    metric: str, model: str, dataset: str, estimator: str | None = None
) -> dict[int, float]:
    """Return the paper's numbers of one line over k, in its order; empty where it has none."""
    found = {
        key[-1]: number.value
        for key, number in _by_our_names().items()
        if key[:-1] == (metric, model, dataset, estimator) and key[-1] is not None
    }
    return dict(sorted(found.items()))


@cache
def _by_our_names() -> dict[tuple[str, str, str, str | None, int | None], Reported]:
    path = Path(__file__).parent / "reported.csv"
    table = pl.read_csv(path, schema_overrides={"k": pl.Int64}, glob=False)
    return {
        (
            METRICS[row["metric"]],
            MODELS[row["model"]],
            DATASETS[row["dataset"]],
            _estimator(row),
            row["k"],
        ): Reported(row["value"], f"{row['table']}; {row['file']} ({row['branch']})")
        for row in table.iter_rows(named=True)
    }


def _estimator(row: dict[str, str | None]) -> str | None:
    method = row["method"]
    return None if method is None or METRICS[str(row["metric"])] in OF_CELLS else ESTIMATORS[method]
