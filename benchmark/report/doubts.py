"""What makes a cell's numbers doubtful: more than half of something has no answer.

Such a cell is finished and its numbers are right, but they describe a limit of tokens, a wording or
a judge rather than the model.
"""

import polars as pl

from benchmark.grading.unread import judge_doubt
from benchmark.records import CellResult
from benchmark.report.style import estimator_look

_MOST = 0.5  # share without an answer above which numbers are doubtful


def doubts(cell: CellResult) -> list[str]:
    """Return a sentence for each kind of reply of which more than half has no answer."""
    found = [] if cell.counted else [_responses(cell), judge_doubt(_every(cell))]
    return [sentence for sentence in (*found, _confidences(cell)) if sentence is not None]


def _every(cell: CellResult) -> pl.DataFrame:
    return pl.concat([cell.grades, cell.left_out])


def _responses(cell: CellResult) -> str | None:
    outcomes = _every(cell)["outcome"]
    truncated, unparsed = (int((outcomes == name).sum()) for name in ("truncated", "unparsed"))
    if truncated + unparsed <= _MOST * len(outcomes):
        return None
    remedy = (
        "Raise model.decoding.max_new_tokens."
        if truncated > unparsed
        else "Look at them in the report: the grader may not fit what the model writes."
    )
    return (
        f"{truncated + unparsed:,} of {len(outcomes):,} responses have no answer ({truncated:,} "
        f"truncated, {unparsed:,} unparsed), so that the expected accuracy tells little of the "
        f"model. {remedy}"
    )


def _confidences(cell: CellResult) -> str | None:
    lacking = {
        name: 1 - float((estimate.confidences["status"] == "ok").mean() or 0)  # type: ignore[arg-type]
        for name, estimate in cell.estimates.items()
    }
    shares = [
        f"{estimator_look(name).name} ({100 * share:.0f} %)"
        for name, share in lacking.items()
        if share > _MOST
    ]
    if not shares:
        return None
    return (
        f"More than half of the confidences are missing of {', '.join(shares)}: these metrics are "
        f"those of the few questions that are left. Where replies were cut off, raise the "
        f"estimator's max_new_tokens, or model.decoding.max_new_tokens of a model that reasons; "
        f"else choose a wording that the model understands."
    )
