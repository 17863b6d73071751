"""The measured rate is that of the engine, takes no longer than it may, and the plan takes it."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from benchmark.engines import Decoding, Response, SampleRequest
from benchmark.errors import ModelError
from benchmark.runs import calibrate_rate
from benchmark.runs.calibrate_rate import main, measure
from benchmark.runs.rates import read_rates
from tests.cell.test_server_cell import settings
from tests.engines.server.scripted import ScriptedServer
from tests.test_main import tiny

DECODING = Decoding(temperature=1.0, top_p=1.0, max_new_tokens=20)


class Paced:
    """An engine that takes a fixed time for a token, up to some replies at once."""

    def __init__(self, output: float, prompt: float, at_once: int, counts: bool = True) -> None:
        self.output, self.prompt, self.at_once, self.counts = output, prompt, at_once, counts
        self.now, self.prompts = 0.0, []
        self.fails = False

    def sample(self, requests: Sequence[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        self.prompts += [request.prompt for request in requests]
        speed = min(len(requests), self.at_once) / self.at_once
        tokens = len(requests) * decoding.max_new_tokens
        self.now += len(requests) * 10 / self.prompt + tokens / (speed * self.output)
        for request in requests:
            reason = "error" if self.fails else "length"
            tokens = decoding.max_new_tokens if self.counts else None
            yield Response(request.question_id, 0, "x", None, reason, 10, tokens, 0, "no room")


@pytest.fixture
def clocked(monkeypatch):
    def start(engine: Paced) -> Paced:
        monkeypatch.setattr(calibrate_rate.time, "monotonic", lambda: engine.now)
        return engine

    yield start
    monkeypatch.undo()


def test_batches_grow_until_the_engine_is_full_and_the_rate_is_that(clocked) -> None:
    engine = clocked(Paced(output=1000, prompt=1e9, at_once=64))
    found = measure(engine, ["a", "b"], DECODING, 60)
    assert found.output_tokens_per_second == pytest.approx(1000, rel=0.01)
    assert found.replies >= 64
    assert engine.now < 60


def test_a_prompt_is_read_once_so_that_no_cache_answers(clocked) -> None:
    engine = clocked(Paced(output=1e5, prompt=500, at_once=1))
    found = measure(engine, ["a", "b"], DECODING, 30)
    assert found.prompt_tokens_per_second == pytest.approx(500, rel=0.1)
    assert len(set(engine.prompts)) == len(engine.prompts)


@pytest.mark.parametrize("seconds", [0.001, 1, 10, 100])
def test_it_takes_no_longer_than_it_may_but_for_the_first_batches(clocked, seconds) -> None:
    engine = clocked(Paced(output=100, prompt=1000, at_once=8))
    measure(engine, ["a"], DECODING, seconds)
    first = 3 * (8 * 20 / 100 + 80 / 1000)
    assert engine.now < 1.1 * max(seconds, first)


@pytest.mark.parametrize(("fault", "told"), [("fails", "no room"), ("counts", "--tokens-per-sec")])
def test_what_tells_no_rate_is_refused(clocked, fault, told) -> None:
    engine = clocked(Paced(1000, 1000, 8))
    setattr(engine, fault, fault == "fails")
    with pytest.raises(ModelError, match=told):
        measure(engine, ["a"], DECODING, 1)


def test_the_command_writes_the_row_of_a_real_engine(tmp_path: Path, capsys, tiny_model) -> None:
    begin = time.monotonic()
    main([*tiny(tiny_model), f"paths.outputs={tmp_path}/out", "--minutes=0.02"])
    took = time.monotonic() - begin
    assert "output tokens a second" in capsys.readouterr().out
    table = pl.read_csv(tmp_path / "out" / "rates.csv")
    assert table["model"].to_list() == ["tiny"]
    rate = read_rates(tmp_path / "out")["tiny"]
    assert rate.source.startswith("measured on 20")
    assert 1 < rate.output_tokens_per_second < 8 * 4096 * 4 / took * 100
    assert not (tmp_path / "out" / "store").exists()


def test_a_server_is_measured_by_the_tokens_that_it_counts(tmp_path, capsys, tiny_model) -> None:
    with ScriptedServer() as server:
        main([*settings(tiny_model, server), f"paths.outputs={tmp_path}", "--minutes=0.05"])
        assert max(server.asked.values()) == 1  # no prompt twice, so that none is in a cache
    rate = read_rates(tmp_path)["tiny"]
    assert "by Server, " in rate.source
    assert rate.output_tokens_per_second > 1
    with ScriptedServer(failing=[" "]) as server, pytest.raises(SystemExit) as stopped:
        main([*settings(tiny_model, server), f"paths.outputs={tmp_path}", "--minutes=0.05"])
    assert stopped.value.code == 1
    assert "Error:" in capsys.readouterr().err
    assert read_rates(tmp_path)["tiny"] == rate  # a failure writes no number


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--minutes=0"], "above 0"),
        (["model=smollm2_135m,gemma3_270m"], "name 2 runs"),
        (["modell=x"], "modell"),
    ],
)
def test_what_is_mistyped_is_one_message(capsys, arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code in (1, 2)
    printed = capsys.readouterr()
    assert told in printed.err
    assert "Traceback" not in printed.err
