"""Progress of long work: a bar in a terminal, plain lines every few seconds elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_LINE_SECONDS = 10.0
_TELLING = 0.05  # share done from which on the time left is shown


class Meter:
    """Counts what is done of a whole, and tokens per second beside it."""

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self.tokens = 0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return time.monotonic() - self._start

    @property
    def rate(self) -> str:
        """Tokens per second as text, empty before there are any."""
        return f"{self.tokens / max(self.seconds, 1e-9):,.0f} tokens/s" if self.tokens else ""

    def line(self) -> str:
        """Return the state as one plain line."""
        left = ""
        if self.done and self.done >= _TELLING * self.total:  # the first say little of the rest
            left = f"{self.seconds / self.done * (self.total - self.done):.0f} s left"
        parts = [f"{self.what}: {self.done:,} of {self.total:,}", self.rate, left]
        return ", ".join(part for part in parts if part)

    def advance(self, done: int = 1, tokens: int = 0) -> None:
        """Count finished items and their tokens."""
        self.done += done
        self.tokens += tokens


@contextmanager
def meter(console: Console, what: str, total: int) -> Iterator[Meter]:
    """Show progress while the block runs; it calls ``advance``."""
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=console,
        ) as progress:  # fmt: skip
            yield _BarMeter(progress, what, total)
        return
    counted = _LineMeter(console, what, total)
    yield counted
    console.print(f"{counted.line()}, {counted.seconds:.0f} s")


class _BarMeter(Meter):
    def __init__(self, progress: Progress, what: str, total: int) -> None:
        super().__init__(what, total)
        self._progress = progress
        self._task = progress.add_task(what, total=total, rate="")

    def advance(self, done: int = 1, tokens: int = 0) -> None:
        super().advance(done, tokens)
        self._progress.update(self._task, completed=self.done, rate=self.rate)


class _LineMeter(Meter):
    def __init__(self, console: Console, what: str, total: int) -> None:
        super().__init__(what, total)
        self._console = console
        self._last = time.monotonic()

    def advance(self, done: int = 1, tokens: int = 0) -> None:
        super().advance(done, tokens)
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self._console.print(self.line())
