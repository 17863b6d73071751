"""Interpreters that have imported what the command needs before they are asked for it.

A new process of Python spends five seconds on these imports. Here a server does once, and each
interpreter is a fork of it: a process like any other, which can be killed. A process that has used
torch or polars, such as the tests' own, can't be forked, since their threads don't come along.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from socketserver import ForkingMixIn, StreamRequestHandler, UnixStreamServer

ROOT = Path(__file__).parents[1]
COMMAND = "from benchmark.__main__ import main; main()"


class Interpreter:
    """A program with a process of its own, as ``python -c`` has it.

    Attributes:
        pid: of the process.
    """

    def __init__(self, server: Path, program: str, *arguments: str):
        self._log = server.with_name(f"{len(list(server.parent.iterdir()))}.log")
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(server))
        self._answers = self._line.makefile("rw")
        print(json.dumps([str(self._log), program, *arguments]), file=self._answers, flush=True)
        self.pid = int(self._answers.readline())
        self._status: int | None = None

    @property
    def output(self) -> str:
        """What it has printed, here and to standard error."""
        return self._log.read_text()

    def poll(self, seconds: float = 0) -> int | None:
        """Return its exit status, minus a signal that killed it; None where it still runs."""
        if self._status is None and select.select([self._line], [], [], seconds)[0]:
            self._status = int(self._answers.readline() or -signal.SIGKILL)
        return self._status

    def wait(self, seconds: float = 120) -> int:
        """Return its exit status once it has ended."""
        status = self.poll(seconds)
        assert status is not None, f"no end after {seconds} s: {self.output}"
        return status

    def kill(self) -> None:
        """Kill it at once, and return when it is dead."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait()


@contextmanager
def interpreters(folder: Path) -> Iterator[Callable[..., Interpreter]]:
    """Yield what starts a program with the arguments of a command line, by a server of them.

    The server keeps its socket and their output in a folder.
    """
    address = folder / "server"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.interpreters", address], cwd=ROOT, stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()  # it listens
    try:
        yield partial(Interpreter, address)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class _Handler(StreamRequestHandler):
    """Runs a program in the fork that was made for it."""

    def handle(self) -> None:
        from tests.forked import exit_status

        log, program, *sys.argv[1:] = json.loads(self.rfile.readline())
        output = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        self.wfile.write(f"{os.getpid()}\n".encode())
        status = exit_status(lambda: exec(program, {"__name__": "__main__"}))
        self.wfile.write(f"{status}\n".encode())


class _Server(ForkingMixIn, UnixStreamServer):
    timeout = 1


def _serve(address: str) -> None:
    """Serve until the process that has started this one ends."""
    from tests.forked import preload

    preload()
    parent = os.getppid()
    with _Server(address, _Handler) as server:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        while os.getppid() == parent:
            server.handle_request()


if __name__ == "__main__":
    _serve(sys.argv[1])
