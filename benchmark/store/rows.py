"""Rows that take time to make: how an artifact keeps them, in parts, as they are made."""

import io
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from benchmark.errors import DataError
from benchmark.progress import Meter
from benchmark.records import check_table

MARK = "capcal.artifact"  # key of a part's metadata: the fingerprint of the artifact that it is of
_PART_SECONDS = 5.0  # of work that a killed run may lose
_PART_ROWS = 2000
_ALL = pl.lit(True)
Row = Mapping[str, Any]  # values by column


class Rows(NamedTuple):
    """How the rows of an artifact are kept.

    Attributes:
        none: table without rows, with the columns that ``read`` returns.
        suffix: ending of the names of parts.
        read: function that returns the rows of a part, and its mark; a part that was written before
            parts had marks has None. It raises ``DataError`` where the part can't be one.
        pack: function that returns rows as the content of a part with a mark.
        unit: name of what a row is, in the plural, for the manifest.
        done: expression that tells the rows that need not be made again.
        most: largest number of rows of one part; None takes the usual one.
    """

    none: pl.DataFrame
    suffix: str
    read: Callable[[Path], tuple[pl.DataFrame, str | None]]
    pack: Callable[[list[Row], str], bytes]
    unit: str
    done: pl.Expr = _ALL
    most: int | None = None


def table_rows(schema: pl.Schema, unit: str, done: pl.Expr = _ALL) -> Rows:
    """Return how rows of a schema are kept, in Parquet parts.

    Args:
        schema: columns of the rows, those of their key among them.
        unit: name of what a row is, in the plural.
        done: expression that tells the rows that need not be made again; by default all.
    """

    def read(path: Path) -> tuple[pl.DataFrame, str | None]:
        try:
            table = pl.read_parquet(path, hive_partitioning=False, glob=False)
            mark = pl.read_parquet_metadata(path).get(MARK)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"It can't be read: {error}") from error
        return check_table(table, schema, "Its rows"), mark

    def pack(rows: list[Row], mark: str) -> bytes:
        return parquet(pl.DataFrame(rows, schema), {MARK: mark})

    return Rows(schema.to_frame(), ".parquet", read, pack, unit, done)


def parquet(table: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """Return a table as a Parquet file."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, metadata=metadata)
    return buffer.getvalue()


def in_parts(
    made: Iterable[Row | list[Row] | None],
    append: Callable[[list[Row]], object],
    most: int | None,
    progress: Meter,
) -> None:
    """Append rows as they are made, a part after so many rows or seconds.

    Args:
        made: rows as they are made; None is counted, but not kept. A list's rows are kept in one
            part: after a kill all of them are there, or none.
        append: function that writes a part.
        most: largest number of rows of one part; None takes the usual one.
        progress: meter that counts them.
    """
    waiting: list[Row] = []

    def flush() -> None:
        if waiting:
            append(waiting)
            waiting.clear()

    last = time.monotonic()
    with closing(_each(made)) as every:
        try:
            for found in every:
                for row in found if isinstance(found, list) else [found]:
                    progress.advance(tokens=(row or {}).get("completion_tokens") or 0)
                    if row is not None:
                        waiting.append(row)
                if len(waiting) >= (most or _PART_ROWS) or time.monotonic() - last > _PART_SECONDS:
                    flush()
                    last = time.monotonic()
        finally:  # what was made before a fault is kept
            flush()


def _each(
    made: Iterable[Row | list[Row] | None],
) -> Generator[Row | list[Row] | None, None, None]:
    """Yield the rows; closing it closes a generator that makes them, and the requests it has."""
    yield from made
