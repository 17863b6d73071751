"""Runs of the command as forks of one process that has imported everything, and what they left.

A run of the tiny model takes ten seconds as a process of its own, nine of them for imports. Here
they happen once; a fork is a process like any other to be killed, with its own locks and clock.
Nothing of torch or polars may be used before a fork, since their threads don't come along.
"""

import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.__main__ import main
from benchmark.cell import cell
from benchmark.engines.in_process import engine as in_process
from benchmark.report.figures import write as figures
from benchmark.store import rows

_PRELOADED = (
    "benchmark.runs.one_cell", "benchmark.report.report", "benchmark.engines.server.engine",
    "benchmark.probes.training",
    "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "transformers.tokenization_utils_tokenizers", "matplotlib.backends.backend_agg", "openai",
    "sklearn.linear_model", "scipy.stats", "scipy.optimize",
)  # fmt: skip
STAGES = {  # what announces them: class or module, and attribute
    "questions": ("benchmark.runs.one_cell", "_open"),
    "sampling": ("benchmark.cell.cell", "sample_responses"),
    "grading": ("benchmark.cell.stages:_Judging", "grade"),
    "capability": ("benchmark.cell.stages", "count_outcomes"),
    "P(True)": ("benchmark.estimators.p_true:PTrue", "estimate"),
    "verbalized": ("benchmark.estimators.verbalized:Verbalized", "estimate"),
    "hidden states": ("benchmark.cell.stages", "_check_same_prompts"),
    "probes": ("benchmark.probes.bank", "train_probe"),
    "metrics": ("benchmark.runs.one_cell", "evaluate"),
    "applications": ("benchmark.runs.one_cell", "_apply"),
    "finished cell": ("benchmark.runs.one_cell", "save_cell"),
    "report": ("benchmark.runs.one_cell", "write_report"),
    "pointers": ("benchmark.runs.one_cell", "point_to_cell"),
}
_HARMLESS = ("jemalloc_bg_thd", "polars-ooc-clea")  # polars' housekeeping, not its workers
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}


class Moment(NamedTuple):
    """A stage that a run has entered or left.

    Attributes:
        stage: of ``STAGES``.
        turn: how often it was entered before.
        seconds: since the run's start.
        changes: of the disk that the run has made.
        entered: False where it is left.
    """

    stage: str
    turn: int
    seconds: float
    changes: int
    entered: bool


class Kill(NamedTuple):
    """Where a run kills itself: before its n-th change of the disk in a stage."""

    stage: str
    turn: int
    change: int


@dataclass
class Run:
    """One run of the command, started."""

    pid: int
    log: Path
    announced: int
    status: int | None = None
    moments: list[Moment] = field(default_factory=list)
    _rest: bytes = b""

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def until(self, stage: str, turn: int = 0, seconds: float = 120) -> bool:
        """Wait until it enters a stage; tell whether it does so before it ends."""

        def there() -> bool:
            return any(m.entered and m[:2] == (stage, turn) for m in self.moments)

        deadline = time.monotonic() + seconds
        while not there() and time.monotonic() < deadline and self._read(0.05):
            pass
        return there()

    def wait(self, seconds: float = 300) -> int:
        """Return its exit status, or minus the signal that ended it; end and raise a hang."""
        deadline = time.monotonic() + seconds
        while self.status is None:
            self._read(0.02)
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"no end after {seconds} s:\n{self.output}")
        while self._read(0):
            pass
        os.close(self.announced)
        return self.status

    def kill(self) -> None:
        """Kill it as the system does, at once and for good."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _read(self, seconds: float) -> bool:
        """Read what it announces; False where nothing comes any more."""
        if not select.select([self.announced], [], [], seconds)[0]:
            return seconds > 0
        data = os.read(self.announced, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.moments += [Moment(*json.loads(line)) for line in lines]
        return bool(data)


def preload() -> None:
    """Import what a run needs, and refuse to go on if that started threads."""
    for name in _PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    own = Path("/proc/self/comm").read_text().strip()
    if missed := [name for name in threads if name not in {own, *_HARMLESS}]:
        raise RuntimeError(f"threads run already that a fork would not have: {missed}")


def make_small() -> None:
    """Let runs give the same bits whenever they are killed, and have something to go on from."""
    # Every row is computed alone, so that a run that goes on gives the same bits; parts are small,
    # so that there is something to go on from; one figure is enough.
    in_process._LEAST_SHARED = sys.maxsize
    rows._PART_ROWS = 10
    cell.HIDDEN_STATES = cell.HIDDEN_STATES._replace(most=4)
    figures.FIGURES = figures.FIGURES[:1]
    figures.CELL_FIGURES = figures.APPLICATION_FIGURES = {}


def start(
    overrides: list[str],
    log: Path,
    kill: Kill | None = None,
    before: Callable[[], None] | None = None,
) -> Run:
    """Start the command with these arguments in a fork.

    Args:
        overrides: the command line.
        log: takes what it prints.
        kill: where it kills itself.
        before: run in it first.
    """
    ours, its = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(its)
        return Run(pid, log, ours)
    os.close(ours)
    os._exit(_run(overrides, log, its, kill, before))


def _run(
    overrides: list[str], log: Path, announce: int, kill: Kill | None,
    before: Callable[[], None] | None,
) -> int:  # fmt: skip
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["capcal", *overrides]

    def command() -> None:
        _announce_stages(announce, kill)
        if before is not None:
            before()
        main()

    return exit_status(command)


def exit_status(program: Callable[[], Any]) -> int:
    """Run a program that is all there is to do in a fork, and return its exit status."""
    status = 0
    try:
        program()
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:  # noqa: BLE001 - as the interpreter would
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _announce_stages(announce: int, kill: Kill | None) -> None:
    """Let every stage say when it begins and ends, and count changes of the disk."""
    start, changes, armed = time.monotonic(), 0, sys.maxsize

    def audit(event: str, args: tuple[Any, ...]) -> None:
        nonlocal changes
        writes = event == "open" and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes or event in _CHANGES:
            changes += 1
            if changes >= armed:
                os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        turns = -1

        def announced(*args: Any, **kwargs: Any) -> Any:
            nonlocal turns, armed
            turns += 1
            turn = turns
            tell(stage, turn, True)
            if kill is not None and (stage, turn) == kill[:2]:
                armed = changes + kill.change
            try:
                return function(*args, **kwargs)
            finally:
                tell(stage, turn, False)

        return announced

    def tell(stage: str, turn: int, entered: bool) -> None:
        moment = Moment(stage, turn, time.monotonic() - start, changes, entered)
        os.write(announce, json.dumps(moment).encode() + b"\n")

    for stage, (place, name) in STAGES.items():
        module, _, owner = place.partition(":")
        holder: Any = importlib.import_module(module)
        holder = getattr(holder, owner) if owner else holder
        setattr(holder, name, wrapped(stage, getattr(holder, name)))
    sys.addaudithook(audit)


def apart(function: Callable[[], Any]) -> Any:
    """Return what a function gives in a process of its own, as JSON: it may use threads.

    Raises:
        RuntimeError: with its traceback, where it raises.
    """
    ours, its = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            found = {"value": function()}
        except BaseException:  # noqa: BLE001 - told to the other side
            found = {"error": traceback.format_exc()}
        with os.fdopen(its, "w") as file:
            json.dump(found, file)
        os._exit(0)
    os.close(its)
    with os.fdopen(ours) as file:
        text = file.read()
    os.waitpid(pid, 0)
    found = json.loads(text or '{"error": "it was killed"}')
    if "error" in found:
        raise RuntimeError(found["error"])
    return found["value"]


def spans(run: Run) -> Iterator[tuple[Moment, Moment]]:
    """Yield beginning and end of each turn of each stage."""
    for begin in run.moments:
        if begin.entered:
            ends = (m for m in run.moments if not m.entered and m[:2] == begin[:2])
            if (end := next(ends, None)) is not None:
                yield begin, end


def jumping_clock(seconds: float, after: float) -> Callable[[], None]:
    """Return what lets the clock jump, ``after`` seconds from now; the monotonic one doesn't."""

    def install() -> None:
        import datetime as module

        true, begin = time.time, time.monotonic()

        def jumped() -> float:
            return true() + (seconds if time.monotonic() - begin > after else 0)

        class Jumped(module.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> module.datetime:
                return module.datetime.fromtimestamp(jumped(), tz)

        time.time = jumped
        for name in ("benchmark.store.artifact", "hydra.core.utils"):
            sys.modules[name].datetime = Jumped

    return install


def messages(output: str) -> list[str]:
    """Return the messages of a run that failed."""
    return [line for line in output.splitlines() if line.startswith("Error: ")]
