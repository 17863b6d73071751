"""Whether two answers that were read are equal: by kind, entry by entry, exactly."""

from collections.abc import Callable, Sequence

import sympy
from sympy import Expr, FiniteSet, Interval, Symbol

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
    Relation,
    Scalar,
    Words,
)
from benchmark.grading.mathematics.relations import as_region, name_symbol
from benchmark.grading.mathematics.units import same_unit
from benchmark.grading.mathematics.values import DEGREE, LOG_BASE, factor_between, same_value


def equal(reference: Node, answer: Node) -> bool:
    """Return whether an answer equals the reference; where kinds differ, order doesn't matter."""
    if type(reference) is type(answer):
        return _same_kind(reference, answer)
    return _mixed(reference, answer, equal) or _mixed(answer, reference, lambda a, r: equal(r, a))


def _same_kind(reference: Node, answer: Node) -> bool:
    match reference, answer:
        case Scalar(), Scalar():
            return _same_scalar(reference, answer)
        case Listing(entries=left), Listing(entries=right):
            return _ordered(left, right) if DOTS in left + right else _unordered(left, right)
        case Bracket(), Bracket():
            brackets = (reference.opening, reference.closing) == (answer.opening, answer.closing)
            return brackets and _ordered(reference.entries, answer.entries)
        case Region(), Region():
            return _same_points(reference.points, answer.points)
        case Named(), Named():
            return _same_named(reference, answer)
        case Assignments(values=left), Assignments(values=right):
            return _unordered(left, right)
        case Relation(), Relation():
            return _same_relation(reference, answer)
        case Clock(half=left), Clock(half=right):
            return reference.time == answer.time and (left == right or not (left and right))
        case Ratio(terms=left), Ratio(terms=right):
            return _same_ratio(left, right)
        case _:
            return reference == answer  # digits in a base, words


def _mixed(one: Node, other: Node, same: Callable[[Node, Node], bool]) -> bool:
    """Return whether answers of two kinds are equal, where the kinds stand in this order.

    ``same`` compares a part of ``one``, the reference or the answer, with a part of ``other``.
    """
    match one, other:
        case Named(), _:
            return _without_name(one, other, same)
        case Assignments(values=values), (Bracket(entries=entries) | Listing(entries=entries)):
            return len(values) == len(entries) and all(
                same(named.value, entry) for named, entry in zip(values, entries, strict=True)
            )
        case Region(), (Bracket() | Listing()):
            region = as_region(other)
            return region is not None and _same_points(one.points, region.points)
        case Region(points=FiniteSet(args=(only,))), Scalar():
            return same_value(only, other.value)
        case Listing(entries=[only]), Scalar():
            return same(only, other)
        case Clock(), Ratio(terms=terms):
            return terms == one.time and one.time[1] > 9  # 3:05 is no ratio of 3 to 5
        case Based(), Scalar():
            return _same_digits(one, other, of_reference=same is equal)
        case (Words() | Ratio() | Clock()) as special, Scalar():
            return _same_as_scalar(special, other)
        case _:
            return False


def _without_name(named: Named, other: Node, same: Callable[[Node, Node], bool]) -> bool:
    """Return whether what a name stands for equals an answer that gives no name."""
    match other:
        case Relation():
            relation = _as_relation(named)
            return relation is not None and _same_relation(relation, other)
        case Bracket() if isinstance(named.value, Region):
            return same(named.value, as_region(other) or other)
        case Assignments() | Words():
            return False
    return same(named.value, other)


def _same_digits(based: Based, scalar: Scalar, *, of_reference: bool) -> bool:
    """Return whether a number without a base has the digits of a reference with one.

    An answer in a base that the reference doesn't have must have its value.
    """
    value = int(based.digits, based.base) * (-1 if based.negative else 1)
    if not of_reference or based.base == 10:
        return bool(scalar.value == value)
    written = scalar.value.is_Integer and bool(abs(scalar.value) < 10**200)
    digits = str(abs(scalar.value)) if written else ""
    return digits == based.digits and bool(scalar.value < 0) == based.negative


def _same_as_scalar(special: Words | Ratio | Clock, scalar: Scalar) -> bool:
    """Return whether an expression is the letter of a choice, a quotient or an hour."""
    value = scalar.value
    match special:
        case Words(text=letter):
            return isinstance(value, Symbol) and letter == str(value).lower()
        case Ratio(terms=(top, bottom)) if bottom != 0:
            return same_value(top / bottom, value)
        case Clock(time=(hours, 0), half=half) if half and not scalar.unit:
            return bool(value == hours)
    return False


def _ordered(left: Sequence[Node], right: Sequence[Node]) -> bool:
    return len(left) == len(right) and all(map(equal, left, right))


def _unordered(left: Sequence[Node], right: Sequence[Node]) -> bool:
    if len(left) != len(right):
        return False
    free = list(right)
    for entry in left:
        partner = next((at for at, each in enumerate(free) if equal(entry, each)), None)
        if partner is None:
            return False
        del free[partner]
    return True


def _same_scalar(reference: Scalar, answer: Scalar) -> bool:
    if not same_unit(reference.unit, answer.unit):
        return False
    decimal = reference.decimal or answer.decimal
    left, right = _same_logarithms(reference.value, answer.value)
    if left.has(DEGREE) != right.has(DEGREE):
        unit = reference.unit + answer.unit
        if unit not in {(), ("rad",)} or reference.percent != answer.percent:
            return False
        turns = [sympy.pi / 180] if unit else [sympy.Integer(1), sympy.pi / 180]
        pairs = [(left.subs(DEGREE, turn), right.subs(DEGREE, turn)) for turn in turns]
    elif reference.percent != answer.percent:
        pairs = [(left, right), (left / 100, right) if reference.percent else (left, right / 100)]
    else:
        pairs = [(left, right)]
    return any(same_value(a, b, decimal=decimal) for a, b in pairs)


def _same_logarithms(left: Expr, right: Expr) -> tuple[Expr, Expr]:
    """Return both with the base that ``log`` has beside the other one's logarithm.

    In a reference it is 10. In an answer it is that of the reference, e or 10.
    """
    ten = sympy.log(10)
    if left.has(LOG_BASE) and not right.has(LOG_BASE):
        left = left.subs(LOG_BASE, ten)
    elif right.has(LOG_BASE) and left.has(sympy.log) and not left.has(LOG_BASE):
        right = right.subs(LOG_BASE, ten if left.has(ten) else 1)
    return left, right


def _same_points(left: sympy.Set, right: sympy.Set) -> bool:
    if left == right:
        return True
    parts, others = _parts(left), _parts(right)
    return parts is not None and others is not None and len(parts) == len(others) and all(
        kind == other_kind and same_value(start, other_start) and same_value(end, other_end)
        for (start, end, kind), (other_start, other_end, other_kind)
        in zip(parts, others, strict=True)
    )  # fmt: skip


def _parts(points: sympy.Set) -> list[tuple[Expr, Expr, tuple[bool, bool]]] | None:
    parts = []
    for part in points.args if isinstance(points, sympy.Union) else [points]:
        if isinstance(part, Interval):
            parts.append((part.start, part.end, (bool(part.left_open), bool(part.right_open))))
        elif isinstance(part, FiniteSet):
            if not all(point.is_extended_real for point in part):
                return None
            parts += [(point, point, (False, False)) for point in part]
        else:
            return None
    return sorted(parts, key=lambda part: (float(part[0]), float(part[1])))


def _same_named(reference: Named, answer: Named) -> bool:
    if reference.name == answer.name and equal(reference.value, answer.value):
        return True
    left, right = _as_relation(reference), _as_relation(answer)
    return left is not None and right is not None and _same_relation(left, right)


def _as_relation(named: Named) -> Relation | None:
    """Return ``y = 2x`` as an equation; None for names that stand for no letter."""
    symbol = name_symbol(named.name)
    if symbol is None or not isinstance(named.value, Scalar):
        return None
    return Relation(symbol - named.value.value, "=")


def _same_relation(reference: Relation, answer: Relation) -> bool:
    """Return whether relations are the same up to a factor; of an inequality, a positive one."""
    if reference.operator != answer.operator:
        return False
    factor = factor_between(reference.difference, answer.difference)
    return factor is not None and (reference.operator in {"=", "!="} or bool(factor > 0))


def _same_ratio(left: Sequence[Expr], right: Sequence[Expr]) -> bool:
    """Return whether ratios are proportional; those of two terms may be times of day."""
    if len(left) == 2 and any(term.is_Integer and term > 9 for term in (left[1], right[1])):
        return tuple(left) == tuple(right)
    if 0 in (*left, *right):
        return tuple(left) == tuple(right)
    return len(left) == len(right) and all(
        same_value(a * right[0], b * left[0]) for a, b in zip(left, right, strict=True)
    )
