r"""The grader ``number``, for GSM8K and AIME: the last box that holds a number.

Where no box holds one, ``#### 42`` and then "the answer is 42" are read. Dollar signs, units,
percent signs and thousands separators around a number are ignored.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite

from benchmark.errors import ConfigError
from benchmark.grading.extract import last_box, stated_answer, without_echo
from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict

_MOST_DIGITS = 60
_NUMBER = re.compile(
    r"(?P<sign>[-+−]?)\s*(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
)
_FRACTION = re.compile(r"([-+−]?)\s*\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_SLASH = re.compile(r"([-+−]?)\s*(\d+)\s*/\s*(\d+)")
_DROPPED = re.compile(
    r"\\text\s*\{[^{}]*\}|\\(?:mathrm|textbf|mbox)\s*\{[^{}]*\}|\\[,;:! ]|\\?[$%]"
)
_UNIT = re.compile(r"[\s°^\\]*[A-Za-z](?:[A-Za-z ./²³{}\\]|\^\{?[23])*|\^\s*\{?\\circ\}?")
_HASHES = re.compile(r"####\s*([^\n]{1,80})")
_ASSIGNED = re.compile(r"\A\s*[A-Za-z]\w{0,20}\s*=\s*")


@dataclass
class Number(TextGrader):
    """Compares numbers.

    Attributes:
        tolerance: largest difference that still counts as equal.
    """

    kind: str = "number"
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse a tolerance that is no difference."""
        if not (isfinite(self.tolerance) and self.tolerance >= 0):
            raise ConfigError(f"number: tolerance={self.tolerance} must be at least 0 and finite.")

    def verdict(self, answer: Answer) -> Verdict:
        """Return the number that a response gives and whether it is the reference's."""
        if not answer.finished:
            return TRUNCATED
        text = without_echo(answer.text, answer.prompt)
        found = _found(text)
        if found is None:
            return Verdict(None, "unparsed", "no number")
        content, value, rule = found
        references = [parse_number(reference) for reference in answer.references]
        near = Fraction(str(self.tolerance))
        correct = any(r is not None and abs(r - value) <= near for r in references)
        return Verdict(content, "correct" if correct else "incorrect", rule)


def _found(text: str) -> tuple[str, Fraction, str] | None:
    """Return text, value and rule of the number that a response gives."""
    box = last_box(text)
    hashes = _HASHES.findall(text)
    candidates = (
        ("box", box),
        ("####", hashes[-1] if hashes else None),
        ("answer is", stated_answer(text)),
    )
    for rule, content in candidates:
        if (
            content is not None
            and (value := parse_number(content, loose=rule != "box")) is not None
        ):
            return content.strip()[:_MOST_DIGITS], value, rule
    return None


def parse_number(text: str, *, loose: bool = False) -> Fraction | None:
    r"""Return the value of a number, exactly; None if the text is anything else.

    Args:
        text: a number with or without a unit.
        loose: take the number that the text begins with, whatever follows.

    Examples:
        >>> parse_number(r"\$1{,}234.50")
        Fraction(2469, 2)
        >>> parse_number("x = 12 cm")
        Fraction(12, 1)
        >>> parse_number("3 or 4") is None
        True
    """
    text = text[:400].replace("{,}", ",").replace("\\!", "").replace("−", "-")
    text = _ASSIGNED.sub("", _DROPPED.sub(" ", text)).strip().rstrip(".")
    for pattern in (_FRACTION, _SLASH):
        if match := pattern.match(text):
            sign, top, bottom = match.groups()
            if len(top + bottom) > _MOST_DIGITS or int(bottom) == 0:
                return None
            value = Fraction(int(top), int(bottom))
            return _ended(text, match.end(), -value if sign == "-" else value, loose=loose)
    match = _NUMBER.match(text)
    if match is None or len(match["digits"]) > _MOST_DIGITS:
        return None
    value = Fraction(Decimal(match["digits"].replace(",", "")))
    return _ended(text, match.end(), -value if match["sign"] == "-" else value, loose=loose)


def _ended(text: str, end: int, value: Fraction, *, loose: bool) -> Fraction | None:
    """Return the value if nothing but a unit follows it."""
    rest = text[end:].strip()
    if loose:
        return value if not rest or not (rest[0].isdigit() or rest[0] in "/^*") else None
    return value if not rest or (_UNIT.fullmatch(rest) and not _JOINS.search(rest)) else None


_JOINS = re.compile(r"\b(?:or|and|to)\b|\\(?:times|cdot|frac|sqrt|pi)")
