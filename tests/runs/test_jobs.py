"""A multirun's cells: one that fails stops no other, and the end says what failed and why."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from rich.console import Console

from benchmark.errors import StoreError
from benchmark.runs import jobs as grid
from benchmark.runs.summary import conclude
from tests.runs.test_tracking import logged
from tests.test_main import run, tiny

LIMIT = 60  # more than dataset=facts has


def sweep(model: Path, *overrides: str) -> list[str]:
    kept = [s for s in tiny(model) if not s.startswith(("model.name", "dataset.limit"))]
    return [
        "experiment=demo_grid", *kept, "estimator=[random,oracle_cc]", f"dataset.limit={LIMIT}",
        *overrides,
    ]  # fmt: skip


def command(tmp_path: Path, model: Path, *overrides: str) -> list[str]:
    places = [f"paths.outputs={tmp_path}/out", f"paths.cache={tmp_path}/cache"]
    return [sys.executable, "-m", "benchmark", *places, *sweep(model, *overrides)]


def states(tmp_path: Path) -> dict[str, str]:
    paths = max(tmp_path.glob("out/20*/*-demo_grid")).glob("*/state.json")
    return {path.parent.name: read_state(path.parent)["state"] for path in paths}


def test_a_failed_cell_stops_no_other_and_the_end_says_why(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert run(monkeypatch, tmp_path, *sweep(tiny_model, "dataset=facts,words")) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    summary = printed.out[printed.out.index("Grid of 4 cells") :]
    assert "2 finished, 2 failed." in summary
    for model in ("smollm2_135m", "gemma3_270m"):
        line = next(line for line in summary.splitlines() if f"model={model}" in line)
        assert f"failed: model={model} dataset=facts: " in line
        assert f"a limit of {LIMIT} questions" in line
    assert list(states(tmp_path).values()).count("finished") == 2
    (report,) = tmp_path.glob("out/reports/*-demo_grid/report.html")
    assert f"Report of the grid: {report}" in summary

    again = sweep(tiny_model, "dataset=facts,words", "dataset.limit=50")
    assert run(monkeypatch, tmp_path, *again) == 0
    assert "Grid of 4 cells" in capsys.readouterr().out
    assert run(monkeypatch, tmp_path, *again) == 0
    printed = capsys.readouterr()
    assert printed.out.count("finished before") == 4
    assert "4 finished." in printed.out


def test_a_grid_is_one_group_in_wandb_with_its_report_as_the_summary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / f".wandb-{name.lower()}"))
    settings = sweep(tiny_model, "dataset=words", "model=smollm2_135m,gemma3_270m")
    logging = [*settings, "tracker=wandb"]
    assert run(monkeypatch, tmp_path, *logging, "grid=some_grid", every_figure=True) == 0
    (report,) = tmp_path.glob("out/reports/*-some_grid/report.html")

    def runs() -> list[Any]:
        """Every run that was logged, as often as it was."""
        return [
            record.run
            for path in sorted(tmp_path.glob("out/*/**/wandb/offline-run-*/*.wandb"))
            for record in logged(path)
            if record.WhichOneof("record_type") == "run"
        ]

    def cells(group: str) -> list[str]:
        return [r.run_id for r in runs() if (r.run_group, r.job_type) == (group, "cell")]

    records = runs()
    assert {record.run_group for record in records} == {"some_grid"}
    assert sorted(record.job_type for record in records) == ["cell", "cell", "summary"]
    assert len({record.run_id for record in records}) == 3
    assert list(report.parent.glob("wandb/offline-run-*/files/media/table/tables/brier_*"))

    assert run(monkeypatch, tmp_path, *logging, "grid=other") == 0
    assert len({*cells("some_grid"), *cells("other")}) == 4  # finished cells join another grid, too
    for group in ("some_grid", "other"):
        assert run(monkeypatch, tmp_path, *logging, f"grid={group}") == 0
        assert len(cells(group)) == 2  # none is logged again


def test_a_fault_of_the_program_is_told_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    from benchmark.questions.basics import Basics

    kept = Basics.load

    def load(self, split):
        if self.name == "facts":
            raise ZeroDivisionError("planted")
        return kept(self, split)

    monkeypatch.setattr(Basics, "load", load)
    settings = sweep(tiny_model, "dataset=facts,words", "model=smollm2_135m")
    assert run(monkeypatch, tmp_path, *settings) == 1
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert "failed: dataset=facts: planted" in printed.out
    assert sorted(states(tmp_path).values()) == ["failed", "finished"]
    single = tiny(tiny_model, "dataset=facts", "estimator=[random]")
    assert run(monkeypatch, tmp_path, *single) == 1
    assert "ZeroDivisionError: planted" in capsys.readouterr().err


def test_a_mistyped_key_ends_before_any_cell_and_without_a_summary(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model: Path,
) -> None:
    assert run(monkeypatch, tmp_path, *sweep(tiny_model, "dataset.limti=3")) == 1
    printed = capsys.readouterr()
    assert "limti" in printed.err
    assert "Grid of" not in printed.out


def test_folders_and_orders_of_one_s_own_are_told_rightly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "counts.csv").write_text("question_id,n,c,p\na,4,1,0.5\nb,4,4,0.7\n")
    swept = "model.name=shuffle(one,.two,three,.four)"
    settings = [
        "hydra.mode=MULTIRUN",
        "dataset=counts",
        f"dataset.path={tmp_path}/counts.csv",
        swept,
    ]
    settings += ["hydra.sweep.subdir=cells/x${hydra.job.num}", "statistics.resamples=5"]
    assert run(monkeypatch, tmp_path, *settings, "application=[]") == 1
    printed = capsys.readouterr().out
    assert "2 finished, 2 failed." in printed
    for name in (".two", ".four"):
        assert f"failed: model.name={name}: model.name={name} is not allowed" in printed
    assert "Report of the grid" in printed
    assert "subset" not in printed  # what fontTools says of each font


def test_a_damaged_state_is_that_of_a_job_that_has_not_started(tmp_path: Path) -> None:
    (tmp_path / "0-cell").mkdir()
    (tmp_path / "jobs.json").write_text('[["a=1"], ["a=2"]]')
    good = {"number": 0, "overrides": ["a=1"], "state": "finished", "reason": ""}
    faults = [{"number": 7}, {"number": "0"}, {"overrides": 7}, {"state": "done"}]
    for text in ["", '{"number": 0, "sta', "[" * 100_000, *(json.dumps(good | f) for f in faults)]:
        (tmp_path / "0-cell" / "state.json").write_text(text)
        assert {job.state for job in grid.read_jobs(tmp_path)} == {"not started"}
    for text in ['[["a=1"', "[" * 100_000]:
        (tmp_path / "jobs.json").write_text(text)
        with pytest.raises(StoreError, match=r"jobs\.json is damaged"):
            grid.read_jobs(tmp_path)


def test_cells_run_in_processes_of_their_own(tmp_path: Path, tiny_model: Path) -> None:
    settings = ["dataset=facts,words", "model=smollm2_135m", "hydra/launcher=joblib"]
    done = subprocess.run(
        command(tmp_path, tiny_model, *settings, "hydra.launcher.n_jobs=2"),
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "1 finished, 1 failed." in done.stdout
    assert f"failed: dataset=facts: dataset=facts: a limit of {LIMIT} questions" in done.stdout


OWN_ESTIMATOR = """
from dataclasses import dataclass

import polars as pl

from benchmark.estimators.estimator import Estimator
from benchmark.records import CONFIDENCE, Estimate


@dataclass
class Constant(Estimator):
    level: float = 0.5

    def estimate(self, cell, role="evaluation"):
        table = cell.questions[role].select(
            "question_id", confidence=pl.lit(self.level), status=pl.lit("ok")
        )
        return Estimate(pl.concat([CONFIDENCE.to_frame(), table], how="diagonal"))
"""


def own_package(folder: Path) -> None:
    """Lay out a package that has an estimator, with its configuration, as a stranger would."""
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "constant.py").write_text(OWN_ESTIMATOR)
    (folder / "my_conf" / "estimator").mkdir(parents=True)
    (folder / "my_conf" / "estimator" / "constant.yaml").write_text(
        "# @package estimator.constant\n_target_: my_lab.constant.Constant\nlevel: 0.25\n"
    )


def launch_own_package(folder: Path, model: Path, launcher: list[str], environment) -> str:
    """Run two cells with the estimator of ``own_package`` as jobs, from its folder."""
    own_package(folder)
    settings = [s for s in tiny(model) if not s.startswith(("estimator", "application"))]
    ended = subprocess.run(
        [
            *(Path(sys.executable).parent / "capcal", "-m", *settings, *launcher),
            *("dataset=numbers,words", "estimator=[random,constant]", "application=[]"),
            *(f"paths.outputs={folder}/out", f"paths.cache={folder}/cache"),
        ],
        cwd=folder, text=True, timeout=300, capture_output=True, check=False,
        env={**environment, "CAPCAL_CONF": "my_conf", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return ended.stdout + ended.stderr


def confidences(folder: Path) -> list[float]:
    """What the estimator of ``own_package`` said of all questions of all cells."""
    tables = folder.glob("out/store/*/*/test/cell-*/confidences.parquet")
    found = pl.concat([pl.read_parquet(table) for table in tables])
    return found.filter(estimator="constant")["confidence"].to_list()


def test_jobs_in_processes_find_a_package_of_one_s_own(tmp_path: Path, tiny_model: Path) -> None:
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    output = launch_own_package(tmp_path, tiny_model, launcher, os.environ)
    assert "2 finished." in output
    assert set(confidences(tmp_path)) == {0.25}


def test_a_killed_job_is_told_from_what_lies_on_the_disk(tmp_path: Path, tiny_model: Path) -> None:
    settings = ["dataset=numbers,words,facts", "model=smollm2_135m", "hydra/launcher=joblib"]
    settings += ["hydra.launcher.n_jobs=2", "sampling.k=1000", "dataset.limit=50"]
    process = subprocess.Popen(
        command(tmp_path, tiny_model, *settings),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 150
    while not list(tmp_path.glob("out/store/smollm2_135m/numbers/test/responses-*/part-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children()
    max(workers, key=lambda worker: worker.cpu_times().user).kill()
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 1, output
    assert "Error: The launcher gave up: " in output
    assert "2 not ended, 1 not started." in output
    assert "not ended: dataset=numbers: see " in output
    assert "not started: dataset=facts" in output


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (None, {"state": "finished", "reason": ""}),
        (ValueError("why"), {"state": "failed", "reason": "why"}),
        (ValueError(), {"state": "failed", "reason": "ValueError"}),
        (SystemExit(1), {"state": "not ended", "reason": ""}),
        (KeyboardInterrupt(), {"state": "not ended", "reason": ""}),
    ],
)
def test_a_job_leaves_its_state(tmp_path: Path, end: BaseException | None, state) -> None:
    def job() -> None:
        with grid.recorded(tmp_path):
            assert read_state(tmp_path)["state"] == "not ended"
            if end is not None:
                raise end

    if end is None:
        job()
    else:
        with pytest.raises(type(end)):
            job()
    assert read_state(tmp_path) == state


def test_a_job_with_faults_has_failed(tmp_path: Path) -> None:
    with grid.recorded(tmp_path) as faults:
        faults += ["a", "b"]
    assert read_state(tmp_path) == {"state": "failed", "reason": "a; b"}


def read_state(folder: Path) -> dict[str, str]:
    found = json.loads((folder / "state.json").read_text())
    return {key: found[key] for key in ("state", "reason")}


def test_without_a_multirun_there_is_nothing_to_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(Console())
    assert capsys.readouterr().out == ""
