"""The grader ``exact``: the whole response is the answer, compared without case and white space."""

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict


@dataclass
class Exact(TextGrader):
    """Compares whole responses."""

    kind: ClassVar[str] = "exact"
    versions: ClassVar[dict[str, int]] = {"version": 2}

    def verdict(self, answer: Answer) -> Verdict:
        """Return the response as the answer; a full stop at its end doesn't count."""
        if not answer.finished:
            return TRUNCATED
        given = _folded(answer.text)
        if not given:
            return Verdict(None, "unparsed", "no text")
        correct = given in map(_folded, answer.references)
        return Verdict(given, "correct" if correct else "incorrect", "the whole response")


def _folded(text: str) -> str:
    text = unicodedata.normalize("NFC", text).casefold().strip().removesuffix(".")
    return " ".join(text.split())
