"""Stage 4: grades -> how often each question was answered correctly.

The counts estimate the target of capability calibration, the expected accuracy
``p(x) = E_y[correct(x, y)]``, by ``c / n``.
"""

from collections.abc import Mapping

import polars as pl

from benchmark.errors import DataError
from benchmark.records import CAPABILITY, GRADE, OUTCOMES, check_table


def is_counted(treatment: Mapping[str, str]) -> pl.Expr:
    """Return which grades count in the expected accuracy, for `counted_grades`' treatment."""
    return ~pl.col("outcome").is_in(_left_out(treatment))


def counted_grades(grades: pl.DataFrame, treatment: Mapping[str, str]) -> pl.DataFrame:
    """Return the grades that count in the expected accuracy.

    Args:
        grades: table of schema ``GRADE``.
        treatment: of the outcomes unparsed and truncated: ``incorrect`` (as in the paper,
            arXiv 2602.13540) or ``left_out``.

    Raises:
        DataError: nothing is left.
    """
    counted = grades.filter(is_counted(treatment))
    if counted.is_empty() and not grades.is_empty():
        left_out = _left_out(treatment)
        raise DataError(
            f"All {len(grades)} responses are {' or '.join(left_out)}: nothing is left to count; "
            f"set capability.{left_out[0]}=incorrect, or raise model.decoding.max_new_tokens."
        )
    return counted


def _left_out(treatment: Mapping[str, str]) -> list[str]:
    return [outcome for outcome, how in treatment.items() if how == "left_out"]


def count_outcomes(grades: pl.DataFrame, skip_samples: int = 0) -> pl.DataFrame:
    """Count the graded responses of each question and the correct ones among them.

    Only the outcome ``correct`` counts as correct; truncated and unparsed responses that are among
    the grades stay in ``n`` (``counted_grades`` can leave them out), and are counted as well.

    Args:
        grades: table of schema ``GRADE``.
        skip_samples: leave out responses with ``sample_index < skip_samples``, because a
            confidence was made from them.

    Returns:
        Table of schema ``CAPABILITY``, sorted by ``question_id``; a question without a response
        left has no row.

    Raises:
        DataError: for an outcome that is not one of ``OUTCOMES``, or a response graded twice.
    """
    grades = check_table(grades, GRADE, "grades")
    outcome = pl.col("outcome")
    unknown = grades.filter(~outcome.is_in(OUTCOMES) | outcome.is_null())
    if not unknown.is_empty():
        row = unknown.row(0, named=True)
        raise DataError(
            f"grades: outcome {row['outcome']!r} of question '{row['question_id']}', sample "
            f"{row['sample_index']}, is not one of {', '.join(OUTCOMES)}; grade it again."
        )
    counts = (
        grades.filter(pl.col("sample_index") >= skip_samples)
        .group_by("question_id")
        .agg(
            n=pl.len(),
            c=(outcome == "correct").sum(),
            truncated=(outcome == "truncated").sum(),
            unparsed=(outcome == "unparsed").sum(),
            samples=pl.col("sample_index").n_unique(),
        )
        .sort("question_id")
    )
    for key, n, samples in counts.select("question_id", "n", "samples").iter_rows():
        if samples < n:
            raise DataError(
                f"grades: question '{key}' has {n} grades for {samples} samples; each response is "
                f"graded once."
            )
    return counts.select(list(CAPABILITY)).cast(CAPABILITY)
