"""A folder of files with one listing: written aside, renamed once, read only where it is whole."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmark.errors import StoreError
from benchmark.store.artifact import Artifact, made_by, read_sealed, sealed, writing
from benchmark.store.files import sync
from benchmark.store.names import inside, open_plain, refuse_links
from benchmark.store.parts import DIGEST


def replace_folder(
    artifact: Artifact,
    files: Mapping[str, bytes],
    listing: str,
    content: Mapping[str, Any],
    kept: Iterable[str] = (),
) -> None:
    """Let an artifact's folder hold these files, and a listing with their checksums.

    It is renamed when all is written, so that it is whole where it exists. The lock lies beside it.

    Args:
        artifact: whose folder it is.
        files: content by path in the folder.
        listing: name of the listing, a JSON file.
        content: what the listing says beside the checksums.
        kept: files of the folder, as it was, that stay.
    """
    folder, beside = artifact.folder, aside(artifact)
    checksums = {name: _checksum(data) for name, data in files.items()}
    said = {**content, "inputs": artifact.inputs, "files": checksums, **made_by()}
    new, old = beside.folder / "new", beside.folder / "old"
    with beside.lock(), writing(folder):
        for left in (new, old):  # by a run that was killed
            refuse_links(beside.folder, left.name)
            shutil.rmtree(left, ignore_errors=True)
        try:
            for name, data in {**files, listing: sealed(said)}.items():
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                sync(path)
            for name in kept:
                with suppress(FileNotFoundError), open_plain(folder / name) as file:
                    (new / name).write_bytes(file.read())
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            sync(folder.parent)
        finally:
            for left in (new, old):
                shutil.rmtree(left, ignore_errors=True)


def aside(artifact: Artifact) -> Artifact:
    """Return the artifact beside one whose folder is replaced: it holds the lock of both."""
    folder = artifact.folder
    return Artifact(folder.with_name(f".{folder.name}"), {}, artifact.console)


def read_folder(folder: Path, listing: str, known: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file that the listing names.

    Args:
        folder: the folder.
        listing: name of the listing in it.
        known: regular expression of the names that the listing may give.

    Raises:
        StoreError: the listing or a file is missing, damaged or not one of this folder.
    """
    files = read_sealed(folder / listing).get("files")
    if not isinstance(files, dict):
        raise StoreError(f"{folder / listing} lists no files. Run the cell again.")
    for name, checksum in files.items():
        path = inside(folder, name, folder / listing, known)
        try:
            with open_plain(path) as file:
                data = file.read()
        except OSError as error:
            raise StoreError(f"{path} is missing. Run the cell again.") from error
        if _checksum(data) != checksum:
            raise StoreError(f"{path} is damaged. Run the cell again.")
        yield name, data


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST]
