r"""Reads a mathematical answer as what it is: number, list, tuple, interval, equation, words.

An answer is read wholly or not at all; one that can be meant in two ways (``1,234``) has two
readings. Names, brackets, bases, units and repeated entries are kept.
"""

import re
from dataclasses import dataclass

import sympy
from sympy import Expr, FiniteSet, Interval, Symbol, Union

from benchmark.grading.math_expression import INFINITY, TooLargeError, UnreadableError, expression
from benchmark.grading.math_text import closing_brace
from benchmark.grading.math_units import Unit, split_unit


@dataclass(frozen=True)
class Scalar:
    """An expression or matrix, exact; ``decimal`` where it was written with a point."""

    value: Expr
    decimal: bool = False
    unit: Unit = ()
    percent: bool = False


@dataclass(frozen=True)
class Based:
    """Digits in a base, as in ``-37_8``."""

    negative: bool
    digits: str
    base: int


@dataclass(frozen=True)
class Listing:
    """Entries in any order, repeated ones counted; in order where some are left out by dots."""

    entries: tuple["Node", ...]


@dataclass(frozen=True)
class Bracket:
    """Entries in order between brackets: a tuple, vector or interval."""

    opening: str
    entries: tuple["Node", ...]
    closing: str


@dataclass(frozen=True)
class Region:
    """A set of real numbers."""

    points: sympy.Set


@dataclass(frozen=True)
class Named:
    """What a name stands for."""

    name: str
    value: "Node"


@dataclass(frozen=True)
class Assignments:
    """Values of different names, in the order given."""

    values: tuple[Named, ...]


@dataclass(frozen=True)
class Relation:
    """``left op right`` with op one of = < <= !=, as the difference of both sides."""

    difference: Expr
    operator: str


@dataclass(frozen=True)
class Ratio:
    """Terms between colons."""

    terms: tuple[Expr, ...]


@dataclass(frozen=True)
class Words:
    """Letters and digits of a text answer."""

    text: str


@dataclass(frozen=True)
class Clock:
    """A time of day; ``half`` is a or p for a.m. and p.m., or unknown."""

    time: tuple[int, ...]
    half: str


Node = Clock | Scalar | Based | Listing | Bracket | Region | Named | Assignments | Relation | Ratio | Words

DOTS = Words("...")
_WORD_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twelve": 12, "sixteen": 16,
}  # fmt: skip
_BASED = re.compile(
    r'([-+]?)\s*\(?([0-9A-Z]*\d[0-9A-Z]*|[A-Z]+)\)?\s*(?:_\s*\{?|"?\s*(?:in\s+)?base)\s*"?\s*'
    r'(\d{1,2}|[a-z]+)\s*"?\s*\}?'
)
_TIME = re.compile(r'(\d{1,2})\s*((?:\s*:\s*\d\d){0,2})\s*"?\s*([AaPp])\.?\s*[Mm]\.?\s*"?')
_NAME = re.compile(
    r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'*(?:\s*\(\s*[\w\s,+\-^\\/{}]*\))?|\|\s*\w+\s*\|"
    r"|\\(?:angle|triangle|overline)\s*\{?\s*\w+\}?|[A-Za-z](?:\s*\+\s*[A-Za-z])+|\(\s*\w(?:\s*,\s*\w)+\s*\)"
)
_RELATION = re.compile(r"\\le(?![A-Za-z])|\\ge(?![A-Za-z])|\\ne(?![A-Za-z])|\\approx|\\in(?![A-Za-z])|[=<>]")
_JOIN = re.compile(r'\s*,?\s*(?:"\s*,?\s*(?:and|or)\s*,?\s*"|\b(?:and|or)\b)\s*|\s*;\s*')
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)")
_ALONE = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_ARTICLE = re.compile(r"\A(?:an?|the)\s+(?=\w)", re.IGNORECASE)
_SYNONYMS: dict[str, Node] = {
    **dict.fromkeys(
        ("nosolution", "nosolutions", "norealsolution", "norealsolutions", "emptyset", "empty"),
        Listing(()),
    ),
    **dict.fromkeys(("infinitelymany", "infinitelymanysolutions", "infinite"), Scalar(INFINITY)),
    **dict.fromkeys(("allrealnumbers", "allreals", "realnumbers"), Region(sympy.S.Reals)),
}
_PM = re.compile(r"\\(pm|mp)(?![A-Za-z])")


def readings(text: str, *, reference: bool = False) -> list[Node]:
    """Return what a normalised answer may mean; [] if nothing is understood.

    Args:
        text: normalised.
        reference: ``(1,000,2)`` has three entries; in an answer it may stand for ``(1000,2)``, too.

    Raises:
        TooLargeError: it holds a number too large to be compared.
    """
    texts = [_outside_brackets(text)]
    if not (texts[0] != text and re.search(r",0\d\d", text)):
        texts.append(text)
    if not reference:
        texts.append(_THOUSANDS.sub(lambda m: m[0].replace(",", ""), text))
    found = []
    for each in dict.fromkeys(texts):
        try:
            found.append(_answer(each))
        except TooLargeError:
            raise
        except UnreadableError:
            continue
    return found or _words(text)


def _outside_brackets(text: str) -> str:
    """Return the text without the thousands separators that stand in no bracket."""
    depths, depth = [], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        depths.append(depth)
    return _ALONE.sub(lambda m: m[0] if depths[m.start()] else m[0].replace(",", ""), text)


def _words(text: str) -> list[Node]:
    bare = text.replace('"', " ").strip()
    letters = canonical_words(bare)
    if time := _TIME.fullmatch(text):
        parts = tuple(int(part) for part in f"{time[1]}{time[2] or ':0'}".split(":"))
        return [Clock(parts, time[3].lower())]
    ascii_words = re.fullmatch(r"\w[\w\s.,'\-&()]*", bare, re.ASCII) and re.search("[A-Za-z]{2}", bare)
    foreign_words = not bare.isascii() and re.fullmatch(r"[^\\_^{}$|+=-][^\\_^{}$|+=]*", bare)
    if not letters or not (ascii_words or foreign_words):
        return []
    return [_SYNONYMS.get(letters, Words(letters))]


def canonical_words(text: str) -> str:
    """Return the letters and digits of a text, without case and article."""
    return "".join(c for c in _ARTICLE.sub("", text).casefold() if c.isalnum())


def split(text: str, separators: str = ",") -> list[str]:
    """Return the parts between separators that stand in no bracket."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            depth += (text[at + 1] in "{") - (text[at + 1] in "}")
            at += 2
            continue
        depth += (char in "([{") - (char in ")]}")
        if char in separators and depth <= 0:
            parts.append(text[start:at].strip())
            start = at + 1
        at += 1
    return [*parts, text[start:].strip()]


def _answer(text: str) -> Node:
    if re.search(r"[\d\\]|\b[A-Za-z]\b", text):
        text = _JOIN.sub(", ", text)
    if '"' in text and not re.search(r"[\d\\=]", text) and re.search(r'[A-Za-z]{2}', text):
        return _one_of(_words(text), text)
    if _TIME.fullmatch(text):
        return _words(text)[0]
    parts = split(text)
    if len(parts) > 1:
        if all(re.fullmatch(r'[A-Za-z "]{3,}', part) for part in parts):
            return Words(canonical_words(text))  # of names, the order may be what was asked for
        return _listing([part for part in parts if part or len(parts) < 3])
    return _single(parts[0])


def _one_of(found: list[Node], text: str) -> Node:
    if not found:
        raise UnreadableError(text)
    return found[0]


def _listing(parts: list[str]) -> Node:
    entries = [entry for part in parts for entry in _with_signs(part)]
    names = [entry.name for entry in entries if isinstance(entry, Named)]
    if not names:
        return Listing(tuple(entries))
    named = [entry for entry in entries if isinstance(entry, Named)]
    if len(set(names)) == 1 and (len(names) == len(entries) or entries[0] is named[0]):
        values = tuple(e.value if isinstance(e, Named) else e for e in entries)
        if all(isinstance(value, Region) for value in values):
            return Named(names[0], Region(Union(*(v.points for v in values))))
        return Named(names[0], Listing(values))
    if len(set(names)) == len(entries):
        return Assignments(tuple(named))
    raise UnreadableError("names that are given to some entries only")


def _with_signs(text: str) -> list[Node]:
    r"""Return both entries that ``\pm`` stands for."""
    if not _PM.search(text):
        return [_single(text)]
    upper = _PM.sub(lambda m: "+" if m[1] == "pm" else "-", text)
    lower = _PM.sub(lambda m: "-" if m[1] == "pm" else "+", text)
    return [_single(upper), _single(lower)]


def _single(text: str) -> Node:
    if not text:
        raise UnreadableError("an empty entry")
    if _PM.search(text):
        return _listing([text])
    if text == "\\ldots":
        return DOTS
    if based := _based(text):
        return based
    if text in {"\\emptyset", "\\{\\}", "\\{ \\}"}:
        return Listing(())
    if _RELATION.search(text) and len(pieces := _relation(text)) > 1:
        return _related(pieces)
    if (region := _region(text)) is not None:
        return Region(region)
    if (group := _group(text)) is not None:
        return group
    if len(terms := split(text, ":")) > 1:
        return Ratio(tuple(expression(term) for term in terms))
    if letter := re.fullmatch(r'\(?\s*"([A-Za-z])"\s*\)?', text):
        return Words(letter[1].lower())
    if re.fullmatch(r"[A-Za-z]{3,}", text.replace('"', "")) and (found := _words(text)):
        return found[0]
    return _scalar(text)


def _scalar(text: str) -> Scalar:
    percent = re.search(r'\s*(?:\\?%|"?\s*\bpercent\b\s*"?)\Z', text)
    rest, unit = split_unit(text[: percent.start()] if percent else text)
    return Scalar(expression(rest), bool(re.search(r"\.\d", rest)), unit, percent is not None)


def _based(text: str) -> Based | None:
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    base = int(match[3]) if match[3].isdigit() else _WORD_BASES.get(match[3], 0)
    try:
        int(match[2], base or 1)
    except ValueError:
        return None
    if match[2].isalpha() and base < 11:
        return None
    return Based(match[1] == "-", match[2].lstrip("0") or "0", base)


def _relation(text: str) -> list[str]:
    """Return sides and operators in turn, of operators that stand in no bracket."""
    marked = _RELATION.sub(lambda m: f"\x01{m[0]}\x01", text)
    pieces = split(marked, "\x01")
    return [piece.strip() for piece in pieces]


def _related(pieces: list[str]) -> Node:
    sides, operators = pieces[::2], pieces[1::2]
    if not sides[0]:
        if operators in (["="], ["\\approx"]):
            return _single(sides[1])
        raise UnreadableError("a relation without a left side")
    if operators[-1] == "\\approx" and not (len(sides) == 2 and _is_name(sides[0])):
        return _rounded(_related(pieces[:-2]) if len(sides) > 2 else _single(sides[0]), sides[-1])
    if operators == ["\\in"] and _NAME.fullmatch(sides[0]):
        value = _single(sides[1])
        return Named(_spelled(sides[0]), as_region(value) or value)
    if all(operator in {"=", "\\approx"} for operator in operators):
        return _equation(sides)
    return _inequality(sides, operators)


def _rounded(exact: Node, text: str) -> Node:
    """Return what stands before ``\\approx`` and a rounded value."""
    near, value = _scalar(text).value, exact.value if isinstance(exact, Named) else exact
    if not (near.is_number and isinstance(value, Scalar) and value.value.is_number):
        raise UnreadableError("an approximation of what is no number")
    if not abs(value.value - near) <= abs(value.value) / 20:
        raise UnreadableError("an approximation that is wrong")
    return exact


def _equation(sides: list[str]) -> Node:
    if len(sides) == 2 and not _is_name(sides[0]) and re.fullmatch(r"\\?[A-Za-z]+(_\w)?", sides[1]):
        sides = sides[::-1]
    if _is_name(sides[0]):
        if len(sides) > 2:
            values = [_single(side) for side in sides[1:]]
            if not all(value == values[0] and _is_number(value) for value in values):
                raise UnreadableError("a chain of equations")
        return Named(_spelled(sides[0]), _single(sides[-1]))
    values = [expression(side) for side in sides]
    if all(value.is_number for value in values):
        if any(sympy.simplify(value - values[0]) != 0 for value in values):
            raise UnreadableError("an equation that is wrong")
        return Scalar(values[-1], any("." in side for side in sides))
    if len(sides) > 2:
        raise UnreadableError("a chain of equations")
    return Relation(values[0] - values[1], "=")


def _is_number(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value.is_number


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and text not in {"\\pi", "e", "i", "\\infty"}


def _spelled(name: str) -> str:
    return re.sub(r"[\s{}]", "", name)


def _inequality(sides: list[str], operators: list[str]) -> Node:
    values = [expression(side) for side in sides]
    variables = [at for at, value in enumerate(values) if value.is_Symbol and value != INFINITY]
    constant = [value.is_number or value in (INFINITY, -INFINITY) for value in values]
    if len(variables) == 1 and sum(constant) == len(values) - 1:
        at = variables[0]
        region: sympy.Set = sympy.S.Reals
        for left, operator in enumerate(operators):
            if at not in (left, left + 1):
                raise UnreadableError("a chain of inequalities without its variable in between")
            bound = values[left + 1] if left == at else values[left]
            region = region.intersect(_half_line(bound, operator, from_left=left == at))
        return Named(str(values[at]), Region(region))
    if len(operators) > 1:
        raise UnreadableError("a chain of inequalities")
    difference = values[0] - values[1]
    if operators[0] in {">", "\\ge"}:
        return Relation(-difference, {">": "<", "\\ge": "<="}[operators[0]])
    return Relation(difference, {"<": "<", "\\le": "<=", "\\ne": "!="}[operators[0]])


def _half_line(bound: Expr, operator: str, *, from_left: bool) -> sympy.Set:
    bound = bound.subs(INFINITY, sympy.oo)
    if operator == "\\ne":
        return sympy.S.Reals - FiniteSet(bound)
    if operator not in {"<", ">", "\\le", "\\ge"}:
        raise UnreadableError(operator)
    strict = operator in {"<", ">"}
    if (operator in {"<", "\\le"}) == from_left:
        return Interval(-sympy.oo, bound, False, strict)
    return Interval(bound, sympy.oo, strict, False)


def _region(text: str) -> sympy.Set | None:
    """Return unions and differences of intervals and sets; None if the text is none of them."""
    if text == "\\reals":
        return sympy.S.Reals
    to = re.fullmatch(r'([^"]+?)\s*(?:"\s*to\s*"|\bto\b)\s*([^"]+)', text)
    if to:
        return _as_interval(Bracket("[", (_scalar(to[1]), _scalar(to[2])), "]"))
    marked = re.sub(r"\\(cup|setminus)(?![A-Za-z])", lambda m: {"cup": "\x01", "setminus": "\x02"}[m[1]], text)
    if marked == text:
        return None
    parts = split(marked, "\x01\x02")
    signs = re.findall("[\x01\x02]", marked)
    if len(parts) != len(signs) + 1:
        raise UnreadableError(text)
    found = _part(parts[0])
    for sign, part in zip(signs, parts[1:], strict=True):
        found = found | _part(part) if sign == "\x01" else found - _part(part)
    return found


def _part(text: str) -> sympy.Set:
    region = as_region(_single(text))
    if region is None:
        raise UnreadableError(f"'{text}' is no set of numbers")
    return region.points


def as_region(node: Node) -> Region | None:
    if isinstance(node, Region):
        return node
    if isinstance(node, Bracket) and (interval := _as_interval(node)) is not None:
        return Region(interval)
    if isinstance(node, Listing) and all(_is_number(entry) for entry in node.entries):
        return Region(FiniteSet(*(entry.value for entry in node.entries)))
    return None


def _as_interval(bracket: Bracket) -> Interval | None:
    """Return the interval between two numbers; None for other brackets."""
    if len(bracket.entries) != 2 or bracket.opening not in "([" or bracket.closing not in ")]":
        return None
    ends = [entry.value.subs(INFINITY, sympy.oo) for entry in bracket.entries if isinstance(entry, Scalar)]
    if len(ends) != 2 or not all(end.is_extended_real and end.is_number for end in ends):
        return None
    opened, closed = bracket.opening == "(", bracket.closing == ")"
    if not ends[0] < ends[1] or (ends[0] == -sympy.oo and not opened) or (ends[1] == sympy.oo and not closed):
        return None
    return Interval(*ends, opened, closed)


def _group(text: str) -> Node | None:
    """Return the tuple, interval or set that one pair of brackets holds; None without one."""
    match = re.fullmatch(r"(\\\{|[(\[{])(.*?)(\\\}|[)\]}])", text, re.DOTALL)
    if match is None or closing_brace(text[match.start(1) + len(match[1]) - 1 :]) != len(text) - len(match[1]):
        return None
    opening, inside, closing = match.groups()
    parts = split(inside)
    if opening == "\\{" or (opening == "{" and len(parts) > 1):
        listing = _listing(parts)
        return listing if isinstance(listing, Listing) else None
    if len(parts) < 2:
        return _single(inside.strip()) if opening + closing in {"()", "{}"} else None
    return Bracket(opening, tuple(_single(part) for part in parts), closing)


def name_symbol(name: str) -> Symbol | None:
    """Return the letter that a name is; None for ``f(x)``, ``AB`` and the like."""
    return Symbol(name) if re.fullmatch(r"\\?[A-Za-z]+(_\w+)?'*", name) and (name[0] == "\\" or len(name.split("_")[0]) == 1) else None
