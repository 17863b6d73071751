"""Checksums of files, which take long to read: remembered until the file may have changed."""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from benchmark.errors import StoreError
from benchmark.store.artifact import fingerprint, read_json
from benchmark.store.files import remember

_SETTLED_SECONDS = 2.0  # since a file's last change


def file_checksum(path: Path, memory: Path) -> str:
    """Return a file's SHA-256, read again only where the file may have changed since.

    Weights take long to read. As git does, what tells a change is the file's size, its place on
    the disk and the times of its last changes; a file that was touched just now may change again
    within the clock's step and is not remembered.

    Args:
        path: of the file.
        memory: the folder that keeps checksums.
    """
    state = path.stat()
    seen = (state.st_size, state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    kept = memory / "checksums" / f"{key}.json"
    with suppress(OSError, ValueError, TypeError, StoreError):
        known, checksum, own = read_json(kept)
        if tuple(known) == seen and own == fingerprint({checksum: known}):
            return str(checksum)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    newest = max(state.st_mtime_ns, state.st_ctime_ns) / 1e9
    if time.time() - newest > _SETTLED_SECONDS:
        remember(kept, json.dumps([seen, checksum, fingerprint({checksum: seen})]))
    return checksum
