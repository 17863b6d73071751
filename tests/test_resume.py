"""Real processes: killed, run again, run at once. What costs model time is never drawn twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.test_main import run, tiny


def start(tmp_path: Path, model: Path, *overrides: str) -> subprocess.Popen[str]:
    settings = tiny(
        model, "estimator=[random]", f"paths.outputs={tmp_path}/out", f"paths.cache={tmp_path}/c",
        *overrides,
    )  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", *settings],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def parts(tmp_path: Path, stage: str = "responses") -> list[Path]:
    return sorted(tmp_path.glob(f"out/store/tiny/basics/test/{stage}-*/part-*"))


def grades(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("out/store/tiny/basics/test/grades-*"))


def responses(tmp_path: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in parts(tmp_path)])


def assert_each_sample_once(table: pl.DataFrame, questions: int, k: int) -> None:
    assert table.height == questions * k
    assert table.select("question_id", "sample_index").is_unique().all()
    assert table["question_id"].n_unique() == questions


def test_a_killed_run_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    process = start(tmp_path, tiny_model, "sampling.k=400")
    deadline = time.monotonic() + 100
    while not parts(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    saved = responses(tmp_path).height
    assert 0 < saved < 12 * 400
    output = finish(start(tmp_path, tiny_model, "sampling.k=400"))
    assert f"of {12 * 400 - saved:,}" in output
    table = responses(tmp_path).sort("question_id", "sample_index")
    assert_each_sample_once(table, 12, 400)
    settings = tiny(tiny_model, "estimator=[random]", "sampling.k=400")
    assert run(monkeypatch, tmp_path / "undisturbed", *settings) == 0
    undisturbed = responses(tmp_path / "undisturbed").sort("question_id", "sample_index")
    keys = ["question_id", "sample_index", "seed"]
    assert table.select(keys).equals(undisturbed.select(keys))
    assert (table["text"] == undisturbed["text"]).mean() > 0.999


def test_more_samples_more_estimators_and_another_grader_draw_only_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def printed(*overrides: str) -> str:
        assert run(monkeypatch, tmp_path, *tiny(tiny_model, "estimator=[random]", *overrides)) == 0
        return capsys.readouterr().out

    printed("sampling.k=4")
    before = parts(tmp_path)
    assert "Responses (test): 24 of 24" in printed("sampling.k=6")
    assert_each_sample_once(responses(tmp_path), 12, 6)
    assert set(before) < set(parts(tmp_path))
    after = parts(tmp_path)
    output = printed("sampling.k=6", "estimator=[oracle_cc,p_true]")
    assert "Responses" not in output
    assert "P(True): 12 of 12" in output
    assert parts(tmp_path) == after
    assert len(grades(tmp_path)) == 1
    assert "Responses" not in printed("sampling.k=6", "grading=[exact]")
    assert parts(tmp_path) == after
    assert len(grades(tmp_path)) == 2


def test_two_runs_of_one_cell_at_once_share_the_work(tmp_path: Path, tiny_model: Path) -> None:
    both = [start(tmp_path, tiny_model, "sampling.k=100") for _ in range(2)]
    outputs = [finish(process) for process in both]
    assert_each_sample_once(responses(tmp_path), 12, 100)
    assert sum("Responses (test)" in output for output in outputs) == 1
