"""Prompts that ask the model about a question, or about responses to it; whose answer is whose."""

import polars as pl

from benchmark.cell import Cell
from benchmark.config import Role
from benchmark.errors import ConfigError
from benchmark.records import CONFIDENCE

_SHOWN = " / response "  # between a question's id and the index of the response that is shown
_NO_ANSWER = "(no answer)"


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


def fill_prompts(template: str, cell: Cell, role: Role, responses: int) -> dict[str, str]:
    """Return the template around each bare question, or around each shown response to it."""
    table = cell.questions[role]["question_id", "question"]
    if not responses:
        return {key: template.replace("{question}", text) for key, text in table.iter_rows()}
    shown = cell.split(role).responses.filter(pl.col("sample_index") < responses)
    rows = shown.join(table, on="question_id")["question_id", "sample_index", "question", "text"]
    head, *rest = template.split("{response}")
    return {
        f"{key}{_SHOWN}{index}": (text or _NO_ANSWER).join(
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
