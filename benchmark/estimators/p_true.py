"""P(True): how probable the model finds Yes, asked whether it can answer the question."""

from dataclasses import dataclass

import polars as pl
from omegaconf import MISSING

from benchmark.cell.cell import Cell
from benchmark.config.schema import Role
from benchmark.estimators.asking import by_question, check_prompt, fill_prompts
from benchmark.progress import meter
from benchmark.records import Estimate
from benchmark.store.artifact import Artifact, prompt_hash

_PART = 256  # questions
ANSWER_PROBABILITY = pl.Schema(
    {
        "question_id": pl.String(),
        "prompt_hash": pl.String(),
        "yes": pl.Float64(),  # summed over the tokens that spell it
        "no": pl.Float64(),
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),  # reasoning included
    }
)


@dataclass
class PTrue:
    """Probability of Yes against No as the first answer token of the reply.

    Attributes:
        prompt: wording, with ``{question}`` where the bare question goes, and ``{response}`` for
            the response that is shown, if any.
        responses: how many sampled responses are shown, each in a prompt of its own; 0 asks about
            the question alone.
    """

    prompt: str = MISSING
    responses: int = 0

    def __post_init__(self) -> None:
        """Refuse a prompt without its places."""
        check_prompt(self.prompt, "p_true", self.responses)

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return P(Yes) / (P(Yes) + P(No)) of each question; the left-over mass is in the store.

        Where both probabilities are 0 the confidence is null with status ``unparsed``, where the
        request failed with status ``error``; the next run asks again.
        """
        prompts = fill_prompts(self.prompt, cell, role, self.responses)
        artifact = self.artifact(cell, role)
        hashes = {key: prompt_hash(prompt) for key, prompt in prompts.items()}
        wanted = pl.DataFrame({"question_id": [*hashes], "prompt_hash": [*hashes.values()]})
        with artifact.lock():
            stored = artifact.read_table(ANSWER_PROBABILITY)
            settings = None
            missing = wanted.join(stored, on=wanted.columns, how="anti")
            if missing.height:
                _collect(cell, {key: prompts[key] for key in missing["question_id"]}, artifact)
                stored = artifact.read_table(ANSWER_PROBABILITY)
                settings = cell.engine.settings
            artifact.write_manifest({"questions": stored.height}, {}, settings)
        stored = stored.unique(wanted.columns)
        table = wanted.join(stored, on=wanted.columns, how="left", nulls_equal=True)
        mass = pl.col("yes") + pl.col("no")
        status = pl.when(mass > 0).then(pl.lit("ok"))
        table = table.with_columns(
            confidence=pl.when(mass > 0).then(pl.col("yes") / mass),
            status=status.when(mass.is_null()).then(pl.lit("error")).otherwise(pl.lit("unparsed")),
        )
        return Estimate(by_question(table), samples_used=self.responses)

    def artifact(self, cell: Cell, role: Role) -> Artifact:
        """Return where the probabilities are kept."""
        inputs: dict[str, object] = {"choices": ["Yes", "No"]}
        if cell.config.model.reasoning != "none":  # what is drawn before the answer
            inputs |= {"decoding": cell.decoding().inputs, "seed": cell.config.sampling.seed}
        return cell.artifact(role, "p_true", inputs)


def _collect(cell: Cell, prompts: dict[str, str], artifact: Artifact) -> None:
    """Ask for the probabilities and store them; those that fail are missing and reported."""
    rows: list[dict[str, object]] = []
    errors: list[str] = []

    def flush() -> None:
        if rows:
            artifact.append_table(pl.DataFrame(rows, schema=ANSWER_PROBABILITY))
            rows.clear()

    requests = cell.requests(prompts)
    with meter(cell.console, "P(True)", len(prompts)) as progress:
        try:
            for key, answer in cell.engine.choice_probabilities(
                requests, ["Yes", "No"], cell.decoding()
            ):
                progress.advance()
                if answer.error is not None:
                    errors.append(answer.error)
                    continue
                rows.append(
                    {
                        "question_id": key,
                        "prompt_hash": prompt_hash(prompts[key]),
                        "yes": answer.probabilities["Yes"],
                        "no": answer.probabilities["No"],
                        "prompt_tokens": answer.prompt_tokens,
                        "completion_tokens": answer.completion_tokens,
                    }
                )
                if len(rows) == _PART:
                    flush()
        finally:  # what came before a fault is kept
            flush()
    if errors:
        cell.console.print(
            f"P(True): {len(errors)} of {len(prompts)} requests failed, the first with: {errors[0]}"
        )
