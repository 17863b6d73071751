"""Endpoints that answer nothing: what is wrong with the key, the address or the server is said."""

import time

import pytest

from benchmark.engines.server.requests import Endpoint
from benchmark.errors import ModelError
from tests.engines.server.scripted import ScriptedServer
from tests.engines.server.test_refusals import assert_good, sampled, told


def test_a_field_that_a_key_is_not_allowed_is_left_out(capsys):
    words = {"error": {"message": "You are not allowed to request logprobs from this model"}}
    with ScriptedServer(refuse=told(["logprobs"], 403, words)) as server:
        responses, engine, _ = sampled(server)
    assert_good(responses)
    assert engine.settings["refused"] == ["logprobs"]
    assert capsys.readouterr().out.count("refuses logprobs") == 1


@pytest.mark.parametrize("words", ["You have no access to this model", "logprobs or not: no"])
def test_a_key_that_is_refused_is_said_as_such(words):
    with (
        ScriptedServer(refuse=lambda _: (403, {"error": {"message": words}})) as server,
        pytest.raises(ModelError, match=r"refuses the key.*engine\.api_key_env"),
    ):
        sampled(server)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 502, 503, 504, 529])
def test_a_server_without_room_is_not_asked_for_every_field(status):
    busy = status, {"error": {"message": "You exceeded your current quota"}}
    with ScriptedServer(refuse=lambda _: busy) as server:
        with pytest.raises(ModelError, match=rf"doesn't answer.*{status}.*current quota"):
            sampled(server, attempts=2)
        assert len(server.bodies) == 2


def test_a_server_that_hangs_at_the_start_is_asked_once_and_said(monkeypatch, capsys):
    monkeypatch.setattr("benchmark.engines.server.engine._PATIENCE", 0.1)
    with ScriptedServer(refuse=lambda _: time.sleep(1.0)) as server:
        with pytest.raises(ModelError, match=r"doesn't answer.*Timeout"):
            sampled(server, attempts=5, timeout=0.3)
        assert len(server.bodies) == 1
    assert capsys.readouterr().out.count("waiting for its first replies") == 1


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1", "ftp://host/v1", "http://", "http://host:99999/v1", "http://host:x/v1",
        "http://bad host/v1", "http://host\n/v1", "/v1", "http://:8000/v1",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ModelError, match=r"base_url=.* is no address"):
        Endpoint(url, "key", 1, 1.0).client()


@pytest.mark.parametrize("secret", ["a\nb", "ключ", "a\x00b", "“key”"])
def test_a_secret_that_cannot_be_sent_is_not_shown(secret):
    for endpoint in (
        Endpoint("http://host/v1", secret, 1, 1.0),
        Endpoint("http://host/v1", "key", 1, 1.0, headers={"X-Team": secret}),
    ):
        with pytest.raises(ModelError, match="can't be sent") as caught:
            endpoint.client()
        assert secret not in str(caught.value)
