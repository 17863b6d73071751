"""P(True): how probable the model finds Yes, asked whether it can answer the question."""

from dataclasses import dataclass

import polars as pl
from omegaconf import MISSING

from benchmark.cell import Cell
from benchmark.estimators.verbalized import check_prompt, fill_prompts
from benchmark.progress import meter
from benchmark.records import CONFIDENCE, Estimate
from benchmark.store import Artifact, prompt_hash

_PART = 256  # questions
ANSWER_PROBABILITY = pl.Schema(
    {
        "question_id": pl.String(),
        "prompt_hash": pl.String(),
        "yes": pl.Float64(),  # summed over the tokens that spell it
        "no": pl.Float64(),
        "prompt_tokens": pl.Int64(),
    }
)


@dataclass
class PTrue:
    """Probability of Yes against No as the first token of the reply, at temperature 1.

    Attributes:
        prompt: wording, with ``{question}`` where the user turn goes.
    """

    kind: str = "p_true"
    prompt: str = MISSING

    def __post_init__(self) -> None:
        """Refuse a prompt without a place for the question."""
        check_prompt(self.prompt, "p_true")

    def estimate(self, cell: Cell) -> Estimate:
        """Return P(Yes) / (P(Yes) + P(No)) of each question; the left-over mass is in the store.

        Where both probabilities are 0 the confidence is null with status ``unparsed``.
        """
        prompts = fill_prompts(self.prompt, cell.prompts("evaluation"))
        artifact = cell.artifact("evaluation", "p_true", {"choices": ["Yes", "No"]})
        hashes = {key: prompt_hash(prompt) for key, prompt in prompts.items()}
        wanted = pl.DataFrame({"question_id": [*hashes], "prompt_hash": [*hashes.values()]})
        with artifact.lock():
            stored = artifact.read_table(ANSWER_PROBABILITY)
            missing = wanted.join(stored, on=["question_id", "prompt_hash"], how="anti")
            if missing.height:
                _collect(cell, {key: prompts[key] for key in missing["question_id"]}, artifact)
                stored = artifact.read_table(ANSWER_PROBABILITY)
                artifact.write_manifest({"questions": stored.height}, {})
        mass = pl.col("yes") + pl.col("no")
        table = wanted.join(stored.unique(["question_id", "prompt_hash"]), on=wanted.columns)
        table = table.with_columns(
            confidence=pl.when(mass > 0).then(pl.col("yes") / mass),
            status=pl.when(mass > 0).then(pl.lit("ok")).otherwise(pl.lit("unparsed")),
            sample_index=pl.lit(0, pl.Int64),
            completion_tokens=pl.lit(1, pl.Int64),
        )
        return Estimate(table.sort("question_id").select(list(CONFIDENCE)))


def _collect(cell: Cell, prompts: dict[str, str], artifact: Artifact) -> None:
    rows: list[dict[str, object]] = []

    def flush() -> None:
        if rows:
            artifact.append_table(pl.DataFrame(rows, schema=ANSWER_PROBABILITY))
            rows.clear()

    with meter(cell.console, "P(True)", len(prompts)) as progress:
        for key, answer in cell.engine.choice_probabilities(prompts, ["Yes", "No"]):
            rows.append(
                {
                    "question_id": key,
                    "prompt_hash": prompt_hash(prompts[key]),
                    "yes": answer.probabilities["Yes"],
                    "no": answer.probabilities["No"],
                    "prompt_tokens": answer.prompt_tokens,
                }
            )
            progress.advance()
            if len(rows) == _PART:
                flush()
        flush()
