"""A CSV file from elsewhere as a table of texts: what is wrong with it is one message."""

import csv
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import polars as pl

from benchmark.errors import ConfigError, DataError
from benchmark.store.files import is_pointer, pointer_fault, text_fault

SHOWN = 60  # characters of a value that a message shows
NAMED = 50  # columns that a message names
_MOST_BYTES = 1_000_000_000  # of a file
_MOST_COLUMNS = 1000  # each may be a source of confidences, with figures and tables of its own
_MOST_VALUES = 20_000_000  # of a file: each takes some 60 bytes of memory
_MOST_LINE = 10_000_000  # characters of a line


def read_csv(path: Path) -> pl.DataFrame:
    """Return a file's values as texts.

    Raises:
        ConfigError: there is no such file, or it is none.
        DataError: it is no table in CSV with named columns and at least one row.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
            raise ConfigError(f"dataset.path={path} can't be read: it is no regular file.")
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has more than {_MOST_BYTES:,} bytes, which no counts need.")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(_lines(file, path), strict=True)
            header = next(reader, None)
            if not header:
                raise DataError(f"{path} is empty; its first line must name the columns.")
            names = _names(header, path)
            rows: list[list[str]] = []
            for row in reader:
                _check_row(row, header, len(rows), f"{path}, line {reader.line_num}:")
                rows += [row] if row else []
    except UnicodeDecodeError as error:
        raise DataError(text_fault(path)) from error
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}, is no CSV: {error}.") from error
    except (OSError, ValueError) as error:  # a path that has a NUL is a ValueError
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"dataset.path={path} can't be read: {why}.") from error
    if not rows:
        raise DataError(f"{path} has the columns {names[:NAMED]} but no row.")
    return pl.DataFrame(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def _check_row(row: list[str], header: list[str], before: int, where: str) -> None:
    if len(row) not in {0, len(header)}:
        raise DataError(
            f"{where} {len(row)} values under {len(header)} columns. Put values with commas in "
            f"double quotes."
        )
    if (before + bool(row)) * len(header) > _MOST_VALUES:
        raise DataError(f"{where} the file has more than {_MOST_VALUES:,} values.")


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines of a file; memory must not hold one without an end."""
    number = 0
    while line := file.readline(_MOST_LINE):
        number += 1
        if len(line) == _MOST_LINE:
            raise DataError(f"{path}, line {number}, has more than {_MOST_LINE:,} characters.")
        yield line


def _names(header: Sequence[str], path: Path) -> list[str]:
    """Return the columns' names, which must differ and be shown as they are."""
    if is_pointer(path):
        raise DataError(pointer_fault(path))
    if len(header) > _MOST_COLUMNS:
        raise DataError(f"{path} has {len(header):,} columns; at most {_MOST_COLUMNS:,} are read.")
    names = [name.strip() for name in header]
    if len(names) == 1 and (others := [mark for mark in ";\t|" if mark in names[0]]):
        raise DataError(f"{path}: its columns are separated by {others[0]!r}; put commas.")
    for name in names:
        if any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in name):
            raise DataError(
                f"{path}: a column is called {name[:SHOWN]!a}, which has characters that can't be "
                f"seen. Give it a plain name."
            )
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path} has {times} columns '{name}'; each needs a name of its own.")
    return names
