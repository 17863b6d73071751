"""Real processes: killed, run again, run at once. What costs model time is never drawn twice."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from benchmark.sampling.responses import STORED_RESPONSE
from tests.engines.server.scripted import ScriptedServer
from tests.interpreters import COMMAND, Interpreter, interpreters
from tests.test_main import run, tiny

Python = Callable[..., Interpreter]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    with interpreters(tmp_path_factory.mktemp("interpreters")) as server:
        yield server


def start(python: Python, tmp_path: Path, model: Path, *overrides: str) -> Interpreter:
    settings = tiny(
        model, "estimator=[random]", f"paths.outputs={tmp_path}/out", f"paths.cache={tmp_path}/c",
        *overrides,
    )  # fmt: skip
    return python(COMMAND, *settings)


def finish(process: Interpreter) -> str:
    assert process.wait() == 0, process.output
    return process.output


def parts(tmp_path: Path, stage: str = "responses") -> list[Path]:
    return sorted(tmp_path.glob(f"out/store/tiny/basics/test/{stage}-*/part-*"))


def responses(tmp_path: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in parts(tmp_path)])


def assert_each_sample_once(table: pl.DataFrame, questions: int, k: int) -> None:
    assert table.height == questions * k
    assert table.select("question_id", "sample_index").is_unique().all()
    assert table["question_id"].n_unique() == questions


TRAINING = """
import torch
from benchmark.config.trainer import TrainerConfig
from benchmark.probes import FeatureSet, ProbeSettings, train_probe
from benchmark.probes.module import ProbeModule
from benchmark.probes.settings import ByLightning

def split(name, questions):
    ids = [f"{name} {i}" for i in range(questions)]
    n = torch.full((questions,), 2)
    return FeatureSet(ids, torch.randn(questions, 2, 8), n, torch.ones_like(n))

ProbeModule.on_train_epoch_start = lambda self: print("training", flush=True)
settings = ProbeSettings(
    optimizer="sgd", strengths=[.01], learning_rates=[.001], patience=10**7
)
forever = ByLightning(TrainerConfig(max_epochs=10**7))
train_probe(split("train", 40), split("validation", 20), settings, by_steps=forever)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_training_of_probes_at_once(python: Python, number: int) -> None:
    process = python(TRAINING)
    deadline = time.monotonic() + 60
    while "training" not in process.output and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, number)
    status = process.wait(10)
    assert status < 0 if number == signal.SIGTERM else "KeyboardInterrupt" in process.output


def test_a_killed_run_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path, python: Python
) -> None:
    process = start(python, tmp_path, tiny_model, "sampling.k=400")
    deadline = time.monotonic() + 100
    while not parts(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    saved = responses(tmp_path).height
    assert 0 < saved < 12 * 400
    output = finish(start(python, tmp_path, tiny_model, "sampling.k=400"))
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
    assert "Responses" not in printed("sampling.k=6", "grading=[exact]")
    assert parts(tmp_path) == after
    grades = tmp_path.glob("out/store/tiny/basics/test/cell-*/grades.parquet")
    assert {pl.read_parquet(path)["grader"][0] for path in grades} == {"basics", "exact"}


def test_two_runs_of_one_cell_at_once_share_the_work(
    tmp_path: Path, tiny_model: Path, python: Python
) -> None:
    both = [start(python, tmp_path, tiny_model, "sampling.k=100") for _ in range(2)]
    for process in both:
        finish(process)
    assert_each_sample_once(responses(tmp_path), 12, 100)


SAMPLER = """
import sys
from pathlib import Path
from rich.console import Console
from benchmark.sampling.responses import sample_responses
from benchmark.config.schema import ModelConfig
from benchmark.engines.settings import ServerConfig
from benchmark.engines import Decoding
from benchmark.engines.server.engine import ServerEngine
from benchmark.store import rows
from benchmark.store.artifact import Store

rows._PART_SECONDS = 0.02
console = Console(quiet=True)
config = ServerConfig(base_url=sys.argv[1], model="served", concurrency=4, samples_per_request=3)
sample_responses(
    {f"q{i}": f"Question {i}?" for i in range(40)}, 30,
    engine=ServerEngine(ModelConfig(name="m"), config, {}, "key", console, None),
    decoding=Decoding(0.7, 0.9, 50), seed=0, what="Responses",
    artifact=Store(Path(sys.argv[2]), console).artifact("m", "d", "test", "responses", {}),
)
"""


def test_killed_at_three_moments_every_sample_of_a_server_is_there_once(
    tmp_path: Path, python: Python
) -> None:
    rng = random.Random(0)
    kept = []
    with ScriptedServer("slow") as server:
        for _ in range(3):
            process = python(SAMPLER, server.url, str(tmp_path))
            seen = server.asked.total()  # without the checks at the start
            while server.asked.total() < seen + 36 and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.4))
            process.kill()
            kept.append(stored(tmp_path).height)
    with ScriptedServer() as server:  # the first may still answer those that are dead
        finish(python(SAMPLER, server.url, str(tmp_path)))
        assert server.asked.total() == 1200 - kept[-1]
        finish(python(SAMPLER, server.url, str(tmp_path / "undisturbed")))
    assert 0 < kept[-1] < 1200
    assert kept == sorted(kept)
    found = stored(tmp_path)
    assert_each_sample_once(found, 40, 30)
    keys = ["question_id", "sample_index"]
    assert found.sort(keys).equals(stored(tmp_path / "undisturbed").sort(keys))


def stored(tmp_path: Path) -> pl.DataFrame:
    paths = tmp_path.glob("m/d/test/responses-*/part-*.parquet")
    return pl.concat([STORED_RESPONSE.to_frame(), *map(pl.read_parquet, paths)])
