"""Claims: several runs fill one artifact at the same time, each some blocks of its questions."""

import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from benchmark.progress import meter
from benchmark.store.artifact import Artifact, writing
from benchmark.store.names import refuse_links
from benchmark.store.rows import Row, Rows, in_parts

BLOCKS = 64  # of one artifact: as many runs can work on it at once
_LOOK_SECONDS = 1.0  # between two looks at what other runs have claimed


def fill_together(
    artifact: Artifact,
    wanted: pl.DataFrame,
    produce: Callable[[Iterator[pl.DataFrame]], Iterable[Row | list[Row] | None]],
    rows: Rows,
    what: str,
    settings: Callable[[], Mapping[str, Any]],
) -> pl.DataFrame:
    """Return all rows that an artifact holds, as ``Artifact.fill`` does, beside other runs.

    A run claims a block of questions when ``produce`` asks for more keys, and gives it up when its
    rows are on the disk. The system frees the claims of a process that dies. At the end a run waits
    for the blocks that others have claimed, and makes what they leave.

    Args:
        artifact: where the rows are kept.
        wanted: keys of rows, [N]; its columns are the key, question_id among them.
        produce: makes the rows of keys, which it takes piece by piece, in any order. None stands
            for one that could not be made and is tried again by the next run; the rows of a list
            are kept together.
        rows: how they are kept.
        what: words for the work in the progress line.
        settings: function that returns how the engine ran that made the rows, for the manifest.
    """
    claims = _Claims(artifact, rows, wanted.columns)

    def look() -> tuple[pl.DataFrame, pl.DataFrame]:
        held = artifact.read(rows, wanted.columns)
        done = pl.concat([held.filter(rows.done).select(wanted.columns), *claims.tried])
        return held, wanted.join(done, on=wanted.columns, how="anti", maintain_order="left")

    try:
        held, missing = look()
        made = missing.height > 0
        while missing.height:
            with meter(artifact.console, what, missing.height) as progress:
                in_parts(produce(claims.pieces(missing)), claims.append, rows.most, progress)
            claims.release()
            held, missing = look()
            if missing.height:
                claims.wait(missing)
                held, missing = look()
    finally:
        claims.release()
    with artifact.lock():
        artifact.write_manifest(rows.unit, held.height, settings() if made else None)
    return held


def block_of(question_id: str) -> int:
    """Return the block of a question, the same in every run."""
    return zlib.crc32(question_id.encode()) % BLOCKS


class _Claims:
    """The blocks of an artifact that this run works on.

    Attributes:
        tried: keys that were handed out, whether or not their rows could be made.
    """

    def __init__(self, artifact: Artifact, rows: Rows, key: list[str]) -> None:
        self.tried: list[pl.DataFrame] = []
        self._artifact = artifact
        self._rows = rows
        self._seen = {*self._parts()}  # whose rows are known
        self._known = rows.none.select(key)  # keys of finished rows that others have written since
        self._held: dict[int, FileLock] = {}
        self._left: Counter[int] = Counter()  # rows of each held block that are not written yet

    def pieces(self, missing: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Yield the missing keys of a block that no other run works on, then of the next.

        The order is fixed: a run alone batches the same questions together each time.
        """
        for block, some in _in_blocks(missing).items():
            if not self._claim(block):
                continue
            keys = some.join(self._news(), on=missing.columns, how="anti", maintain_order="left")
            if keys.is_empty():
                self._free(block)
                continue
            self._left[block] = keys.height
            self.tried.append(keys)
            yield keys

    def append(self, made: list[Row]) -> None:
        """Write rows as a part, and give up the blocks whose last rows they are."""
        content = self._rows.pack(made, self._artifact.fingerprint)
        self._seen.add(self._artifact.append(content, self._rows.suffix))
        self._left.subtract(block_of(row["question_id"]) for row in made)
        for block in [block for block in self._held if self._left[block] <= 0]:
            self._free(block)

    def wait(self, missing: pl.DataFrame) -> None:
        """Wait until another run has given up one of the blocks of these keys."""
        self._artifact.console.print(
            f"Other runs work on what is left in {self._artifact.folder}; waiting for them."
        )
        while not any(self._claim(block) for block in _in_blocks(missing)):
            time.sleep(_LOOK_SECONDS)
        self.release()

    def release(self) -> None:
        """Give up all blocks."""
        for block in [*self._held]:
            self._free(block)

    def _claim(self, block: int) -> bool:
        if block in self._held:
            return True
        folder = self._artifact.folder / ".claims"
        refuse_links(self._artifact.folder, folder.name, str(block))
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Another thread than the one that claims may be the one that gives up.
            lock = FileLock(folder / str(block), thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
        self._held[block] = lock
        return True

    def _free(self, block: int) -> None:
        del self._left[block]
        self._held.pop(block).release()

    def _news(self) -> pl.DataFrame:
        """Return the keys of finished rows in parts that other runs have written since."""
        new = [path for path in self._parts() if path not in self._seen]
        self._seen |= {*new}
        key = self._known.columns
        table = self._artifact.read(self._rows, key, new)
        self._known = pl.concat([self._known, table.filter(self._rows.done).select(key)])
        return self._known

    def _parts(self) -> list[Path]:
        """Return the parts that are there now.

        Over a network, a change of one's own makes the system ask anew what a folder holds.
        """
        folder = self._artifact.folder
        look = folder / f".partial-{os.getpid()}-look"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            look.unlink(missing_ok=True)  # of a process that was killed; or a link that leads away
            look.open("xb").close()
            look.unlink(missing_ok=True)
        return [*folder.glob(f"part-*{self._rows.suffix}")]


def _in_blocks(keys: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """Return keys by their block."""
    ids = keys["question_id"].unique()
    blocks = pl.DataFrame({"question_id": ids, "block": [block_of(name) for name in ids]})
    named = keys.join(blocks, on="question_id", maintain_order="left")
    return {
        int(str(block)): table.drop("block")
        for (block,), table in named.group_by("block", maintain_order=True)
    }
