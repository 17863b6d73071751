"""Rows that take time to make: how an artifact keeps them, in parts, as they are made."""

import io
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import polars as pl

from benchmark.progress import Meter

_PART_SECONDS = 5.0  # of work that a killed run may lose
_PART_ROWS = 2000
_ALL = pl.lit(True)
Row = Mapping[str, Any]  # values by column


class Rows(NamedTuple):
    """How the rows of an artifact are kept.

    Attributes:
        read: function that returns the rows of an artifact, the columns of their key among them.
        append: function that writes rows as one part of an artifact.
        unit: name of what a row is, in the plural, for the manifest.
        done: expression that tells the rows that need not be made again.
        most: largest number of rows of one part; None takes the usual one.
    """

    read: Callable[[Any], pl.DataFrame]
    append: Callable[[Any, list[Row]], object]
    unit: str
    done: pl.Expr = _ALL
    most: int | None = None


def table_rows(schema: pl.Schema, unit: str, done: pl.Expr = _ALL) -> Rows:
    """Return how rows of a schema are kept, in Parquet parts.

    Args:
        schema: of the rows, the columns of their key among them.
        unit: what a row is, in the plural.
        done: tells the rows that need not be made again; by default all.
    """
    return Rows(
        lambda artifact: artifact.read_table(schema),
        lambda artifact, rows: artifact.append_table(pl.DataFrame(rows, schema)),
        unit,
        done,
    )


def parquet(table: pl.DataFrame) -> bytes:
    """Return a table as a Parquet file."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def in_parts(
    made: Iterable[Row | None],
    append: Callable[[list[Row]], object],
    most: int | None,
    progress: Meter,
) -> None:
    """Append rows as they are made, a part after so many rows or seconds.

    Args:
        made: yields them; None is counted, but not kept.
        append: writes a part.
        most: rows of one part; None takes the usual number.
        progress: counts them.
    """
    waiting: list[Row] = []

    def flush() -> None:
        if waiting:
            append(waiting)
            waiting.clear()

    last = time.monotonic()
    with closing(_each(made)) as every:
        try:
            for row in every:
                progress.advance(tokens=(row or {}).get("completion_tokens") or 0)
                if row is not None:
                    waiting.append(row)
                if len(waiting) >= (most or _PART_ROWS) or time.monotonic() - last > _PART_SECONDS:
                    flush()
                    last = time.monotonic()
        finally:  # what was made before a fault is kept
            flush()


def _each(made: Iterable[Row | None]) -> Generator[Row | None, None, None]:
    """Yield the rows; closing it closes a generator that makes them, and the requests it has."""
    yield from made
