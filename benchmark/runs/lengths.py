"""What the store has of what a cell asks for, and how long the replies will be that it lacks."""

from functools import cache
from pathlib import Path
from typing import cast

import polars as pl

from benchmark.cell.asked import Asked
from benchmark.sampling.responses import SAMPLE

REPORTED = Path(__file__).parents[1] / "report" / "reported_tokens.csv"


def stored(asked: Asked) -> tuple[pl.DataFrame, float | None]:
    """Return the columns ``SAMPLE`` of what the store has, and the mean tokens of a reply in it."""
    if not asked.artifact.folder.is_dir():
        return pl.DataFrame(
            schema={**dict.fromkeys(SAMPLE, pl.String()), SAMPLE[2]: pl.Int64()}
        ), None
    key = [name for name in SAMPLE if name in asked.rows.none.columns]
    table = asked.artifact.read(asked.rows, key).filter(asked.rows.done)
    if "sample_index" not in table.columns:
        table = table.with_columns(sample_index=pl.lit(0, pl.Int64))
    if "completion_tokens" not in table.columns:
        return table.select(SAMPLE), None
    return table.select(SAMPLE), cast("float | None", table["completion_tokens"].mean())


def mean_length(asked: Asked, model: str, seen: float | None) -> tuple[float, str]:
    """Return the mean tokens of a reply, and where that comes from.

    The stored replies tell it where there are any, else the paper where it reports this model,
    dataset and kind of reply, else the cap. A cap of one token is known rather than estimated.

    Args:
        asked: what asks for the replies.
        model: name of the model.
        seen: mean tokens of the replies in the store; None where there are none.
    """
    if seen is not None:
        return seen, "stored"
    reported = _reported().get((model, asked.dataset, asked.kind))
    if reported is None or asked.cap == 1:
        return asked.cap, "" if asked.cap == 1 else "cap"
    return min(reported, asked.cap), "paper"


@cache
def _reported() -> dict[tuple[str, str, str], float]:
    table = pl.read_csv(REPORTED, glob=False)
    return {
        (m, d, r): t for m, d, r, t in table["model", "dataset", "replies", "tokens"].iter_rows()
    }
