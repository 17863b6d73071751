r"""The grader ``number``, for GSM8K and AIME: the last box that holds a number.

Where no box holds one, ``#### 42``, then "the answer is 42", then a last line that is nothing but
the number are read. Currencies, units, percent signs and thousands separators don't count; what is
more than a number, such as ``3x`` or "3 or 5", is an answer that is wrong. A list of numbers is
unparsed. "3 dozen" is 36, unless the question asks how many dozens.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import ClassVar

from benchmark.config.rules import require
from benchmark.grading.extract import (
    READING,
    boxes,
    corrections,
    last_line,
    own_turn,
    stated_answers,
    visible,
    without_echo,
)
from benchmark.grading.numerals import parse_number, several_numbers
from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict

_SHOWN = 60  # characters of an answer
_DIGIT = re.compile(r"\d")
_HASHES = re.compile(r"####[ \t]*((?:[^\w\n#\\]|\\[a-z]+|\\\W){0,9}\d[^\n#]{0,80})")
_HEADING = re.compile(r"[A-Za-z]{3}")
_CLAUSE_END = re.compile(
    r"(?<=[\w)%}$\]])[.!?](?=\s(?!=)|\Z)|;|\n|,\s?(?:not|so|because|since|which)\b|,\s(?!(?:and|or)\b.{0,60}\d)(?=[^\d$])"
    r"|\s\(?(?:because|since|so|which)\b"
    r"|\s\((?!(?:or|and|in|hundred|thousand|million|billion)\b)",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"\b(?:how (?:many|much)[^?.\n]{0,20}?\s|in (?=\w+s\b))"
    r"(dozen|hundred|thousand|million|billion)s?\b",
    re.IGNORECASE,
)


@dataclass
class Number(TextGrader):
    """Compares numbers.

    Attributes:
        tolerance: largest difference that still counts as equal.
    """

    kind: ClassVar[str] = "number"
    versions: ClassVar[dict[str, int]] = {"reading": READING, "version": 3}
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse a tolerance that is no difference."""
        small = isfinite(self.tolerance) and self.tolerance >= 0
        require(small, "grading.number.tolerance", self.tolerance, "at least 0 and finite")

    def verdict(self, answer: Answer) -> Verdict:
        """Return the number that a response gives and whether it is the reference's."""
        if not answer.finished:
            return TRUNCATED
        text = own_turn(visible(without_echo(answer.text, answer.prompt)))
        for scale in {m[1].lower() for m in _ASKED.finditer(answer.prompt)}:
            text = re.sub(rf"\b{scale}s?\b", " ", text, flags=re.IGNORECASE)
        content, value, rule = _found(text)
        if content is None:
            return Verdict(None, "unparsed", rule)
        if value is None:
            return Verdict(content, "incorrect", rule)
        references = [parse_number(reference) for reference in answer.references]
        near = Fraction(str(self.tolerance))
        correct = any(r is not None and abs(r - value) <= near for r in references)
        return Verdict(content, "correct" if correct else "incorrect", rule)


def _found(text: str) -> tuple[str | None, Fraction | None, str]:
    """Return text, value and rule of the number that a response gives.

    Without a value the text is more than a number; without a text there is no answer.
    """
    boxed = ((content, "the last box with a number") for _, _, content in reversed(boxes(text)))
    for candidates in (boxed, _stated(text)):
        other = None  # the first that holds digits without being a number
        for content, rule in candidates:
            if (value := parse_number(content)) is not None:
                return content[:_SHOWN], value, rule
            other = content if other is None and _DIGIT.search(content) else other
        if other is not None and several_numbers(other):
            return None, None, "several numbers"
        if other is not None:
            return other[:_SHOWN], None, "more than a number"
    line = last_line(text)
    if line is not None and (value := parse_number(line)) is not None:
        return line[:_SHOWN], value, "the last line"
    return None, None, "no number"


def _stated(text: str) -> Iterator[tuple[str, str]]:
    """Yield what is stated as the answer, up to the last that holds digits."""
    stated = [
        (line.strip(), "the text after ####")
        for line in reversed(_HASHES.findall(text))
        if not _HEADING.search(line) or parse_number(line) is not None  # "#### 2. The answer"
    ]
    clauses, corrected = (
        [_CLAUSE_END.split(answer, maxsplit=1)[0] for answer in answers]
        for answers in (stated_answers(text), corrections(text))
    )
    values = (c for c in corrected if len(c.split()) <= 2 and parse_number(c) is not None)
    stated += [(clause.strip(), "the stated answer") for clause in (*values, *clauses)]
    for content, rule in stated:
        yield content, rule
        if _DIGIT.search(content):
            return
