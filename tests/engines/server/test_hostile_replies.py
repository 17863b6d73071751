"""Replies that hide a secret from the search, or that no reader expects, end as one error."""

import base64
import json
from contextlib import suppress

import pytest

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server import client
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.server.replies import ReplyError, error_words, read_reply
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ModelError
from benchmark.redaction import HIDDEN, hide, redacted, told
from benchmark.terminal import Terminal
from tests.engines.server.hostile import sent, whole
from tests.engines.server.scripted import ScriptedServer

KEY = "sk-hidden-ABCdef0123456789xyz"
DECODING = Decoding(1.0, 1.0, 12)
REQUESTS = [SampleRequest(f"q{i}", f"Question {i}?", (0, 1), (2 * i, 2 * i + 1)) for i in range(6)]


@pytest.fixture(autouse=True)
def secret():
    hide([KEY])


def engine_of(urls, console=None, **given):
    given = {"attempts": 1, "timeout": 5.0, "samples_per_request": 1, "concurrency": 4} | given
    config = ServerConfig(base_url=urls, model="served", **given)
    model = ModelConfig(name="m")
    return ServerEngine(model, config, {}, KEY, console or Terminal(width=200), None)


def sampled(urls, **given):
    return list(engine_of(urls, **given).sample(REQUESTS, DECODING))


def message(content):
    choice = {"finish_reason": "stop", "message": {"content": content}}
    return json.dumps({"model": "m", "choices": [choice]})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_key_in_another_encoding_of_json_is_found(encoding):
    reply = read_reply(client._redacted(message(f"the key {KEY}").encode(encoding)))
    assert KEY not in reply.choices[0].text
    assert "key" in reply.choices[0].text or reply.choices[0].text == HIDDEN


@pytest.mark.parametrize("kind", ["text", "thinking"])
def test_a_key_that_is_cut_into_parts_is_found(kind):
    for cut in (1, 7, 20):
        parts = [{"type": kind, kind: part} for part in ("x ", KEY[:cut], KEY[cut:])]
        reply = read_reply(
            client._redacted(message([*parts, {"type": "text", "text": "B"}]).encode())
        )
        assert KEY not in reply.choices[0].text
        assert KEY not in (reply.choices[0].reasoning or "")


@pytest.mark.parametrize(
    "spelled",
    [
        " ".join(KEY), "\n".join(KEY), "\u200b".join(KEY), "\xad".join(KEY), "\x00".join(KEY),
        KEY[::-1], ":".join(f"{byte:02x}" for byte in KEY.encode()),
        "".join(f"={byte:02X}" for byte in KEY.encode()),
        "".join(chr(ord(c) + 0xFEE0) for c in KEY),  # in wide letters
        base64.encodebytes(f"{'u' * 50}:{KEY}".encode()).decode(), "-".join(KEY), "*".join(KEY),
        KEY[:-1], KEY[1:], f"{KEY[:18]}...", KEY.replace("-", "_"),
    ],
)  # fmt: skip
def test_a_key_whose_characters_are_parted_is_found(spelled):
    shown = redacted(f"wrong: {spelled}")
    assert HIDDEN in shown
    assert len(shown) < 30


def test_other_texts_stay_as_they_are():
    text = "A line of words - with ABCdef, sk-hidden and 0123456789.\n" * 50
    assert redacted(text) == text


@pytest.mark.parametrize("depth", [200, 320, 500, 700, 950, 990, 3000])
@pytest.mark.parametrize("ends", [("[", "]"), ('{"error":', "}"), ('[{"thinking":', "}]")])
def test_deep_json_is_one_error_wherever_it_stands(depth, ends):
    deep = f'{ends[0] * depth}"\\u0041"{ends[1] * depth}'
    good = '{"finish_reason": "stop", "message": {"content": "x"}}'
    for text in (
        f'{{"error": {deep}}}', f'{{"choices": [], "detail": {deep}}}',
        f'{{"choices": [{good[:-1]}, "error": {deep}}}]}}', f'{{"choices": [{good}], "x": {deep}}}',
    ):  # fmt: skip
        assert isinstance(error_words(text.encode()), str)
        with suppress(ReplyError):
            read_reply(text.encode())


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal Server Error"])
@pytest.mark.parametrize("depth", [320, 600, 960])
def test_deep_json_from_a_server_is_an_error_of_the_request(status, depth):
    data = f'{{"error": {"[" * depth}"\\u0041"{"]" * depth}}}'.encode()
    with ScriptedServer() as server:
        server.attack = sent(whole(data, status=status))
        responses = sampled(server.url)
    assert {r.finish_reason for r in responses} == {"error"}
    assert all(r.error for r in responses)
    assert depth < 900 or all("nested too deeply" in r.error for r in responses)


@pytest.mark.parametrize(
    "change",
    [
        lambda choice: choice.update(finish_reason="x" * 10**6),
        lambda choice: choice.update(error={"message": "x" * 10**6}),
        lambda choice: choice.update(finish_reason={"a": ["x" * 10**6]}),
    ],
)
def test_what_is_stored_of_an_error_is_short(change):
    def reshape(reply, _):
        change(reply["choices"][0])
        return reply

    with ScriptedServer(reshape=reshape) as server:
        responses = sampled(server.url)
    assert {r.finish_reason for r in responses} == {"error"}
    assert max(len(r.error) for r in responses) < 400


def test_a_long_name_of_the_model_is_not_kept_whole():
    assert len(read_reply(message("x").replace('"m"', f'"{"m" * 10**6}"').encode()).model) == 1000


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_a_name_of_nothing_is_no_name(name):
    assert read_reply(message("x").replace('"m"', json.dumps(name)).encode()).model is None


@pytest.mark.parametrize("ids", [[-1], [2**31], [2**70], [1, -5, 3], [1e30]])
def test_a_token_id_out_of_range_is_unreadable(ids):
    reply = json.loads(message("x"))
    for where in (reply, reply["choices"][0]):
        for field in ("token_ids", "prompt_token_ids"):
            if where is reply and field == "token_ids":
                continue
            where[field] = ids
            with pytest.raises(ReplyError, match="token's id"):
                read_reply(json.dumps(reply).encode())
            del where[field]


@pytest.mark.parametrize("text", ["a\ud800b", "\udce9", "x\u061cy"])
def test_the_terminal_takes_any_text(text, capsys):
    Terminal().print(told(text))
    Terminal().print(text)
    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("faults", "fault", "named"),
    [
        (["one text"], {}, "same text for two seeds"),
        ([], {"always": lambda reply, _: reply | {"model": "other"}}, "responses of two models"),
        ([], {"ignored": ["max_completion_tokens", "max_tokens"]}, "ignores the cap"),
        ([], {"refuse": lambda _: (401, {"error": {"message": "no"}})}, "refuses the key"),
        ([], {"models": ["another"]}, "has no model"),
    ],
)
def test_each_of_several_servers_is_checked(place, faults, fault, named):
    servers = [ScriptedServer() for _ in range(2)]
    servers.insert(place, ScriptedServer(*faults, **fault))
    try:
        with pytest.raises(ModelError, match=named):
            sampled([server.url for server in servers])
        assert not any(server.asked for server in servers)
    finally:
        for server in servers:
            server.__exit__()


@pytest.mark.parametrize("bad", ["http://h:0/v1", "http://h:99999/v1", "http://a b/v1"])
def test_each_address_of_several_is_one(bad):
    with ScriptedServer() as server:
        for urls in ([server.url, bad], [bad, server.url]):
            with pytest.raises(ModelError, match="is no address"):
                sampled(urls)
