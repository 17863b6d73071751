"""Runs of W&B while a cell goes on: seen live, never in its way, and led by a sweep's agent."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from wandb_server import WandbServer

from benchmark.cell.watching import Point
from benchmark.config.composing import swept_run
from benchmark.config.schema import TrackerConfig
from benchmark.runs import wandb_run as runs
from benchmark.runs.wandb_run import wandb_run, watching
from tests.test_main import tiny
from tests.wandb_file import lines, logged

pytestmark = pytest.mark.usefixtures("private_wandb")
OFFLINE, ONLINE = TrackerConfig("wandb"), TrackerConfig("wandb", mode="online")
CONSOLE = Console(soft_wrap=True)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_LOOK_SECONDS", 0.05)


class Work:
    """Has a new point at each look, for as many as are given."""

    def __init__(self, *points: float) -> None:
        self.points = [*points]
        self.threads: set[str] = set()

    def look(self) -> Iterator[Point]:
        self.threads.add(threading.current_thread().name)
        if self.points:
            yield {"drawn": self.points.pop(0), "accuracy": 0.5}

    def done(self) -> None:
        while self.points:
            time.sleep(0.01)


def history(folder: Path) -> list[dict[str, float]]:
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return lines(logged(file))


def test_work_is_logged_while_it_goes_on_against_its_own_step(tmp_path: Path) -> None:
    work = Work(10, 20, 30)
    with wandb_run(OFFLINE, tmp_path, CONSOLE, name="cell") as run:
        with watching(run, CONSOLE)("live/d/test/responses", "drawn", work.look):
            work.done()
        run.log({"questions": 1})
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records = logged(file)
    found = [line.get("live/d/test/responses/drawn") for line in lines(records)]
    assert found == [10, 20, 30, None]
    (metric,) = [r.metric for r in records if r.WhichOneof("record_type") == "metric"]
    assert metric.glob_name == "live/d/test/responses/*"
    assert metric.step_metric == "live/d/test/responses/drawn"
    assert threading.current_thread().name not in work.threads


def test_what_is_new_at_the_end_is_logged(tmp_path: Path) -> None:
    work = Work()
    with (
        wandb_run(OFFLINE, tmp_path, CONSOLE, name="cell") as run,
        watching(run, CONSOLE)("live", "drawn", work.look),
    ):
        work.points = [7]
    assert [line["live/drawn"] for line in history(tmp_path)] == [7]


def test_a_run_that_fails_keeps_what_was_logged_and_is_marked(tmp_path: Path) -> None:
    work = Work(1, 2)

    def cell() -> None:
        with (
            wandb_run(OFFLINE, tmp_path, CONSOLE, name="cell") as run,
            watching(run, CONSOLE)("live", "drawn", work.look),
        ):
            work.done()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cell()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records = logged(file)
    assert [line["live/drawn"] for line in lines(records)] == [1, 2]
    (ended,) = [r.exit for r in records if r.WhichOneof("record_type") == "exit"]
    assert ended.exit_code == 1


@pytest.mark.parametrize("error", [ValueError("damaged"), OSError(28, "No space left"), KeyError()])
def test_a_look_that_fails_stops_no_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def look() -> Iterator[Point]:
        raise error
        yield {}

    with wandb_run(OFFLINE, tmp_path, CONSOLE, name="cell") as run:
        with watching(run, CONSOLE)("live", "drawn", look):
            pass
        run.log({"questions": 1})
    assert "live isn't logged any more while it runs" in capsys.readouterr().out
    assert history(tmp_path)[-1]["questions"] == 1


def test_looks_take_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_LOOK_SHARE", 0.1)
    starts: list[float] = []

    def slow() -> Iterator[Point]:
        starts.append(time.monotonic())
        time.sleep(0.1)
        yield from ()

    with (
        wandb_run(OFFLINE, tmp_path, CONSOLE, name="cell") as run,
        watching(run, CONSOLE)("live", "drawn", slow),
    ):
        time.sleep(2.5)
    assert 2 <= len(starts) <= 4  # one a second, and the last


def test_without_a_run_nothing_looks(tmp_path: Path) -> None:
    with wandb_run(TrackerConfig(), tmp_path, CONSOLE, name="cell") as run:
        work = Work(1)
        with watching(run, CONSOLE)("live", "drawn", work.look):
            pass
    assert work.points == [1]
    assert not list(tmp_path.iterdir())


def test_a_run_that_can_t_begin_is_told_and_the_cell_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with wandb_run(OFFLINE, tmp_path, CONSOLE, name="cell", id="no/id") as run:
        assert run is None
    assert "W&B can't log this run" in capsys.readouterr().out


def test_the_end_of_wandb_s_own_process_costs_no_cell(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with wandb_run(OFFLINE, tmp_path, CONSOLE, name="cell") as run:
        cores = [p for p in psutil.Process().children(recursive=True) if "wandb-core" in p.name()]
        assert cores
        work = Work(1)
        with watching(run, CONSOLE)("live", "drawn", work.look):
            for core in cores:
                core.kill()
            work.points += [2, 3]
            time.sleep(0.5)
    told = capsys.readouterr().out
    assert "live isn't logged any more while it runs" in told
    assert "W&B can't log this run" in told
    with wandb_run(OFFLINE, tmp_path / "next", CONSOLE, name="cell") as run:  # a multirun's next
        run.log({"questions": 1})
    assert history(tmp_path / "next")[-1]["questions"] == 1


WRITER = """
import sys, time
from pathlib import Path
from rich.console import Console
from benchmark.config.schema import TrackerConfig
from benchmark.runs import wandb_run as runs
runs._LOOK_SECONDS = 0.1
folder, first, wait = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
points = [{"drawn": first}, {"drawn": first + 10}]
tracker = TrackerConfig("wandb", mode="online")
with runs.wandb_run(tracker, folder, Console(), name="cell", id="one") as run:
    look = lambda: [points.pop(0)] if points else []
    with runs.watching(run, Console())("live", "drawn", look):
        time.sleep(wait)
"""


def writer(folder: Path, first: int, wait: float) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(first), str(wait)])


@pytest.mark.slow  # W&B uploads every 15 seconds, and its agent asks every 5
def test_a_run_is_seen_on_the_server_while_it_goes_on_and_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        first = writer(tmp_path, 10, 600)
        for _ in range(600):
            time.sleep(0.2)
            if len(server.history["one"]) == 2:
                break
        assert first.poll() is None  # it still runs
        children = psutil.Process(first.pid).children(recursive=True)
        assert any("sync" in process.cmdline() for process in children)
        first.kill()
        first.wait()
        gone, alive = psutil.wait_procs(children, timeout=30)
        assert gone
        assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        assert writer(tmp_path, 30, 1).wait(120) == 0
    told = [line["live/drawn"] for _, line in sorted(server.history["one"].items())]
    assert told == [10, 20, 30, 40]
    assert [line["_step"] for _, line in sorted(server.history["one"].items())] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WANDB_RUN_ID": "abc"}, None),
        ({"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "abc"}, "abc"),
        ({"WANDB_SWEEP_ID": "s"}, None),
    ],
)
def test_the_run_of_a_sweep_is_the_agent_s(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert swept_run() == expected


@pytest.mark.slow  # W&B uploads every 15 seconds, and its agent asks every 5
def test_an_agent_of_a_sweep_drives_cells_whose_runs_are_the_sweep_s(
    tmp_path: Path, tiny_model: Path
) -> None:
    sweep = (Path(__file__).parents[2] / "docs/sweep.yaml").read_text()
    settings = [*tiny(tiny_model, "estimator=[random]"), f"paths.outputs={tmp_path}/out"]
    parameters = dict(setting.split("=", 1) for setting in settings)
    parameters["model.decoding.temperature"] = "0.7"
    with WandbServer(sweep=sweep, trials=[parameters, parameters]) as server:
        variables = {
            "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "a" * 40, "WANDB_DIR": str(tmp_path),
            "WANDB_ENTITY": "me", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]), "CAPCAL_CACHE": str(tmp_path / "cache"),
        }  # fmt: skip
        agent = [sys.executable, "-m", "wandb", "agent", "me/capcal/some_sweep"]
        subprocess.run(agent, env=os.environ | variables, cwd=tmp_path, timeout=300, check=True)
    assert set(server.runs) == {"swept1", "swept0"}  # the second finds its cell finished
    for run in server.runs.values():
        assert run["sweep"] == "some_sweep"
        assert run["tags"] == ["tiny", "basics"]
    assert len(list(tmp_path.glob("out/store/tiny/basics/test/cell-*"))) == 1
    types = [artifact["artifactTypeName"] for artifact in server.artifacts]
    assert {"responses", "cell"} <= set(types)
