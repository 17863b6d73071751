"""The model is asked for the probability that it answers the question correctly."""

import re
from dataclasses import dataclass

import polars as pl
from omegaconf import MISSING

from benchmark.cell import Cell
from benchmark.config import Role
from benchmark.errors import ConfigError
from benchmark.estimators.asking import by_question, check_prompt, fill_prompts
from benchmark.records import Estimate

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

    def estimate(self, cell: Cell, role: Role = "evaluation") -> Estimate:
        """Return the stated probability of each question, or null with the status that says why."""
        prompts = fill_prompts(self.prompt, cell, role, self.responses)
        decoding = cell.decoding(self.max_new_tokens)
        replies, _ = cell.sample(role, "verbalized", prompts, 1, decoding)
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
