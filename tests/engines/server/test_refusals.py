"""Servers that refuse or ignore a part of a request: what can be done without is, with one line."""

import re

import pytest
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.server.terms import Terms
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ModelError
from tests.engines.server.scripted import ScriptedServer

PLAIN = Decoding(1.0, 1.0, 50)
NEUTRAL = {"top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"}
KNOWN_TO_OPENAI = {
    "model", "messages", "n", "seed", "temperature", "top_p", "max_completion_tokens", "logprobs",
    "top_logprobs", "presence_penalty", "frequency_penalty", "reasoning_effort", "stop",
}  # fmt: skip


def openai_refusal(message, param=None, code=None, status=400):
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return status, {"error": error}


def openai(body):
    """OpenAI's own endpoint, one of the models that don't reason."""
    unknown = next((name for name in body if name not in KNOWN_TO_OPENAI), None)
    if unknown:
        return openai_refusal(f"Unknown parameter: '{unknown}'.", unknown, "unknown_parameter")
    if body.get("top_logprobs", 0) > 20:
        message = "Invalid value for 'top_logprobs': must be less than or equal to 20."
        return openai_refusal(message, "top_logprobs", "invalid_value")
    return None


def openai_reasoning(body):
    """OpenAI's reasoning models."""
    for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
        if body.get(name, 1) != 1:
            message = (
                f"Unsupported value: '{name}' does not support {body[name]} with this model. "
                f"Only the default (1) value is supported."
            )
            return openai_refusal(message, name, "unsupported_value")
    for name in ("top_p", "logprobs", "presence_penalty", "frequency_penalty", "max_tokens"):
        if name in body:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            return openai_refusal(message, name, "unsupported_parameter")
    return openai(body)


def fastapi(*allowed):
    """A server that names everything it doesn't know in one reply, as pydantic does."""

    def refuse(body):
        extra = [name for name in body if name not in allowed]
        detail = [
            {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are forbidden",
             "input": body[name]} for name in extra
        ]  # fmt: skip
        return (422, {"detail": detail}) if extra else None

    return refuse


def told(names, status, body):
    """A server that refuses any of some fields with a fixed reply."""
    return lambda sent: (status, body) if set(names) & set(sent) else None


def limited(name, most, status, body):
    return lambda sent: (status, body) if sent.get(name, 0) > most else None


def made(server, width=300, model=None, **settings):
    given = {"model": "served", "attempts": 2, "timeout": 2.0, "concurrency": 4, **settings}
    config = ServerConfig(base_url=server.url, **given)
    model = model or ModelConfig(name="m")
    return ServerEngine(model, config, {}, "key", Console(width=width), None)


def request(prompt="Question?", k=6):
    return SampleRequest("q", prompt, tuple(range(k)), tuple(range(1000, 1000 + k)))


def sampled(server, decoding=PLAIN, **settings):
    """Return responses, engine and what was sent for them."""
    engine = made(server, **settings)
    responses = list(engine.sample([request()], decoding))
    sent = [b for b in server.bodies if "random words" not in b["messages"][-1]["content"]]
    return responses, engine, sent


def assert_good(responses, k=6):
    assert sorted(r.sample_index for r in responses) == list(range(k))
    assert {(r.finish_reason, r.error) for r in responses} == {("stop", None)}
    assert len({r.text for r in responses}) > k // 2


def test_all_that_decides_what_is_sampled_is_said():
    with ScriptedServer() as server:
        responses, engine, sent = sampled(server)
    assert_good(responses)
    for body in sent:
        assert body["top_k"] == -1
        assert body["min_p"] == body["presence_penalty"] == body["frequency_penalty"] == 0
        assert body["repetition_penalty"] == body["repeat_penalty"] == 1
        assert body["samplers"] == ["temperature"]
    assert engine.settings["confirmed"] == ["temperature", "top_p", "top_k", "min_p"]
    assert engine.settings["sent"]["top_k"] == -1
    assert engine.settings["refused"] == []
    assert engine.settings["same_seed_same_text"]


def test_wanted_settings_are_said_in_the_words_of_each_server():
    wanted = Decoding(0.6, 0.9, 50, 20, 0.1, 1.1, 0.5, 0.3)
    with ScriptedServer() as server:
        _, _, sent = sampled(server, wanted)
    body = sent[0]
    names = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty")
    assert [body[name] for name in names] == [0.6, 0.9, 20, 0.1, 0.5, 0.3]
    assert body["repetition_penalty"] == body["repeat_penalty"] == 1.1
    assert body["samplers"] == ["penalties", "temperature", "min_p", "top_k", "top_p"]
    assert body["repeat_last_n"] > 10_000


def test_nothing_is_known_of_an_engine_that_has_not_run():
    with ScriptedServer() as server:
        assert made(server).settings == {}
        assert server.bodies == []


@pytest.mark.parametrize(
    ("refuse", "refused"),
    [
        (openai, NEUTRAL - {"presence_penalty", "frequency_penalty"}),
        (openai_reasoning, NEUTRAL | {"top_p", "logprobs"}),
        (fastapi(*KNOWN_TO_OPENAI - {"seed"}), {"top_k", "min_p", "seed"}),
        (fastapi("model", "messages", "temperature", "top_p", "max_tokens"), NEUTRAL | {"n"}),
        (told(["min_p"], 400, {"message": "min_p is not supported by this model"}), {"min_p"}),
        (told(["top_k"], 400, {"detail": "Unrecognized argument supplied: top_k"}), {"top_k"}),
        (told(["samplers"], 500, {"error": "unexpected argument 'samplers'"}), {"samplers"}),
        (told(["frequency_penalty"], 422, {"error": {"message": "frequency_penalty: unknown"}}),
         {"frequency_penalty"}),
        (told(["repetition_penalty"], 400, "property repetition_penalty should not exist"),
         {"repetition_penalty"}),
        (told(["temperature"], 400, {"error": {"message": "temperature is fixed for this model"}}),
         {"temperature"}),
        (told(["seed"], 501, {"error": {"message": "seed: not implemented"}}), {"seed"}),
        (told(["mirostat", "dynatemp_range"], 400, {"error": {"message": "Bad request"}}),
         {"mirostat", "dynatemp_range"}),
        (told(["seed", "top_k"], 500, {"error": "Internal Server Error"}), {"seed", "top_k"}),
    ],
)  # fmt: skip
def test_a_neutral_field_that_is_refused_is_left_out(refuse, refused, capsys):
    with ScriptedServer(refuse=refuse) as server:
        responses, engine, sent = sampled(server)
        asked = len(sent)
    assert_good(responses)
    assert not any(refuse(body) for body in sent)  # the check has found out
    assert asked <= len(responses)
    assert refused <= set(engine.settings["refused"])
    shown = capsys.readouterr().out
    for name in refused:
        assert len(re.findall(rf"(?<!\w){name}(?!\w)", shown)) >= 1
    assert shown.count("refuses temperature") <= 1


def test_a_value_for_all_tokens_is_found():
    words = {"error": {"message": "top_k must be at least 0, got -1"}}
    with ScriptedServer(refuse=lambda b: (400, words) if b.get("top_k", 0) < 0 else None) as server:
        responses, engine, sent = sampled(server)
    assert_good(responses)
    assert {body["top_k"] for body in sent} == {0}
    assert engine.settings["refused"] == []


@pytest.mark.parametrize(
    ("decoding", "refuse", "named"),
    [
        (Decoding(0.7, 1.0, 50), openai_reasoning, "temperature=0.7"),
        (Decoding(1.0, 0.9, 50), openai_reasoning, "top_p=0.9"),
        (Decoding(1.0, 1.0, 50, top_k=20), openai, "top_k=20"),
        (Decoding(1.0, 1.0, 50, min_p=0.1), fastapi(*KNOWN_TO_OPENAI), "min_p=0.1"),
        (Decoding(1.0, 1.0, 50, repetition_penalty=1.2), openai, "repetition_penalty=1.2"),
        (Decoding(1.0, 1.0, 50, presence_penalty=1.5), openai_reasoning, "presence_penalty=1.5"),
        (Decoding(1.0, 1.0, 50, frequency_penalty=0.2),
         told(["frequency_penalty"], 400, {"detail": "frequency_penalty?"}),
         "frequency_penalty=0.2"),
        (Decoding(0.7, 1.0, 50), told(["temperature"], 422, "temperature is fixed"),
         "temperature=0.7"),
    ],
)  # fmt: skip
def test_a_wanted_setting_that_is_refused_is_an_error(decoding, refuse, named):
    with (
        ScriptedServer(refuse=refuse) as server,
        pytest.raises(ModelError, match=rf"refuses {re.escape(named)} \("),
    ):
        sampled(server, decoding)


@pytest.mark.parametrize(
    ("name", "decoding"),
    [
        ("top_k", Decoding(1.0, 1.0, 50, top_k=20)), ("min_p", Decoding(1.0, 1.0, 50, min_p=0.1)),
        ("temperature", Decoding(0.7, 1.0, 50)), ("top_p", Decoding(1.0, 0.9, 50)),
    ],
)  # fmt: skip
def test_a_setting_that_is_ignored_is_said_and_refused_where_it_is_wanted(name, decoding, capsys):
    with ScriptedServer(ignored=[name]) as server:
        responses, engine, _ = sampled(server)
        assert_good(responses)
        assert name not in engine.settings["confirmed"]
        assert f"wasn't seen to use {name}" in capsys.readouterr().out
        with pytest.raises(ModelError, match=f"ignores {name}"):
            sampled(server, decoding)


def test_a_prompt_whose_refusal_names_a_setting_stops_nothing():
    message = "This prompt on temperature and top_p is not allowed: min_p, seed, n."

    def refuse(body):
        asked = "Question" in body["messages"][-1]["content"]
        return (400, {"error": {"message": message}}) if asked else None

    with ScriptedServer(refuse=refuse) as server:
        engine = made(server)
        responses = [*engine.sample([request()], Decoding(0.7, 0.9, 50))]
        assert {r.finish_reason for r in responses} == {"error"}
        assert all(message in r.error for r in responses)
        assert engine.settings["refused"] == []
        assert_good([*engine.sample([request("Other?")], Decoding(0.7, 0.9, 50))])
        assert all("seed" in b and "min_p" in b for b in server.bodies[-1:])


def test_a_refusal_that_comes_later_is_learnt_too(capsys):
    with ScriptedServer() as server:
        engine = made(server, concurrency=1)
        assert_good([*engine.sample([request()], PLAIN)])
        server.refuse = openai  # another server behind the same address
        assert_good([*engine.sample([request("Other?")], PLAIN)])
        seen = len(server.bodies)
        assert_good([*engine.sample([request("Third?")], PLAIN)])
        assert len(server.bodies) == seen + 1
    assert capsys.readouterr().out.count("top_k") == 1


@pytest.mark.parametrize(
    ("refuse", "n"),
    [
        (limited("n", 1, 400, {"error": {"message": "Only n = 1 is supported"}}), 1),
        (limited("n", 1, 500, {"error": "n>1 not implemented"}), 1),
        (limited("n", 1, 500, {"error": "Internal Server Error"}), None),
        (limited("n", 1, 422, {"detail": [{"loc": ["body", "n"], "msg": "must be 1"}]}), 1),
        (limited("n", 1, 400, "best_of and several choices are not available"), None),
        (limited("n", 4, 400, {"error": {"message": "Field 'n': 1 <= value <= 4, not 8"}}), 4),
        (limited("n", 3, 400, {"message": "n too large"}), 3),
        (told(["n"], 400, {"error": {"message": "'n' is not supported"}}), None),
    ],
)  # fmt: skip
def test_several_samples_of_one_request_can_be_done_without(refuse, n, capsys):
    with ScriptedServer(refuse=refuse) as server:
        responses, _, sent = sampled(server, samples_per_request=8)
    assert_good(responses)
    assert max(b.get("n", 1) for b in sent if not refuse(b)) == (n or 1)
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    "faults", [{"ignored": ["seed"]}, {"refuse": told(["seed"], 400, "seed?")}]
)
def test_seeds_can_be_done_without_where_samples_differ(faults, capsys):
    with ScriptedServer(**faults) as server:
        responses, engine, _ = sampled(server)
    assert_good(responses)
    assert not engine.settings["same_seed_same_text"]
    assert capsys.readouterr().out.count("can't be repeated to the bit") == 1


def test_the_older_name_of_the_cap_is_found_where_the_newer_is_refused():
    refuse = told(["max_completion_tokens"], 400, {"error": "unknown field max_completion_tokens"})
    with ScriptedServer(refuse=refuse) as server:
        responses, _, sent = sampled(server)
    assert_good(responses)
    assert {body["max_tokens"] for body in sent} == {50}


@pytest.mark.parametrize("faults", [(), ("no logprobs",), ("no logprobs", "no usage")])
def test_the_older_name_of_the_cap_is_found_where_the_newer_is_ignored(faults):
    with ScriptedServer(*faults, ignored=["max_completion_tokens"]) as server:
        responses, _, sent = sampled(server)
    assert_good(responses)
    assert {body["max_tokens"] for body in sent} == {50}


@pytest.mark.parametrize("faults", [(), ("no logprobs",), ("no logprobs", "no usage")])
def test_a_cap_that_is_ignored_under_both_names_is_an_error(faults):
    with (
        ScriptedServer(*faults, ignored=["max_completion_tokens", "max_tokens"]) as server,
        pytest.raises(ModelError, match="ignores the cap"),
    ):
        sampled(server)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (lambda reply: reply["choices"][0].update(message={"content": "word " * 200}), "200 words"),
        (lambda reply: reply["usage"].update(completion_tokens=900), "900 tokens, not 50"),
    ],
)
def test_a_cap_that_is_ignored_later_is_a_failed_request(change, shown):
    def reshape(reply, _):
        change(reply)
        return reply

    with ScriptedServer("no logprobs", reshape=reshape) as server:
        responses, _, _ = sampled(server, samples_per_request=1)
    assert {r.finish_reason for r in responses} == {"error"}
    assert all("ignores the cap" in r.error and shown in r.error for r in responses)


@pytest.mark.parametrize(
    ("refuse", "most"),
    [
        (limited("top_logprobs", 5, 400, {"error": {"message": "top_logprobs: at most 5"}}), 5),
        (limited("top_logprobs", 8, 400, {"error": {"message": "top_logprobs must be <= 8"}}), 8),
        (limited("top_logprobs", 5, 422, {"detail": [{"loc": ["top_logprobs"], "msg": "big"}]}), 5),
        (limited("top_logprobs", 5, 400, "top_logprobs is too large"), 5),
    ],
)
def test_as_many_log_probabilities_are_asked_for_as_there_are(refuse, most, capsys):
    with ScriptedServer(refuse=refuse) as server:
        engine = made(server)
        found = dict(engine.choice_probabilities([request(k=1)], ["Yes", "No"], PLAIN))
        assert server.bodies[-1]["top_logprobs"] == most
    assert found["q"].error is None
    assert 0 < found["q"].probabilities["No"] < found["q"].probabilities["Yes"]
    assert capsys.readouterr().out.count("top_logprobs") == 1


def test_fewer_log_probabilities_than_asked_for_are_said(capsys):
    with ScriptedServer(most=5) as server:
        dict(made(server).choice_probabilities([request(k=1)], ["Yes", "No"], PLAIN))
    assert "gives 5 top log probabilities, not 20" in capsys.readouterr().out


def test_template_arguments_can_be_done_without_where_nothing_reasons(capsys):
    model = ModelConfig(name="m", chat_template_kwargs={"enable_thinking": False})
    refuse = told(["chat_template_kwargs"], 400, {"error": "unknown field chat_template_kwargs"})
    with ScriptedServer(refuse=refuse) as server:
        responses, engine, _ = sampled(server, model=model)
        assert_good(responses)
        assert engine.settings["refused"] == ["chat_template_kwargs"]
        assert capsys.readouterr().out.count("\n") == 1

        def thinks(reply, _):
            for choice in reply["choices"]:
                choice["message"]["reasoning_content"] = "Hm."
            return reply

        server.always = thinks
        with pytest.raises(ModelError, match=r"chat_template_kwargs.*engine\.extra_body"):
            sampled(server, model=model)


def test_an_effort_that_is_refused_in_both_ways_is_an_error():
    model = ModelConfig(name="m", chat_template_kwargs={"reasoning_effort": "low"})
    one = told(["chat_template_kwargs"], 400, "chat_template_kwargs: unknown")
    with ScriptedServer(refuse=one) as server:
        _, _, sent = sampled(server, model=model)
    assert {body["reasoning_effort"] for body in sent} == {"low"}
    other = told(["reasoning_effort"], 400, "reasoning_effort: unknown")
    with ScriptedServer(refuse=other) as server:
        _, _, sent = sampled(server, model=model)
    assert {body["chat_template_kwargs"]["reasoning_effort"] for body in sent} == {"low"}
    with (
        ScriptedServer(refuse=lambda body: one(body) or other(body)) as server,
        pytest.raises(ModelError, match="refuses reasoning_effort=low"),
    ):
        sampled(server, model=model)


def test_a_model_that_thinks_out_of_sight_is_compared_where_it_speaks():
    def think(reply, body):  # the first hundred tokens aren't shown
        for choice in reply["choices"]:
            if body["max_completion_tokens"] <= 100:
                choice["message"]["content"], choice["finish_reason"] = "", "length"
        return reply

    with ScriptedServer("no logprobs", always=think) as server:
        responses, _, _ = sampled(server, Decoding(1.0, 1.0, 200))
    assert_good(responses)


def test_a_server_that_never_says_anything_is_refused():
    def mute(reply, _):
        for choice in reply["choices"]:
            choice["message"]["content"] = None
        return reply

    with (
        ScriptedServer("no logprobs", always=mute) as server,
        pytest.raises(ModelError, match="gives no text"),
    ):
        sampled(server)


def test_vendors_options_and_headers_reach_the_server():
    with ScriptedServer() as server:
        config = ServerConfig(
            base_url=server.url, model="served", extra_body={"provider": {"only": ["x"]}}
        )
        headers = {"X-Team": "secret-team"}
        engine = ServerEngine(
            ModelConfig(name="m"), config, {}, "key", Console(quiet=True), None, headers=headers
        )
        list(engine.sample([request()], PLAIN))
        assert all(body["provider"] == {"only": ["x"]} for body in server.bodies)
        assert all(sent["X-Team"] == "secret-team" for sent in server.headers)
    assert "secret" not in repr(engine._endpoint)


def test_a_vendors_option_that_is_refused_is_an_error():
    refuse = told(["provider"], 400, {"error": {"message": "provider: unknown field"}})
    with (
        ScriptedServer(refuse=refuse) as server,
        pytest.raises(ModelError, match="refuses provider=x"),
    ):
        sampled(server, extra_body={"provider": "x"})


def test_a_secret_that_a_server_repeats_is_not_shown():
    refuse = told(["model"], 400, {"error": {"message": "bad key sk-0123456789 of team-4567"}})
    with ScriptedServer(refuse=refuse) as server:
        config = ServerConfig(base_url=server.url, model="served", attempts=1)
        engine = ServerEngine(
            ModelConfig(name="m"), config, {}, "sk-0123456789", Console(quiet=True), None,
            headers={"X-Team": "team-4567"},
        )  # fmt: skip
        with pytest.raises(ModelError, match=r"bad key \*\*\* of \*\*\*") as caught:
            list(engine.sample([request()], PLAIN))
    assert "0123" not in str(caught.value)


@pytest.mark.parametrize("name", ["presence_penalty", "top_k", "chat_template_kwargs"])
def test_a_refusal_may_spell_a_field_as_other_languages_do(name):
    camel = re.sub(r"_(\w)", lambda match: match[1].upper(), name)
    body = {"model": "m", "messages": [], name: 0}
    assert Terms().named(body, f"Model grok-4 does not support parameter {camel}.") == name
    assert Terms().named(body, f"my{camel}s") is None


def test_a_wanted_setting_that_is_refused_in_another_spelling_is_an_error():
    refuse = told(["presence_penalty"], 400, "Argument not supported: presencePenalty")
    with (
        ScriptedServer(refuse=refuse) as server,
        pytest.raises(ModelError, match=r"refuses presence_penalty=1\.5 \("),
    ):
        sampled(server, Decoding(1.0, 1.0, 50, presence_penalty=1.5))
