"""Carries out the arithmetic that a text begins with, exactly and with bounds."""

import re
from decimal import Decimal
from fractions import Fraction

_LONGEST = 60  # digits of a number
_LARGEST_POWER = 64  # exponent; also how deep brackets and signs are read
_TOKEN = re.compile(r"\s*(\d+\.\d+|\.\d+|\d+|[-+*/^()])")
_MIXED = re.compile(r"\s+(\d{1,9})\s?/\s?(\d{1,9})(?![\d.])|\s*\(\((\d{1,9})\)/\((\d{1,9})\)\)")


class _NoNumberError(Exception):
    """What stands here is no arithmetic."""


def evaluated(text: str) -> tuple[Fraction, int] | None:
    """Return value and end of the longest arithmetic that a text begins with.

    Args:
        text: with ``+ - * / ^``, brackets and mixed numbers such as ``3 1/2``.

    Returns:
        None where it doesn't begin with a number, or the number isn't finite or is too long.

    Examples:
        >>> evaluated("8^2 + 9 apples")
        (Fraction(73, 1), 7)
    """
    try:
        return _sum(text, 0, 0)
    except (_NoNumberError, ZeroDivisionError):
        return None


def _symbol(text: str, at: int) -> tuple[str, int]:
    match = _TOKEN.match(text, at)
    return (match[1], match.end()) if match else ("", at)


def _sum(text: str, at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _product(text, at, depth)
    while (sign := _symbol(text, at))[0] in {"+", "-"}:
        try:
            other, end = _product(text, sign[1], depth)
        except _NoNumberError:
            break  # "73-year"
        value, at = (value + other if sign[0] == "+" else value - other), end
    return value, at


def _product(text: str, at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _power(text, at, depth)
    while (sign := _symbol(text, at))[0] in {"*", "/"}:
        try:
            other, end = _power(text, sign[1], depth)
        except _NoNumberError:
            break  # "73/day"
        value, at = (value * other if sign[0] == "*" else value / other), end
    return value, at


def _power(text: str, at: int, depth: int) -> tuple[Fraction, int]:
    symbol, end = _symbol(text, at)
    if symbol in {"-", "+"} and depth < _LARGEST_POWER:
        value, at = _power(text, end, depth + 1)
        return (-value if symbol == "-" else value), at
    value, at = _atom(text, at, depth)
    if (raised := _symbol(text, at))[0] == "^":
        exponent, at = _power(text, raised[1], depth + 1)
        small = abs(exponent) <= _LARGEST_POWER and len(str(value)) < _LONGEST
        if exponent.denominator != 1 or not small:
            raise _NoNumberError
        value = value ** int(exponent)
    return value, at


def _atom(text: str, at: int, depth: int) -> tuple[Fraction, int]:
    symbol, end = _symbol(text, at)
    if symbol == "(" and depth < _LARGEST_POWER:
        value, end = _sum(text, end, depth + 1)
        closing, end = _symbol(text, end)
        if closing != ")":
            raise _NoNumberError
        return value, end
    if not symbol or not symbol.strip(".").replace(".", "").isdigit() or len(symbol) > _LONGEST:
        raise _NoNumberError
    value = Fraction(Decimal(symbol))
    if value.denominator == 1 and (part := _MIXED.match(text, end)):
        top, bottom = int(part[1] or part[3]), int(part[2] or part[4])
        if 0 < top < bottom:
            return value + Fraction(top, bottom), part.end()
    return value, end
