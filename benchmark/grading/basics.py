"""The grader of the dataset ``basics``: reads a number, a name or a symbol from a short response.

The references say what is read: numbers where all of them are numbers; symbols, compared exactly,
where none is longer than two characters; else names, compared without case, accents and
punctuation. A response is read as statements (lines, sentences and some clauses), and **the first
statement that gives an answer counts**, since the questions ask for the answer alone. The whole
value that the statement gives must match; an accepted answer that only occurs in it doesn't, and
neither does one of two ("8 or 9").

A response that was cut off is graded if a statement that ended before the cut gives the answer,
since nothing behind it could change the verdict; else it is truncated.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from benchmark.grading.numerals import NUMBER_WORDS
from benchmark.grading.verdict import TRUNCATED, Answer, TextGrader, Verdict

_READ = 2000  # characters; the answer stands at the beginning, and hostile texts stay cheap
_LONGEST_NAME = 4  # words; longer phrases are no answers
_SYMBOL_LENGTH = 2  # characters of the longest reference that is a symbol

_SPELLING = str.maketrans("‘’“”−", "''\"\"-")
_MINUS = re.compile(r"(?<!\w)(?<!\d\s)[‐‑‒–—](?=\d)")
_BOX = re.compile(r"\\(?:boxed|fbox|text|mathbf|textbf)\s?\{([^{}\n]*)\}")
_STATEMENT_END = re.compile(r"""(?<=[.!?])["')]*\s+|\n+|,\s+(?=(?:but|which|because|since|as)\b)""")
_LIST_MARK = re.compile(r"\A\s*1[.)]\s+(?=\S)")

_NUMBER_WORDS = {word: n for word, n in NUMBER_WORDS.items() if n != 1}  # "one" is a pronoun, too
_ONLY_ONE = re.compile(r"(\A|\bis\s|[:=]\s?)([\s\"'*]*)one(?=[\s\"'*.!]*\Z)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)?")

_SIGN = r"[-+*/x×÷^]|\b(?:times|plus|minus|multiplied|divided|over)\b"
_NUMBER = re.compile(
    r"(?<![\w.,])(?:(?<!\d )-)?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?!\w)"
)
_OPERAND_AFTER = re.compile(rf"\w\s*(?:{_SIGN})\s*(?:by\s+)?$")
_OPERAND_BEFORE = re.compile(rf"\s*(?:{_SIGN})")
_DENIED = re.compile(r"(?:\bnot|n't|\bnever)\s(?:the\s)?\Z", re.IGNORECASE)
_CHOICE_AFTER = re.compile(
    r",?\s(?:or|to)\s-?[0-9][0-9.,]*|/[0-9]+|\s(?:hundred|thousand|million|billion|dozen)\b"
)
_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)
_IS_NUMBER = re.compile(r"(?:\bis\b|:)[\s\"':(]*+(?=-?[0-9])", re.IGNORECASE)
_THAN = re.compile(r"(?P<less>\b(?:smaller|less|lower|fewer))?\s+than\b", re.IGNORECASE)
_SUBJECT = re.compile(r"\W*(?:the\s+)?(?:number\s+)?(?=[0-9])", re.IGNORECASE)
_DESCRIBED = re.compile(
    r"[\s\"']*\b(?:is|are)\b(?!.*\bsmaller\b)[^0-9]*\b(?:the|a|an|larger|bigger|greater)\b",
    re.IGNORECASE,
)
_GIVES = re.compile(
    r"\b(?:is|are|was|be|equals?|gives?|has|have|had|makes?|becomes?|gets?)\b|'s\b|:",
    re.IGNORECASE,
)

_IS = re.compile(r"\b(?:is|was|are|were|becomes|equals|means|be)\b", re.IGNORECASE)
_SHORT_IS = re.compile(r"\b(it|that|here)'s\b", re.IGNORECASE)
_SIGN_IS = re.compile(r"[:=→]|->")
_NAMED_SYMBOL = re.compile(r"\bsymbol\s+[\"']?([A-Z][A-Za-z0-9]*)")
_LEAD = re.compile(
    r"(?:\s|[\"':*]|\ban?\s+(?=\")|\b(?:actually|indeed|simply|just|usually|also|called|spelled"
    r"|known as|located in|(?:the|a|an)\s+(?:word|letter|symbol|city of|capital(?=\W+\w\W*$))"
    r"|(?:(?:the|a|an)\s+)?(?:uppercase|lowercase)|letter|the)\b)+",
    re.IGNORECASE,
)
_PHRASE_END = re.compile(
    r"[,;:()\[\]\"]|\s[-–—]\s"
    r"|\s(?:which|who|that|and|but|because|since|as|in|not|while|with|for|when)\b",
    re.IGNORECASE,
)
_DEFINES = re.compile(r"[\s\"']*(?:the|a|an)\b.*\b(?:of|for)\b", re.IGNORECASE)


@dataclass
class Basics(TextGrader):
    """Reads short answers."""

    kind: ClassVar[str] = "basics"
    versions: ClassVar[dict[str, int]] = {"version": 3}

    def verdict(self, answer: Answer) -> Verdict:
        """Return the answer that a response gives and whether it is one of the references.

        The references are all numbers, all symbols or all names.
        """
        references = answer.references
        numeric = all(_NUMBER.fullmatch(reference) for reference in references)
        read = _number if numeric else _name
        for statement in _statements(answer.text, finished=answer.finished):
            given = read(statement)
            if given is not None:
                correct = any(_same(given, reference, numeric=numeric) for reference in references)
                return Verdict(given, "correct" if correct else "incorrect", "the first statement")
        return Verdict(None, "unparsed", "no answer") if answer.finished else TRUNCATED


def _same(answer: str, reference: str, *, numeric: bool) -> bool:
    if numeric:
        given, wanted = (
            Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None
            for text in (answer, reference)
        )
        return given is not None and given == wanted
    if len(reference) <= _SYMBOL_LENGTH:
        return answer == reference
    return _folded(answer) == _folded(reference)


def _folded(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    kept = "".join(c for c in decomposed if c.isalnum() or c in " -")
    return " ".join(kept.replace("-", " ").split())


def _statements(text: str, *, finished: bool) -> list[str]:
    spelled = text[:_READ].translate(_SPELLING).replace("**", "")
    spelled = _MINUS.sub("-", _BOX.sub(r"\1", _BOX.sub(r"\1", spelled)))  # \boxed{\text{8}}
    visible = "".join(c for c in spelled if c in "\n\t" or unicodedata.category(c)[0] != "C")
    parts = _STATEMENT_END.split(_LIST_MARK.sub("", visible))
    return parts if finished and len(text) <= _READ else parts[:-1]


def _number(statement: str) -> str | None:
    """Return the value that a statement gives: "3 + 5 = 8", "The answer is 8.", "8 is larger"."""
    if not any(c.isdigit() for c in statement):
        statement = _WORD.sub(_digits, _ONLY_ONE.sub(r"\1\g<2>1", statement))
    numbers = list(_values(statement))
    if not numbers:
        return None
    stated = _stated_at(statement)
    if stated is not None and (number := _first(numbers, stated, gap=0)):
        return number
    if "=" in statement:
        return _first(numbers, statement.rindex("=") + 1, gap=3)
    if than := _THAN.search(statement):
        return _compared(numbers, than)
    start, number = numbers[0]
    described = _DESCRIBED.match(statement, start + len(number))
    if (subject := _SUBJECT.match(statement)) and subject.end() == start and described:
        return number
    for marker in reversed(list(_GIVES.finditer(statement))):
        if number := _first(numbers, marker.end(), gap=len(statement)):
            return number
    return numbers[0][1] if len(statement.split()) <= 3 else None


def _stated_at(statement: str) -> int | None:
    """Return where the number behind "answer .. is" or "answer ..:" begins; no "=" is between."""
    for match in _IS_NUMBER.finditer(statement):
        before = statement[: match.start()]
        answers = [*_ANSWER.finditer(before)]
        if answers and "=" not in before[answers[-1].end() :]:
            return match.end()
    return None


def _compared(numbers: list[tuple[int, str]], than: re.Match[str]) -> str | None:
    """Return which number is said to be greater: "8 is larger than 3", "3 is less than 8"."""
    if than["less"]:
        return _first(numbers, than.end(), gap=_READ)
    before = [number for start, number in numbers if start < than.start()]
    return before[-1] if before else None


def _values(statement: str) -> Iterator[tuple[int, str]]:
    """Yield start and text of the numbers that aren't operands."""
    for match in _NUMBER.finditer(statement):
        before, after = statement[max(0, match.start() - 20) : match.start()], match.end()
        if _DENIED.search(before) or _OPERAND_AFTER.search(before):
            continue
        if choice := _CHOICE_AFTER.match(statement, after):
            yield match.start(), match.group() + choice.group()
        elif not _OPERAND_BEFORE.match(statement, after):
            yield match.start(), match.group()


def _first(numbers: list[tuple[int, str]], start: int, *, gap: int) -> str | None:
    """Return the first number that begins within ``gap`` characters behind ``start``."""
    return next((text for at, text in numbers if start <= at <= start + gap), None)


def _digits(word: re.Match[str]) -> str:
    parts = [_NUMBER_WORDS.get(part) for part in word.group().lower().split("-")]
    values = [part for part in parts if part is not None]
    return str(sum(values)) if len(values) == len(parts) else word.group()


def _name(statement: str) -> str | None:
    """Return the name that a statement gives: "Oslo", "The plural of mouse is mice."."""
    if named := _NAMED_SYMBOL.search(statement):
        return named[1]
    statement = _SHORT_IS.sub(r"\1 is", statement)
    verb = _IS.search(statement) or _SIGN_IS.search(statement)
    if verb is None:
        return _phrase(statement, most=3)
    subject, complement = statement[: verb.start()], statement[verb.end() :]
    if len(subject.split()) <= 2 and _DEFINES.match(complement):
        return _phrase(subject, most=2)
    return _phrase(complement, most=_LONGEST_NAME)


def _phrase(text: str, *, most: int) -> str | None:
    lead = _LEAD.match(text)
    phrase = text[lead.end() :] if lead else text
    phrase = _PHRASE_END.split(phrase, maxsplit=1)[0].strip(" \t\"'.!?*`-")
    return phrase if 0 < len(phrase.split()) <= most else None
