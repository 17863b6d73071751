"""Exact values: made without computing what is huge, and compared.

Rational numbers are compared exactly. Other numbers are computed to far more digits than their
texts hold. Expressions in letters are compared at points, since two of bounded size that agree
there are the same function; where one of them is real and the other isn't, they differ.
"""

import random
from collections.abc import Iterator

import sympy
from sympy import Expr, Float, MatrixBase, Rational, Symbol

MOST_BITS = 200_000  # of a number that is computed
_LARGEST_FACTORIAL = 10_000  # number whose factorial is computed
_LARGEST_EXPONENT = 10**9  # of a power that is no rational number
_LARGEST_DETERMINANT = 5  # rows of a matrix with letters, whose determinant has 120 terms
_HIGHEST_TOWER = 1  # exponents with letters on each other in an exponent, as in x^{x^x}

DEGREE = Symbol("degree", positive=True)  # 1 or pi/180, as the other side has it
INFINITY = Symbol("infinity", positive=True)
LOG_BASE = Symbol("ln_of_log_base", positive=True)  # a log without a base may be to 10 or e

_NEAR = Rational(1, 10**12)  # what a printed double may differ by from the number it stands for
_DIGITS = 60  # to which numbers are computed, and two for each digit of the text
_POINTS = 8  # pairs of points at which expressions in letters are compared
_NEEDED = 3  # points at which both sides must be defined


class UnreadableError(ValueError):
    """The text is no expression, or can be read in two ways."""


class TooLargeError(UnreadableError):
    """A number is too large to be compared exactly."""


def power(base: Expr, exponent: Expr) -> Expr:
    """Return base to the exponent, unless the result would be a huge number.

    Raises:
        TooLargeError: it would need more than ``MOST_BITS`` bits.
    """
    if base.is_Rational and exponent.is_Rational and base not in (0, 1, -1):
        bits = max(abs(base.p), base.q).bit_length() * abs(exponent)
        if bits > MOST_BITS:
            raise TooLargeError("a power too large to compute")
    if _height(exponent) > _HIGHEST_TOWER or _is_huge(exponent):
        raise TooLargeError("a power too large to compute")
    return sympy.Pow(base, exponent)


def exponential(exponent: Expr) -> Expr:
    """Return the power of Euler's number, with the limits of ``power``."""
    return power(sympy.E, exponent)


def _height(exponent: Expr) -> int:
    """Return how many exponents that no number is stand on each other in an exponent."""
    powers = exponent.atoms(sympy.Pow, sympy.exp)
    return max((1 + _height(each.exp) for each in powers if not each.exp.is_number), default=0)


def _is_huge(exponent: Expr) -> bool:
    """Tell whether an exponent such as ``e^{e^e}`` gives numbers that no memory holds."""
    if exponent.is_Rational or not exponent.is_number:
        return False
    return bool(abs(exponent.evalf(5, maxn=100)) > _LARGEST_EXPONENT)


def determinant(matrix: MatrixBase) -> Expr:
    """Return the determinant of a matrix.

    Raises:
        TooLargeError: it holds letters, and its terms are too many.
    """
    if matrix.free_symbols and matrix.rows > _LARGEST_DETERMINANT:
        raise TooLargeError("a determinant too large to compute")
    return matrix.det()


def root(degree: Expr, value: Expr) -> Expr:
    """Return the root as in school: an odd root of a negative number is negative."""
    if not (degree.is_Integer and degree > 1):
        return power(value, 1 / degree)
    if degree % 2 == 0 or value.is_nonnegative:
        return power(value, Rational(1, degree))
    if value.is_negative:
        return -power(-value, Rational(1, degree))
    return sympy.sign(value) * power(sympy.Abs(value), Rational(1, degree))


def factorial(value: Expr) -> Expr:
    """Return the factorial of a natural number or of an expression in letters.

    Raises:
        TooLargeError: the number is above 10,000.
        UnreadableError: it is no natural number.
    """
    if value.is_number and not (value.is_Integer and value >= 0):
        raise UnreadableError("the factorial of what is no natural number")
    if value.is_Integer and value > _LARGEST_FACTORIAL:
        raise TooLargeError("a factorial too large to compute")
    return sympy.factorial(value)


def binomial(n: Expr, k: Expr) -> Expr:
    """Return a binomial coefficient.

    Raises:
        TooLargeError: the upper number is above 10,000.
    """
    if n.is_Integer and (abs(n) > _LARGEST_FACTORIAL or not k.is_Integer):
        raise TooLargeError("a binomial coefficient too large to compute")
    return sympy.binomial(n, k)


def same_value(one: Expr, other: Expr, *, decimal: bool = False) -> bool:
    """Return whether two expressions or matrices are equal.

    Args:
        one: exact.
        other: exact.
        decimal: one of them was written as a decimal, and may be off by its last digit.
    """
    if isinstance(one, MatrixBase) or isinstance(other, MatrixBase):
        if not (isinstance(one, MatrixBase) and isinstance(other, MatrixBase)):
            return False
        return one.shape == other.shape and all(
            same_value(a, b, decimal=decimal) for a, b in zip(one, other, strict=True)
        )
    if one == other or not (_bounded(one) and _bounded(other)):
        return bool(one == other)
    if one.is_Rational and other.is_Rational:
        rounded = decimal and not (_terminates(one) and _terminates(other))
        return rounded and bool(abs(one - other) < _NEAR * abs(other))
    if one.free_symbols or other.free_symbols:
        return _same_function(one, other)
    return _same_number(one, other, decimal=decimal)


def _terminates(value: Rational) -> bool:
    """Return whether a number can be written as a decimal without rounding."""
    bottom = int(value.q)
    return pow(10, bottom.bit_length(), bottom) == 0 if bottom > 1 else True


def _same_number(one: Expr, other: Expr, *, decimal: bool) -> bool:
    if decimal:
        first, second = _computed(one, 30), _computed(other, 30)
        finite = _finite(first) and _finite(second)
        return finite and bool(abs(first - second) < _NEAR * abs(second))
    digits = _DIGITS + 2 * _size(one, other)
    return _near(_computed(one, digits), _computed(other, digits), digits) or _vanishes(one, other)


def _vanishes(one: Expr, other: Expr) -> bool:
    """Return whether a sum whose terms cancel equals 0."""
    if one != 0 and other != 0:
        return False
    return bool(sympy.simplify(one - other) == 0)


def _same_function(one: Expr, other: Expr) -> bool:
    """Return whether expressions agree where both are real, or else where both are defined."""
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    digits = _DIGITS + 2 * _size(one, other)
    agreements: dict[bool, list[bool]] = {True: [], False: []}
    for values in _points(letters):
        first, second = (_computed(each, digits, values) for each in (one, other))
        if not (_finite(first) and _finite(second)):
            continue
        if _real(first) != _real(second):
            return False
        agreements[_real(first)].append(_near(first, second, digits))
    decisive = agreements[True] or agreements[False]
    if not all(decisive):
        return _vanishes(one, other)
    return len(decisive) >= _NEEDED


def _points(letters: list[Symbol]) -> Iterator[dict[Symbol, Rational]]:
    """Yield the same points for every pair: one half of them positive, the other of mixed signs."""
    chance = random.Random(0)
    for point in range(2 * _POINTS):
        values = {}
        for letter in letters:
            negative = point % 2 and not letter.is_positive and chance.random() < 0.6
            size = Rational(chance.randint(1001, 9999), 1009)
            values[letter] = -size if negative else size
        yield values


def _computed(value: Expr, digits: int, values: dict[Symbol, Rational] | None = None) -> Expr:
    return value.evalf(digits, subs=values, maxn=3 * digits)


def _finite(value: Expr) -> bool:
    return bool(value.is_number and value.is_finite)


def _real(value: Expr) -> bool:
    return bool(abs(sympy.im(value)) < Float(10) ** -20 * max(1, abs(value)))


def _near(first: Expr, second: Expr, digits: int) -> bool:
    """Return whether computed values agree to all but the last digits."""
    largest = max(abs(first), abs(second))
    return bool(abs(first - second) <= largest * Float(10, digits) ** (12 - digits))


def _bounded(value: Expr) -> bool:
    return value not in (sympy.oo, -sympy.oo)


def _size(*values: Expr) -> int:
    """Return a bound on the digits that the numbers in expressions have."""
    numbers = [number for value in values for number in value.atoms(sympy.Rational)]
    return sum(int(max(abs(n.p), n.q)).bit_length() for n in numbers) * 3 // 10


def factor_between(one: Expr, other: Expr) -> Expr | None:
    """Return the number by which one expression is the other, other than 0; None without one."""
    if one == 0 or other == 0:
        return None
    ratio = sympy.simplify(one / other)
    return ratio if ratio.is_number and ratio.is_real and ratio != 0 else None
