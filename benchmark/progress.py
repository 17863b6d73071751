"""Progress of long work: a bar in a terminal, plain lines every few seconds elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_LINE_SECONDS = 10.0  # between two lines
_TELLING = 0.05  # share of the work after which the time left can be estimated


@dataclass
class Meter:
    """Counts what is done of a whole, and tokens per second beside it.

    Attributes:
        what: words for the work.
        total: number of items in the whole.
        show: function that is called with the meter after each advance.
    """

    what: str
    total: int
    show: Callable[["Meter"], None]
    done: int = 0
    tokens: int = 0
    _start: float = field(default_factory=time.monotonic)

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
        if self.done and self.done >= _TELLING * self.total:
            left = f"{self.seconds / self.done * (self.total - self.done):.0f} s left"
        parts = [f"{self.what}: {self.done:,} of {self.total:,}", self.rate, left]
        return ", ".join(part for part in parts if part)

    def advance(self, done: int = 1, tokens: int = 0) -> None:
        """Count finished items and their tokens."""
        self.done += done
        self.tokens += tokens
        self.show(self)


@contextmanager
def meter(console: Console, what: str, total: int) -> Iterator[Meter]:
    """Show progress while the block runs; it calls ``advance``."""
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=console,
        ) as progress:  # fmt: skip
            task = progress.add_task(what, total=total, rate="")
            yield Meter(
                what, total, lambda now: progress.update(task, completed=now.done, rate=now.rate)
            )
        return
    last = time.monotonic()

    def print_line(now: Meter) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            console.print(now.line())

    counted = Meter(what, total, print_line)
    yield counted
    console.print(f"{counted.line()}, {counted.seconds:.0f} s")
