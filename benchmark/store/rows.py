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
        checksum: function that returns a part's SHA-256; None reads all of it each time.
    """

    none: pl.DataFrame
    suffix: str
    read: Callable[[Path], tuple[pl.DataFrame, str | None]]
    pack: Callable[[list[Row], str], bytes]
    unit: str
    done: pl.Expr = _ALL
    most: int | None = None
    checksum: Callable[[Path], str] | None = None


def table_rows(schema: pl.Schema, unit: str, done: pl.Expr = _ALL) -> Rows:
    """Return how rows of a schema are kept, in Parquet parts.

    Args:
        schema: columns of the rows, those of their key among them.
        unit: name of what a row is, in the plural.
        done: expression that tells the rows that need not be made again; by default all.
    """

    def read(path: Path) -> tuple[pl.DataFrame, str | None]:
        table, mark = read_parquet(path)
        return check_table(table, schema, "Its rows"), mark

    def pack(rows: list[Row], mark: str) -> bytes:
        return parquet(pl.DataFrame(rows, schema), {MARK: mark})

    return Rows(schema.to_frame(), ".parquet", read, pack, unit, done)


def parquet(table: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """Return a table as a Parquet file."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, metadata=metadata)
    return buffer.getvalue()


def read_parquet(source: Path | bytes) -> tuple[pl.DataFrame, str | None]:
    """Return the table of a Parquet file, or of what one holds, and its mark.

    Raises:
        DataError: it is none, or damaged.
    """
    # polars ends the whole process at some files that are damaged on purpose; pyarrow refuses them.
    import pyarrow
    from pyarrow import parquet as arrow

    try:
        opened = pyarrow.BufferReader(source) if isinstance(source, bytes) else source
        with arrow.ParquetFile(opened) as file:
            mark = (file.metadata.metadata or {}).get(MARK.encode())
            read = file.read(use_threads=False)
        read.validate(full=True)  # polars trusts that texts are in UTF-8
        columns = zip(read.column_names, read.columns, strict=True)  # without their metadata
        table = pl.DataFrame({name: pl.Series(column) for name, column in columns})
    except (
        pyarrow.ArrowException, OSError, ValueError, TypeError, MemoryError,
        pl.exceptions.PolarsError, pl.exceptions.PanicException,
    ) as error:  # fmt: skip
        raise DataError(f"It can't be read: {error}") from error
    return table, mark and mark.decode(errors="replace")


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
