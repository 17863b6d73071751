"""The one writer for the terminal: it cleans what comes from outside, and says when it is full."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from benchmark.redaction import clean, redacted, told

OUTPUT, ERRORS = "standard output", "standard error"  # the files that an OSError names


class Terminal(Console):
    """A console without secrets and without control characters but its own.

    It doesn't wrap long lines, so that paths can be copied, and reads no markup.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"soft_wrap": True, "highlight": False, "markup": False} | given)

    def render_str(self, text: str, **given: Any) -> Text:
        """Return a text as it may be shown: whole, since styles would cut a secret into pieces."""
        return super().render_str(told(text), **given)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the pieces of anything else, such as a progress bar's description."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean(segment.text))


class _Guarded:
    """A standard stream that writes no secrets, whoever writes: warnings, logs, tracebacks."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._named():
            self._stream.write(redacted(text))
        return len(text)

    def flush(self) -> None:
        with self._named():
            self._stream.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the stream where the system can't write it, and write nothing more to it."""
        try:
            yield
        except OSError as error:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            error.filename = self._name
            raise


@contextmanager
def guarded() -> Iterator[None]:
    """Write no secrets to the standard streams while the block runs."""
    plain = sys.stdout, sys.stderr
    streams: Any = [
        _Guarded(stream, name)
        if stream is not None and not isinstance(stream, _Guarded)
        else stream
        for stream, name in zip(plain, (OUTPUT, ERRORS), strict=True)
    ]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout, sys.stderr = plain
