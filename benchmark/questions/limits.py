"""Checks files that others wrote before they are read: their kind, their size, their lines.

A dataset is not trusted: a pipe would be waited for, a device never ends, and a small compressed
file may hold more than any memory.
"""

import bz2
import gzip
import lzma
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from benchmark.errors import ConfigError, DataError
from benchmark.store.files import is_pointer, pointer_fault, with_cause

LARGEST_FILE = 4 * 2**30  # bytes of a file, and of what a compressed one holds
LONGEST_LINE = 64 * 2**20  # bytes
MOST_ROWS = 20_000_000  # of a Parquet file
MOST_COLUMNS = 10_000  # of a Parquet file
_CHUNK = 2**20  # bytes that are unpacked at once
_ROWS = 1000  # of a Parquet file that are looked at together
_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder",
}  # fmt: skip
_PACKED: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile,  # type: ignore[dict-item]
}  # fmt: skip


def check_file(path: Path) -> None:
    """Refuse what is no regular file of a size that can be read.

    Raises:
        ConfigError: there is no such file, or it is a folder, a pipe or a device.
        DataError: the file is too large, or a Git LFS pointer.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{str(path)!r} can't be read as a file: {why}.") from error
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise ConfigError(f"{str(path)!r} is {kind}, not a file; name a file with rows.")
    _check_size(path, found.st_size, "has")
    if is_pointer(path):
        raise DataError(pointer_fault(path))


def check_packed(path: Path) -> None:
    """Refuse a compressed file that holds too much; what it holds is counted, not kept."""
    if (opened := _PACKED.get(path.suffix.lower())) is None:
        return
    size = 0
    try:
        with opened(path) as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
                _check_size(path, size, "holds more than")
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path} can't be unpacked: {with_cause(error)}.") from error


def _check_size(path: Path, size: int, has: str) -> None:
    if size > LARGEST_FILE:
        raise DataError(
            f"{path} {has} {size / 2**30:.1f} GiB; at most {LARGEST_FILE / 2**30:g} GiB are read. "
            f"Split it, or leave out columns that are not needed."
        )


def check_parquet(path: Path) -> None:
    """Refuse a Parquet file that holds too much, by its own description or once it is decoded.

    Raises:
        DataError: so it is, or the file can't be read.
    """
    from pyarrow import ArrowException, parquet  # slow to import

    try:
        with parquet.ParquetFile(path) as file:
            told = file.metadata
            groups = [told.row_group(at) for at in range(told.num_row_groups)]
            sizes = sum(group.total_byte_size for group in groups)
            holds = {"rows": told.num_rows, "columns": told.num_columns, "bytes": sizes}
    except (ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} can't be read as Parquet: {with_cause(error)}.") from error
    most = {"rows": MOST_ROWS, "columns": MOST_COLUMNS, "bytes": LARGEST_FILE}
    for name, count in holds.items():
        if not 0 <= count <= most[name]:
            raise DataError(f"{path} holds {count:,} {name}; at most {most[name]:,} are read.")
    try:
        _check_decoded(path)
    except (ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} can't be read as Parquet: {with_cause(error)}.") from error


def _check_decoded(path: Path) -> None:
    """Refuse a Parquet file whose texts, each of which it may hold once, are too long in all."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        leaves = [file.schema.column(at) for at in range(len(file.schema))]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    size = 0
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(_ROWS):
            size += sum(map(_decoded_bytes, batch.columns))
            _check_size(path, size, "holds more than")


def _decoded_bytes(array: Any) -> int:
    """Return the bytes of an Arrow array whose texts are dictionaries, once it is decoded."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        lengths = compute.binary_length(array.dictionary).cast("int64")
        return compute.sum(lengths.take(array.indices)).as_py() or 0
    if types.is_nested(array.type):
        inner = array.flatten()
        return sum(map(_decoded_bytes, inner if types.is_struct(array.type) else [inner]))
    return int(array.nbytes)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of each line of a file in UTF-8, with its end.

    Raises:
        DataError: a line is too long, or not UTF-8.
    """
    begun = 0
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"{path}, line {number} is longer than {LONGEST_LINE // 2**20} MiB; a line "
                    f"should hold one question."
                )
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path} is not text in UTF-8: byte {begun + error.start + 1} is wrong. "
                    f"Convert it, for example: iconv -f LATIN1 -t UTF-8 old > new"
                ) from error
            begun += len(line)
