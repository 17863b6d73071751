"""Several servers of one model: they share its requests, and one that dies loses none."""

import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress

import pytest
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server import spread
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ConfigError, ModelError
from benchmark.sampling.seeds import sample_seed
from tests.engines.server.scripted import ScriptedServer

DECODING = Decoding(0.7, 0.9, 50)
QUESTIONS, K = 12, 4


def sampled(urls, asked=None, **settings):
    given = {"model": "served", "attempts": 2, "timeout": 5.0, "concurrency": 6, **settings}
    config = ServerConfig(base_url=urls, samples_per_request=1, **given)
    made = ServerEngine(ModelConfig(name="m"), config, {}, "key", Console(width=200), None)
    requests = [
        SampleRequest(
            f"q{i}", f"Question {i}?", tuple(range(K)),
            tuple(sample_seed(0, f"q{i}", j) for j in range(K)),
        )
        for i in range(QUESTIONS)
    ]  # fmt: skip
    return asked(made, requests) if asked else list(made.sample(requests, DECODING))


def assert_whole(responses):
    keys = Counter((r.question_id, r.sample_index) for r in responses)
    assert keys == Counter((f"q{i}", j) for i in range(QUESTIONS) for j in range(K))
    assert {r.finish_reason for r in responses} == {"stop"}


def several(stack, *faults):
    return [stack.enter_context(ScriptedServer(*fault)) for fault in faults]


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def shares(servers):
    return [sum(server.asked.values()) for server in servers]


def test_requests_are_spread_by_what_is_under_way():
    with ExitStack() as stack:
        servers = several(stack, ["slow"], ["slow"], ["slow"])
        assert_whole(sampled([server.url for server in servers]))
        assert sum(shares(servers)) == QUESTIONS * K
        assert min(shares(servers)) > QUESTIONS * K / 6


def test_a_slow_server_gets_fewer():
    with ExitStack() as stack:
        fast, slow = several(stack, [], ["slow"])
        assert_whole(sampled([slow.url, fast.url]))
        assert shares([slow])[0] < shares([fast])[0]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_server_that_isnt_there_is_left_out(place, capsys):
    with ExitStack() as stack:
        servers = several(stack, [], [])
        urls = [server.url for server in servers]
        urls.insert(place, f"http://127.0.0.1:{free_port()}/v1")
        assert_whole(sampled(urls))
        assert all(shares(servers))
    said = capsys.readouterr().out
    assert said.count("can't be reached") == 1
    assert f"{urls[place]} can't be reached" in said


def test_a_server_that_dies_in_the_middle_loses_no_request(capsys):
    with ExitStack() as stack:
        servers = several(stack, ["slow"], ["slow"])
        urls = [server.url for server in servers]

        def later(reply, _body):
            time.sleep(0.2)  # so that it is killed with requests under way, whatever else runs
            return reply

        servers[0].reshape = later

        def kill():
            while sum(servers[0].asked.values()) < 5:
                time.sleep(0.01)
            servers[0].shutdown()
            servers[0].server_close()
            for connection in [*connections]:
                with suppress(OSError):  # it has ended already
                    connection.shutdown(socket.SHUT_RDWR)

        connections = []
        accept = servers[0].process_request

        def remembered(request, address):
            connections.append(request)
            accept(request, address)

        servers[0].process_request = remembered
        killer = threading.Thread(target=kill)
        killer.start()
        responses = sampled(urls, attempts=1)
        killer.join()
        assert_whole(responses)
        assert shares(servers)[1] >= QUESTIONS * K / 3
    assert capsys.readouterr().out.count(f"{urls[0]} can't be reached") == 1


def test_a_server_that_comes_back_gets_requests_again(monkeypatch, capsys):
    monkeypatch.setattr(spread, "_AWAY_SECONDS", 0.2)
    port = free_port()
    with ExitStack() as stack:
        (there,) = several(stack, ["slow"])
        started = []

        def start():
            while sum(there.asked.values()) < 20:
                time.sleep(0.01)
            started.append(stack.enter_context(ScriptedServer("slow", port=port)))

        late = threading.Thread(target=start)
        late.start()
        urls = [there.url, f"http://127.0.0.1:{port}/v1"]
        responses = sampled(urls, asked=lambda made, requests: [
            response for _ in range(3) for response in made.sample(requests, DECODING)
        ])  # fmt: skip
        late.join()
        assert len(responses) == 3 * QUESTIONS * K
        assert {r.finish_reason for r in responses} == {"stop"}
        assert shares(started)[0] > 3
    assert f"{urls[1]} answers again" in capsys.readouterr().out


def test_a_server_that_is_only_slow_is_not_left_out(capsys):
    with ExitStack() as stack:
        hanging = stack.enter_context(ScriptedServer(script=["hang"]))
        other = stack.enter_context(ScriptedServer())
        assert_whole(sampled([hanging.url, other.url], timeout=1.0))
        assert shares([hanging])[0] > 3
    assert "can't be reached" not in capsys.readouterr().out


def test_where_none_is_there_the_run_stops():
    urls = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(3)]
    with pytest.raises(ModelError, match="doesn't answer"):
        sampled(urls, attempts=1)


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([], "engine.base_url"), (["http://a/v1", "b/v1"], "engine.base_url=b/v1"),
        (["http://a/v1", "http://a/v1/"], "given once each"), (["http://a/v1", ""], "base_url"),
    ],
)  # fmt: skip
def test_each_address_of_a_list_is_checked(urls, message):
    with pytest.raises(ConfigError, match=message):
        ServerConfig(base_url=urls, model="m")
