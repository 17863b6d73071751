"""The names that expressions know."""

from collections.abc import Callable
from typing import Any

import sympy

from benchmark.grading.mathematics.values import INFINITY, LOG_BASE, exponential

_LETTERS = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi "
    "rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega "
    "ell hbar"
)
GREEK = frozenset(_LETTERS.split())
TRIGONOMETRIC: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sin": (sympy.sin, sympy.asin), "cos": (sympy.cos, sympy.acos),
    "tan": (sympy.tan, sympy.atan), "cot": (sympy.cot, sympy.acot),
    "sec": (sympy.sec, sympy.asec), "csc": (sympy.csc, sympy.acsc),
    "sinh": (sympy.sinh, sympy.asinh), "cosh": (sympy.cosh, sympy.acosh),
    "tanh": (sympy.tanh, sympy.atanh),
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: of for name, (of, _) in TRIGONOMETRIC.items()},
    **{f"arc{name}": inverse for name, (_, inverse) in TRIGONOMETRIC.items() if len(name) == 3},
    "ln": sympy.log, "exp": exponential, "log": lambda x: sympy.log(x) / LOG_BASE,
    "cis": lambda x: sympy.cos(x) + sympy.I * sympy.sin(x),
    "lg": lambda x: sympy.log(x) / sympy.log(10),
}  # fmt: skip
CONSTANTS = {
    "\\pi": sympy.pi, "pi": sympy.pi, "e": sympy.E, "i": sympy.I, "\\infty": INFINITY,
    "infinity": INFINITY, "\\imath": sympy.I,
}  # fmt: skip
