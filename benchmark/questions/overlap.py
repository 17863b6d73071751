"""Refuses splits that share questions, or nearly share too many, whatever their ids say."""

import logging
from collections.abc import Iterable

import polars as pl

from benchmark.errors import DataError
from benchmark.questions.content import contents
from benchmark.questions.near_duplicates import Pair, near_duplicates

_SHOWN_PAIRS = 5  # overlapping questions that a message names
_SHOWN_TEXT = 120  # characters of a question that a message shows


def refuse_overlap(
    a: pl.DataFrame, b: pl.DataFrame, names: tuple[str, str], most_near: float = 1.0
) -> None:
    """Refuse two tables of schema ``QUESTION`` that share a question, or nearly share too many.

    Args:
        a: questions, for example those that a probe is trained on.
        b: questions that must not occur in ``a``.
        names: names of ``a`` and ``b``, for the message.
        most_near: largest share, in [0, 1], of either table's questions that may nearly be
            questions of the other one. They are counted and told in a line. Unless it is 0, one
            question may be, which is a large share of a few.

    Raises:
        DataError: a question of ``a`` occurs in ``b``, or too many nearly do; the message shows
            one of them as both tables have it.
    """
    of_a = {key: row for row in _texts(a) for key in contents(row[1])}
    shared = [
        (of_a[key], row) for row in _texts(b) for key in [*contents(row[1]) & of_a.keys()][:1]
    ]
    if shared:
        raise DataError(
            f"{names[0]} and {names[1]} share {len(shared)} question(s): {_listed(shared)}. "
            f"Choose splits without common questions (dataset.splits)."
        )
    pairs = near_duplicates(a, b)
    if not pairs:
        return
    counts = [len({pair[side][0] for pair in pairs}) for side in (0, 1)]
    shares = [count / table.height for count, table in zip(counts, (a, b), strict=True)]
    told = (
        f"{len(pairs)} question(s) of {names[0]} and {names[1]} are nearly the same "
        f"({max(shares):.1%} of one of them): {_listed(pairs)}."
    )
    if max(shares) > most_near and (most_near == 0 or max(counts) > 1):
        raise DataError(
            f"{told} At most {most_near:.1%} may be (dataset.near_duplicates); leave them out, or "
            f"raise it where they ask for other things."
        )
    logging.getLogger(__name__).warning("%s", told)


def _texts(table: pl.DataFrame) -> Iterable[tuple[str, str]]:
    return table.select("question_id", "question").iter_rows()


def _listed(pairs: list[Pair]) -> str:
    """Return the ids of some pairs, and both texts of the first."""
    named = ", ".join(f"{x!r} = {y!r}" for (x, _), (y, _) in pairs[:_SHOWN_PAIRS])
    more = f" and {len(pairs) - _SHOWN_PAIRS} more" if len(pairs) > _SHOWN_PAIRS else ""
    (_, first), (_, second) = pairs[0]
    return f"{named}{more}, the first as {first[:_SHOWN_TEXT]!r} and {second[:_SHOWN_TEXT]!r}"
