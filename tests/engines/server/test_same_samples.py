"""What a server samples doesn't depend on how it was asked, and repeats that can't be are told."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, Response, SampleRequest
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.server.repeats import Repeats, warmth
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ModelError
from benchmark.sampling.responses import Many, sample_responses
from benchmark.store.artifact import Store
from tests.engines.server.scripted import ScriptedServer

WARM = Decoding(0.7, 0.95, 200)
PROMPTS = {f"q{i}": f"Question {i}?" for i in range(5)}
CONTENT = ["question_id", "sample_index", "text", "seed"]  # tokens are shared out by request


class Cut:
    """An engine whose process ends after some responses."""

    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, engine: ServerEngine, responses: int) -> None:
        self.engine, self.responses = engine, responses

    def sample(self, *asked: Any) -> Iterator[Response]:
        for count, response in enumerate(self.engine.sample(*asked)):
            if count == self.responses:
                raise SystemExit
            yield response


def sampled(
    server: ScriptedServer,
    folder: Path,
    k: Many,
    size: int = 8,
    prompts: dict[str, str] = PROMPTS,
    console: Console | None = None,
    cut: int | None = None,
) -> pl.DataFrame:
    """Return k responses to each prompt; the run ends after ``cut`` of them, as one is killed."""
    console = console or Console(quiet=True)
    config = ServerConfig(
        base_url=server.url, model="served", attempts=1, concurrency=3, samples_per_request=size
    )
    engine = ServerEngine(ModelConfig(name="m"), config, {}, "key", console, None)
    if cut is not None:
        engine = Cut(engine, cut)  # type: ignore[assignment]
    artifact = Store(folder, console).artifact("m", "d", "test", "responses", {})
    return sample_responses(
        prompts, k, engine=engine, decoding=WARM, seed=0, artifact=artifact, what="Responses"
    )


@pytest.mark.parametrize("faults", [(), ("own seeds",), ("ignores n",), ("no usage",)])
def test_samples_do_not_depend_on_how_a_server_was_asked(
    tmp_path: Path, faults: tuple[str, ...]
) -> None:
    with ScriptedServer(*faults) as server:
        whole = sampled(server, tmp_path / "whole", 24).select(CONTENT)
        assert whole.height == 120
        assert whole["text"].n_unique() > 100
        for name, steps in {
            "12 then 24": [(12, 8), (24, 8)],
            "one by one": [(24, 1)],
            "three at a time": [(24, 3)],
            "all at once": [(24, 64)],
            "other chunks": [(5, 8), (11, 3), (24, 7)],
            "some questions first": [({"q1": 7, "q3": 20}, 8), (24, 8)],
            "rounds": [(4, 8), ({"q0": 6, "q4": 9}, 8), ({"q0": 13}, 2), (24, 8)],
            "fewer questions": [({"q2": 24}, 5), (24, 5)],
        }.items():
            for k, size in steps:
                found = sampled(server, tmp_path / name, k, size)
            assert found.select(CONTENT).equals(whole), name


@pytest.mark.parametrize("faults", [(), ("own seeds",)])
def test_a_run_that_ended_anywhere_goes_on_to_the_same_bits(
    tmp_path: Path, faults: tuple[str, ...]
) -> None:
    with ScriptedServer(*faults) as server:
        whole = sampled(server, tmp_path / "whole", 12)
        for cut in (0, 1, 7, 8, 9, 13, 30, 44, 59):
            folder = tmp_path / str(cut)
            with pytest.raises(SystemExit):
                sampled(server, folder, 12, cut=cut)
            assert sampled(server, folder, 12).equals(whole), cut
        with pytest.raises(SystemExit):
            sampled(server, tmp_path / "sizes", 12, 8, cut=20)
        with pytest.raises(SystemExit):
            sampled(server, tmp_path / "sizes", 12, 5, cut=15)
        found = sampled(server, tmp_path / "sizes", 12, 3)
        assert found.select(CONTENT).equals(whole.select(CONTENT))


def test_a_request_that_failed_is_made_up_for_with_the_same_samples(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        whole = sampled(server, tmp_path / "whole", 20).select(CONTENT)
    with ScriptedServer(script=["400"] * 4) as server:
        first = sampled(server, tmp_path / "other", 20, 3)
        assert 0 < first.filter(pl.col("finish_reason") == "error").height < 100
        assert sampled(server, tmp_path / "other", 20).select(CONTENT).equals(whole)


def test_fewer_choices_than_asked_for_are_made_up_for_with_the_same_samples(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        whole = sampled(server, tmp_path / "whole", 20).select(CONTENT)
    with ScriptedServer(reshape=lambda reply, _: reply | {"choices": reply["choices"][:3]}) as few:
        found = sampled(few, tmp_path / "other", 20)
    assert found.select("text", "seed").equals(whole.select("text", "seed"))


def test_a_server_with_seeds_of_its_own_is_asked_for_each_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer("own seeds") as server:
        sampled(server, tmp_path, 8, console=Console(width=300))
        assert {b["n"] for b in server.bodies if "Question" in b["messages"][-1]["content"]} == {1}
    assert "seeds of its own: one request is sent for each sample" in capsys.readouterr().out


@pytest.mark.parametrize("first", [0, 5, 2**31 - 2, 2**31 + 5, 2**62])
def test_seeds_are_counted_on_and_stay_in_32_bits(first: int) -> None:
    request = SampleRequest("q", "p", (3, 4, 9), (1, 2, 3), first)
    seeds = [request.counted_seed(place) for place in range(3)]
    assert [seed - seeds[0] for seed in seeds] == [0, 1, 6]
    assert all(0 <= seed < 2**31 for seed in seeds)


WORDS = ["alpha", "beta", "gamma", "delta", "omega", "sigma", "kappa", "theta", "lambda", "zeta"]


def prose(source: str, words: int = 120) -> str:
    rng = random.Random(source)
    return " ".join(rng.choice(WORDS) + str(rng.randrange(100)) for _ in range(words))


class Server(ScriptedServer):
    """Its texts are what ``text`` makes of prompt and seed, but for the check at the start."""

    def __init__(self, text: Callable[[str, int, int], str]) -> None:
        def reshape(reply: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
            prompt = body["messages"][-1]["content"]
            for i, choice in enumerate(reply["choices"]):
                choice["message"]["content"] = text(prompt, body["seed"], i)
            return reply | {"usage": {"prompt_tokens": 7, "completion_tokens": 150}}

        super().__init__(reshape=reshape)


# ruff: noqa: ARG005 - all texts are made of the same three things
FAULTS = {
    "one text for each question": lambda prompt, *_: prose(prompt),
    "one text for all": lambda *_: prose("all"),
    "the first reply again": lambda prompt, seed, i: prose(f"{prompt}{i}"),
    "six texts": lambda prompt, seed, i: prose(f"{prompt}{(seed + i) % 6}"),
    "one choice copied": lambda prompt, seed, i: prose(f"{prompt}{seed}"),
    "halves": lambda prompt, seed, i: prose(f"{prompt}{seed}{i % 4}"),
    "some questions": lambda prompt, seed, i: prose(
        prompt if prompt[9] in "02468" else f"{prompt}{seed + i}"
    ),
    "a cut text": lambda prompt, *_: prose(prompt, 80),
    "short first replies again": lambda prompt, seed, i: f"answer {i}",
    "short copies": lambda prompt, seed, i: f"answer {seed}",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("size", [8, 1])
def test_repeats_that_chance_cannot_explain_end_the_run(
    tmp_path: Path, fault: str, size: int
) -> None:
    if size == 1 and fault in ("one choice copied", "halves", "short copies"):
        return  # no copies where each request is for one
    prompts = {f"q{i}": f"Question {i}?" for i in range(12)}
    with Server(FAULTS[fault]) as server:
        if size == 1 and fault.startswith("short"):
            assert sampled(server, tmp_path, 24, size, prompts).height == 12 * 24
            return
        with pytest.raises(ModelError, match=r"repeats itself at temperature 0\.7: .*a cache"):
            sampled(server, tmp_path, 24, size, prompts)
        assert server.asked.total() < 12 * 24


RIGHT = {
    "long texts": lambda prompt, seed, i: prose(f"{prompt}{seed + i}"),
    "letters": lambda prompt, seed, i: "ABCD"[random.Random(f"{prompt}{seed + i}").randrange(4)],
    "nearly one letter": lambda prompt, seed, i: (
        "A" if random.Random(f"{prompt}{seed + i}").random() < 0.97 else "B"
    ),
    "one letter": lambda *_: "A",
    "a number": lambda *_: "The answer is 42.",
    "two sentences": lambda prompt, seed, i: (
        "The capital of France is Paris." if (seed + i) * 7919 % 13 < 6 else "It is Paris."
    ),
    "a loop": lambda *_: "1 " * 400,
    "a refusal": lambda *_: "I'm sorry, but I can't help with that request.",
    "nothing": lambda *_: "",
    "two poems known by heart": lambda prompt, seed, i: prose(
        prompt if prompt in ("Question 1?", "Question 7?") else f"{prompt}{seed + i}"
    ),
    "long with a few that are equal": lambda prompt, seed, i: prose(
        f"{prompt}{random.Random(f'{prompt}{seed + i}').randrange(100_000)}"
    ),
}


@pytest.mark.parametrize("right", RIGHT)
@pytest.mark.parametrize("size", [8, 2, 1])
def test_answers_that_may_be_alike_are_no_finding(tmp_path: Path, right: str, size: int) -> None:
    prompts = {f"q{i}": f"Question {i}?" for i in range(8)}
    with Server(RIGHT[right]) as server:
        assert sampled(server, tmp_path, 16, size, prompts).height == 8 * 16


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(0.0, 1.0, 200), Decoding(0.01, 1.0, 200), Decoding(0.2, 1.0, 200),
        Decoding(0.7, 1.0, 200, top_k=1), Decoding(0.7, 1e-6, 200), Decoding(1.0, 0.05, 200),
        Decoding(1.0, 1.0, 200, min_p=1.0), Decoding(1.5, 1.0, 200, top_k=1),
    ],
)  # fmt: skip
def test_a_peaked_model_may_repeat_itself_at_any_length(decoding: Decoding) -> None:
    repeats = Repeats(warmth(decoding))
    for i in range(50):
        for _ in range(4):
            assert repeats.add(f"q{i}", [prose(f"q{i}")] * 8) is None


@pytest.mark.parametrize("many", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("answers", [1, 2, 4, 50])
def test_the_order_of_peaked_answers_gives_no_false_alarm(many: int, answers: int) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        repeats = Repeats(1.0)
        for question in range(200):
            weights = [0.5**i for i in range(answers)]
            for _ in range(12):
                texts = rng.choices([f"{question} is {i}" for i in range(answers)], weights, k=many)
                assert repeats.add(f"q{question}", texts) is None
