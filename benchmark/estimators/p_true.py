"""P(True): how probable the model finds Yes, asked whether it can answer the question."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl
from omegaconf import MISSING

from benchmark.cell.asked import Asked
from benchmark.cell.cell import Cell
from benchmark.config.schema import Role
from benchmark.estimators.asking import by_question, check_prompt, fill_prompts
from benchmark.estimators.estimator import Estimator
from benchmark.records import Estimate
from benchmark.store.rows import Row, table_rows

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
PROBABILITIES = table_rows(ANSWER_PROBABILITY, "questions")


@dataclass
class PTrue(Estimator):
    """Probability of Yes against No as the first answer token of the reply.

    Attributes:
        prompt: wording, with ``{question}`` where the bare question goes, and ``{response}`` for
            the response that is shown, if any.
        responses: number of sampled responses that are shown, each in a prompt of its own; 0 asks
            about the question alone.
    """

    prompt: str = MISSING
    responses: int = 0

    def __post_init__(self) -> None:
        check_prompt(self.prompt, "p_true", self.responses)

    @property
    def reads(self) -> Mapping[str, int]:
        """The responses that are shown."""
        return {"responses": self.responses}

    def requests(self, cell: Cell, role: Role = "evaluation") -> Iterable[Asked]:
        """Return the probabilities about each question, or about each response that is shown."""
        prompts = fill_prompts(self.prompt, cell, role, self.responses)
        inputs: dict[str, object] = {"choices": ["Yes", "No"]}
        cap = 1
        if cell.config.model.reasoning != "none":  # what is drawn before the answer
            decoding = cell.decoding()
            inputs |= {"decoding": decoding.inputs, "seed": cell.config.sampling.seed}
            cap = decoding.max_new_tokens
        artifact = cell.artifact(role, "p_true", inputs)
        return [Asked("p_true", artifact, PROBABILITIES, prompts, cap=cap)]

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return P(Yes) / (P(Yes) + P(No)) of each question; the left-over mass is in the store.

        Where both probabilities are 0 the confidence is null with status ``unparsed``, where the
        request failed with status ``error``; the next run asks again.
        """
        (asked,) = self.requests(cell, role)
        table = cell.ask(asked, lambda prompts: _probabilities(cell, prompts), "P(True)")
        mass = pl.col("yes") + pl.col("no")
        status = pl.when(mass > 0).then(pl.lit("ok"))
        table = table.with_columns(
            confidence=pl.when(mass > 0).then(pl.col("yes") / mass),
            status=status.when(mass.is_null()).then(pl.lit("error")).otherwise(pl.lit("unparsed")),
        )
        return Estimate(by_question(table), samples_used=self.responses)


def _probabilities(cell: Cell, prompts: dict[str, str]) -> Iterator[Row | None]:
    """Yield the probabilities, None for requests that fail; how many is told at the end."""
    errors: list[str] = []
    requests, decoding = cell.requests(prompts), cell.decoding()
    answers = cell.engine.choice_probabilities(requests, ["Yes", "No"], decoding)
    for key, answer in answers:
        if answer.error is not None:
            errors.append(answer.error)
            yield None
            continue
        yield {
            "question_id": key,
            "yes": answer.probabilities["Yes"],
            "no": answer.probabilities["No"],
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
        }
    if errors:
        cell.console.print(
            f"P(True): {len(errors)} of {len(prompts)} requests failed, the first with: {errors[0]}"
        )
