"""The parts of an artifact as they are read: whole, the artifact's own, and no row twice.

A part has its checksum in its name and the fingerprint of its artifact in its metadata, its mark.
Parts that were written before there were marks count where the manifest lists them, and where they
may be the last parts of a run that was killed before it wrote its manifest.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmark.errors import DataError, StoreError
from benchmark.store.files import with_cause
from benchmark.store.names import open_plain
from benchmark.store.rows import Rows

DIGEST = 16  # characters of a checksum in a file's name
PART = rf"part-[0-9a-f]{{{DIGEST}}}\.(parquet|safetensors)"  # regular expression of a part's name


def part_name(data: bytes, suffix: str) -> str:
    """Return what a part with this content is called."""
    return f"part-{hashlib.sha256(data).hexdigest()[:DIGEST]}{suffix}"


def whole_parts(paths: Iterable[Path], checksum: Callable[[Path], str] | None = None) -> list[Path]:
    """Return the paths of parts, sorted, once each is found whole.

    Args:
        paths: of the parts.
        checksum: function that returns a file's SHA-256; None reads all of it.

    Raises:
        StoreError: a part's content doesn't have the checksum that its name says, or a part was
            removed since they were listed, or is no regular file.
    """
    found = sorted(paths)
    for path in found:
        try:
            with open_plain(path) as file:
                if checksum is None:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST]
                else:
                    digest = checksum(path)[:DIGEST]
        except FileNotFoundError as error:
            raise StoreError(f"{path} was replaced by another run; run again.") from error
        except OSError as error:
            raise StoreError(f"{path} can't be read: {error.strerror or error}.") from error
        if path.stem != f"part-{digest}":
            raise StoreError(
                f"{path} is damaged: its content has checksum {digest}. Delete this file and "
                f"run again; only its rows are made anew."
            )
    return found


def read_parts(
    paths: Sequence[Path], rows: Rows, own: str, manifest: Mapping[str, Any]
) -> list[pl.DataFrame]:
    """Return the rows of each part.

    Args:
        paths: of ``whole_parts``, all that the artifact has of this suffix.
        rows: how they are kept.
        own: the artifact's fingerprint.
        manifest: what the artifact's manifest says; empty where there is none.

    Raises:
        StoreError: a part can't be read, or belongs to another artifact.
    """
    tables = []
    for path in paths:
        try:
            table, mark = rows.read(path)
        except DataError as error:
            raise StoreError(
                f"{path} is not one of this artifact's parts: {with_cause(error)}. Move it away."
            ) from error
        if mark != own if mark is not None else _is_foreign(path.name, paths, manifest):
            why = f"it is marked as a part of {mark}, not of {own}"
            if mark is None:
                why = "it has no mark, and manifest.json doesn't list it"
            raise StoreError(
                f"{path} is another artifact's part: {why}. Move it away and run again."
            )
        tables.append(table)
    return tables


def _is_foreign(name: str, paths: Sequence[Path], manifest: Mapping[str, Any]) -> bool:
    """Tell whether a part without a mark can't be the artifact's own."""
    listed = _listed(manifest)
    names = {path.name for path in paths}
    # Where a listed part is gone and another one is there, that one may stand in its place.
    return name not in listed and (
        bool(manifest.get("marked")) or any(part not in names for part in listed)
    )


def _listed(manifest: Mapping[str, Any]) -> set[str]:
    """Return the parts that a manifest lists; what is no name stands for one that is gone."""
    said = manifest.get("parts")
    names = said if isinstance(said, list) else []
    return {name if isinstance(name, str) else "" for name in names}


def refuse_doubled(
    paths: Sequence[Path],
    tables: Sequence[pl.DataFrame],
    rows: Rows,
    key: Sequence[str],
    manifest: Mapping[str, Any],
) -> None:
    """Refuse parts that hold a finished row twice.

    Raises:
        StoreError: naming the parts, one that the manifest doesn't list first.
    """
    done = [table.filter(rows.done).select(key) for table in tables]
    every = pl.concat([rows.none.select(key), *done])
    if every.n_unique() == every.height:
        return
    twice = every.filter(every.is_duplicated()).head(1)
    among = [path for path, table in zip(paths, done, strict=True) if _holds(table, twice)]
    among.sort(key=lambda path: path.name in _listed(manifest))
    raise StoreError(
        f"{' and '.join(map(str, among[:2]))}: {rows.unit} occur twice, the first is "
        f"{twice.rows()[0][:3]!r:.200}. One part too many is there: move the first away "
        f"and run again."
    )


def _holds(table: pl.DataFrame, row: pl.DataFrame) -> bool:
    return not table.join(row, on=row.columns, how="semi", nulls_equal=True).is_empty()
