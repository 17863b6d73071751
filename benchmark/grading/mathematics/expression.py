r"""Reads one LaTeX expression, wholly or not at all, as an exact sympy expression.

A decimal is read as the fraction that it stands for. What can be read in two ways (``1/xy``,
``\sqrt23``, ``2{5}``) is not read. Nothing large is computed: a power or factorial of more than
``MOST_BITS`` bits is refused before it is evaluated.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import sympy
from sympy import Expr, Integer, Rational, Symbol

from benchmark.grading.mathematics.symbols import CONSTANTS, FUNCTIONS, GREEK, TRIGONOMETRIC
from benchmark.grading.mathematics.values import (
    DEGREE,
    UnreadableError,
    binomial,
    determinant,
    factorial,
    power,
    root,
)

_DEEPEST = 40  # brackets within each other
_LONGEST_PRODUCT = 4  # letters without signs between them; more are a word

_TOKEN = re.compile(
    r"\s*(\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+\.?\d*|\.\d+|\\[A-Za-z]+|\\.|[A-Za-z]+|\S)",
    re.ASCII,
)
_TIMES, _DIVIDE = {"\\cdot", "\\times", "*", "\\ast"}, {"/", "\\div"}
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "|": "|"}
_MATRICES = {"pmatrix", "vmatrix", "array"}


def expression(text: str) -> Expr:
    r"""Return the value of a normalised expression.

    Raises:
        UnreadableError: any part of the text is not understood.

    Examples:
        >>> expression(r"2\frac{1}{2}x")
        5*x/2
    """
    tokens = _TOKEN.findall(text)
    depth = 0
    for token in tokens:
        depth += (token in "([{") - (token in ")]}")
        if depth > _DEEPEST:
            raise UnreadableError("nested too deeply")
    reader = _Reader(tokens)
    try:
        value = reader.sum()
    except UnreadableError:
        raise
    except (TypeError, ValueError) as error:  # a matrix and a number have no sum, for example
        raise UnreadableError(text) from error
    if reader.tokens or value.has(sympy.zoo, sympy.nan):
        raise UnreadableError(text)
    return value


class _Reader:
    """Takes tokens from the front of what is left; each method reads one level of the grammar."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(reversed(tokens))
        self._in_bars = False
        self._last = ""

    def _peek(self, ahead: int = 1) -> str:
        return self.tokens[-ahead] if len(self.tokens) >= ahead else ""

    def _take(self, expected: str | None = None) -> str:
        token = self.tokens.pop() if self.tokens else ""
        if not token or (expected is not None and token != expected):
            raise UnreadableError(f"'{expected}' is missing")
        self._last = token
        return token

    def sum(self) -> Expr:
        value = self._signed(self._product)
        while self._peek() in {"+", "-"}:
            sign = self._take()
            term = self._product()
            value = value + term if sign == "+" else value - term
        return value

    def _signed(self, read: Callable[[], Expr]) -> Expr:
        if self._peek() in {"+", "-"}:
            return read() if self._take() == "+" else -read()
        return read()

    def _product(self) -> Expr:
        value = self._factor()
        while True:
            if self._peek() in _TIMES:
                self._take()
                value = value * self._signed(self._factor)
            elif self._peek() in _DIVIDE:
                self._take()
                divisor = self._signed(self._factor)
                if divisor.free_symbols and self._starts_implicit():
                    raise UnreadableError("a quotient that can be read in two ways")
                value = value / divisor
            elif self._starts_implicit():
                value = value * self._factor()
            else:
                return value

    def _starts_implicit(self) -> bool:
        r"""Return whether a factor follows without a sign; of numbers, only after ``n!``."""
        token = self._peek()
        if token == "|":
            return not self._in_bars
        if token[:1].isdigit():
            return self._last == "!"
        return (
            token in {"(", "[", "\\frac", "\\sqrt", "\\binom", "\\lfloor", "\\lceil", "\\begin"}
            or token in CONSTANTS
            or token.isalpha()
            or (token.startswith("\\") and token[1:] in GREEK | FUNCTIONS.keys())
        )

    def _factor(self) -> Expr:
        value = self._atom()
        while self._peek() in {"^", "!"}:
            if self._take() == "!":
                if self._peek() == "!":
                    raise UnreadableError("a double factorial")
                value = factorial(value)
            elif self._peek() == "\\circ":
                self._take()
                value = value * DEGREE
            else:
                value = power(value, self._script(whole_number=True))
        return value

    def _script(self, *, whole_number: bool = False) -> Expr:
        r"""Return a command's argument: a group, or one sign as in ``\frac12``."""
        token = self._peek()
        if token in {"+", "-"} and whole_number:
            return self._signed(lambda: self._script(whole_number=True))
        if token[:1].isdigit() and not whole_number:
            self._take()
            if not token.isdigit():
                raise UnreadableError("an argument without braces")
            if token[1:]:
                self.tokens.append(token[1:])
            return Integer(token[0])
        if token.isalpha() and len(token) > 1:
            self._take()
            self.tokens += [token[1:], token[0]]
        return self._atom()

    def _group(self, closing: str) -> Expr:
        in_bars, self._in_bars = self._in_bars, closing == "|"
        value = self.sum()
        self._take(closing)
        self._in_bars = in_bars
        return value

    def _atom(self) -> Expr:
        token = self._take()
        if token[0].isdigit() or (token[0] == "." and token != "."):
            return self._number(token)
        if token in _CLOSING:
            value = self._group(_CLOSING[token])
            shape = {"|": sympy.Abs, "\\lfloor": sympy.floor, "\\lceil": sympy.ceiling}.get(token)
            return shape(value) if shape else value
        if token in CONSTANTS:
            return CONSTANTS[token]
        if token.removeprefix("\\") in FUNCTIONS:
            return self._function(token.removeprefix("\\"))
        if token[0] == "\\":
            return self._command(token)
        if token.isascii() and token.isalpha() and len(token) <= _LONGEST_PRODUCT:
            if token[1:]:
                self.tokens.append(token[1:])
            return CONSTANTS.get(token[0]) or self._symbol(token[0])
        raise UnreadableError(f"'{token}' is not understood")

    def _command(self, token: str) -> Expr:
        if token == "\\frac":
            return self._script() / self._script()
        if token == "\\binom":
            return binomial(self._script(), self._script())
        if token == "\\sqrt":
            degree = Integer(2)
            if self._peek() == "[":
                self._take()
                degree = self._group("]")
            return root(degree, self._script())
        if token == "\\begin":
            return self._matrix()
        if token[1:] in GREEK:
            return self._symbol(token)
        raise UnreadableError(f"'{token}' is not understood")

    def _symbol(self, name: str) -> Expr:
        if self._peek() == "_":
            self._take()
            name += "_" + self._subscript()
        while self._peek() == "'":
            name += self._take()
        return Symbol(name)

    def _subscript(self) -> str:
        if self._peek() != "{":
            return self._take()
        self._take()
        name = ""
        while self._peek() not in {"}", ""}:
            name += self._take()
        self._take("}")
        return name

    def _number(self, token: str) -> Expr:
        value = Rational(token.replace(",", "").rstrip("."))
        if token.isdigit() and self._peek() == "\\frac":
            self._take()
            top, bottom = self._script(), self._script()
            if not (top.is_Integer and bottom.is_Integer):
                return value * top / bottom
            return value + _proper(top, bottom)
        if token.isdigit() and self._peek().isdigit() and self._peek(2) == "/":
            top, _, bottom = self._take(), self._take(), self._take()
            return value + _proper(Integer(top), Integer(bottom) if bottom.isdigit() else 0)
        return value

    def _function(self, name: str) -> Expr:
        of, exponent = FUNCTIONS[name], None
        if self._peek() == "^":
            self._take()
            exponent = self._script(whole_number=True)
        if exponent == -1:
            if name not in TRIGONOMETRIC:
                raise UnreadableError("an inverse that can be read in two ways")
            of, exponent = TRIGONOMETRIC[name][1], None
        base = None
        if name == "log" and self._peek() == "_":
            self._take()
            base = self._script()
        bracket = self._peek() in {"(", "[", "{", "|"}
        argument = self._atom() if bracket else self._signed(self._bare_argument)
        if name in TRIGONOMETRIC or name == "cis":
            argument = argument.subs(DEGREE, sympy.pi / 180)
        value = of(argument) if base is None else sympy.log(argument) / sympy.log(base)
        return value if exponent is None else power(value, exponent)

    def _bare_argument(self) -> Expr:
        r"""Return ``3x`` of ``\sin 3x \cos x``: factors up to a bracket, function or sign."""
        value = self._factor()
        while self._starts_implicit():
            token = self._peek()
            if token in {"(", "[", "|"} or token.removeprefix("\\") in FUNCTIONS:
                break
            value = value * self._factor()
        return value

    def _matrix(self) -> Any:
        kind = self._subscript()
        if kind not in _MATRICES:
            raise UnreadableError(f"'{kind}' is not understood")
        rows: list[list[Expr]] = [[]]
        while self._peek() != "\\end":
            if self._peek() == "\\\\":
                self._take()
                if self._peek() != "\\end":
                    rows.append([])
                continue
            if rows[-1]:
                self._take("&")
            rows[-1].append(self.sum())
        self._take()
        if self._subscript() != kind or len({len(row) for row in rows}) != 1:
            raise UnreadableError("a matrix of uneven rows")
        matrix = sympy.ImmutableMatrix(rows)
        return determinant(matrix) if kind == "vmatrix" else matrix


def _proper(top: Expr, bottom: Expr) -> Expr:
    """Return the fraction of a mixed number."""
    if not 0 < top < bottom:
        raise UnreadableError("neither a mixed number nor a product")
    return Rational(top, bottom)
