"""Prompts that ask the model about a question, or about responses to it; whose answer is whose."""

from collections.abc import Callable

import polars as pl

from benchmark.cell.cell import Cell
from benchmark.config.filling import filled
from benchmark.config.schema import Role
from benchmark.errors import ConfigError
from benchmark.records import CONFIDENCE

_SHOWN = " / response "  # between a question's id and the index of the response that is shown
_NO_ANSWER = "(no answer)"


def check_prompt(template: str, name: str, responses: int, examples: int = 0) -> None:
    """Refuse a wording without its places.

    Raises:
        ConfigError: the template has no ``{question}``; or ``{response}`` but no response to show,
            ``{examples}`` but no example; or the other way round.
    """
    if "{question}" not in template:
        raise ConfigError(f"{name}: the prompt has no '{{question}}' in it: {template[:80]!r}.")
    shown = {"responses": ("{response}", responses), "examples": ("{examples}", examples)}
    for setting, (place, count) in shown.items():
        if count < 0 or (place in template) != (count > 0):
            raise ConfigError(
                f"{name}: {setting}={count} must be above 0 where the prompt has '{place}' in it, "
                f"and 0 where it hasn't: {template[:80]!r}."
            )


def fill_prompts(
    template: str,
    cell: Cell,
    role: Role,
    responses: int,
    examples: Callable[[str], str] = lambda _: "",
) -> dict[str, str]:
    """Return the template around each bare question, or around each shown response to it.

    Args:
        template: wording with the places ``{question}``, ``{response}`` and ``{examples}``.
        cell: the cell that has the questions and responses.
        role: split of the questions.
        responses: number of responses to each question that are shown.
        examples: returns the examples that the question of an id is shown.
    """
    table = cell.questions[role]["question_id", "question"]
    if not responses:
        return {
            key: filled(template, {"question": text, "examples": examples(key)})
            for key, text in table.iter_rows()
        }
    shown = cell.split(role).responses.filter(pl.col("sample_index") < responses)
    rows = shown.join(table, on="question_id")["question_id", "sample_index", "question", "text"]
    return {
        f"{key}{_SHOWN}{index}": filled(
            template,
            {"question": question, "response": text or _NO_ANSWER, "examples": examples(key)},
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
