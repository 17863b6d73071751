"""The ways in which one answer may be written out, before each is read."""

import re

from benchmark.grading.mathematics.expression import expression
from benchmark.grading.mathematics.relations import is_name
from benchmark.grading.mathematics.symbols import TRIGONOMETRIC
from benchmark.grading.mathematics.text import split
from benchmark.grading.mathematics.values import UnreadableError

_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)")
_THOUSANDS_ALONE = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_SCIENTIFIC = re.compile(r"(?<![\w.^_}\\])(\d+(?:\.\d+)?)([eE])([-+]?\d{1,3})(?![\w.^_])")
_EURO_INTERVAL = re.compile(r"([\[\]])([^\[\]]*[,;][^\[\]]*)([\[\]])")
_EXCEPT = re.compile(
    r'"?\s*(?:all\s+)?real(?:s|\s+numbers?)(?:\s+x)?,?\s+(?:except|other\s+than)(?:\s+for)?\s*"?'
    r"\s*(?:x\s*=\s*)?([^\"]+)",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r'(?:"([A-J])"|\(\s*"?([A-J])"?\s*\)|"?([A-J])\)"?)\s*(?=-?\s*(?:[\d.]|\\(?:frac|sqrt|dollar)))'
    r"((?:(?!\b(?:and|or|not)\b|\\approx|\\ldots).)+)",
    re.DOTALL,
)
_LABEL = re.compile(r'\A"(?!not?\b)[A-Za-z][A-Za-z ]{1,30}:"\s*(?=\S)', re.IGNORECASE)
_WORD = re.compile(
    r"(?<![\\A-Za-z])(?:no|if|or|(?!(?:sin|cos|tan|cot|sec|csc|log)\b)[A-Za-z]{3,})\b"
)
_POINT = re.compile(r"[A-Z]\s*(\([^()]*,[^()]*\))")


def variants(text: str, *, reference: bool) -> list[str]:
    """Return the texts that a normalised answer may stand for.

    Args:
        text: normalised.
        reference: ``(1,000,2)`` has three entries; in an answer it may stand for ``(1000,2)``,
            too. Nor does a reference say which choice it is, or what its value is the value of.
    """
    texts = [_without_thousands(text)]
    if texts[0] == text or not re.search(r",0\d\d", text):
        texts.append(text)
    if not reference:
        texts.append(_THOUSANDS.sub(lambda m: m[0].replace(",", ""), text))
        texts += _named_otherwise(text)
    texts = [_round_brackets(each) for each in texts]
    texts += [_without_exponents(each, reference=reference) for each in texts]
    if except_for := _EXCEPT.fullmatch(text):
        texts.append(f"\\reals\\setminus\\{{{except_for[1].strip()}\\}}")
    return list(dict.fromkeys(texts))


def _without_thousands(text: str) -> str:
    """Return the text without the thousands separators that stand in no bracket."""
    depths, depth = [], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        depths.append(depth)
    return _THOUSANDS_ALONE.sub(
        lambda m: m[0] if depths[m.start()] else m[0].replace(",", ""), text
    )


def _without_exponents(text: str, *, reference: bool) -> str:
    r"""Return ``1.5\cdot 10^{3}`` for ``1.5e3``; a reference's ``2e-3`` holds Euler's number."""

    def power(number: re.Match[str]) -> str:
        if reference and number[2] == "e" and not number[3].isdigit():
            return number[0]
        return f"{number[1]}\\cdot 10^{{{number[3].lstrip('+')}}}"

    return _SCIENTIFIC.sub(power, text)


def _round_brackets(text: str) -> str:
    """Return ``(0,1)`` for ``]0,1[``, the way some countries write open ends."""
    pieces = _EURO_INTERVAL.split(text)
    between = "".join(pieces[::4])
    if not re.fullmatch(r"(?:\s*\\(?:cup|in|reals|setminus)(?![A-Za-z])|[\s,=A-Za-z])*", between):
        return text
    return _EURO_INTERVAL.sub(
        lambda m: f"{'(' if m[1] == ']' else '['}{m[2]}{')' if m[3] == '[' else ']'}", text
    )


def _named_otherwise(text: str) -> list[str]:
    """Return an answer without the choice, label, point or quantity that it is said to be."""
    found = []
    if choice := _CHOICE.fullmatch(text):
        found += [f'"{choice[1] or choice[2] or choice[3]}"', choice[4]]
    if label := _LABEL.match(text):
        found.append(text[label.end() :])
    if point := _POINT.fullmatch(text):
        found.append(point[1])
    left, equals, right = text.partition("=")
    if equals and not is_name(left.strip()) and _is_quantity(left) and _is_number(right):
        found.append(right.strip())
    return found


def _is_quantity(text: str) -> bool:
    r"""Return whether a question may ask for it: ``x^2+y^2`` and ``\sin A``.

    ``2x = 6`` says another number of ``x`` than of ``2x``; which of them is meant can't be told.
    """
    if _WORD.search(text):
        return False
    try:
        value = expression(text)
    except UnreadableError:
        return False
    letters = value.free_symbols
    trigonometric = any(re.search(rf"\b{name}\b", text) for name in TRIGONOMETRIC)
    return len(letters) > 1 or (len(letters) == 1 and trigonometric)


def _is_number(text: str) -> bool:
    try:
        return all(expression(side).is_number for side in split(text, "="))
    except UnreadableError:
        return False
