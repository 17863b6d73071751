"""Names that a file from elsewhere gives: checked here, before they are joined to a folder."""

import io
import os
import re
import stat
import unicodedata
from pathlib import Path
from urllib.parse import quote

from benchmark.errors import StoreError

_MOST_BYTES = 255  # of a name, as most file systems have it
_MOST_DEPTH = 8  # folders of a path in a store; more than any has


def inside(folder: Path, name: object, said_by: Path | str, known: str | None = None) -> Path:
    """Return the place of a name in a folder, which it never leaves.

    A name is one or several parts, joined by single slashes. None of them is empty, ``.`` or
    ``..``, or has a backslash, a colon (of a drive), a control character or a half of a surrogate
    pair; and nothing on the way to the file is a symbolic link. There need be no such file.

    Args:
        folder: the folder; what leads to it is not looked at.
        name: what the file says, of whatever type.
        said_by: the file that gives the name, for the message.
        known: regular expression of the names that may stand there; None allows all of this form.

    Raises:
        StoreError: it is no such name, or a symbolic link lies on the way.
    """
    parts = name.split("/") if isinstance(name, str) else []
    if (
        not isinstance(name, str)
        or len(parts) > _MOST_DEPTH
        or not all(map(_is_plain, parts))
        or (known is not None and re.fullmatch(known, name) is None)
    ):
        shown = f"{name!r:.200}" if isinstance(name, str) else f"of type {type(name).__name__}"
        raise StoreError(
            f"{said_by} gives a name that no file in {folder} may have: {shown}. It comes from "
            f"elsewhere, or was changed. Move it away and run again."
        )
    refuse_links(folder, *parts)
    return folder.joinpath(*parts)


def _is_plain(part: str) -> bool:
    return (
        part not in {"", ".", ".."}
        and not set(part) & {"\\", ":"}
        and not any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in part)
        and len(part.encode()) <= _MOST_BYTES
    )


def refuse_links(folder: Path, *parts: str) -> None:
    """Refuse symbolic links on the way from a folder to what lies in it: they may lead anywhere.

    Raises:
        StoreError: one of them is a link, whether or not it leads to something.
    """
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise StoreError(
                f"{path} is a symbolic link, which a store must not hold: what it leads to may be "
                f"another's. Put the file or folder itself there. (The store as a whole may be a "
                f"link.)"
            )


def open_plain(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; nothing else is waited for or followed.

    Raises:
        StoreError: it is a link, a folder, a pipe, a socket or a device.
        OSError: it can't be opened.
    """
    if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.lstat().st_mode)):
        raise StoreError(f"{path} is no regular file. Move it away and run again.")
    # Between the two it may be replaced: then opening must neither follow a link nor wait.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.fdopen(os.open(path, flags), "rb")


def file_name(text: str) -> str:
    """Return a text as the name of a file or folder: different texts give different names.

    Examples:
        >>> file_name("../a b"), file_name("..")
        ('..%2Fa b', '%2E%2E')
    """
    plain = quote(text, safe=" ")
    return plain if plain.strip(".") else plain.replace(".", "%2E")
