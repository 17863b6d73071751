"""P(True) behind a reasoning: the same value as from all log probabilities, for few bytes."""

import re
from dataclasses import replace

import pytest
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.in_process.decoding import Finished
from benchmark.engines.in_process.engine import TransformersEngine
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.settings import ServerConfig, TransformersConfig
from benchmark.engines.weights import Weights
from benchmark.errors import ModelError
from tests.conftest import tiny_tokenizer
from tests.engines.server.thinking import ThinkingServer, save_thinking_model

DECODING = Decoding(1.0, 1.0, 60)
THINKS = ModelConfig(name="tiny", reasoning="think")
REQUESTS = [SampleRequest(f"q{i}", f"Can you add {i}?", (0,), (i + 1,)) for i in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_thinking_model(tmp_path_factory.mktemp("thinking"))


def engine(server, model=THINKS, tokenizer=None, **settings):
    given = {"model": "served", "attempts": 2, "timeout": 20, "top_logprobs": 256, **settings}
    return ServerEngine(
        model, ServerConfig(base_url=server.url, **given), {}, "key",
        Console(width=200), None, tokenizer=tokenizer or (lambda: server.tokenizer),
    )  # fmt: skip


def asked(server, requests=REQUESTS, **settings):
    made = engine(server, **settings)
    return dict(made.choice_probabilities(requests, ["Yes", "No"], DECODING))


def assert_same(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    for key, answer in found.items():
        assert answer.error is None
        for choice, probability in answer.probabilities.items():
            assert expected[key].probabilities[choice] == pytest.approx(probability, abs=tolerance)


def in_process(folder, server):
    """Return what this process reads behind the reasoning that the server drew."""
    made = TransformersEngine(
        replace(THINKS, hub_id=str(folder)), TransformersConfig(device="cpu", dtype="float32"),
        Weights(str(folder), None, "tiny"), Console(quiet=True),
    )  # fmt: skip
    drawn = {tuple(prompt): tokens for prompt, tokens in server.drawn}

    def draw(prompts, _seeds, _decoding):
        for index, prompt in enumerate(prompts):
            yield Finished(index, 0, drawn[tuple(prompt)], True)

    made._draw = draw
    return dict(made.choice_probabilities(REQUESTS, ["Yes", "No"], DECODING))


@pytest.mark.parametrize("faults", [[], ["texts"], ["splits"]])
def test_the_value_is_that_of_this_process_behind_the_same_reasoning(folder, faults, capsys):
    with ThinkingServer(folder, *faults) as server:
        found = asked(server)
        expected = in_process(folder, server)
    assert "every token" not in capsys.readouterr().out
    assert_same(found, expected)
    ended = [key for key, answer in found.items() if sum(answer.probabilities.values())]
    assert 3 < len(ended) < len(REQUESTS)  # some reasoning doesn't end
    assert {key for key, answer in expected.items() if sum(answer.probabilities.values())} == {
        *ended
    }


def test_the_reasoning_is_drawn_without_log_probabilities_for_few_bytes(folder):
    def measured(*faults):
        with ThinkingServer(folder, *faults) as server:
            found = asked(server)
            drawn = sum(answer.completion_tokens for answer in found.values())
            return found, sum(server.sent.values()) / drawn, [*server.bodies]

    after, few, bodies = measured()
    before, many, _ = measured("no ids")
    assert {key: answer.completion_tokens for key, answer in after.items()} == {
        key: answer.completion_tokens for key, answer in before.items()
    }
    assert many > 2_500  # bytes for each token of the reasoning, of a vocabulary of 103 tokens
    assert few < 50
    behind = [body for body in bodies if "prompt" in body and "logprob_token_ids" in body]
    assert {body["max_tokens"] for body in behind} == {1}
    drawing = [b for b in bodies if "messages" in b and "Can you" in b["messages"][-1]["content"]]
    assert len(drawing) == len(REQUESTS)
    assert not any("logprobs" in body for body in drawing)


def test_where_the_reasoning_ends_both_ways_give_the_same(folder):
    with ThinkingServer(folder) as server:
        after = asked(server)
    with ThinkingServer(folder, "no ids") as server:
        before = asked(server)
    ended = {key: answer for key, answer in after.items() if sum(answer.probabilities.values())}
    assert_same(ended, {key: before[key] for key in ended})


def refuses_ids(body):
    return (400, {"error": {"message": "Unknown field return_token_ids"}}) if (
        "return_token_ids" in body
    ) else None  # fmt: skip


def refuses_lists(body):
    if isinstance(body.get("prompt"), list):
        return 422, {"detail": [{"loc": ["body", "prompt"], "msg": "must be a string"}]}
    return None


def other_tokenizer():
    other = tiny_tokenizer()
    other.add_tokens(["<think>", "</think>"])
    vocabulary = other.get_vocab()
    other.decode = lambda ids, **_: "".join(
        next(word for word, i in vocabulary.items() if i == (index + 1) % len(vocabulary))
        for index in ids
    )
    return other


def no_tokenizer():
    raise ModelError("it is at the server alone")


@pytest.mark.parametrize(
    ("faults", "settings"),
    [
        (["no ids"], {}), (["no completions"], {}), (["one more"], {}), (["another"], {}),
        ([], {"refuse": refuses_ids}), ([], {"refuse": refuses_lists}),
        ([], {"tokenizer": no_tokenizer}), ([], {"tokenizer": other_tokenizer}),
    ],
)  # fmt: skip
def test_a_server_that_cannot_continue_its_tokens_gives_all_log_probabilities(
    folder, faults, settings, capsys
):
    tokenizer = settings.pop("tokenizer", None)
    with ThinkingServer(folder, *faults, **settings) as server:
        found = asked(server, REQUESTS[:2], tokenizer=tokenizer)
        drawn = [b for b in server.bodies if "Can you" in str(b.get("messages"))]
    assert all(body["top_logprobs"] == 256 for body in drawn)
    assert len(drawn) == 2
    assert all(answer.error is None for answer in found.values())
    said = capsys.readouterr().out
    assert said.count("asks for the log probabilities of every token of the reasoning") == 1


def test_a_second_request_that_fails_is_an_error_and_no_probability(folder):
    def fail(body):
        wanted = "logprob_token_ids" in body  # of all but the check
        return (500, {"error": {"message": "out of memory"}}) if wanted else None

    with ThinkingServer(folder, refuse=fail) as server:
        found = asked(server, attempts=1)
    failed = [answer for answer in found.values() if answer.error is not None]
    assert failed
    assert all("out of memory" in answer.error for answer in failed)
    assert all(sum(answer.probabilities.values()) == 0 for answer in failed)


def test_a_reply_without_ids_from_a_second_server_is_an_error(folder):
    def forget(reply, body):
        if "logprobs" not in body:
            reply["choices"][0].pop("token_ids", None)
        return reply

    with ThinkingServer(folder, reshape=forget) as server:
        found = asked(server)
    assert {answer.error for answer in found.values()} == {"the reply holds no token ids"}


@pytest.mark.parametrize(
    ("logprobs", "named"),
    [
        ([5.0, -3.0], "has the log probability 5, above 0"),
        ([float("inf"), -3.0], "has the log probability inf"),
        ([-0.01, -0.01, -0.02], "3 tokens add up to 2.96"),
        ([0.04, -9.0], "has the log probability 0.04"),
        ([-0.35, -1.08], "2 tokens add up to 1.044"),
        ([1e308, -1.0], "1e\\+308"),
    ],
)
def test_impossible_log_probabilities_behind_a_reasoning_are_an_error(folder, logprobs, named):
    def lie(reply, body):
        if isinstance(body.get("prompt"), list) and body.get("logprob_token_ids"):
            (top,) = reply["choices"][0]["logprobs"]["top_logprobs"]
            names = [*top, *(f"token_id:{i}" for i in range(9))][: len(logprobs)]
            reply["choices"][0]["logprobs"]["top_logprobs"] = [
                dict(zip(names, logprobs, strict=False))
            ]
        return reply

    with ThinkingServer(folder, reshape=lie) as server:
        found = asked(server)
    failed = [answer for answer in found.values() if answer.error is not None]
    assert failed
    assert all(re.search(named, answer.error) for answer in failed)
    assert all(sum(answer.probabilities.values()) == 0 for answer in failed)
    # The others never ended their reasoning.
    assert all(sum(answer.probabilities.values()) == 0 for answer in found.values())


@pytest.mark.parametrize("ids", [[-1], [2**40], [10**30], ["x"]])
def test_ids_that_no_tokenizer_reads_are_no_traceback(folder, ids):
    def lie(reply, body):
        if "messages" in body:
            reply["choices"][0]["token_ids"] = ids
        return reply

    with ThinkingServer(folder, reshape=lie) as server:
        found = asked(server)
    assert all(answer.error for answer in found.values())


@pytest.mark.parametrize("name", ["token_id:99999999999999999999", "token_id:5000000000", "x"])
def test_names_of_tokens_that_no_tokenizer_reads_are_no_traceback(folder, name):
    def lie(reply, _):
        for choice in reply["choices"]:
            if "text" in choice and choice.get("logprobs"):
                choice["logprobs"]["top_logprobs"] = [{name: -0.5, "y": -2.0}]
        return reply

    server = ThinkingServer(folder)
    server.always = lie
    with server:
        asked(server, REQUESTS[:2])


def test_a_model_that_does_not_reason_is_asked_once_for_one_token(folder):
    with ThinkingServer(folder) as server:
        asked(server, REQUESTS[:2], model=ModelConfig(name="tiny"))
        assert not any("return_token_ids" in body for body in server.bodies)
        assert not any("prompt" in body for body in server.bodies)
