"""What a mathematical answer can be."""

from dataclasses import dataclass

from sympy import Expr, Set

Unit = tuple[str, ...]


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

    points: Set


@dataclass(frozen=True)
class Named:
    """What a name stands for, as in ``x = 5``, ``f(x) = 2x`` and ``x > 3``."""

    name: str
    value: "Node"


@dataclass(frozen=True)
class Assignments:
    """Values of different names, in the order given."""

    values: tuple[Named, ...]


@dataclass(frozen=True)
class Relation:
    """A difference that is ``=``, ``<``, ``<=`` or ``!=`` 0."""

    difference: Expr
    operator: str


@dataclass(frozen=True)
class Ratio:
    """Terms between colons."""

    terms: tuple[Expr, ...]


@dataclass(frozen=True)
class Clock:
    """A time of day: hours, minutes and maybe seconds; ``half`` is a, p or unsaid."""

    time: tuple[int, ...]
    half: str


@dataclass(frozen=True)
class Words:
    """Letters and digits of a text answer, without case, spaces and article."""

    text: str


Node = (
    Scalar | Based | Listing | Bracket | Region | Named | Assignments | Relation | Ratio | Clock
    | Words
)  # fmt: skip
DOTS = Words("...")
