"""A fault campaign: whatever happens to a run, the next one ends with the result of an undisturbed.

    python perf/faults.py [--kills 208] [--each 6] [--seed 0] [--only kills,damage]

Runs of a tiny random model, with a judge behind a scripted server, are killed in every stage, by
the clock or before a change of the disk. Others meet a full disk, a store that is read-only, a part
that is truncated or has a flipped bit, a clock that is a day off, other runs at work, a lock of a
dead process, a server that is gone or hostile (it attacks, or sends the key back), or in the store
what an attacker put there. Then the same command runs again. Every table, hidden state, probe and
CSV file must have the same bits as those of an undisturbed run, and no row may occur twice; faults
that the user has to mend must end in one message, with exit status 1, that says what to do.

Prints a line for each trial that failed and a table at the end; exit status 1 after any failure.
Mounts, for the disk's faults, need root. Runs are forks of one process (``tests/forked.py``).
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MKL_NUM_THREADS": "1"}
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads, which forks wouldn't have
sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.table import Table

from benchmark.progress import Meter, meter
from perf.hostile_server import BOUNDED, hostile_server, secrets
from perf.hostile_store import hostile_store, trials
from tests import forked
from tests.engines.server.hostile import ECHOES
from tests.faulty import damaged_copy, mounted, read_only, server_process
from tests.forked import Kill, Run, apart, messages, spans
from tests.snapshot import differences, snapshot

DAY = 86_400.0
KILLED = -signal.SIGKILL
SETTINGS = [
    "model.gguf=null", "model.name=tiny", "model.decoding.max_new_tokens=4", "dataset.limit=12",
    "dataset.train_limit=20", "dataset.validation_limit=10", "sampling.k=24", "sampling.k_train=2",
    "statistics.resamples=2", "estimator.random.draws=2", "application=[pass_at_k]",
    "grading=[basics,llm_judge]", "grading.llm_judge.model=served",
    "grading.llm_judge.attempts=1",
]  # fmt: skip
IN_PROCESS = [
    "engine.device=cpu", "engine.dtype=float32", "engine.token_budget=1",
    "estimator=[random,verbalized,p_true,probe_own]",
]  # fmt: skip
SERVED = [
    "engine=server", "engine.model=served", "engine.attempts=1", "engine.concurrency=4",
    "engine.samples_per_request=8", "estimator=[random,verbalized,p_true]",
]  # fmt: skip


@dataclass
class Tally:
    """How often a fault was tried, and how that ended."""

    fault: str
    tried: int = 0
    kills: int = 0
    completed: int = 0
    identical: int = 0


@dataclass
class Campaign:
    """What all trials share.

    Attributes:
        folder: of everything that trials write.
        settings: the command line, without ``paths.outputs``.
        rng: chooses moments, files and bits.
        console: shows progress and failures.
        each: trials of each fault but kills.
        reference: the undisturbed run, ended.
        expected: its snapshot.
        tallies: by fault, in order.
    """

    folder: Path
    settings: list[str]
    rng: random.Random
    console: Console
    each: int
    reference: Run | None = None
    expected: dict[str, str] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    failures: int = 0

    def fresh(self) -> Path:
        """Return a folder for the outputs of a trial; those of the last one are removed."""
        outputs = self.folder / "out"
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir()
        return outputs

    def start(self, outputs: Path, *more: str, log: str = "log", **given: Any) -> Run:
        """Start the command on these outputs."""
        arguments = [*self.settings, f"paths.outputs={outputs}", *more]
        return forked.start(arguments, self.folder / log, **given)

    def undisturbed(self) -> None:
        """Run once without a fault: its result is what all others are compared with."""
        outputs = self.folder / "reference"
        self.reference = self.start(outputs, log="reference.log")
        if self.reference.wait():
            raise RuntimeError(f"the undisturbed run failed:\n{self.reference.output}")
        self.expected = apart(lambda: snapshot(outputs))

    @contextmanager
    def served(self) -> Iterator[None]:
        """Let a server sample in all trials of the block; the judge's stays."""
        plain = self.settings, self.reference, self.expected
        self.settings = [s for s in self.settings if not s.startswith(("engine", "estimator"))]
        self.settings += SERVED
        with server_process() as (url, _):
            self.settings += [f"engine.base_url={url}"]
            shutil.rmtree(self.folder / "reference")
            self.undisturbed()
        try:
            yield
        finally:
            self.settings, self.reference, self.expected = plain

    def tally(self, fault: str) -> Tally:
        """Return the fault's tally, with one trial more."""
        tally = self.tallies.setdefault(fault, Tally(fault))
        tally.tried += 1
        return tally

    def rerun(self, tally: Tally, outputs: Path, *more: str) -> None:
        """Run the command again, to its end, and compare what it leaves."""
        run = self.start(outputs, *more, log="rerun.log")
        if run.wait():
            self.fail(tally, f"the rerun ended with {run.status}", run)
            return
        self.compare(tally, outputs, run, "the rerun")

    def compare(self, tally: Tally, outputs: Path, run: Run, what: str) -> None:
        """Compare what a run that has ended well has left with what an undisturbed one leaves."""
        tally.completed += 1
        try:
            wrong = differences(apart(lambda: snapshot(outputs)), self.expected)
        except RuntimeError as error:
            wrong = [str(error)]
        if wrong:
            self.fail(tally, f"the result of {what} differs: {', '.join(wrong[:4])}", run)
            return
        tally.identical += 1

    def expect_message(self, tally: Tally, run: Run, *named: str) -> None:
        """Expect that a run has failed with one message, without a traceback."""
        said = messages(run.output)
        if run.status != 1 or len(said) != 1 or "Traceback" in run.output:
            self.fail(tally, f"status {run.status} and {len(said)} messages", run)
        elif missing := [word for word in named if word not in said[0]]:
            self.fail(tally, f"the message doesn't name {missing}", run)

    def fail(self, tally: Tally, why: str, run: Run) -> None:
        """Print what went wrong, and what the run said."""
        self.failures += 1
        said = "\n    ".join(run.output.splitlines()[-25:])
        self.console.print(f"FAILED {tally.fault}, trial {tally.tried}: {why}\n    {said}")


def kills(campaign: Campaign, count: int, progress: Meter) -> None:
    """Kill a run in each stage in turn: by the clock, or before a change of the disk."""
    stages = list(forked.STAGES)
    turns = list(spans(campaign.reference))
    killed = 0
    while killed < count:
        stage = stages[killed % len(stages)]
        outputs, tally = campaign.fresh(), campaign.tally(f"kill -9 in {stage}")
        while True:  # a third of the reruns are killed, too
            begin, end = campaign.rng.choice([span for span in turns if span[0].stage == stage])
            if (killed // len(stages)) % 2:
                change = campaign.rng.randint(1, max(1, end.changes - begin.changes))
                run = campaign.start(outputs, kill=Kill(stage, begin.turn, change))
            else:
                run = campaign.start(outputs)
                if run.until(stage, begin.turn):
                    time.sleep(campaign.rng.uniform(0, end.seconds - begin.seconds))
                    run.kill()
            if run.wait() == 0:
                break  # it had done all before, or was faster than the hand
            if run.status != KILLED:
                campaign.fail(tally, f"it ended by itself, with {run.status}", run)
                break
            killed += 1
            tally.kills += 1
            progress.advance()
            if campaign.rng.random() > 1 / 3 or killed >= count:
                break
        campaign.rerun(tally, outputs)


def processes(campaign: Campaign, progress: Meter) -> None:
    """Start two or eight runs of one cell at the same moment; some with one that is killed."""
    for trial in range(campaign.each):
        number = 8 if trial % 3 == 2 else 2
        dies = trial % 3 == 1
        fault = "two runs, one killed at work" if dies else f"{number} runs at once"
        outputs, tally = campaign.fresh(), campaign.tally(fault)
        runs = [campaign.start(outputs, log=f"log-{i}") for i in range(number)]
        if dies:
            runs[0].until("sampling", campaign.rng.randrange(3))
            time.sleep(campaign.rng.uniform(0, 0.5))
            runs[0].kill()
        for run in runs:
            if run.wait() and not (dies and run is runs[0] and run.status == KILLED):
                campaign.fail(tally, f"one ended with {run.status}", run)
        tally.kills += [run.status for run in runs].count(KILLED)
        campaign.rerun(tally, outputs)
        progress.advance()


def clocks(campaign: Campaign, progress: Meter) -> None:
    """Let the clock jump a day forwards or backwards at any moment."""
    for trial in range(campaign.each):
        jump, way = (DAY, "forwards") if trial % 2 else (-DAY, "backwards")
        outputs, tally = campaign.fresh(), campaign.tally(f"clock a day {way}")
        after = campaign.rng.uniform(0, 0.8 * _seconds(campaign.reference))
        run = campaign.start(outputs, before=forked.jumping_clock(jump, after))
        if trial % 4 > 1 and run.until("P(True)"):
            run.kill()
        if run.wait() not in (0, KILLED):
            campaign.fail(tally, f"status {run.status}", run)
        campaign.rerun(tally, outputs)
        progress.advance()


def locks(campaign: Campaign, progress: Meter) -> None:
    """Leave lock files of a dead process, and half-written files, in every artifact."""
    for _ in range(campaign.each):
        outputs, tally = campaign.fresh(), campaign.tally("stale locks and half-written files")
        stage = campaign.rng.choice(["sampling", "P(True)", "metrics"])
        run = campaign.start(outputs)
        run.until(stage)
        run.kill()
        run.wait()
        for folder in (outputs / "store").glob("*/*/*/*-*"):
            (folder / ".lock").write_text(str(run.pid))
            os.utime(folder / ".lock", (0, 0))
            (folder / f".partial-{run.pid}-part-0.parquet").write_bytes(os.urandom(100))
        campaign.rerun(tally, outputs)
        progress.advance()


KINDS = {  # of files in the store: where they are, and whether the finished cell is kept
    "responses": ("responses-*/part-*", False),
    "responses of a finished cell": ("test/responses-*/part-*", True),
    "verbalized": ("verbalized-*/part-*", False),
    "P(True)": ("p_true-*/part-*", False),
    "judgements": ("verdicts-*/part-*", False),
    "hidden states": ("features-*/part-*.safetensors", False),
    "manifests": ("*/manifest.json", False),
    "tables of a finished cell": ("cell-*/*.parquet", True),
    "list of a finished cell": ("cell-*/cell.json", True),
    "probe of a finished cell": ("cell-*/probes/*/*", True),
    "report.json of a finished cell": ("cell-*/report.json", True),
}


def damage(campaign: Campaign, progress: Meter) -> None:
    """Flip a bit of a file of each kind, or cut it; obey the message and run again."""
    for kind, (pattern, kept) in KINDS.items():
        for way in ("bit flipped", "truncated"):
            for _ in range(max(1, campaign.each // 3)):
                outputs, tally = campaign.fresh(), campaign.tally(f"{kind}: {way}")
                path = damaged_copy(
                    campaign.folder / "reference", outputs, pattern, kept, way, campaign.rng
                )
                if kind == "responses of a finished cell":
                    path.unlink()  # as whoever reads the responses is told
                else:
                    _obey(campaign, tally, outputs, path)
                campaign.rerun(tally, outputs)
                progress.advance()


def _obey(campaign: Campaign, tally: Tally, outputs: Path, path: Path) -> None:
    """Run with the damaged file; where that fails, delete what the message says."""
    run = campaign.start(outputs)
    if run.wait():
        campaign.expect_message(tally, run, f"{path} is damaged", "Delete this file")
        path.unlink()


def disk(campaign: Campaign, progress: Meter) -> None:
    """Let the disk be full, or the store read-only, from the start or at any moment."""
    if os.geteuid():
        campaign.console.print("Disks can't be mounted without root: no full or read-only ones.")
        return
    written = sum(p.stat().st_size for p in (campaign.folder / "reference").rglob("*"))
    for _ in range(campaign.each):
        tally, size = campaign.tally("disk full"), campaign.rng.randint(written // 50, written // 2)
        with mounted(campaign.folder / "disk", size) as grow:
            outputs = campaign.folder / "disk" / "out"
            run = campaign.start(outputs)
            run.wait()
            campaign.expect_message(tally, run, str(outputs), "Free space")
            grow()
            campaign.rerun(tally, outputs)
        progress.advance()
    for trial in range(campaign.each):
        stage = campaign.rng.choice(["sampling", "P(True)", "finished cell", "report"])
        where = "the store" if trial % 2 else "all outputs"
        tally = campaign.tally(f"{where} read-only")
        with mounted(campaign.folder / "disk", 100 * written):
            outputs = campaign.folder / "disk" / "out"
            run = campaign.start(outputs)
            if not run.until(stage):
                run.wait()
                campaign.fail(tally, f"it ended with {run.status} before {stage}", run)
                continue
            if trial % 4 < 2:
                run.kill()
                run.wait()
            (outputs / "store").mkdir(exist_ok=True)  # the run may have died before it made it
            with read_only(outputs / "store" if trial % 2 else campaign.folder / "disk"):
                if run.status is None:
                    run.wait()
                else:
                    run = campaign.start(outputs)
                    run.wait()
                if run.status:
                    campaign.expect_message(tally, run, str(outputs), "paths.outputs")
            campaign.rerun(tally, outputs)
        progress.advance()


def servers(campaign: Campaign, progress: Meter) -> None:
    """Take away the server that samples, or the judge, at any moment; later it is back."""
    with campaign.served():
        _servers_go(campaign, progress)


def _servers_go(campaign: Campaign, progress: Meter) -> None:
    seconds = _seconds(campaign.reference)
    for _ in range(campaign.each):
        status = 0
        while status == 0:  # else it was done before
            outputs = campaign.fresh()
            with server_process(faults=["slow"]) as (url, kill):
                where = [f"engine.base_url={url}", f"grading.llm_judge.base_url={url}"]
                run = campaign.start(outputs, *where)
                run.until("sampling", campaign.rng.randrange(2))
                time.sleep(campaign.rng.uniform(0, seconds))
                kill()
                status = run.wait()
        tally = campaign.tally("server and judge gone")
        campaign.expect_message(tally, run)
        with server_process() as (url, _):
            where = [f"engine.base_url={url}", f"grading.llm_judge.base_url={url}"]
            campaign.rerun(tally, outputs, *where)
        progress.advance()


def _seconds(run: Run) -> float:
    return max(moment.seconds for moment in run.moments)


FAULTS: dict[str, Callable[[Campaign, Meter], None]] = {
    "processes": processes, "clocks": clocks, "locks": locks, "damage": damage, "disk": disk,
    "servers": servers, "hostile-server": hostile_server, "hostile-store": hostile_store,
    "secrets": secrets,
}  # fmt: skip


def main() -> None:
    """Try everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=208)
    parser.add_argument("--each", type=int, default=6, help="trials of each other fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(["kills", *FAULTS]))
    options = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"seed {options.seed}")
    begin = time.monotonic()
    forked.preload()
    forked.make_small()
    with tempfile.TemporaryDirectory() as name, server_process() as (url, _):
        folder = Path(name)
        model = folder / "model"
        apart(lambda: str(_save_model(model)))
        settings = [*SETTINGS, *IN_PROCESS, f"model.hub_id={model}", f"paths.cache={folder}/cache"]
        settings += [f"grading.llm_judge.base_url={url}"]
        rng = random.Random(options.seed)
        campaign = Campaign(folder, settings, rng, console, options.each)
        campaign.undisturbed()
        console.print(f"An undisturbed run takes {_seconds(campaign.reference):.1f} s.")
        chosen = options.only.split(",")
        with suppress(KeyboardInterrupt):
            if "kills" in chosen:
                with meter(console, "Kills", options.kills) as progress:
                    kills(campaign, options.kills, progress)
            for fault, function in FAULTS.items():
                if fault in chosen:
                    with meter(console, f"Trials of {fault}", _trials(fault, campaign)) as progress:
                        function(campaign, progress)
    print_table(campaign, time.monotonic() - begin)
    sys.exit(1 if campaign.failures else 0)


def _trials(fault: str, campaign: Campaign) -> int:
    if fault == "hostile-store":
        return len(trials(campaign.each, random.Random()))
    if fault == "damage":
        return len(KINDS) * 2 * max(1, campaign.each // 3)
    counts = {"disk": 2 * campaign.each, "hostile-server": len(BOUNDED), "secrets": len(ECHOES)}
    return counts.get(fault, campaign.each)


def _save_model(folder: Path) -> Path:
    from tests.conftest import save_tiny_model

    return save_tiny_model(folder)


def print_table(campaign: Campaign, seconds: float) -> None:
    """Print what was tried and how it ended."""
    table = Table("fault", "tried", "kills", "reruns completed", "identical")
    rows = [(t.tried, t.kills, t.completed, t.identical) for t in campaign.tallies.values()]
    for fault, row in zip(campaign.tallies, rows, strict=True):
        table.add_row(fault, *map(str, row))
    table.add_section()
    table.add_row("all", *(str(sum(column)) for column in zip(*rows, strict=True)))
    campaign.console.print(table)
    campaign.console.print(f"{campaign.failures} failures, {seconds / 60:.0f} minutes")


if __name__ == "__main__":
    main()
