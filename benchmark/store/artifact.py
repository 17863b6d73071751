"""The only code that knows paths, formats, fingerprints, locks and how work is resumed.

An artifact is a folder ``<model>/<dataset>/<split>/<stage>-<fingerprint>`` of part files and a
``manifest.json``. A fingerprint covers exactly what changes the content. Part files carry their own
checksum in their names, appear by an atomic rename and never change, so that a killed process loses
at most the part in flight and a damaged file is noticed.

Kept is what costs time: responses, P(True), hidden states, judgements. Rows that are missing are
produced and added; what is a pure function of stored rows (grades, capability) is made anew.
"""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout
from rich.console import Console

from benchmark.errors import DataError, StoreError
from benchmark.progress import meter
from benchmark.records import check_table
from benchmark.store.files import write_whole
from benchmark.store.rows import Row, Rows, in_parts, parquet

_DIGEST = 16  # characters of a checksum in a file's name
_FINGERPRINT = 12
_MANIFEST = "manifest.json"


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Return the checksum of JSON-like inputs, whatever the order of their keys."""
    canonical = json.dumps(inputs, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_FINGERPRINT]


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        OSError: it can't be read.
        ValueError: it is not JSON in UTF-8, or nested too deeply.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error


def prompt_hash(prompt: str) -> str:
    """Return the checksum that ties a stored row to the very prompt it came from."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:_DIGEST]


class Artifact:
    """One stage's data in one folder.

    Args:
        folder: where it lies.
        inputs: what its fingerprint covers.
        console: told when another run holds the artifact.
    """

    def __init__(self, folder: Path, inputs: Mapping[str, Any], console: Console) -> None:
        self.folder = folder
        self.inputs = dict(inputs)
        self.console = console

    @property
    def fingerprint(self) -> str:
        """The part of the folder's name that names its inputs."""
        return fingerprint(self.inputs)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the artifact; a second run waits. The kernel frees a dead process's lock."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self.console.print(f"Another run works on {self.folder}; waiting for it.")
                lock.acquire()
        try:
            for stale in self.folder.glob(".partial-*"):
                stale.unlink()
            yield
        finally:
            lock.release()

    def fill(
        self,
        wanted: pl.DataFrame,
        produce: Callable[[pl.DataFrame], Iterable[Row | None]],
        rows: Rows,
        what: str,
        settings: Callable[[], Mapping[str, Any]] = dict,
    ) -> pl.DataFrame:
        """Return all rows that the artifact holds, once those that are wanted and missing are made.

        A killed run loses at most the part in flight; a fault keeps what came before it. Another
        run of the same artifact waits, and then finds the rows.

        Args:
            wanted: keys of rows, [N]; its columns are the key.
            produce: makes the rows of the keys that are missing, in any order, one after another.
                None stands for one that could not be made and is tried again by the next run.
            rows: how they are kept.
            what: names the work in the progress line.
            settings: returns how the engine ran that made the rows, for the manifest.
        """
        with self.lock():
            held = rows.read(self)
            done = held.filter(rows.done).select(wanted.columns)
            missing = wanted.join(done, on=wanted.columns, how="anti")
            if missing.height:
                append = partial(rows.append, self)
                with meter(self.console, what, missing.height) as progress:
                    in_parts(produce(missing), append, rows.most, progress)
                held = rows.read(self)
            engine = settings() if missing.height else None
            # A run that was killed after its last part has left an older manifest.
            self._write_manifest(rows.unit, held.height, engine)
        return held

    def append(self, data: bytes, suffix: str) -> Path:
        """Write a part file; it appears complete or not at all."""
        digest = hashlib.sha256(data).hexdigest()[:_DIGEST]
        return self.write(f"part-{digest}{suffix}", data)

    def append_table(self, table: pl.DataFrame) -> Path:
        """Write rows as one Parquet part."""
        return self.append(parquet(table), ".parquet")

    def parts(self, suffix: str, checksum: Callable[[Path], str] | None = None) -> list[Path]:
        """Return the part files, in a fixed order.

        Args:
            suffix: end of their names.
            checksum: function that returns a file's SHA-256; None reads all of it.

        Raises:
            StoreError: a part's content doesn't have the checksum that its name says, or a part was
                removed since they were listed.
        """
        paths = sorted(self.folder.glob(f"part-*{suffix}"))
        for path in paths:
            try:
                digest = (checksum or _checksum)(path)[:_DIGEST]
            except FileNotFoundError as error:
                raise StoreError(f"{path} was replaced by another run; run again.") from error
            if path.name != f"part-{digest}{suffix}":
                raise StoreError(
                    f"{path} is damaged: its content has checksum {digest}. Delete this file and "
                    f"run again; only its rows are made anew."
                )
        return paths

    def read_table(self, schema: pl.Schema) -> pl.DataFrame:
        """Return the rows of all parts; none gives an empty table.

        Raises:
            StoreError: a part is damaged, or holds other columns.
        """
        tables = [schema.to_frame()]
        for path in self.parts(".parquet"):
            try:
                table = pl.read_parquet(path, hive_partitioning=False, glob=False)
                tables.append(check_table(table, schema, str(path)))
            except (DataError, pl.exceptions.PolarsError) as error:
                raise StoreError(
                    f"{path} is not one of this artifact's parts: {error} Move it away."
                ) from error
        return pl.concat(tables)

    def _write_manifest(self, unit: str, rows: int, engine: Mapping[str, Any] | None) -> None:
        """Write what the artifact holds, where the manifest doesn't say the same already.

        ``engine`` is how the engine ran for rows that were added; None keeps what is known.
        """
        content = {
            "inputs": self.inputs,
            "counts": {unit: rows},
            "parts": sorted(path.name for path in self.folder.glob("part-*")),
            "engine": dict(engine or {}),
        }
        with suppress(StoreError):
            known = read_manifest(self.folder)
            content["engine"] = content["engine"] or known.get("engine", {})
            if fingerprint({name: known.get(name) for name in content}) == fingerprint(content):
                return
        self.write(_MANIFEST, sealed(content | made_by()))

    def write(self, name: str, data: bytes) -> Path:
        """Write a file; it appears complete or not at all."""
        target = self.folder / name
        with writing(target):
            write_whole(target, data)
        return target


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def made_by() -> dict[str, Any]:
    """Return what a manifest says of the code that runs, and when it does."""
    return {
        "versions": {name: version(name) for name in ("capcal", "torch", "transformers")},
        "git_commit": git_commit(),
        "written": datetime.now(UTC).isoformat(timespec="microseconds"),
    }


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """Return a manifest as it is written: with the checksum of what it says."""
    whole = {**manifest, "checksum": fingerprint(manifest)}
    return json.dumps(whole, indent=2, ensure_ascii=False).encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what an artifact's manifest says.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    return read_sealed(folder / _MANIFEST)


def read_sealed(path: Path) -> dict[str, Any]:
    """Return what a file of ``sealed`` says.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    try:
        manifest: dict[str, Any] = read_json(path)
        checksum = manifest.pop("checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} can't be read; run the cell again.") from error
    if checksum != fingerprint(manifest):
        raise StoreError(f"{path} is damaged; run the cell again.")
    return manifest


class Store:
    """All artifacts below one folder."""

    def __init__(self, root: Path, console: Console) -> None:
        self._root = root
        self._console = console

    def artifact(
        self, model: str, dataset: str, split: str, stage: str, inputs: Mapping[str, Any]
    ) -> Artifact:
        """Return the artifact of a stage; nothing is read or written yet."""
        name = f"{stage}-{fingerprint(inputs)}"
        return Artifact(self._root / model / dataset / split / name, inputs, self._console)


@cache
def git_commit() -> str | None:
    """Return the commit of the code that runs, or None outside a git checkout."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's word that it can't write into ours."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} can't be written: {error.strerror or error}. Free space or choose another "
            f"folder with paths.outputs=..., then run again: what was finished is kept."
        ) from error
