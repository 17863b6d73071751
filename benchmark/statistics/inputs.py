"""The one place where the arrays that metrics and applications are given get checked."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import DataError

FloatArray = NDArray[np.float64]
LARGEST = float(np.finfo(np.float64).max)  # the largest finite number


class Inputs(NamedTuple):
    """Checked arrays of N questions."""

    confidences: FloatArray  # [N], in [0, 1]
    n: FloatArray  # [N], responses of each question, at least 1
    c: FloatArray  # [N], correct ones, 0 <= c <= n; or [..., N], each row drawn anew
    weights: FloatArray  # [..., N], non-negative; ones where none were given

    @property
    def accuracy(self) -> FloatArray:
        """Expected accuracy ``c / n``, of the shape of c, in [0, 1]."""
        return self.c / self.n

    def by_confidence(self) -> "Inputs":
        """Return the same questions from the lowest confidence up."""
        if not (np.diff(self.confidences) < 0).any():
            return self
        order = np.argsort(self.confidences, kind="stable")
        return Inputs(*(np.take(values, order, axis=-1) for values in self))


def check_inputs(
    confidences: ArrayLike, n: ArrayLike, c: ArrayLike, weights: ArrayLike | None = None
) -> Inputs:
    """Return the arguments of a metric as arrays that belong together.

    Counts and weights may have leading axes, which broadcast: [B, N] weights with [N] counts are B
    resamples of questions, [B, N] counts without weights are B times other responses.

    Raises:
        DataError: naming the argument and the value that breaks its rule.
    """
    confidences = check_confidences(confidences)
    n, c = _checked_counts(_vector("n", n), np.asarray(c, dtype=np.float64))
    if len(confidences) != len(n):
        raise DataError(
            f"confidences has {len(confidences)} questions but n and c have {len(n)}; "
            "join them by question_id first."
        )
    return Inputs(confidences, n, c, check_weights(weights, len(n)))


def check_weights(weights: ArrayLike | None, questions: int) -> FloatArray:
    """Return the weights of N questions, [..., N]; ones where none were given.

    Raises:
        DataError: where the last axis isn't the questions, or naming the weight that is negative or
            not finite.
    """
    if weights is None:
        return np.ones(questions)
    values = np.asarray(weights, dtype=np.float64)
    if values.shape[-1:] != (questions,):
        raise DataError(
            f"weights has shape {values.shape}; its last axis must be the {questions} questions."
        )
    refuse_outside("weights", values, 0, LARGEST, "non-negative and finite")
    return values


def check_confidences(confidences: ArrayLike, name: str = "confidences") -> FloatArray:
    """Return the confidences of N questions, [N], all in [0, 1].

    Raises:
        DataError: naming ``name`` and the value that is NaN or out of range.
    """
    values = _vector(name, confidences)
    refuse_outside(name, values, 0, 1, "in [0, 1]")
    return values


def check_counts(n: ArrayLike, c: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return responses ``n`` and correct ones ``c`` of N questions, both [N].

    Raises:
        DataError: where they are not whole numbers with ``n >= 1`` and ``0 <= c <= n``.
    """
    return _checked_counts(_vector("n", n), _vector("c", c))


def _checked_counts(n: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return n [N] and c [..., N] where they keep the rules of `check_counts`."""
    if c.ndim == 0 or len(n) != c.shape[-1]:
        raise DataError(
            f"n has {len(n)} questions but c has {c.shape[-1] if c.ndim else 'none'}; "
            "join them by question_id."
        )
    whole = np.isfinite(n) & (n == np.floor(n))
    _refuse("n", n, ~(whole & (n >= 1)), "a whole number of at least 1")
    _refuse("c", c, ~((c >= 0) & (c <= n) & (c == np.floor(c))), "a whole number from 0 to n")
    return n, c


def check_tries(k: ArrayLike) -> FloatArray:
    """Return how many responses may be tried, of any shape, each a whole number of at least 1.

    Raises:
        DataError: naming the value that isn't.
    """
    tries = np.asarray(k, dtype=np.float64)
    wrong = ~((tries >= 1) & np.isfinite(tries) & (tries == np.floor(tries)))
    if wrong.any():
        raise DataError(f"k is {tries[wrong][0]:g}; it must be a whole number of at least 1.")
    return tries


def _vector(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape}; one value per question is expected.")
    return array


def refuse_outside(name: str, values: FloatArray, low: float, high: float, rule: str) -> None:
    """Raise a DataError that names the first value that is NaN or out of range."""
    if values.size and not (values.min() >= low and values.max() <= high):  # NaN is neither
        _refuse(name, values, ~((values >= low) & (values <= high)), rule)


def _refuse(name: str, values: FloatArray, wrong: NDArray[np.bool_], rule: str) -> None:
    if wrong.any():
        where = np.argwhere(wrong)[0].tolist()
        value = values[tuple(where)]
        raise DataError(f"{name}{where} is {value:g}; it must be {rule}.")
