"""The only code that knows paths, formats, fingerprints, locks and how work is resumed.

An artifact is a folder ``<model>/<dataset>/<split>/<stage>-<fingerprint>`` of part files and a
``manifest.json``. A fingerprint covers exactly what changes the content. Part files carry their own
checksum in their names, appear by an atomic rename and never change, so that a killed process loses
at most the part in flight and a damaged file is noticed.

Kept is what costs time: responses, P(True), hidden states, judgements. Rows that are missing are
produced and added; what is a pure function of stored rows (grades, capability) is made anew.
"""

import errno
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout
from rich.console import Console

from benchmark.errors import StoreError
from benchmark.progress import meter
from benchmark.store.files import write_whole
from benchmark.store.names import open_plain, refuse_links
from benchmark.store.parts import DIGEST, part_name, read_parts, refuse_doubled, whole_parts
from benchmark.store.rows import MARK, Row, Rows, in_parts, parquet, table_rows

_FINGERPRINT = 12  # characters of a fingerprint
_MOST_JSON = 100_000_000  # bytes of a file that is read as JSON
_MANIFEST = "manifest.json"
_STALE_SECONDS = 600  # after which a file that is not written to the end is that of a dead process


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Return the checksum of JSON-like inputs, whatever the order of their keys."""
    canonical = json.dumps(inputs, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_FINGERPRINT]


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        OSError: it can't be read.
        ValueError: it is not JSON in UTF-8, too long, or nested too deeply.
        StoreError: it is no regular file.
    """
    with open_plain(path) as file:
        data = file.read(_MOST_JSON + 1)
    if len(data) > _MOST_JSON:
        raise ValueError(f"{path} has more than {_MOST_JSON:,} bytes")
    try:
        return json.loads(data.decode())
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error


def prompt_hash(prompt: str) -> str:
    """Return the checksum that ties a stored row to the very prompt it came from."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:DIGEST]


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
        return self.folder.name.rpartition("-")[2]

    def beside(self, inputs: Mapping[str, Any]) -> "Artifact":
        """Return the artifact of the same stage and split with other inputs."""
        name = f"{self.folder.name.rpartition('-')[0]}-{fingerprint(inputs)}"
        return Artifact(self.folder.with_name(name), inputs, self.console)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the artifact; a second run waits. The kernel frees a dead process's lock."""
        self.refuse_links()
        refuse_links(self.folder, ".lock")
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self.console.print(f"Another run works on {self.folder}; waiting for it.")
                lock.acquire()
        try:
            for partial in self.folder.glob(".partial-*"):
                with suppress(OSError):  # it is gone, a folder or another user's
                    if time.time() - partial.lstat().st_mtime > _STALE_SECONDS:
                        partial.unlink()
            yield
        finally:
            lock.release()

    def fill(
        self,
        wanted: pl.DataFrame,
        produce: Callable[[pl.DataFrame], Iterable[Row | list[Row] | None]],
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
                None stands for one that could not be made and is tried again by the next run; the
                rows of a list are kept together.
            rows: how they are kept.
            what: names the work in the progress line.
            settings: returns how the engine ran that made the rows, for the manifest.
        """

        def append(made: list[Row]) -> None:
            self.append(rows.pack(made, self.fingerprint), rows.suffix)

        with self.lock():
            held = self.read(rows, wanted.columns)
            done = held.filter(rows.done).select(wanted.columns)
            missing = wanted.join(done, on=wanted.columns, how="anti")
            if missing.height:
                with meter(self.console, what, missing.height) as progress:
                    in_parts(produce(missing), append, rows.most, progress)
                held = self.read(rows, wanted.columns)
            engine = settings() if missing.height else None
            # A run that was killed after its last part has left an older manifest.
            self.write_manifest(rows.unit, held.height, engine)
        return held

    def append(self, data: bytes, suffix: str) -> Path:
        """Write a part file; it appears complete or not at all."""
        return self.write(part_name(data, suffix), data)

    def append_table(self, table: pl.DataFrame) -> Path:
        """Write rows as one Parquet part."""
        return self.append(parquet(table, {MARK: self.fingerprint}), ".parquet")

    def read_table(self, schema: pl.Schema) -> pl.DataFrame:
        """Return the rows of all Parquet parts, as ``read``; no whole row is there twice."""
        return self.read(table_rows(schema, "rows"), list(schema))

    def parts(self, suffix: str, checksum: Callable[[Path], str] | None = None) -> list[Path]:
        """Return the part files, in a fixed order.

        Args:
            suffix: end of their names.
            checksum: as ``whole_parts``.

        Raises:
            StoreError: as ``whole_parts``, or a link leads to the artifact.
        """
        self.refuse_links()
        return whole_parts(self.folder.glob(f"part-*{suffix}"), checksum)

    def read(
        self, rows: Rows, key: Sequence[str], paths: Iterable[Path] | None = None
    ) -> pl.DataFrame:
        """Return the rows of all parts; none gives an empty table.

        Args:
            rows: how they are kept.
            key: the columns in which finished rows differ.
            paths: some of the parts; None takes all.

        Raises:
            StoreError: a part or the manifest is another artifact's, a part is damaged, or a
                finished row is there twice.
        """
        if paths is None:
            paths = self.parts(rows.suffix, rows.checksum)
        else:
            paths = whole_parts(paths, rows.checksum)
        known = self._known()
        tables = read_parts(paths, rows, self.fingerprint, known)
        refuse_doubled(paths, tables, rows, key, known)
        return pl.concat([rows.none, *tables])

    def _known(self) -> dict[str, Any]:
        """Return what the manifest says; nothing where there is none, or it is damaged."""
        try:
            known = read_manifest(self.folder)
        except StoreError:
            return {}
        refuse_renamed(self.folder / _MANIFEST, known, self.fingerprint)
        return known

    def refuse_links(self) -> None:
        """Refuse symbolic links below the store, on the way to the folder and the folder itself."""
        refuse_links(self.folder.parents[3], *self.folder.parts[-4:])

    def write_manifest(self, unit: str, rows: int, engine: Mapping[str, Any] | None) -> None:
        """Write what the artifact holds, where the manifest doesn't say the same already.

        ``engine`` is how the engine ran for rows that were added; None keeps what is known.
        """
        content = {
            "inputs": self.inputs,
            "counts": {unit: rows},
            "parts": sorted(path.name for path in self.folder.glob("part-*")),
            "marked": True,  # a part that isn't listed has a mark
        }
        known = self._known()
        before = known.get("engine")
        content["engine"] = dict(engine or (before if isinstance(before, dict) else {}))
        if fingerprint({name: known.get(name) for name in content}) == fingerprint(content):
            return
        self.write(_MANIFEST, sealed(content | made_by()))

    def write(self, name: str, data: bytes) -> Path:
        """Write a file; it appears complete or not at all."""
        target = self.folder / name
        with writing(target):
            write_whole(target, data)
        return target


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
        whole = checksum == fingerprint(manifest)
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ) as error:  # fmt: skip
        raise StoreError(f"{path} can't be read; run the cell again.") from error
    if not whole:
        raise StoreError(f"{path} is damaged; run the cell again.")
    return manifest


def refuse_renamed(path: Path, said: Mapping[str, Any], own: str) -> None:
    """Refuse what a manifest or listing says where it is another artifact's.

    Raises:
        StoreError: the inputs have another fingerprint than the folder's name.
    """
    found = fingerprint(said.get("inputs", {}))
    if found != own:
        raise StoreError(
            f"{path} is that of {found}, but the folder is called {own}: it was renamed or copied "
            f"from another artifact. Move the folder away, or give it its name back."
        )


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
        way_out = "Free space"
        if error.errno in {errno.EACCES, errno.EPERM}:  # a store that is shared with others
            way_out = "Let its owner give you the right to write there (chmod -R g+rwX; umask 002)"
        raise StoreError(
            f"{path} can't be written: {error.strerror or error}. {way_out}, or choose another "
            f"folder with paths.outputs=..., then run again: what was finished is kept."
        ) from error
