r"""Whether two mathematical answers are equal: ``math-verify`` behind a normalisation of its own.

This runs in worker processes that may be killed at any moment (``grading.math_verify``). What
``math-verify`` alone gets wrong is evened out first: units, percent signs, ``x =``, thousands
separators, ``\text{}``, lists joined by words, subscripted bases, choices in words.
"""

import logging
import multiprocessing
import os
import re
import resource
import signal
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import math_verify

logging.getLogger("math_verify").setLevel(logging.CRITICAL)

Judgement = tuple[Literal["correct", "incorrect", "unparsed"], str]

_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "÷": r"\div ", "π": r"\pi ",
        "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "√": r"\sqrt ",
        "∪": r"\cup ",
        "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ", "°": r"^\circ ", "½": r"\frac{1}{2}",
        "\u00a0": " ", "\u202f": " ", "²": "^2", "³": "^3", "θ": r"\theta ", "∅": r"\emptyset ",
        "’": "'", "“": '"', "”": '"',
    }
)  # fmt: skip
_SPACING = re.compile(
    r"(?<!\\)\\(?:,|;|:|!|>| |(?:quad|qquad|displaystyle|left|right|[bB]igg?[lr]?|limits)\b)\.?|~"
)
_FONT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox|hbox|operatorname|emph)"
    r"\s*\{([^{}]*)\}"
)
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ\b)|\\degree\b|\bdegrees?\b")
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"\d{1,3}(?: \d{3})+")
_MIXED = re.compile(r"(?<![\w.^_{}/\\])(\d+)\s*(\\frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\})")
_MIXED_SLASH = re.compile(r"\A(-?)\s*(\d+)\s+(\d+)\s*/\s*(\d+)\Z")
_BARE_FRACTION = re.compile(r"\\frac\s*(\d)\s*(\d)")
_HALF_FRACTION = re.compile(r"\\frac\s*(\{[^{}]*\})\s*(\w)|\\frac\s*(\w)\s*(\{[^{}]*\})")
_BARE_ROOT = re.compile(r"\\sqrt\s*(\w)")
_NAME = (
    r"(?:\\?[A-Za-z]+(?:_\{?\w+\}?)?(?:\s*\([\w\s,+\-^\\/{}]*\))?"
    r"|\(\s*\w(?:\s*,\s*\w)+\s*\)|\|\w+\||\\angle\s*\w+)"
)
_ASSIGNMENT = re.compile(rf"\A\s*{_NAME}'?\s*(?:=|\\in\b|\\approx\b|:=)\s*(?=\S)")
_JOIN = re.compile(r"\s*(?:,|;)?\s*\b(?:and|or)\b\s*|\s*;\s*|\s*\\text\{\s*(?:and|or)\s*\}\s*")
_SUBSCRIPT = re.compile(r"_\s*(?:\{\s*(?:\d+|ten|two|eight|seven|six|five|nine)\s*\}|\d+)\Z")
_UNIT_WORD = (
    r"(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:units?|inch(?:es)?|in|feet|foot|ft|yards?|yd|miles?|mi|"
    r"(?:centi|milli|kilo)?met(?:er|re)s?|[ckm]?m|kilograms?|grams?|kg|g|mph|hours?|hrs?|h|minutes?|min|"
    r"seconds?|sec|s|days?|weeks?|months?|years?|dollars?|cents?|people|students?|ways?|percent|"
    r"lit(?:er|re)s?|ml|l|pounds?|lbs?|ounces?|oz|radians?|rad|points?|games?|apples?|times|"
    r"coins?|balls?|pages?|books?|cookies|marbles|numbers?|integers?|solutions?|values?)"
)
_UNITS = re.compile(
    rf"(?<=[\d}})\]])\s*{_UNIT_WORD}(?:\s*(?:\^\s*\{{?[23]\}}?|/\s*{_UNIT_WORD}|per\s+\w+))*\s*\Z"
)
_TEXT = re.compile(r"[A-Za-z][A-Za-z .,'\-]*")
_INTEGER = re.compile(r"[-+]?\d{1,2000}")
_TIME = re.compile(r"\d{1,2}(?::\d\d)?\s*[AaPp]\.?\s*[Mm]\.?")
_ARTICLE = re.compile(r"\A(?:an?|the)\s+")
_LEAD = re.compile(r"\A[A-Za-z ]*\b(?:is|are|equals)\s+(?=[-\d\\(])")
_LETTER = re.compile(r"\A\(?\s*([A-Za-z])\s*\)?\Z")
_NUMBER_WORDS = {
    word: str(i)
    for i, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ]
    )
}


class TimeLimitError(BaseException):
    """Raised in the middle of a comparison; no ``except Exception`` of a library swallows it."""


_expired = False


def _expire(_: int, __: FrameType | None) -> None:
    global _expired
    _expired = True
    raise TimeLimitError


def limit_worker(memory_mb: int) -> None:
    """Bound what this process may allocate beyond what it holds, and make time limits work.

    It ends with the process that started it, which may be killed.
    """
    signal.signal(signal.SIGPROF, _expire)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    held = Path("/proc/self/statm")
    if held.exists():
        used = int(held.read_text().split()[0]) * resource.getpagesize()
        limit = used + memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def judge_pair(reference: str, answer: str, seconds: float) -> Judgement:
    """Return whether the answer equals the reference, and by which rule or why it can't be told.

    Args:
        reference: LaTeX without ``$``.
        answer: LaTeX without ``$``.
        seconds: of CPU time; the verdict doesn't depend on what else the machine does.
    """
    global _expired
    _expired = False
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        judgement = _judged(reference, answer)
    except TimeLimitError:
        return "unparsed", "time limit"
    except MemoryError:
        return "unparsed", "memory limit"
    except RecursionError:
        return "unparsed", "nested too deeply"
    except Exception as error:  # noqa: BLE001 - what sympy raises is not ours to list
        return "unparsed", f"math-verify failed: {type(error).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ("unparsed", "time limit") if _expired else judgement


def judge_pairs(pairs: Sequence[tuple[str, str]], seconds: float) -> list[Judgement]:
    """Return the judgement of each (reference, answer), each with its own time limit."""
    return [judge_pair(reference, answer, seconds) for reference, answer in pairs]


def _judged(reference: str, answer: str) -> Judgement:
    gold, given = normalise(reference), normalise(answer)
    if not given:
        return "unparsed", "empty"
    if _same_text(gold, given):
        return "correct", "same text"
    if _is_text(gold):
        return "incorrect", "text"
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(given):
        return ("correct" if int(gold) == int(given) else "incorrect"), "integers"
    if _SUBSCRIPT.search(gold) and _SUBSCRIPT.search(given):
        same = _letters(gold) == _letters(given)
        return ("correct" if same else "incorrect"), "digits and base"
    parsed = False
    for left, right in _readings(gold, given):
        golds, answers = _parsed(left), _parsed(right)
        if golds and answers:
            parsed = True
            if math_verify.verify(
                golds, answers, timeout_seconds=None, allow_set_relation_comp=True
            ):
                return "correct", "math-verify"
    if not parsed and not _parsed(given):
        return "unparsed", "no mathematics"
    return "incorrect", "math-verify"


def normalise(latex: str) -> str:
    r"""Return an answer without what doesn't change its value.

    Examples:
        >>> normalise(r"$x = \$1{,}234 \text{ dollars}$.")
        '1234'
    """
    text = latex.replace("\x00", "").translate(_SIGNS).strip()
    text = text.replace("\\$", "").replace("$", "").replace("{,}", ",")
    text = (
        text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    )
    text = text.replace("bmatrix", "pmatrix").replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
    text = text.replace("\\leq", "\\le").replace("\\geq", "\\ge").replace("\\neq", "\\ne")
    text = text.replace("\\dots", "\\ldots").replace("\\varnothing", "\\emptyset")
    text = text.replace("\\lvert", "|").replace("\\rvert", "|").replace("\\mid", "|")
    while (plain := _FONT.sub(r" \1 ", text)) != text:
        text = plain
    text = _SPACING.sub(" ", text)
    text = _DEGREES.sub("", text)
    text = _THOUSANDS.sub(lambda m: m[1].replace(",", ""), text) if _one_value(text) else text
    text = " ".join(text.split()).rstrip(".;, ").strip()
    text = _UNITS.sub("", text).strip()
    text = _BARE_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = _HALF_FRACTION.sub(_braced, text)
    text = _BARE_ROOT.sub(r"\\sqrt{\1}", text)
    if mixed := _MIXED_SLASH.match(text):
        text = f"{mixed[1]}({mixed[2]}+\\frac{{{mixed[3]}}}{{{mixed[4]}}})"
    text = _MIXED.sub(r"(\1+\2)", text)
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    if re.search(r"[\d\\]", text):
        text = _JOIN.sub(", ", text)
    text = _unassigned(_LEAD.sub("", text))
    if letter := _LETTER.match(text):
        text = letter[1]
    return _NUMBER_WORDS.get(text.lower(), text)


def _braced(fraction: re.Match[str]) -> str:
    top, bare_bottom, bare_top, bottom = fraction.groups()
    return f"\\frac{top or f'{{{bare_top}}}'}{bottom or f'{{{bare_bottom}}}'}"


def _one_value(text: str) -> bool:
    """Return whether commas can only be thousands separators: no list, tuple, set or interval."""
    return not re.search(r"[(\[\{]\s*-?\d[\d.]*\s*,|,\s*(?!\d{3}(?!\d))", text)


def _unassigned(text: str) -> str:
    """Return the value of ``x = 7``, also in each part of a list; equations in two names stay."""
    parts = _split(text)
    stripped = [_ASSIGNMENT.sub("", part) for part in parts]
    if any("=" in part for part in stripped):
        return text
    return ", ".join(stripped) if len(parts) > 1 else stripped[0]


def _split(text: str) -> list[str]:
    """Return the parts between commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def _readings(gold: str, given: str) -> list[tuple[str, str]]:
    """Return the pairs to compare: as they are, or with a sign that one side leaves out."""
    pairs = [(gold, given)]
    percent = [text.endswith("%") or text.endswith("percent") for text in (gold, given)]
    bare = [_without_percent(text) for text in (gold, given)]
    if any(percent):
        pairs = [(bare[0], bare[1])]
        if percent[0] != percent[1]:
            hundredth = [f"({b})/100" if p else b for b, p in zip(bare, percent, strict=True)]
            pairs.append((hundredth[0], hundredth[1]))
    if bool(_SUBSCRIPT.search(gold)) != bool(_SUBSCRIPT.search(given)):
        pairs = [(_SUBSCRIPT.sub("", a), _SUBSCRIPT.sub("", b)) for a, b in pairs]
    if "\\pm" in gold or "\\pm" in given:
        pairs += [(_both_signs(a), _both_signs(b)) for a, b in pairs]
    if ":" in gold + given:
        pairs += [(a.replace(":", "/"), b.replace(":", "/")) for a, b in pairs]
    return pairs


def _without_percent(text: str) -> str:
    return text.removesuffix("percent").replace("\\%", "").replace("%", "").strip()


def _both_signs(text: str) -> str:
    r"""Return ``1 \pm a`` as the set of both values."""
    if "\\pm" not in text:
        return text
    return f"\\{{{text.replace(chr(92) + 'pm', '+')}, {text.replace(chr(92) + 'pm', '-')}\\}}"


@lru_cache(maxsize=4096)
def _parsed(latex: str) -> list[Any]:
    """Return what math-verify reads, nothing where it reads nothing."""
    found = list(math_verify.parse(f"${latex}$", parsing_timeout=None))
    return found if any(not isinstance(value, str) for value in found) else []


def _same_text(gold: str, given: str) -> bool:
    if _is_text(gold):
        return _letters(gold) == _letters(given)
    return gold.replace(" ", "") == given.replace(" ", "")


def _letters(text: str) -> str:
    return "".join(c for c in _ARTICLE.sub("", text.lower()) if c.isalnum())


def _is_text(text: str) -> bool:
    """Return whether an answer is words, without digits and commands, or a time of day."""
    if _TIME.fullmatch(text):
        return True
    return bool(_TEXT.fullmatch(text)) and bool(re.search(r"[A-Za-z]{3}", text))
