"""A model server that the harness starts for itself and stops, as one SLURM job needs it."""

import contextlib
import ctypes
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmark.errors import ModelError

_POLL_SECONDS = 0.5  # between two questions whether it is ready
_GRACE_SECONDS = 30.0  # to end by itself, before it is killed
_LOG_LINES = 15  # last lines of its log in an error message
_LINE_CHARACTERS = 1000  # of such a line
_FAULT = re.compile(r"(^|\] +)\w*(Error|Exception): ")
_NEWS_SECONDS = 30.0  # between two lines on the terminal while it starts


@dataclass
class LaunchedServer:
    """A server command that runs while it is needed; it may be started again after a stop.

    Attributes:
        command: program and its arguments; ``{port}`` and ``{location}`` are filled in.
        location: folder or hub id of the weights.
        health_path: path below the root that answers with status 200 once the server is ready.
        startup_seconds: longest time in seconds that the server may take to start.
        log: file that its output is appended to.
        console: terminal, which is told when the server starts and stops.
        variables: variables that are added to the command's environment.
    """

    command: Sequence[str]
    location: str
    health_path: str
    startup_seconds: float
    log: Path
    console: Console
    variables: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)

    def base_url(self) -> str:
        """Return the address of the running server, starting it where it doesn't run.

        Raises:
            ModelError: the command can't be started, ends early or isn't ready in time.
        """
        if self._process is None:
            self._start()
        return f"http://127.0.0.1:{self._port}/v1"

    def alive(self) -> None:
        """Refuse to go on with a server that has ended.

        Raises:
            ModelError: with the last lines of its log.
        """
        if self._process is not None and self._process.poll() is not None:
            status = self._process.returncode
            self.stop()  # processes that it started may still hold the accelerator
            raise ModelError(f"The server ended with status {status}. {self._last_lines()}")

    def stop(self) -> None:
        """End the server and all its processes, so that its memory is free."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # whatever is left of its group
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.console.print("The server is stopped.")

    def _start(self) -> None:
        self._port = _free_port()
        command = [
            part.replace("{port}", str(self._port)).replace("{location}", self.location)
            for part in self.command
        ]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.console.print(f"Starting {command[0]}; its log is {self.log} ..")
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True, preexec_fn=end_with_parent,
                    env={**os.environ, **self.variables},
                )  # fmt: skip
            except OSError as error:
                raise ModelError(
                    f"engine.command can't be started: {command[0]}: {error.strerror}. Install it, "
                    f"or set engine.command to another server's."
                ) from error
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        start = said = time.monotonic()
        address = f"http://127.0.0.1:{self._port}/{self.health_path}"
        while not _answers(address):
            self.alive()
            now = time.monotonic()
            if now - start > self.startup_seconds:
                raise ModelError(
                    f"The server isn't ready after engine.startup_seconds={self.startup_seconds:g}"
                    f" ({address}). {self._last_lines()}"
                )
            if now - said > _NEWS_SECONDS:
                said = now
                self.console.print(f"The server is starting, {now - start:.0f} s ..")
            time.sleep(_POLL_SECONDS)
        self.console.print(f"The server is ready after {time.monotonic() - start:.0f} s.")

    def _last_lines(self) -> str:
        written = self.log.read_text(errors="replace").splitlines()
        lines = [line[:_LINE_CHARACTERS] for line in written]
        first = next((line for line in lines if _FAULT.search(line)), None)
        named = [f"The first fault: {first}"] if first and first not in lines[-_LOG_LINES:] else []
        return "\n".join([*named, f"The end of {self.log}:", *lines[-_LOG_LINES:]])


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, http.client.HTTPException):  # nothing answers, or something else does
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_with_parent() -> None:
    """Have the kernel end the server if this process is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
