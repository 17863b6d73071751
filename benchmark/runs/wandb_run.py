"""Runs of Weights & Biases: begun, watched, ended and uploaded, so that they never cost a cell.

What W&B can't do is told in one line, and the cell goes on. A run is written to the disk; another
process uploads it from there, while it is written: a server that is down or hangs holds nothing
up, and what was logged isn't lost with it.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from anyio.from_thread import start_blocking_portal
from rich.console import Console

from benchmark.cell.watching import Point, Watch, unwatched
from benchmark.config.schema import WANDB_SETTINGS, TrackerConfig
from benchmark.engines.server.launch import end_with_parent

_ANSWER_SECONDS = 60.0  # longest time that W&B's own process may take to begin or end a run
_UPLOAD_SECONDS = 120.0  # longest time from the end of a run to that of its upload
_GIVE_UP_SECONDS = 10.0  # the same, for a run that failed or was interrupted
_REACH_SECONDS = 10.0  # longest time until the server says anything
_LOOK_SECONDS = 10.0  # shortest time between two looks at work
_LOOK_SHARE = 0.02  # largest share of the time that is spent on looking


@contextmanager
def wandb_run(
    tracker: TrackerConfig, folder: Path, console: Console, **about: Any
) -> Iterator[Any]:
    """Yield a run of W&B; None where the tracker is off, or where W&B can't begin it.

    Args:
        tracker: settings of the tracker.
        folder: folder of the run; W&B's files go below ``folder/wandb``.
        console: terminal, which is told what W&B can't do.
        about: what else ``wandb.init`` is told, its ``name`` among it.
    """
    run = None
    if tracker.kind == "wandb":
        with logging(folder, console):
            run = _begun(tracker, folder, about)
    if run is None:
        yield None
        return
    uploader = _Uploader(run, folder) if tracker.mode == "online" else None
    seconds = _GIVE_UP_SECONDS
    try:
        yield run
        seconds = _UPLOAD_SECONDS
    finally:
        with logging(folder, console):
            run.finish(exit_code=0 if seconds == _UPLOAD_SECONDS else 1)
        with suppress(Exception):  # of what was told already
            import wandb

            wandb.teardown()  # ends W&B's own process: until then it may still write the files
        if uploader is not None:
            uploader.end(seconds, console)


def _begun(tracker: TrackerConfig, folder: Path, about: dict[str, Any]) -> Any:
    import wandb  # here, so that tracker=none never loads it

    return wandb.init(
        project=tracker.project, entity=tracker.entity, dir=folder, mode="offline", **about,
        settings=wandb.Settings(
            **WANDB_SETTINGS, init_timeout=_ANSWER_SECONDS, finish_timeout=_ANSWER_SECONDS
        ),
    )  # fmt: skip


@contextmanager
def logging(folder: Path, console: Console) -> Iterator[None]:
    """Let the block use W&B; what it can't do is told, and doesn't stop the run."""
    with _files_below(folder / "wandb"):
        try:
            yield
        except Exception as error:  # noqa: BLE001 - W&B's are of many kinds; none may cost a cell
            console.print(
                f"W&B can't log this run: {type(error).__name__}: {error} Its results are in "
                f"{folder}; run again to log them."
            )


def watching(run: Any, console: Console) -> Watch:
    """Return what logs to a run while work goes on; without a run, nothing looks."""
    return unwatched if run is None else partial(_watched, run, console)


@contextmanager
def _watched(
    run: Any, console: Console, name: str, step: str, look: Callable[[], Iterable[Point]]
) -> Iterator[None]:
    def follow() -> None:
        try:
            run.define_metric(f"{name}/*", step_metric=f"{name}/{step}")
            pause, ending = 0.0, False
            while not ending:
                ending = ended.wait(pause)
                begun = time.monotonic()
                for point in look():
                    run.log({f"{name}/{key}": value for key, value in point.items()})
                pause = max(_LOOK_SECONDS, (time.monotonic() - begun) / _LOOK_SHARE)
        except Exception as error:  # noqa: BLE001 - whatever happens here, the work goes on
            console.print(f"W&B: {name} isn't logged any more while it runs: {error}")

    ended = threading.Event()
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_ANSWER_SECONDS)


class _Uploader:
    """The process that uploads a run while it is written, and on where an earlier one ended.

    Args:
        run: the run, as W&B returns it.
        folder: folder of the run.
    """

    def __init__(self, run: Any, folder: Path) -> None:
        self._run = Path(run.settings.sync_dir).absolute()
        self._base_url = run.settings.base_url
        self._log = folder.absolute() / "wandb" / "upload.log"
        self._process = self._started("beta", "sync", "--live", str(self._run))

    def end(self, seconds: float, console: Console) -> None:
        """Wait for the upload; where that can't be done in time, say how to do it later."""
        fault = f"{self._base_url} can't be reached"
        with start_blocking_portal() as portal:  # in a notebook, an event loop is at work already
            answers = portal.call(_answers, self._base_url)
        if answers:
            fault = self._fault(seconds)
            begun = [*self._run.glob("*.wandb.syncstate")]
            if fault and self._process.returncode and not begun:  # without a server, or an old W&B
                self._process = self._started("sync", str(self._run))
                fault = self._fault(seconds)
        _kill(self._process)
        if fault:
            console.print(
                f"W&B: {fault}, so the run stays offline. Upload it later: wandb sync {self._run}"
            )

    def _started(self, *words: str) -> subprocess.Popen[bytes]:
        # A process of its own: one that ends the run's would end this one's, too.
        environment = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "wandb", *words], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, cwd=self._log.parents[1],  # its own log goes into ./wandb
                env=environment | {"WANDB_RESUME": "allow"}, preexec_fn=end_with_parent,
            )  # fmt: skip

    def _fault(self, seconds: float) -> str:
        """Return why the run isn't uploaded; empty where it is."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        if list(self._run.glob("*.wandb.synced")):
            return ""
        if self._process.poll() is None:
            return f"the upload didn't end in {seconds:g} s"
        said = self._log.read_text(errors="replace").strip().splitlines()
        return said[-1].removesuffix(".") if said else "no upload"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with all that it has started, which may have sessions of their own."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


async def _answers(base_url: str) -> bool:
    """Tell whether there is a server, whatever it says; the system's proxies are used."""
    import httpx2

    from benchmark.engines.server.client import GuardedClient

    try:
        async with GuardedClient(_REACH_SECONDS, "WANDB") as client:
            await client.get(base_url)
    except (httpx2.RequestError, httpx2.InvalidURL):
        return False
    except Exception:  # noqa: BLE001  a reply that is too large, or a redirect, is one
        return True
    return True


@contextmanager
def _files_below(folder: Path) -> Iterator[None]:
    """Keep W&B's staged files and its log in ``folder``, unless the user chose another place.

    Without a home, as in containers whose user the system doesn't know, W&B gets one there, too.
    """
    places = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}
    try:
        Path.home()
    except RuntimeError:
        places["HOME"] = "home"
    ours = {variable: name for variable, name in places.items() if variable not in os.environ}
    os.environ.update(
        {variable: str((folder / name).absolute()) for variable, name in ours.items()}
    )
    try:
        yield
    finally:
        for variable in ours:
            del os.environ[variable]
