"""What is wrong with a file that a library could not read, as a user can mend it."""

from collections.abc import Iterable
from pathlib import Path

_POINTER = b"version https://git-lfs.github.com/spec/"


def pointer_of(paths: Iterable[Path]) -> Path | None:
    """Return the first file that is a Git LFS pointer, which stands for a file left behind."""
    return next((path for path in paths if path.is_file() and is_pointer(path)), None)


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
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
