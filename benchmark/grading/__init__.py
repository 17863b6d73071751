"""Stage 3, grading: responses and questions become a table of schema ``GRADE``.

Every grader is one small file with a function of the ``Grader`` kind, entered in ``GRADERS``. It
sees a response's text and the references, never the question's other responses.
"""

from difflib import get_close_matches
from typing import Protocol

import polars as pl

from benchmark.errors import ConfigError, DataError
from benchmark.grading import basics, exact
from benchmark.grading.verdict import Verdict
from benchmark.records import GRADE, QUESTION, RESPONSE, check_table

__all__ = ["GRADERS", "Grader", "Verdict", "grade"]


class Grader(Protocol):
    """Reads and compares one answer."""

    def __call__(self, text: str, references: tuple[str, ...], *, finished: bool) -> Verdict:
        """Return the verdict on a response; ``finished`` is False where the cap cut it off."""


GRADERS: dict[str, Grader] = {
    "basics": basics.grade_response,
    "exact": exact.grade_response,
}


def grade(responses: pl.DataFrame, questions: pl.DataFrame, grader: str) -> pl.DataFrame:
    """Return the grade of every response, in the order of ``responses``.

    Equal texts with equal references are graded once.

    Args:
        responses: of schema ``RESPONSE``.
        questions: of schema ``QUESTION``, in any order.
        grader: a name of ``GRADERS``.

    Returns:
        A table of schema ``GRADE``.

    Raises:
        ConfigError: an unknown grader.
        DataError: a response to a question that is not in ``questions``, one without a text, or one
            whose request failed.
    """
    if grader not in GRADERS:
        near = get_close_matches(grader, GRADERS) or sorted(GRADERS)
        raise ConfigError(f"dataset.grader: there is no '{grader}'; choose one of {near}.")
    check_table(questions, QUESTION, "questions")
    references = {
        key: tuple(accepted) for key, accepted in questions["question_id", "references"].iter_rows()
    }
    verdicts: dict[tuple[str, bool, tuple[str, ...]], Verdict] = {}
    rows = []
    for row in check_table(responses, RESPONSE, "responses").iter_rows(named=True):
        _check(
            row["question_id"], row["sample_index"], row["text"], row["finish_reason"], references
        )
        key = row["text"], row["finish_reason"] == "stop", references[row["question_id"]]
        if key not in verdicts:
            verdicts[key] = GRADERS[grader](key[0], key[2], finished=key[1])
        rows.append((row["question_id"], row["sample_index"], *verdicts[key], grader))
    return pl.DataFrame(rows, schema=GRADE, orient="row")


def _check(
    question_id: str,
    sample_index: int,
    text: str | None,
    finish_reason: str,
    references: dict[str, tuple[str, ...]],
) -> None:
    name = f"response {sample_index} to '{question_id}'"
    if question_id not in references:
        raise DataError(f"{name}: there is no such question; grade with the questions sampled.")
    if finish_reason not in {"stop", "length"} or text is None:
        raise DataError(
            f"{name} has finish_reason '{finish_reason}' and {'no' if text is None else 'a'} text; "
            f"only finished or truncated responses are graded. Sample it again."
        )
