r"""Reads equations, inequalities and sets of real numbers."""

import re
from collections.abc import Callable
from typing import TypeGuard

import sympy
from sympy import Expr, FiniteSet, Interval, Symbol

from benchmark.grading.mathematics.expression import expression
from benchmark.grading.mathematics.nodes import (
    Assignments,
    Bracket,
    Listing,
    Named,
    Node,
    Region,
    Relation,
    Scalar,
)
from benchmark.grading.mathematics.text import split
from benchmark.grading.mathematics.values import (
    INFINITY,
    TooLargeError,
    UnreadableError,
    same_value,
)

Reader = Callable[[str], Node]  # of a part of the answer

_OPERATOR = re.compile(r"\\(?:le|ge|ne|in)(?![A-Za-z])|\\approx|[=<>]")
_EQUALITIES = {"=", "\\approx"}
_ARGUMENT = r"\([^()\"]*(?:\([^()\"]*\)[^()\"]*)*\)"
_NAME = re.compile(
    rf"\\?[A-Za-z]+(?:_\{{?\w+\}}?)?'*(?:\s*\^\s*\{{\s*-1\s*\}})?(?:\s*{_ARGUMENT})?|\|\s*\w+\s*\|"
    r"|(?:m\s*)?\\(?:angle|triangle|overline)\s*\{?\s*\w+\}?|\[\s*[A-Z]{3,6}\s*\]"
    r"|[A-Za-w](?:\s*\+\s*[A-Za-w])+"  # of x + y = 5, a line, 5 is no value
    rf'|\(\s*\w(?:\s*,\s*\w)+\s*\)|"[A-Za-z ]+"(?:\s*{_ARGUMENT})?'
)
_LETTER = re.compile(r"(?:[A-Za-z]|\\[A-Za-z]+)(?:_\w+)?'*")
_TO = re.compile(r'([^"]+?)\s*(?:"\s*to\s*"|\bto\b)\s*([^"]+)')
_SET_OPERATORS = {"\\cup": "\x01", "\\setminus": "\x02"}
_MOST_SETS = 30  # that are joined, or taken from each other
_SET_OPERATOR = re.compile(r"\\(?:cup|setminus)(?![A-Za-z])")


def related(text: str, read: Reader) -> Node | None:
    """Return the equation, inequality or assignment; None for a text without an operator."""
    marked = _OPERATOR.sub(lambda m: f"\x01{m[0]}\x01", text)
    pieces = [piece.replace("\x01", "") for piece in split(marked, "\x01")]
    return _related(pieces, read) if len(pieces) > 1 else None


def _related(pieces: list[str], read: Reader) -> Node:
    sides, operators = pieces[::2], pieces[1::2]
    if not sides[0]:
        if len(sides) == 2 and operators[0] in _EQUALITIES:
            return read(sides[1])
        raise UnreadableError("a relation without a left side")
    if operators[-1] == "\\approx" and not (len(sides) == 2 and is_name(sides[0])):
        exact = _related(pieces[:-2], read) if len(sides) > 2 else read(sides[0])
        return _rounded(exact, read(sides[-1]))
    if operators == ["\\in"] and is_name(sides[0]):
        value = read(sides[1])
        return Named(_spelled(sides[0]), as_region(value) or value)
    if all(operator in _EQUALITIES for operator in operators):
        return _equation(sides, read)
    return _inequality([expression(side) for side in sides], operators)


def _rounded(exact: Node, near: Node) -> Node:
    r"""Return what stands before ``\approx`` and a rounded value."""
    value = exact.value if isinstance(exact, Named) else exact
    if not (_is_number(value) and _is_number(near)):
        raise UnreadableError("an approximation of what is no number")
    off, place = abs(value.value - near.value), _last_place(near.value, value.value)
    cut_off = abs(near.value) <= abs(value.value) and off < place  # 2/3 as 0.66
    if not (cut_off or off <= place / 2):
        raise UnreadableError("an approximation that is wrong")
    return exact


def _last_place(near: Expr, exact: Expr) -> Expr:
    """Return what the last digit of a rounded number stands for: 0.01 in 0.67, 100 in 1200."""
    written = near.is_Rational and near != 0
    places = next((n for n in range(30) if written and (near * 10**n).is_Integer), None)
    if places is None:  # 22/7
        return abs(exact) / 1000
    whole = str(near) if places == 0 else ""
    return sympy.Rational(10) ** (len(whole) - len(whole.rstrip("0")) - places)


def _equation(sides: list[str], read: Reader) -> Node:
    if len(sides) == 2 and not is_name(sides[0]) and _LETTER.fullmatch(sides[1]):
        sides = sides[::-1]  # 2 = x
    if is_name(sides[0]):
        values = [read(side) for side in sides[1:]]
        if len(values) > 1:
            _check_equal(values)
        return _named(_spelled(sides[0]), values[-1])
    if len(sides) == 2:
        left, right = (expression(side) for side in sides)
        if left.is_Matrix or right.is_Matrix:
            raise UnreadableError("an equation of matrices")
        if not (left.is_number and right.is_number):
            return Relation(left - right, "=")
    values = [read(side) for side in sides]
    _check_equal(values)
    return values[-1]


def _named(name: str, value: Node) -> Node:
    """Return what a name stands for; ``(x,y)=(1,2)`` names each entry."""
    names = name.strip("()").split(",")
    if name[0] == "(" and isinstance(value, Bracket) and len(names) == len(value.entries):
        return Assignments(tuple(map(Named, names, value.entries)))
    return Named(name, value)


def _check_equal(values: list[Node]) -> None:
    """Refuse a chain of equations that doesn't say the same number again and again."""
    for value in values:
        if not (_is_number(value) and _is_number(values[0])):
            raise UnreadableError("a chain of equations")
        if not same_value(value.value, values[0].value):
            raise UnreadableError("an equation that is wrong")


def _is_number(node: Node) -> TypeGuard[Scalar]:
    return isinstance(node, Scalar) and bool(node.value.is_number)


def is_name(text: str) -> bool:
    """Return whether a left side only names what stands on the right."""
    return bool(_NAME.fullmatch(text)) and text not in {"\\pi", "e", "i", "\\infty"}


def _spelled(name: str) -> str:
    return re.sub(r'[\s{}"]', "", name)


def name_symbol(name: str) -> Symbol | None:
    """Return the letter that a name is; None for ``f(x)``, ``AB`` and the like."""
    return Symbol(name) if _LETTER.fullmatch(name) else None


def _inequality(sides: list[Expr], operators: list[str]) -> Node:
    variables = [at for at, side in enumerate(sides) if side.is_Symbol and side != INFINITY]
    bounds = sum(bool(side.is_number) or side in (INFINITY, -INFINITY) for side in sides)
    if len(variables) == 1 and bounds == len(sides) - 1:
        return Named(str(sides[variables[0]]), Region(_between(sides, operators, variables[0])))
    if len(operators) > 1:
        raise UnreadableError("a chain of inequalities")
    difference = sides[0] - sides[1]
    if (sign := {"<": "<", "\\le": "<=", "\\ne": "!="}.get(operators[0])) is not None:
        return Relation(difference, sign)
    if (sign := {">": "<", "\\ge": "<="}.get(operators[0])) is not None:
        return Relation(-difference, sign)
    raise UnreadableError(operators[0])


def _between(sides: list[Expr], operators: list[str], variable: int) -> sympy.Set:
    """Return the values of the variable that all inequalities of a chain allow."""
    region: sympy.Set = sympy.S.Reals
    for left, operator in enumerate(operators):
        if variable not in (left, left + 1):
            raise UnreadableError("a chain of inequalities without its variable in between")
        on_left = left == variable
        bound = sides[left + 1] if on_left else sides[left]
        region = region.intersect(_half_line(bound.subs(INFINITY, sympy.oo), operator, on_left))
    return region


def _half_line(bound: Expr, operator: str, on_left: bool) -> sympy.Set:
    if operator == "\\ne":
        return sympy.S.Reals - FiniteSet(bound)
    if operator not in {"<", ">", "\\le", "\\ge"}:
        raise UnreadableError(operator)
    strict = operator in {"<", ">"}
    if (operator in {"<", "\\le"}) == on_left:
        return Interval(-sympy.oo, bound, False, strict)
    return Interval(bound, sympy.oo, strict, False)


def region(text: str, read: Reader) -> Region | None:
    r"""Return unions and differences of sets, and ``0 to 1``; None if the text is none of them."""
    if text == "\\reals":
        return Region(sympy.S.Reals)
    if to := _TO.fullmatch(text):
        return as_region(Bracket("[", (read(to[1]), read(to[2])), "]"))
    marked = _SET_OPERATOR.sub(lambda m: _SET_OPERATORS[m[0]], text)
    if marked == text:
        return None
    signs = re.findall("[\x01\x02]", marked)
    if len(signs) > _MOST_SETS:  # each costs more than the one before
        raise TooLargeError("too many sets to be joined")
    parts = [_points(part, read) for part in split(marked, "\x01\x02")]
    if len(parts) != len(signs) + 1:
        raise UnreadableError("a set within brackets")
    points = parts[0]
    for sign, part in zip(signs, parts[1:], strict=True):
        points = points | part if sign == "\x01" else points - part
    return Region(points)


def _points(text: str, read: Reader) -> sympy.Set:
    found = as_region(read(text))
    if found is None:
        raise UnreadableError(f"'{text}' is no set of numbers")
    return found.points


def as_region(node: Node) -> Region | None:
    """Return the set of numbers that an interval or a list of numbers is; None for the rest."""
    match node:
        case Region():
            return node
        case Bracket(entries=(Scalar(value=left), Scalar(value=right))):
            return _interval(node, left.subs(INFINITY, sympy.oo), right.subs(INFINITY, sympy.oo))
        case Listing(entries=entries):
            numbers = [entry.value for entry in entries if _is_number(entry)]
            return Region(FiniteSet(*numbers)) if len(numbers) == len(entries) else None
    return None


def _interval(bracket: Bracket, left: Expr, right: Expr) -> Region | None:
    """Return the numbers between two; None if it holds none, or an infinite end is included."""
    if not all(end.is_number and end.is_extended_real for end in (left, right)):
        return None
    opened, closed = bracket.opening == "(", bracket.closing == ")"
    if not left < right or (left == -sympy.oo and not opened) or (right == sympy.oo and not closed):
        return None
    return Region(Interval(left, right, opened, closed))
