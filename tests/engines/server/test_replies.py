"""What a reply is: an answer that ended, one that was cut, or a failure with its reason."""

import json
import math
import re

import pytest
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding, SampleRequest
from benchmark.engines.server.engine import ServerEngine
from benchmark.engines.server.replies import ReplyError, error_words, read_reply
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ModelError
from tests.engines.server.scripted import ScriptedServer

PLAIN = Decoding(1.0, 1.0, 50)


def reply(finish_reason="stop", usage=None, **message):
    choice = {"message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def sampled(reshape, reasoning="none", k=3, **settings):
    """Return the responses of a server whose replies, but for the check, are changed."""
    with ScriptedServer("no logprobs", reshape=reshape) as server:
        config = ServerConfig(
            base_url=server.url, model="served", attempts=2, samples_per_request=1, **settings
        )
        model = ModelConfig(name="m", reasoning=reasoning)
        engine = ServerEngine(model, config, {}, "key", Console(quiet=True), None)
        request = SampleRequest("q", "Question?", tuple(range(k)), tuple(range(100, 100 + k)))
        return list(engine.sample([request], PLAIN))


def with_choice(**changes):
    def reshape(reply, _):
        for choice in reply["choices"]:
            choice.update(changes)
        return reply

    return reshape


@pytest.mark.parametrize(
    "said", ["stop", "STOP", "stop_sequence", "end_turn", "eos", "EOS", "eos_token", "stop_str"]
)
def test_an_end_is_an_end_in_every_spelling(said):
    assert {r.finish_reason for r in sampled(with_choice(finish_reason=said))} == {"stop"}


@pytest.mark.parametrize(
    "said", ["length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens"]
)
def test_a_cut_is_a_cut_in_every_spelling(said):
    assert {r.finish_reason for r in sampled(with_choice(finish_reason=said))} == {"length"}


@pytest.mark.parametrize(
    "said",
    [
        "error", "content_filter", "abort", "tool_calls", "function_call", "cancelled", "SAFETY",
        "RECITATION", "insufficient_system_resource", "unknown", "", None, 3, ["stop"],
    ],
)  # fmt: skip
def test_any_other_end_is_a_failed_request_with_its_reason(said):
    responses = sampled(with_choice(finish_reason=said))
    assert {r.finish_reason for r in responses} == {"error"}
    named = "no finish_reason" if said is None else str(said)
    assert all(named in r.error and r.text == "" for r in responses)


def test_a_missing_end_is_a_failed_request():
    def reshape(reply, _):
        del reply["choices"][0]["finish_reason"]
        return reply

    assert {r.error for r in sampled(reshape)} == {"the reply ended with no finish_reason"}


def test_an_error_of_a_choice_is_named():
    error = {"message": "upstream is gone", "code": 502}
    (response, *_) = sampled(with_choice(finish_reason="error", error=error))
    assert "upstream is gone" in response.error


def test_each_choice_ends_by_itself():
    def reshape(reply, _):
        for choice, said in zip(
            reply["choices"], ["stop", "length", "content_filter"], strict=False
        ):
            choice["finish_reason"] = said
        return reply

    with ScriptedServer(reshape=reshape) as server:
        config = ServerConfig(base_url=server.url, model="served", samples_per_request=3)
        engine = ServerEngine(ModelConfig(name="m"), config, {}, "key", Console(quiet=True), None)
        request = SampleRequest("q", "Question?", (0, 1, 2), (7, 8, 9))
        found = {r.sample_index: r.finish_reason for r in engine.sample([request], PLAIN)}
    assert found == {0: "stop", 1: "length", 2: "error"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "model is overloaded", "code": 529}}, "model is overloaded"),
        ({"error": "no healthy upstream"}, "no healthy upstream"),
        ({"detail": "quota exceeded"}, "quota exceeded"),
        ({"detail": [{"loc": ["body", "x"], "msg": "bad value"}]}, "x: bad value"),
        ({"message": "try later"}, "try later"),
        ({"object": "error", "message": "engine is dead", "code": 500}, "engine is dead"),
        ({"choices": [], "error": {"message": "no capacity"}}, "no capacity"),
        ({"choices": None, "error": {"error": {"message": "deep"}}}, "deep"),
        ({"errors": [{"message": "first"}, {"message": "second"}]}, "first; second"),
        (b"upstream connect error", "upstream connect error"),
        (
            {
                "error": {
                    "message": "Provider returned error",
                    "metadata": {
                        "raw": '{"error": {"message": "out of memory"}}',
                        "provider_name": "X",
                    },
                }
            },
            "Provider returned error: out of memory",
        ),
        (
            {
                "error": {"message": "late"},
                "choices": [{"message": {"content": "4"}, "finish_reason": "stop"}],
            },
            "late",
        ),
        (b"<html><h1>502 Bad Gateway</h1></html>", "502 Bad Gateway"),
    ],
)
def test_an_error_with_status_200_is_that_error(body, words):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ReplyError) as caught:
        read_reply(content)
    assert words in str(caught.value)
    if not isinstance(body, bytes):
        assert caught.value.words == words
    responses = sampled(lambda *_: content, k=1)
    assert responses[0].finish_reason == "error"
    assert words in responses[0].error


@pytest.mark.parametrize("content", [b"", b"null", b"[", b"[]", b"7", b'{"choices": 3}', b"\xff{"])
def test_a_reply_that_says_nothing_is_unreadable(content):
    with pytest.raises(ReplyError, match="unreadable reply"):
        read_reply(content)
    assert "Traceback" not in error_words(content)


def test_reasoning_that_ended_without_an_answer_is_no_truncation():
    message = {"role": "assistant", "content": None, "reasoning_content": "So it is 4."}
    responses = sampled(with_choice(message=message), reasoning="think")
    assert {(r.finish_reason, r.text, r.reasoning) for r in responses} == {
        ("stop", "", "So it is 4.")
    }
    responses = sampled(with_choice(message=message, finish_reason="length"), reasoning="think")
    assert {r.finish_reason for r in responses} == {"length"}


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "text", "text": "4"}], "4", None),
        ([{"type": "output_text", "text": "4", "annotations": []}], "4", None),
        ([{"type": "text", "text": "It is "}, {"type": "text", "text": "4."}], "It is 4.", None),
        ([{"type": "refusal", "refusal": "I can't say."}], "I can't say.", None),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
          {"type": "text", "text": "4"}], "4", "hm"),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "4"}], "4", "hm"),
        ([{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "4"}], "4", "hm"),
        ([], "", None),
        (None, "", None),
    ],
)  # fmt: skip
def test_content_in_parts_is_read(content, text, reasoning):
    (choice,) = read_reply(reply(content=content)).choices
    assert (choice.text, choice.reasoning) == (text, reasoning)


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": "x"}, {"text": "x"}, "x", 3])
def test_parts_that_are_no_text_are_unreadable(part):
    with pytest.raises(ReplyError, match="unreadable"):
        read_reply(reply(content=[part]))


def test_a_refusal_is_what_the_model_said():
    (choice,) = read_reply(reply(content=None, refusal="I won't.")).choices
    assert (choice.text, choice.finish_reason) == ("I won't.", "stop")


@pytest.mark.parametrize(
    "usage",
    [
        None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"completion_tokens": None},
        {"prompt_tokens": 0.0, "completion_tokens": "0"}, [], "",
        {"prompt_tokens": -1, "completion_tokens": -1}, {"completion_tokens": "-1"},
    ],
)  # fmt: skip
def test_a_usage_of_nothing_is_unknown(usage):
    found = read_reply(reply(usage=usage, content="4"))
    assert (found.prompt_tokens, found.completion_tokens) == (None, None)


def test_a_usage_of_nothing_leaves_tokens_unknown():
    def reshape(reply, _):
        return reply | {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}

    assert {(r.prompt_tokens, r.completion_tokens) for r in sampled(reshape)} == {(None, None)}


def test_a_filtered_reply_gives_no_probabilities():
    with ScriptedServer(reshape=with_choice(finish_reason="content_filter")) as server:
        config = ServerConfig(base_url=server.url, model="served")
        engine = ServerEngine(ModelConfig(name="m"), config, {}, "key", Console(quiet=True), None)
        request = SampleRequest("q", "Question?", (0,), (7,))
        found = dict(engine.choice_probabilities([request], ["Yes", "No"], PLAIN))
    assert "content_filter" in found["q"].error


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><head><style>p {n: 1}</style></head><body>Welcome, seed</body>",
        b"\n<HTML><body><h1>Welcome, seed</h1></body></HTML>", b"<html>\xe9 Welcome, seed</html>",
    ],
)  # fmt: skip
def test_a_page_for_browsers_sends_to_the_address(content):
    with pytest.raises(
        ReplyError, match=r"a page for browsers, '.*Welcome, seed'. Is base_url"
    ) as e:
        read_reply(content)
    assert e.value.words == ""  # they say nothing of a field of the request


@pytest.mark.parametrize(
    "content",
    [b'data: {"seed": 1}\n\ndata: [DONE]\n\n', b": wait\n\ndata: {}\n", b"event: x\ndata: {}"],
)
def test_a_stream_that_was_not_asked_for_is_said(content):
    with pytest.raises(ReplyError, match="a stream of events") as caught:
        read_reply(content)
    assert caught.value.words == ""


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
        {"content": "", "tool_calls": [{"id": "1"}]}, {"tool_calls": [{"id": "1"}]},
        {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"content": [], "tool_calls": [{"id": "1"}], "reasoning_content": "hm"},
    ],
)  # fmt: skip
def test_a_call_of_a_tool_is_no_answer_however_it_ends(message):
    (choice,) = read_reply(reply(**message)).choices
    assert choice.finish_reason == "error"
    assert "calls a tool" in choice.error


@pytest.mark.parametrize("calls", [None, []])
def test_no_calls_of_tools_change_nothing(calls):
    (choice,) = read_reply(reply(content="4", tool_calls=calls, function_call=None)).choices
    assert (choice.text, choice.finish_reason, choice.error) == ("4", "stop", None)


@pytest.mark.parametrize("said", ["content_filter", "SAFETY", "RECITATION", None, "error"])
def test_what_failed_may_have_no_message(said):
    for message in ({"message": None}, {}):
        body = {"choices": [{**message, "finish_reason": said}]}
        (choice,) = read_reply(json.dumps(body).encode()).choices
        assert (choice.text, choice.finish_reason) == ("", "error")
    with pytest.raises(ReplyError):  # an end without anything is no answer
        read_reply(b'{"choices": [{"message": null, "finish_reason": "stop"}]}')


TOP = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.5}]


def asked(logprobs):
    """Return the P(True) of a server whose log probabilities, but for the check, are changed."""
    with ScriptedServer(reshape=with_choice(logprobs=logprobs)) as server:
        config = ServerConfig(base_url=server.url, model="served")
        engine = ServerEngine(ModelConfig(name="m"), config, {}, "key", Console(quiet=True), None)
        request = SampleRequest("q", "Question?", (0,), (7,))
        return dict(engine.choice_probabilities([request], ["Yes", "No"], PLAIN))["q"]


@pytest.mark.parametrize(
    "logprobs",
    [
        None, {}, {"content": None}, {"content": []}, {"content": [None]},
        {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": []}]},
        {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": None}]},
        {"content": [{"token": "Yes", "logprob": -0.1}]},
        {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": TOP[:1]}]},
        {"tokens": ["Yes"], "token_logprobs": [-0.1]},
        {"tokens": ["Yes"], "token_logprobs": [-0.1], "top_logprobs": [{"Yes": -0.1}]},
    ],
)  # fmt: skip
def test_no_probability_is_made_up_where_a_reply_holds_none(logprobs):
    assert "no top log probabilities" in asked(logprobs).error


@pytest.mark.parametrize(
    "odd",
    [
        {"token": "Maybe", "logprob": None}, {"token": "Maybe", "logprob": float("-inf")},
        {"token": "Maybe", "logprob": "-Infinity"}, {"token": "Maybe", "logprob": -9999.0},
        {"token": "Maybe", "logprob": -7, "bytes": [77, 97], "id": 3},
        {"token": "Maybe", "logprob": -7, "bytes": None},
    ],
)  # fmt: skip
def test_odd_log_probabilities_leave_the_others_as_they_are(odd):
    found = asked({"content": [{"token": "Yes", "logprob": None, "top_logprobs": [*TOP, odd]}]})
    assert found.error is None
    assert found.probabilities == pytest.approx({"Yes": math.exp(-0.1), "No": math.exp(-2.5)})


def test_a_server_that_gives_the_drawn_token_alone_is_refused_for_p_true():
    with ScriptedServer(most=1) as server:
        config = ServerConfig(base_url=server.url, model="served")
        engine = ServerEngine(ModelConfig(name="m"), config, {}, "key", Console(quiet=True), None)
        request = SampleRequest("q", "Question?", (0,), (7,))
        with pytest.raises(ModelError, match="or only one for each token"):
            list(engine.choice_probabilities([request], ["Yes", "No"], PLAIN))
        assert len(list(engine.sample([request], PLAIN))) == 1


@pytest.mark.parametrize(
    ("top", "named"),
    [
        ([("Yes", 5.0), ("No", -2.0)], "'Yes' has the log probability 5, above 0"),
        ([("Maybe", 0.5), ("Yes", -2.0)], "'Maybe' has the log probability 0.5"),
        ([("Yes", float("inf")), ("No", -2.0)], "'Yes' has the log probability inf"),
        ([("Yes", "Infinity"), ("No", -2.0)], "log probability inf"),
        ([("Yes", 1e308), ("No", -2.0)], "1e\\+308"),
        ([("Yes", float("nan")), ("No", -2.0)], "NaN"),
        ([("Yes", -0.01)] * 20, "20 tokens add up to 19.8"),
        ([("Yes", -0.3), ("No", -0.3)], "2 tokens add up to 1.482"),
        ([(f"t{i}", -1.0) for i in range(20)], "add up to 7.358"),
        ([("Yes", -0.8), ("Yes", -0.8)], "'Yes' is there twice, with the log probability -0.8"),
        ([("No", -1.5), ("x", -3.0), ("No", -1.5)], "'No' is there twice"),
        ([("Yes", 0.0), ("No", -0.01)], "add up to 1.99"),
        ([("Yes", 0.04), ("No", -9.0)], "'Yes' has the log probability 0.04"),
        ([("Yes", -0.35), ("No", -1.08)], "2 tokens add up to 1.044"),
        ([("Yes", 0.0), ("No", -4.0)], "2 tokens add up to 1.018"),
        ([("Yes", 0.005), ("No", -4.5)], "2 tokens add up to 1.016"),
    ],
)
def test_impossible_log_probabilities_are_an_error_with_the_value(top, named):
    tops = [{"token": token, "logprob": logprob} for token, logprob in top]
    found = asked({"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": tops}]})
    assert re.search(named, found.error)
    assert set(found.probabilities.values()) == {0.0}


@pytest.mark.parametrize(
    ("top", "yes"),
    [
        ([("Yes", -0.1), (" yes", -3.0), ("No", -4.0)], math.exp(-0.1) + math.exp(-3.0)),
        ([("Yes", -1.0), ("Yes", -1.25)], math.exp(-1.0) + math.exp(-1.25)),
        ([("Yes", 0.0), ("No", float("-inf"))], 1.0),
        ([("Yes", 1e-4), ("No", -9.0)], 1.0),
        ([("Yes", -9999.0), ("Yes", -9999.0), ("x", 0.0)], 0.0),
        ([("\ufffd", -2.0), ("\ufffd", -2.0), ("Yes", -0.5)], math.exp(-0.5)),
        ([("Yes", -0.01), ("No", -4.6)], math.exp(-0.01)),
    ],
)
def test_log_probabilities_within_rounding_are_taken(top, yes):
    tops = [{"token": token, "logprob": logprob} for token, logprob in top]
    found = asked({"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": tops}]})
    assert found.error is None
    assert found.probabilities["Yes"] == pytest.approx(yes)
