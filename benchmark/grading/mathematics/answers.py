r"""Reads a mathematical answer as what it is: number, list, tuple, interval, equation, words.

An answer is read wholly or not at all; one that can be meant in two ways (``1,234``) has two
readings. Names, brackets, bases, units and repeated entries are kept.
"""

import re

import sympy

from benchmark.grading.mathematics.expression import expression
from benchmark.grading.mathematics.nodes import (
    DOTS,
    Assignments,
    Based,
    Bracket,
    Clock,
    Listing,
    Named,
    Node,
    Ratio,
    Region,
    Scalar,
    Words,
)
from benchmark.grading.mathematics.relations import region, related
from benchmark.grading.mathematics.text import closing_bracket, split
from benchmark.grading.mathematics.units import split_unit
from benchmark.grading.mathematics.values import (
    INFINITY,
    TooLargeError,
    UnreadableError,
    same_value,
)
from benchmark.grading.mathematics.variants import variants

_WORD_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twelve": 12, "sixteen": 16,
}  # fmt: skip
_BASED = re.compile(
    r'([-+]?)\s*\(?([0-9A-Z]*\d[0-9A-Z]*|[A-Z]+)\)?\s*(?:_\s*\{?|"?\s*(?:in\s+)?base)\s*"?\s*'
    r'(\d{1,2}|[a-z]+)\s*"?\s*\}?'
)
_TIME = re.compile(r'(\d{1,2})\s*((?:\s*:\s*\d\d){0,2})\s*"?\s*([AaPp])\.?\s*[Mm]\.?\s*"?')
_JOIN = re.compile(r'\s*,?\s*(?:"\s*,?\s*(?:and|or)\s*,?\s*"|\b(?:and|or)\b)\s*|\s*;\s*')
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![A-Za-z])")
_PERCENT = re.compile(r'\s*(?:\\?%|"?\s*\bpercent\b\s*"?)\Z')
_GROUP = re.compile(r"(\\\{|[(\[{])(.*?)(\\\}|[)\]}])", re.DOTALL)
_BUILDER = re.compile(r"\s*[A-Za-z]\s*(?:\\in\s*\\reals\s*)?[|:]\s*([^|:]*[<>\\][^|:]*)")
_QUOTED_LETTER = re.compile(r'\(?\s*"([A-Za-z])"\s*\)?')
_ARTICLE = re.compile(r"\A(?:an?|the)\s+(?=\w)", re.IGNORECASE)
_ASCII_WORDS = re.compile(r"(?=.*[A-Za-z]{2})\w[\w\s.,'\-&()]*", re.ASCII)
_FOREIGN_WORDS = re.compile(r"(?=.*[^\x00-\x7f])[^\\_^{}$|+=-][^\\_^{}$|+=]*")
_MEANINGS: dict[str, Node] = {  # by what is written for it
    "nosolution nosolutions norealsolution norealsolutions emptyset empty none": Listing(()),
    "infinitelymany infinitelymanysolutions infinite": Scalar(INFINITY),
    "doesnotexist dne": Words("doesnotexist"),
    "allrealnumbers allreals realnumbers": Region(sympy.S.Reals),
}
_SYNONYMS = {name: node for names, node in _MEANINGS.items() for name in names.split()}


def readings(text: str, *, reference: bool = False) -> list[Node]:
    """Return what a normalised answer may mean; [] if nothing is understood.

    Args:
        text: normalised.
        reference: an answer may be written in more ways.

    Raises:
        TooLargeError: it holds a number too large to be compared.
    """
    found = []
    for each in variants(text, reference=reference):
        try:
            found.append(_answer(each))
        except TooLargeError:
            raise
        except UnreadableError:
            continue
    return found or [words for words in [_words(text)] if words is not None]


def _answer(text: str) -> Node:
    either = re.search(r"\bor\b", text) is not None
    if re.search(r"[\d\\]|\b[A-Za-z]\b", text):
        text = _JOIN.sub(", ", text)
    parts = split(text)
    names = len(parts) > 1 and all(re.fullmatch(r'[A-Za-z "]{3,}', part) for part in parts)
    sentence = '"' in text and re.search("[A-Za-z]{2}", text) and not re.search(r"[\d\\=]", text)
    if names or sentence or _TIME.fullmatch(text):  # of names, the order may be what was asked for
        if (words := _words(text)) is None:
            raise UnreadableError("neither words nor mathematics")
        return words
    if len(parts) == 1:
        return _single(parts[0])
    listing = _listing(parts, either=either)
    match listing:
        case Listing(entries=(Scalar() as one, Scalar() as other)) if (
            either and parts[0] != parts[1] and same_value(one.value, other.value)
        ):
            return one  # 3/4 or 0.75
    return listing


def _words(text: str) -> Node | None:
    """Return a time of day or a text answer; None for what is no text."""
    if time := _TIME.fullmatch(text):
        parts = tuple(int(part) for part in f"{time[1]}{time[2] or ':0'}".split(":"))
        return Clock(parts, time[3].lower())
    bare = text.replace('"', " ").strip()
    letters = "".join(c for c in _ARTICLE.sub("", bare).casefold() if c.isalnum())
    if not letters or not (_ASCII_WORDS.fullmatch(bare) or _FOREIGN_WORDS.fullmatch(bare)):
        return None
    return _SYNONYMS.get(letters, Words(letters))


def _listing(parts: list[str], *, either: bool = False) -> Node:
    """Return entries as a list or, where they are named, as values of the names."""
    entries = [entry for part in parts for entry in _with_signs(part)]
    named = [entry for entry in entries if isinstance(entry, Named)]
    names = {entry.name for entry in named}
    if not named:
        return Listing(tuple(entries))
    if len(names) == 1 and (len(named) == len(entries) or entries[0] is named[0]):
        values = tuple(entry.value if isinstance(entry, Named) else entry for entry in entries)
        regions = [value.points for value in values if isinstance(value, Region)]
        if len(regions) == len(values):
            return Named(named[0].name, _joined(regions, either=either))
        return Named(named[0].name, Listing(values))
    if len(names) == len(entries):
        return Assignments(tuple(named))
    raise UnreadableError("names that are given to some entries only")


def _joined(regions: list[sympy.Set], *, either: bool) -> Region:
    """Return one interval of ``x > 1, x < 3``, and both of ``x < 1, x > 3``."""
    common = sympy.Intersection(*regions)
    return Region(sympy.Union(*regions) if either or common is sympy.S.EmptySet else common)


def _with_signs(text: str) -> list[Node]:
    r"""Return both entries that ``\pm`` stands for, or the one that a text without it is."""
    if not _PLUS_MINUS.search(text):
        return [_single(text)]
    upper = _PLUS_MINUS.sub(lambda m: "+" if m[1] == "pm" else "-", text)
    lower = _PLUS_MINUS.sub(lambda m: "-" if m[1] == "pm" else "+", text)
    return [_single(upper), _single(lower)]


def _single(text: str) -> Node:
    """Return what one entry is; the first kind that fits decides."""
    if not text:
        raise UnreadableError("an empty entry")
    if _PLUS_MINUS.search(text):
        return _listing([text])
    if text == "\\ldots":
        return DOTS
    kinds = (
        _based(text) or related(text, _single) or region(text, _single) or _group(text)
        or _ratio(text) or _name(text)
    )  # fmt: skip
    return kinds or _scalar(text)


def _based(text: str) -> Based | None:
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    base = int(match[3]) if match[3].isdigit() else _WORD_BASES.get(match[3], 0)
    if match[2].isalpha() and base < 11:  # a variable with an index
        return None
    try:
        int(match[2], base or 1)
    except ValueError:
        return None
    return Based(match[1] == "-", match[2].lstrip("0") or "0", base)


def _group(text: str) -> Node | None:
    if text in {"\\emptyset", "\\{\\}", "\\{ \\}"}:
        return Listing(())
    match = _GROUP.fullmatch(text)
    if match is None:
        return None
    opening, inside, closing = match.groups()
    escaped = len(opening) - 1
    if closing_bracket(text[escaped:]) != len(text) - 1 - escaped:
        return None
    parts = split(inside)
    if opening == "\\{" and (condition := _BUILDER.fullmatch(inside)):
        return _single(condition[1])  # {x | x > 3}
    if opening == "\\{" or (opening == "{" and len(parts) > 1):
        listing = _listing(parts)
        return listing if isinstance(listing, Listing) else None
    if len(parts) < 2:
        if opening + closing not in {"()", "{}"} and not parts[0].startswith("\\begin"):
            raise UnreadableError("brackets around one entry")
        return _single(parts[0])
    return Bracket(opening, tuple(_single(part) for part in parts), closing)


def _ratio(text: str) -> Ratio | Clock | None:
    terms = split(text, ":")
    if re.fullmatch(r"\d{1,2}:0\d", text.replace(" ", "")):  # no ratio is written with a 0 in front
        return Clock(tuple(map(int, terms)), "")
    return Ratio(tuple(expression(term) for term in terms)) if len(terms) > 1 else None


def _name(text: str) -> Node | None:
    """Return a letter that stands for a choice, or a word."""
    if letter := _QUOTED_LETTER.fullmatch(text):
        return Words(letter[1].lower())
    return _words(text) if re.fullmatch(r'"?[A-Za-z]{3,}"?', text) else None


def _scalar(text: str) -> Scalar:
    percent = _PERCENT.search(text)
    rest, unit = split_unit(text[: percent.start()] if percent else text)
    return Scalar(expression(rest), bool(re.search(r"\.\d", rest)), unit, percent is not None)
