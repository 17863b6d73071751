"""A hostile server ends a request in time and in bounded memory, and gets nothing for another."""

import math
import time
import tracemalloc

import openai
import pytest

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server import retries
from benchmark.engines.server.client import most_bytes
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.server.requests import Endpoint
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ModelError
from benchmark.terminal import Terminal
from tests.engines.server.hostile import BOUNDS, REDIRECTS, WAITS, redirect, waits
from tests.engines.server.scripted import ScriptedServer

DECODING = Decoding(1.0, 1.0, 12)
SECONDS = 1.0  # of a request


def engine_of(server, **given):
    config = ServerConfig(base_url=server.url, model="served", **{"attempts": 1} | given)
    return ServerEngine(ModelConfig(name="m"), config, {}, "key", Terminal(), None)


def sampled(server, k=3, prompts=("Question?",), **given):
    requests = [
        SampleRequest(f"q{i}", prompt, tuple(range(k)), tuple(range(100, 100 + k)))
        for i, prompt in enumerate(prompts)
    ]
    return list(engine_of(server, **given).sample(requests, DECODING))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_reply_without_bounds_is_an_error_in_time_and_in_little_memory(name):
    attack, named = BOUNDS[name]
    with ScriptedServer() as server:
        engine = engine_of(server, timeout=SECONDS)
        request = SampleRequest("q", "Question?", (0, 1, 2), (100, 101, 102))
        engine._prepare(DECODING)
        server.attack = attack
        tracemalloc.start()
        begin = time.monotonic()
        responses = list(engine.sample([request], DECODING))
        seconds, peak = time.monotonic() - begin, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert {r.finish_reason for r in responses} == {"error"}
    assert all(named in r.error for r in responses), responses[0].error
    assert seconds < 20 * SECONDS  # tracing is slow; without a deadline it never ends
    assert peak < 48 * 2**20  # the bombs hold 64 MB and more


def test_the_cap_on_bytes_follows_the_cap_on_tokens():
    body = {"max_completion_tokens": 100, "n": 1}
    one, eight = most_bytes(body, 0), most_bytes(body | {"n": 8}, 0)
    assert one < eight < 2**23
    assert most_bytes(body | {"logprobs": True, "top_logprobs": 20}, 0) > one
    assert most_bytes({"max_tokens": 32_768, "n": 8}, 0) < 2**27
    # A reply of the longest tokens in every field, escaped, still fits.
    assert most_bytes(body, 0) > 100 * len(r"\u0e01" * 32)


@pytest.mark.parametrize("name", REDIRECTS)
def test_a_redirect_carries_no_prompt_to_another_server(name):
    attack, named = REDIRECTS[name]
    with ScriptedServer() as server:
        engine = engine_of(server)
        engine._prepare(DECODING)
        server.attack = attack
        before = len(server.bodies)
        request = SampleRequest("q", "Question?", (0,), (1,))
        if name == "circle of redirects":
            (response,) = engine.sample([request], DECODING)
            said = response.error
        else:
            with pytest.raises(ModelError, match=r"redirects to .*engine\.base_url") as caught:
                list(engine.sample([request], DECODING))
            said = str(caught.value)
        assert not [head for head in server.headers if head["Host"].startswith("localhost")]
        assert len(server.bodies) - before <= 4
    assert named in said


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_on_the_same_server_is_followed_with_body_and_key(status):
    with ScriptedServer(script=[redirect("{path}/?x=1", status)]) as server:
        responses = sampled(server, k=1)
        assert responses[0].finish_reason == "stop"
        assert server.bodies[-1] == server.bodies[-2]
        assert server.keys == {"Bearer key"}


@pytest.mark.parametrize("header", WAITS)
def test_whatever_a_server_says_of_the_wait_the_next_attempt_comes(monkeypatch, header, capsys):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("benchmark.engines.server.requests.anyio.sleep", sleep)
    with ScriptedServer(script=[WAITS[header]]) as server:
        responses = sampled(server, k=1, attempts=2)
    assert responses[0].finish_reason == "stop"
    (seconds,) = [s for s in slept if s != 30.0]  # that of a slow start
    assert 0 <= seconds <= retries._LONGEST_NAMED + 1
    told = capsys.readouterr().out
    assert ("The next attempt is in" in told) == (seconds >= 10)
    if header == "7200":
        assert "asks for a wait of 7,200 s" in told
        assert seconds > 899


def test_many_requests_that_wait_say_so_once(monkeypatch, capsys):
    async def sleep(_):
        pass

    monkeypatch.setattr("benchmark.engines.server.requests.anyio.sleep", sleep)
    with ScriptedServer(script=[waits("3600")] * 9) as server:
        sampled(server, k=12, attempts=9, samples_per_request=1)
    assert capsys.readouterr().out.count("asks for a wait of 3,600 s") == 1


@pytest.mark.parametrize(
    ("date", "until", "expected"),
    [
        ("Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2099 00:02:00 GMT", "Thu, 01 Jan 2099 00:01:00 GMT", 0.0),
        ("no date", "Thu, 01 Jan 1970 00:01:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:01:00", None),
        ("Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 99999 00:01:00 GMT", None),
    ],
)
def test_a_date_to_wait_for_is_read_by_the_servers_clock(date, until, expected):
    error = openai.RateLimitError.__new__(openai.RateLimitError)
    error.response = type("Response", (), {"headers": {"retry-after": until, "date": date}})
    assert retries.retry_after(error) == expected


def test_another_model_in_the_middle_of_a_run_ends_it():
    count = iter(range(1000))

    def always(reply, _):
        return reply | {"model": "a" if next(count) < 14 else "b"}

    named = "called its model 'a' before and calls it 'b' now"
    with ScriptedServer(always=always) as server, pytest.raises(ModelError, match=named):
        sampled(server, k=24, samples_per_request=1)


@pytest.mark.parametrize(
    "name", ["served", "/models/served.gguf", "served-2025-08-07", "org/served", "", None]
)
def test_a_name_that_stays_the_same_is_no_fault(name):
    with ScriptedServer(always=lambda reply, _: reply | {"model": name}) as server:
        assert {r.finish_reason for r in sampled(server)} == {"stop"}


def test_a_name_that_is_missing_at_times_is_no_fault():
    count = iter(range(1000))

    def always(reply, _):
        return reply | {"model": "a" if next(count) % 2 else None}

    with ScriptedServer(always=always) as server:
        assert {r.finish_reason for r in sampled(server, k=8)} == {"stop"}


def test_the_judges_endpoint_is_held_to_one_model_too():
    endpoint = Endpoint("http://host/v1", "key", 1, 1.0, settings="grading.llm_judge")
    client = endpoint.client()
    endpoint._compare("a", client)
    with pytest.raises(ModelError, match="responses of two models"):
        endpoint._compare("b", client)
    assert endpoint._said == -math.inf
