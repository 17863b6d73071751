"""A simulated grid cell: planted expected accuracies, outcomes, confidences of all kinds."""

from dataclasses import replace

import numpy as np
import polars as pl
from scipy.special import expit, logit

from benchmark.applications.pass_at_k import pass_at_k_table
from benchmark.capability.counts import count_outcomes
from benchmark.metrics.evaluate import evaluate
from benchmark.probes.features import POOLINGS
from benchmark.records import (
    CONFIDENCE,
    DISAGREEMENT,
    GRADE,
    PROBE_SELECTION,
    RESPONSE,
    CellResult,
    ChosenProbe,
    Estimate,
    Question,
    question_table,
)

FAMILIES = {
    "one-digit sums": (2.0, 1.2),
    "products": (1.2, 1.5),
    "two-digit sums": (0.7, 2.5),
    "capitals": (1.0, 0.9),
    "larger number": (3.0, 2.0),
    "letters": (0.6, 2.0),
}
LAYERS = 12


def simulate_cell(n_questions: int = 200, k: int = 16, seed: int = 0) -> CellResult:
    """Return a cell as the pipeline makes it; every number follows from the seed."""
    rng = np.random.default_rng(seed)
    names = [list(FAMILIES)[i % len(FAMILIES)] for i in range(n_questions)]
    p = np.array([rng.beta(*FAMILIES[name]) for name in names])
    questions = [
        Question(
            f"basics/test/{i:04d}",
            f"What is {i} + {i}?",
            f"{i} + {i}?",
            (str(2 * i),),
            {"family": name},
        )
        for i, name in enumerate(names)
    ]
    outcomes = _outcomes(p, k, rng)
    ids = np.array([q.question_id for q in questions])
    grades = _grades(ids, outcomes, rng)
    estimates = _estimates(ids, p, names, outcomes == "correct", rng)
    metrics, differences = evaluate(estimates, grades, rng, resamples=200)
    k_values = [value for value in (1, 2, 4, 8, 16, 32, 64) if value <= k - 10]
    return CellResult(
        model="smollm2_135m",
        dataset="basics",
        split="test",
        questions=question_table(questions),
        responses=_responses(ids, outcomes, rng).lazy(),
        grades=grades,
        left_out=GRADE.to_frame(),
        disagreements=DISAGREEMENT.to_frame(),
        capability=count_outcomes(grades),
        estimates=estimates,
        metrics=metrics,
        differences=differences,
        applications={
            "pass_at_k": pass_at_k_table(estimates, grades, k_values, rng, resamples=200)
        },
    )


def confidence_table(ids, confidences, prompt_tokens=0, completion_tokens=0) -> pl.DataFrame:
    """Return [N] or [N, D] confidences as a table; NaN becomes status ``unparsed``."""
    values = np.asarray(confidences, dtype=float).reshape(len(ids), -1)
    draws = values.shape[1]
    flat = [None if np.isnan(v) else float(v) for v in values.ravel()]
    return pl.DataFrame(
        {
            "question_id": np.repeat(ids, draws).tolist(),
            "sample_index": np.tile(np.arange(draws), len(ids)).tolist(),
            "confidence": flat,
            "status": ["unparsed" if v is None else "ok" for v in flat],
            "prompt_tokens": [prompt_tokens] * len(flat),
            "completion_tokens": [completion_tokens] * len(flat),
        },
        schema=CONFIDENCE,
    )


def _outcomes(p, k, rng):
    shape = (len(p), k)
    failures = rng.choice(["incorrect", "unparsed", "truncated"], p=[0.8, 0.12, 0.08], size=shape)
    return np.where(rng.random(shape) < p[:, None], "correct", failures)


def _grades(ids, outcomes, rng):
    n, k = outcomes.shape
    flat = outcomes.ravel()
    right = np.repeat(np.arange(n) * 2, k)
    wrong = right + rng.integers(1, 9, size=n * k)
    answers = np.where(flat == "correct", right, wrong)
    found = np.isin(flat, ["correct", "incorrect"])
    return pl.DataFrame(
        {
            "question_id": np.repeat(ids, k).tolist(),
            "sample_index": np.tile(np.arange(k), n).tolist(),
            "answer": [str(a) if f else None for a, f in zip(answers, found, strict=True)],
            "outcome": flat.tolist(),
            "reason": [None] * (n * k),
            "grader": ["exact"] * (n * k),
        },
        schema=GRADE,
    )


def _responses(ids, outcomes, rng):
    n, k = outcomes.shape
    return pl.DataFrame(
        {
            "question_id": np.repeat(ids, k).tolist(),
            "sample_index": np.tile(np.arange(k), n).tolist(),
            "text": [f"Adding them I find {i}. ({o})" for i, o in enumerate(outcomes.ravel())],
            "reasoning": [None] * (n * k),
            "finish_reason": np.where(outcomes.ravel() == "truncated", "length", "stop").tolist(),
            "prompt_tokens": [40] * (n * k),
            "completion_tokens": rng.integers(5, 25, size=n * k).tolist(),
            "seed": list(range(n * k)),
            "error": [None] * (n * k),
        },
        schema=RESPONSE,
    )


def _estimates(ids, p, names, correct, rng) -> dict[str, Estimate]:
    n = len(ids)
    signal = logit(np.clip(p, 0.02, 0.98))
    verbalized = rng.choice([0.5, 0.7, 0.8, 0.9, 1.0], p=[0.1, 0.1, 0.2, 0.4, 0.2], size=n)
    verbalized[rng.random(n) < 0.03] = np.nan
    family = {name: p[[i for i, m in enumerate(names) if m == name]].mean() for name in FAMILIES}
    share = {m: correct[:, :m].mean(1) for m in (5, 10)}
    consistency = {m: np.maximum(right, (1 - right) / 2) for m, right in share.items()}
    return {
        "random": Estimate(confidence_table(ids, rng.random((n, 20)))),
        "oracle_cc": Estimate(confidence_table(ids, correct.mean(1)), oracle=True),
        "oracle_rc": Estimate(confidence_table(ids, correct.astype(float)), oracle=True),
        "verbalized": Estimate(confidence_table(ids, verbalized, 95, 6)),
        "p_true": Estimate(
            confidence_table(ids, expit(0.5 * signal + 1.2 + rng.normal(0, 0.8, n)), 80, 1)
        ),
        "consistency_5": Estimate(confidence_table(ids, consistency[5], 40, 75), samples_used=5),
        "consistency_10": Estimate(
            confidence_table(ids, consistency[10], 40, 150), samples_used=10
        ),
        "probe": Estimate(
            confidence_table(ids, expit(0.75 * signal + rng.normal(0, 0.6, n))),
            probes={"": ChosenProbe(_selection(rng))},
        ),
        "family_mean": Estimate(confidence_table(ids, [family[name] for name in names])),
        "train_mean": Estimate(confidence_table(ids, np.full(n, p.mean()))),
    }


def _selection(rng) -> pl.DataFrame:
    features = ["embedding", *(f"layer {i}" for i in range(1, LAYERS + 1)), *POOLINGS]
    strengths = np.logspace(-4, 2, 10)
    depth = np.append(np.linspace(0, 1, LAYERS + 1), [0.8, 0.6])[:, None]
    bend = 0.004 * (np.log10(strengths)[None] + 1) ** 2
    validation = 0.10 - 0.06 * depth * (1.4 - depth) + bend + rng.normal(0, 8e-4, bend.shape)
    train = validation - 0.02 / (1 + strengths)
    rows = {
        "feature": np.repeat(features, len(strengths)).tolist(),
        "strength": np.tile(strengths, len(features)).tolist(),
        "learning_rate": [None] * validation.size,
        "train_brier": train.ravel().tolist(),
        "validation_brier": validation.ravel().tolist(),
        "test_brier": (validation.ravel() + 0.003).tolist(),
        "chosen": (validation.ravel() == validation.min()).tolist(),
    }
    return pl.DataFrame(rows, schema=PROBE_SELECTION)


def with_texts(cell: CellResult, text: str) -> CellResult:
    """Return the cell with ``text`` in every place that a dataset or a model fills."""
    metadata = [[{"key": "family", "value": text}]] * len(cell.questions)
    lit = pl.lit(text)
    return replace(
        cell,
        questions=cell.questions.with_columns(
            prompt=lit,
            question=lit,
            references=pl.Series([[text]] * len(cell.questions)),
            metadata=pl.Series(metadata, dtype=cell.questions.schema["metadata"]),
        ),
        responses=cell.responses.with_columns(text=lit, reasoning=lit),
        grades=cell.grades.with_columns(answer=lit, reason=lit, grader=lit),
    )


def only(cell: CellResult, *names: str) -> CellResult:
    """Return the cell with these estimators only."""
    return replace(
        cell,
        estimates={name: cell.estimates[name] for name in names},
        metrics=cell.metrics.filter(pl.col("estimator").is_in(names)),
        differences=cell.differences.filter(
            pl.all_horizontal(pl.col("estimator", "other").is_in(names))
        ),
        applications={
            name: table.filter(pl.col("estimator").is_in(names))
            for name, table in cell.applications.items()
        },
    )
