"""What can be told of long work while it goes on, from what lies on the disk.

The disk is asked, not the work: so nothing is counted twice where several jobs do it together, a
run that goes on after a kill counts on, and the work itself waits for nobody.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import polars as pl

from benchmark.cell.asked import Asked
from benchmark.records import RESPONSE

_GRADED = 10_000  # most responses that are graded at one look, so that it stays short

Point = Mapping[str, float]
Grade = Callable[[pl.DataFrame], pl.DataFrame]


# Returns a context that looks at work again and again, and logs what it sees. It is given the name
# of the work, which stands before that of each number; the number of each point against which the
# others are drawn; and a function that returns the points that are new since its last call. That
# is called in another thread, and a last time at the end of the block.
Watch = Callable[[str, str, Callable[[], Iterable[Point]]], AbstractContextManager[object]]


def unwatched(*_: object) -> AbstractContextManager[object]:
    """Look at nothing: the ``Watch`` of cells that are not tracked."""
    return nullcontext()


class Drawn:
    """The responses that an artifact holds of those that are asked for, part by part.

    Args:
        asked: what is asked for.
        grade: function that grades responses of schema ``RESPONSE``; None tells no accuracy.
    """

    def __init__(self, asked: Asked, grade: Grade | None) -> None:
        self._asked = asked
        self._grade = grade
        self._wanted = asked.keys
        self._done = pl.DataFrame(schema={"key": pl.UInt64()})
        self._failed = self._done
        self._truncated = 0
        self._correct = 0.0
        self._read: set[str] = set()
        self._held = {path.name for path in self._parts()}
        self._looked = time.monotonic()

    def look(self) -> Iterator[Point]:
        """Yield one point, where the artifact has parts that were not there at the last look.

        ``drawn`` is how many there are so far, ``failed`` how many requests have failed so
        far and were not repeated with success, ``tokens_per_second`` the rate since the last look,
        ``truncated`` the share of the responses that were cut off, ``accuracy`` the share of them
        that is correct.
        """
        now, tokens, more = time.monotonic(), 0, False
        new = [path for path in self._parts() if path.name not in self._read]
        for path in new:
            try:
                rows = self._rows(path)
            except (OSError, pl.exceptions.PolarsError):
                continue  # it was replaced meanwhile, or is damaged, which its reader will tell
            self._read.add(path.name)
            drawn = self._add(rows)
            self._judge(drawn, max(1, _GRADED // len(new)))
            if path.name not in self._held:
                tokens += int(drawn["completion_tokens"].sum())
                more = True
        if more:
            yield {**self._counted(), "tokens_per_second": tokens / max(now - self._looked, 1e-9)}
        self._looked = now

    def _parts(self) -> list[Path]:
        found = sorted(self._asked.artifact.folder.glob("part-*.parquet"))
        return [path for path in found if path.is_file() and not path.is_symlink()]

    def _rows(self, path: Path) -> pl.DataFrame:
        """Return the rows of a part that are asked for; reasoning, which is long, isn't read."""
        rows = pl.scan_parquet(path, hive_partitioning=False, glob=False)
        rows = rows.filter(pl.col("sample_index") < self._asked.k)
        rows = rows.join(self._wanted.lazy(), on=self._wanted.columns, how="semi")
        rows = rows.with_columns(reasoning=pl.lit(None, pl.String)).select(list(RESPONSE))
        return rows.with_columns(key=pl.struct("question_id", "sample_index").hash()).collect()

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Count the rows of a part; return the responses that no part before had."""
        failed = pl.col("finish_reason") == "error"
        drawn = rows.filter(~failed).unique("key").join(self._done, on="key", how="anti")
        self._done = pl.concat([self._done, drawn.select("key")])
        self._failed = pl.concat([self._failed, rows.filter(failed).select("key")]).unique()
        self._failed = self._failed.join(self._done, on="key", how="anti")
        self._truncated += int((drawn["finish_reason"] == "length").sum())
        return drawn

    def _judge(self, drawn: pl.DataFrame, most: int) -> None:
        """Grade ``most`` of the responses, which stand for all of them."""
        if self._grade is None or drawn.is_empty():
            return
        some = drawn if drawn.height <= most else drawn.sample(most, seed=0)
        outcomes = self._grade(some.select(list(RESPONSE)))["outcome"]
        self._correct += int((outcomes == "correct").sum()) / len(outcomes) * drawn.height

    def _counted(self) -> dict[str, float]:
        drawn = self._done.height
        counted: dict[str, float] = {"drawn": drawn, "failed": self._failed.height}
        if drawn:
            counted["truncated"] = self._truncated / drawn
            if self._grade is not None:
                counted["accuracy"] = self._correct / drawn
        return counted


class Curves:
    """The losses and scores of a training, which writes them into a file, a line at a time.

    Args:
        path: path of the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0

    def look(self) -> Iterator[Point]:
        """Yield the points that are new in the file.

        An epoch that was trained again after a kill counts as it came out last.
        """
        text = self._path.read_text() if self._path.is_file() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last may not be whole yet
        points = [json.loads(line) for line in lines[self._lines :]]
        self._lines = len(lines)
        yield from {(point["epoch"], *sorted(point)): point for point in points}.values()
