"""Files: written to the disk, and what is wrong with one that a library could not read."""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_CANNOT_SYNC = {
    errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EBADF,
    errno.EACCES, errno.EPERM, errno.EISDIR,
}  # fmt: skip
_POINTER = b"version https://git-lfs.github.com/spec/"


def pointer_of(paths: Iterable[Path]) -> Path | None:
    """Return the first file that is a Git LFS pointer, which stands for a file left behind."""
    return next((path for path in paths if path.is_file() and is_pointer(path)), None)


def text_fault(path: Path) -> str:
    """Return where a file is no text in UTF-8, and how to make it one."""
    data = path.read_bytes()
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        data.decode()
        where = ""
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        part = data[error.start - 20 if error.start > 20 else 0 : error.start + 20]
        where = f" (line {line}, near {part.decode('latin-1')!r})"
    return (
        f"{path} is not text in UTF-8{where}. Convert it, for example: "
        f"iconv -f {'UTF-16' if utf16 else 'LATIN1'} -t UTF-8 {path.name} > new-{path.name}"
    )


def is_pointer(path: Path) -> bool:
    """Tell whether a file is a Git LFS pointer."""
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:  # whoever reads it says so
        return False


def pointer_fault(path: Path) -> str:
    """Return what a user reads about a Git LFS pointer."""
    return (
        f"{path} is a Git LFS pointer of a few lines, not the file itself. Fetch it: "
        f"`git lfs pull` in its repository, or download it anew."
    )


def with_cause(error: BaseException) -> str:
    """Return the first line of a fault, and of what caused it in brackets: libraries hide it."""
    first = cause = error
    seen = {id(error)}
    while cause.__cause__ is not None and id(cause.__cause__) not in seen:
        cause = cause.__cause__
        seen.add(id(cause))
    told, why = _line(first), _line(cause)
    return told if why in told else f"{told} ({why})"


def _line(error: BaseException) -> str:
    """Return the first line of what a fault says, in which a library may quote any byte."""
    text = str(error).strip()
    line = text.splitlines()[0].rstrip(".") if text else type(error).__name__
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def remember(path: Path, text: str) -> None:
    """Write what is only kept to save time; where it can't be, go on."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears complete or not at all, even where the machine stops.

    Raises:
        OSError: it can't be written; what was there before is as it was.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        partial.unlink(missing_ok=True)  # of a process that was killed; or a link that leads away
        with partial.open("xb") as file:
            file.write(data)
        sync(partial)
        partial.rename(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk, if the file system can do it.

    Many network and FUSE file systems can't, for folders above all, and say so in several ways.

    Raises:
        OSError: for a fault of the disk.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
