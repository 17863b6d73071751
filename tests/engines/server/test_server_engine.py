"""The server engine against a real HTTP server that plays failures."""

import math
import time

import pytest
from rich.console import Console

from benchmark.config.schema import FewShotConfig, ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ModelError
from benchmark.sampling.seeds import sample_seed
from tests.engines.server.scripted import ScriptedServer

DECODING = Decoding(0.7, 0.9, 50)
QUIET = Console(quiet=True)


def engine(server, console=QUIET, model=None, **settings):
    given = {"model": "served", "attempts": 4, "timeout": 1.0, "concurrency": 8, **settings}
    config = ServerConfig(base_url=server.url, **given)
    model = model or ModelConfig(name="m")
    return ServerEngine(model, config, {"weights": "w"}, "key", console, in_process=None)


def requests(questions=5, k=10):
    return [
        SampleRequest(
            f"q{i}", f"Question {i}?", tuple(range(k)),
            tuple(sample_seed(0, f"q{i}", j) for j in range(k)),
        )
        for i in range(questions)
    ]  # fmt: skip


def keys(responses):
    return sorted((r.question_id, r.sample_index) for r in responses)


EVERY = sorted((f"q{i}", j) for i in range(5) for j in range(10))


def test_samples_are_asked_for_in_chunks_with_a_seed_each():
    with ScriptedServer() as server:
        responses = list(engine(server, samples_per_request=4).sample(requests(), DECODING))
        sent = [b for b in server.bodies if "Question" in b["messages"][-1]["content"]]
    assert keys(responses) == EVERY
    assert sorted(b["n"] for b in sent) == [2] * 5 + [4] * 10
    assert len({b["seed"] for b in sent}) == 15
    for i in range(5):  # they arrive in any order
        seeds = {b["seed"] for b in sent if b["messages"][-1]["content"] == f"Question {i}?"}
        first = sample_seed(0, f"q{i}", 0) % (2**31 - 2**20)
        assert seeds == {first, first + 4, first + 8}
    assert {b["temperature"] for b in sent} == {0.7}
    assert {b["max_completion_tokens"] for b in sent} == {50}
    assert all(r.finish_reason == "stop" and r.text and r.error is None for r in responses)
    assert len({(r.question_id, r.text) for r in responses}) > 40
    assert sum(r.completion_tokens for r in responses) == sum(
        len(r.text.split()) for r in responses
    )


@pytest.mark.parametrize(
    "script",
    [
        ["429 0"], ["429"], ["500", "503"], ["reset"], ["truncated json"], ["no choices"],
        ["hang"], ["500", "reset", "truncated json"],
    ],
)  # fmt: skip
def test_a_passing_fault_costs_nothing_but_time(script):
    with ScriptedServer(script=script) as server:
        responses = list(engine(server).sample(requests(), DECODING))
        assert not server.script
    assert keys(responses) == EVERY
    assert {r.finish_reason for r in responses} == {"stop"}


def test_the_time_that_a_server_names_is_waited():
    with ScriptedServer(script=["429 1"]) as server:
        (response,) = engine(server).sample(requests(1, 1), DECODING)
        *_, refused, answered = server.times
    assert response.finish_reason == "stop"
    assert answered - refused >= 1.0


def test_a_request_that_keeps_failing_is_an_error_with_its_reason():
    with ScriptedServer(failing=["Question 3"]) as server:
        responses = list(engine(server, attempts=2).sample(requests(), DECODING))
    assert keys(responses) == EVERY
    failed = [r for r in responses if r.finish_reason == "error"]
    assert {r.question_id for r in failed} == {"q3"}
    assert all("overloaded" in r.error and r.text == "" for r in failed)
    assert {(r.prompt_tokens, r.completion_tokens) for r in failed} == {(None, None)}


def test_a_refused_prompt_is_not_asked_again():
    with ScriptedServer(script=["400"]) as server:
        (response,) = engine(server).sample(requests(1, 1), DECODING)
        sent = [b for b in server.bodies if "Question" in b["messages"][-1]["content"]]
    assert response.finish_reason == "error"
    assert "this prompt is refused" in response.error
    assert len(sent) == 1


def test_a_server_that_ignores_n_is_asked_for_each_sample(capsys):
    with ScriptedServer("ignores n") as server:
        console = Console(width=200)
        responses = list(engine(server, console).sample(requests(), DECODING))
        sent = [b for b in server.bodies if "Question" in b["messages"][-1]["content"]]
    assert keys(responses) == EVERY
    assert {b["n"] for b in sent} == {1}
    assert len({(r.question_id, r.text) for r in responses}) > 40
    assert "ignores n" in capsys.readouterr().out


def test_a_server_that_gives_one_text_is_refused():
    with (
        ScriptedServer("one text", "ignores n", "no logprobs") as server,
        pytest.raises(ModelError, match="same text for two seeds"),
    ):
        list(engine(server).sample(requests(), DECODING))


@pytest.mark.parametrize("faults", [["no logprobs"], ["no logprobs", "refuse"]])
def test_without_log_probabilities_sampling_works_and_p_true_is_refused(faults):
    with ScriptedServer(*faults) as server:
        served = engine(server)
        assert keys(served.sample(requests(), DECODING)) == EVERY
        with pytest.raises(ModelError, match="top_logprobs"):
            list(served.choice_probabilities(requests(), ["Yes", "No"], DECODING))


def test_a_server_that_counts_no_tokens_leaves_them_unknown():
    with ScriptedServer("no usage", "no logprobs") as server:
        responses = list(engine(server).sample(requests(), DECODING))
    assert keys(responses) == EVERY
    assert {(r.prompt_tokens, r.completion_tokens) for r in responses} == {(None, None)}
    with ScriptedServer("no usage") as server:
        found = dict(engine(server).choice_probabilities(requests(), ["Yes", "No"], DECODING))
    assert {(a.prompt_tokens, a.completion_tokens) for a in found.values()} == {(None, 1)}


def test_a_wrong_model_name_is_named_with_those_that_there_are():
    with (
        ScriptedServer(models=("gpt-x",)) as server,
        pytest.raises(ModelError, match=r"no model 'served'.*gpt-x.*engine.model"),
    ):
        list(engine(server).sample(requests(), DECODING))


def test_a_server_that_is_gone_stops_the_run():
    with ScriptedServer() as server:
        url_only = server
    start = time.monotonic()
    with pytest.raises(ModelError, match="doesn't answer"):
        list(engine(url_only, attempts=2).sample(requests(), DECODING))
    assert time.monotonic() - start < 20


def test_a_server_that_fails_everything_stops_before_all_are_tried():
    with ScriptedServer(failing=["Question"]) as server:
        with pytest.raises(ModelError, match=r"the last \d+ requests all failed.*overloaded"):
            list(engine(server, attempts=1).sample(requests(500, 1), DECODING))
        assert len(server.bodies) < 100


def test_leaving_the_iteration_stops_the_requests():
    with ScriptedServer() as server:
        responses = engine(server).sample(requests(2000, 1), DECODING)
        next(responses)
        responses.close()
        time.sleep(0.2)
        sent = len(server.bodies)
        time.sleep(0.2)
        assert len(server.bodies) == sent < 1500


def test_choice_probabilities_sum_the_variants():
    with ScriptedServer() as server:
        found = dict(engine(server).choice_probabilities(requests(), ["Yes", "No"], DECODING))
    assert set(found) == {f"q{i}" for i in range(5)}
    answer = found["q0"]
    assert answer.probabilities["Yes"] == pytest.approx(math.exp(-0.5) + math.exp(-2))
    assert answer.probabilities["No"] == pytest.approx(math.exp(-1.5) + math.exp(-4.5))
    assert (answer.prompt_tokens, answer.completion_tokens, answer.error) == (7, 1, None)


def test_failed_choice_probabilities_carry_their_reason():
    with ScriptedServer(failing=["Question 2"]) as server:
        found = dict(
            engine(server, attempts=1).choice_probabilities(requests(), ["Yes", "No"], DECODING)
        )
    assert "overloaded" in found["q2"].error
    assert [key for key, answer in found.items() if answer.error is None] != []


def test_a_base_model_is_asked_by_completion_and_cut_at_its_stop():
    model = ModelConfig(name="m", few_shot=FewShotConfig("Q: a\nA: b\n\nQ: {question}\nA:", "\n"))
    with ScriptedServer() as server:
        responses = list(engine(server, model=model).sample(requests(), DECODING))
        sent = [b for b in server.bodies if "Question" in b["prompt"]]
    assert keys(responses) == EVERY
    assert all(b["prompt"].endswith("?\nA:") for b in sent)
    assert sent[0]["stop"] == ["\n"]


def test_template_arguments_reach_the_server():
    model = ModelConfig(name="m", chat_template_kwargs={"reasoning_effort": "low"})
    with ScriptedServer() as server:
        list(engine(server, model=model).sample(requests(1, 1), DECODING))
        body = server.bodies[-1]
    assert body["reasoning_effort"] == "low"
    assert body["chat_template_kwargs"] == {"reasoning_effort": "low"}
