"""The grader ``exact``: the whole response is the answer, compared without case and white space."""

import unicodedata
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict

_RULES = 2  # raise it when verdicts change


@dataclass
class Exact(TextGrader):
    """Compares whole responses."""

    kind: ClassVar[str] = "exact"

    @property
    def identity(self) -> dict[str, Any]:
        """What the verdicts depend on."""
        return {**super().identity, "version": _RULES}

    def verdict(self, answer: Answer) -> Verdict:
        """Return the response as the answer and whether it is a reference."""
        return grade_response(answer.text, answer.references, finished=answer.finished)


def grade_response(text: str, references: tuple[str, ...], *, finished: bool) -> Verdict:
    """Return the response as the answer; a final full stop doesn't count.

    Args:
        text: of the response.
        references: accepted answers.
        finished: False where the response was cut off.
    """
    answer = _folded(text)
    if not finished:
        return TRUNCATED
    if not answer:
        return Verdict(None, "unparsed", "no text")
    correct = answer in {_folded(reference) for reference in references}
    return Verdict(answer, "correct" if correct else "incorrect", "the whole response")


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFC", text).casefold().strip().removesuffix(".")
    return " ".join(text.split())
