"""The model is asked for the probability that it answers the question correctly."""

import re
from dataclasses import dataclass

import polars as pl
from omegaconf import MISSING

from benchmark.cell import Cell
from benchmark.errors import ConfigError
from benchmark.records import CONFIDENCE, Estimate

_BOX = re.compile(r"\\boxed\s*\{([^{}]{0,40})\}")
_NUMBER = re.compile(
    r"(?:[pP]\w{0,12}\s*[=:]\s*)?(?P<value>\d{1,6}(?:\.\d{0,12})?|\.\d{1,12})\s*(?P<percent>\\?%)?\.?"
)


@dataclass
class Verbalized:
    """One sampled reply to a prompt that asks for a probability inside a box.

    Attributes:
        prompt: wording, with ``{question}`` where the bare question goes, and ``{response}`` for
            the response that is shown, if any.
        max_new_tokens: cap of the reply; a model that reasons has its own.
        responses: how many sampled responses are shown, each in a prompt of its own; 0 asks about
            the question alone.
    """

    kind: str = "verbalized"
    prompt: str = MISSING
    max_new_tokens: int = MISSING
    responses: int = 0

    def __post_init__(self) -> None:
        """Refuse a prompt without a place for the question, and an empty reply."""
        check_prompt(self.prompt, self.responses, "verbalized")
        if self.max_new_tokens < 1:
            raise ConfigError(
                f"verbalized: max_new_tokens={self.max_new_tokens} must be at least 1."
            )

    def estimate(self, cell: Cell) -> Estimate:
        """Return the stated probability of each question, or null with the status that says why."""
        prompts = fill_prompts(self.prompt, cell, self.responses)
        decoding = cell.decoding(self.max_new_tokens)
        replies, _ = cell.sample("evaluation", "verbalized", prompts, 1, decoding)
        failed = pl.col("finish_reason") == "error"
        stated = pl.Series("confidence", [parse_confidence(t) for t in replies["text"]], pl.Float64)
        status = (
            pl.when(failed)
            .then(pl.lit("error"))
            .when(pl.col("confidence").is_null())
            .then(pl.lit("unparsed"))
            .otherwise(pl.lit("ok"))
        )
        table = replies.with_columns(stated).with_columns(status=status)
        return Estimate(by_question(table), samples_used=self.responses)


_SHOWN = " / response "  # between a question's id and the index of the response that is shown
NO_ANSWER = "(no answer)"


def check_prompt(template: str, responses: int, name: str) -> None:
    """Refuse a wording without its places.

    Raises:
        ConfigError: the template has no ``{question}``, or ``{response}`` but no response to show.
    """
    if "{question}" not in template:
        raise ConfigError(f"{name}: the prompt has no '{{question}}' in it: {template[:80]!r}.")
    if responses < 0 or ("{response}" in template) != (responses > 0):
        raise ConfigError(
            f"{name}: responses={responses} must be above 0 where the prompt has '{{response}}' in "
            f"it, and 0 where it hasn't: {template[:80]!r}."
        )


def fill_prompts(template: str, cell: Cell, responses: int) -> dict[str, str]:
    """Return the template around each bare question, or around each shown response to it."""
    table = cell.questions["evaluation"]["question_id", "question"]
    if not responses:
        return {key: template.replace("{question}", text) for key, text in table.iter_rows()}
    shown = cell.split("evaluation").responses.filter(pl.col("sample_index") < responses)
    rows = shown.join(table, on="question_id")["question_id", "sample_index", "question", "text"]
    head, *rest = template.split("{response}")
    return {
        f"{key}{_SHOWN}{index}": (text or NO_ANSWER).join(
            part.replace("{question}", question) for part in (head, *rest)
        )
        for key, index, question, text in rows.iter_rows()
    }


def by_question(table: pl.DataFrame) -> pl.DataFrame:
    """Return confidences of schema ``CONFIDENCE``; a shown response's index is the draw's."""
    parts = pl.col("question_id").str.split(_SHOWN)
    index = parts.list.get(1, null_on_oob=True).cast(pl.Int64)
    table = table.with_columns(
        question_id=parts.list.first(), sample_index=index.fill_null(pl.lit(0, pl.Int64))
    )
    return table.sort("question_id", "sample_index").select(list(CONFIDENCE))


def parse_confidence(text: str) -> float | None:
    r"""Return the probability that a reply states, or None.

    Read is the last ``\boxed{...}``, or the whole reply where it is nothing but a number. Allowed
    are 0.85, .85, 85%, 85\%, P = 0.85; values outside [0, 1] are not read.

    Examples:
        >>> parse_confidence(r"I am fairly sure. \boxed{ 85\% }")
        0.85
        >>> parse_confidence("0.7")
        0.7
        >>> parse_confidence(r"\boxed{7}") is None
        True
    """
    boxes = _BOX.findall(text[-20_000:])
    content = boxes[-1] if boxes else text if len(text) < 40 else ""
    match = _NUMBER.fullmatch(content.strip().strip("$").strip())
    if match is None:
        return None
    value = float(match["value"]) / (100 if match["percent"] else 1)
    return value if 0 <= value <= 1 else None
