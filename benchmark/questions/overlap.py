"""When two questions are the same question: by content, whatever their ids say."""

import unicodedata

import polars as pl

from benchmark.errors import DataError

_NAMED = 5  # overlapping questions that a message names


def normalised(text: str) -> str:
    """Return the text with case, white space and the encoding of characters evened out."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def refuse_overlap(a: pl.DataFrame, b: pl.DataFrame, names: tuple[str, str]) -> None:
    """Refuse two tables of schema ``QUESTION`` that share a question by content.

    Args:
        a: questions, for example those that a probe is trained on.
        b: questions that must not occur in ``a``.
        names: of ``a`` and ``b``, for the message.

    Raises:
        DataError: a question of ``a`` occurs in ``b``, case, white space and the instruction
            around it aside; it names the ids.
    """
    of_a = {normalised(text): key for key, text in a["question_id", "question"].iter_rows()}
    shared = [
        (of_a[normalised(text)], key)
        for key, text in b["question_id", "question"].iter_rows()
        if normalised(text) in of_a
    ]
    if shared:
        pairs = ", ".join(f"'{x}' = '{y}'" for x, y in shared[:_NAMED])
        more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
        raise DataError(
            f"{names[0]} and {names[1]} share {len(shared)} question(s): {pairs}{more}. "
            f"Choose splits without common questions (dataset.splits)."
        )
