"""Whether most of a judge's replies could not be read."""

import polars as pl

from benchmark.grading.llm_judge import NOT_UNDERSTOOD


def judge_doubt(grades: pl.DataFrame) -> str | None:
    """Return a sentence where more than half of a judge's replies could not be read, else None.

    Args:
        grades: table of schema ``GRADE``, by one grader, which may be none that asks a judge.
    """
    unread = int((grades["reason"] == NOT_UNDERSTOOD).sum())
    read = int(grades["reason"].str.starts_with("judge: ").sum())
    if unread <= read:
        return None
    return (
        f"{unread:,} of the {unread + read:,} responses that were shown to the judge have no "
        f"verdict, since its replies are none of the allowed words: set grading.llm_judge.prompt "
        f"or grading.llm_judge.verdicts to what this judge understands, or ask another."
    )
