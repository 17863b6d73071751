"""What an endpoint's reply says, whatever the server's dialect.

A reply is read as plain JSON, since servers differ in what they add and leave out. Only what ended
as an answer is one: each choice ends by itself (``stop``), at its cap (``length``), or has failed.
"""

import html
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmark.records import FinishReason, storable
from benchmark.redaction import redacted

_MOST_TOKENS = 2**31  # in a reply, or in a vocabulary; the store keeps 32-bit counts
_WORDS_OF_ERRORS = ("error", "errors", "detail", "message", "msg", "error_message", "title")
_ENDED = frozenset(
    {"stop", "stop_sequence", "stop_str", "stop_token", "end_turn", "eos", "eos_token"}
)
_CUT = frozenset({
    "length", "max_tokens", "max_length", "max_new_tokens", "max_output_tokens", "token_limit",
    "max_completion_tokens", "model_length", "context_length", "model_context_window_exceeded",
})  # fmt: skip
_PAGE = re.compile(rb"\s*<(!doctype|html|head|body)\b", re.IGNORECASE)
_MARKUP = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_SHOWN_OF_ERROR = 300  # characters of why a choice is no answer, which are stored with it
_LONGEST_NAME = 1000  # characters of what a server calls its model
_SHOWN = 100  # characters of a page for browsers that an error message repeats
_STREAM = re.compile(rb"\s*(data|event|id|retry)?: ?\S")
_UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


class ReplyError(Exception):
    """A reply that isn't what the protocol says.

    Attributes:
        words: the server's own words for what is wrong; empty where it has none.
        status: HTTP status that the reply names, or None.
    """

    def __init__(self, message: str, words: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.words = words
        self.status = status


class Token(NamedTuple):
    """A generated token and the log probabilities of the most probable tokens in its place."""

    text: str
    top: tuple[tuple[str, float], ...]  # no mapping: different tokens may have the same text


@dataclass(frozen=True)
class Choice:
    """One of the generated texts of a reply; ``tokens`` is empty where none were asked for.

    ``error`` says why it is no answer, where finish_reason is ``error``; ``ids`` are those of all
    generated tokens, where a server gives them.
    """

    text: str
    reasoning: str | None
    finish_reason: FinishReason
    tokens: tuple[Token, ...]
    error: str | None = None
    ids: tuple[int, ...] = ()

    @property
    def whole(self) -> str:
        """Everything that was generated."""
        return f"{self.reasoning or ''}\n{self.text}"


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered.

    Token counts, of all choices together, and the model are as the server says; None where it
    doesn't say. ``prompt_ids`` are the ids of the rendered prompt's tokens, ``states`` the
    file of hidden states, if it gives them.
    """

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str | None
    prompt_ids: tuple[int, ...] = ()
    states: str | None = None


def read_reply(content: bytes) -> Reply:
    """Return what the body of a reply with status 200 says.

    Raises:
        ReplyError: it holds an error in place of choices, or isn't what the protocol says.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        words = error_words(content)
        if _PAGE.match(content):  # its words say nothing of the request
            said = f"a page for browsers, '{words}'. Is base_url an API's, as in http://host/v1?"
        elif _STREAM.match(content):
            said = f"a stream of events, which wasn't asked for: {words}"
        else:
            raise ReplyError(f"unreadable reply: {words or type(error).__name__}", words) from error
        raise ReplyError(f"unreadable reply: {said}") from error
    failed = isinstance(data, dict) and (not data.get("choices") or _said(data.get("error")))
    words = error_words(content) if failed else ""
    if words:
        named = data["error"] if isinstance(data.get("error"), dict) else data
        code = named.get("code", named.get("status"))
        status = int(code) if str(code).isdecimal() and len(str(code)) == 3 else None
        raise ReplyError(f"unreadable reply: {words}", words, status)
    try:
        return _read(data)
    except _UNREADABLE as error:
        raise ReplyError(f"unreadable reply: {type(error).__name__} {error}") from error


def error_words(content: bytes) -> str:
    """Return what the body of a failed request says is wrong, on one line; empty for nothing."""
    text = storable(content.decode(errors="replace"))
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        if _PAGE.match(content):
            text = html.unescape(_MARKUP.sub(" ", text))[:_SHOWN]
        return " ".join(text.split()) if text.strip("[{\"' \n") else ""
    return " ".join(_said(data).split())


def _said(data: Any) -> str:
    """Return the message in an error's JSON, however deeply that is nested."""
    try:
        return _words(data)
    except RecursionError:
        return "an error that is nested too deeply to be read"


def _words(data: Any) -> str:
    """Return the message in an error's JSON: of OpenAI, FastAPI (``loc`` and ``msg``), or plain."""
    if isinstance(data, str):
        return storable(data)
    if isinstance(data, list):
        return "; ".join(filter(None, map(_words, data)))
    if not isinstance(data, dict):
        return ""
    said = next(filter(None, (_words(data.get(name)) for name in _WORDS_OF_ERRORS)), "")
    if isinstance(data.get("metadata"), dict):  # a router's, of the error behind it
        raw = data["metadata"].get("raw")
        behind = error_words(raw.encode()) if isinstance(raw, str) else _words(raw)
        said = f"{said}: {behind}" if behind else said
    place = data.get("loc")
    if isinstance(place, list) and place:
        return f"{storable(str(place[-1]))}: {said}"
    param = data.get("param")
    return f"{param}: {said}" if isinstance(param, str) and param not in said else said


def _read(data: dict[str, Any]) -> Reply:
    choices = tuple(_choice(choice) for choice in data["choices"])
    if not choices:
        raise ValueError("no choices")
    usage, model = data.get("usage") or {}, data.get("model")
    states = (data.get("kv_transfer_params") or {}).get("hidden_states_path")
    prompt = data.get("prompt_token_ids") or data["choices"][0].get("prompt_token_ids")
    return Reply(
        choices,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        None if model is None else _text(model).strip()[:_LONGEST_NAME] or None,
        _ids(prompt),
        None if states is None else _text(states),
    )


def _count(value: Any) -> int | None:
    """Return a number of tokens; none at all, or fewer, is what a server says that counts none."""
    number = int(value or 0)
    if number >= _MOST_TOKENS:
        raise ValueError(f"{number} tokens")
    return number if number > 0 else None


def _ids(value: Any) -> tuple[int, ...]:
    ids = tuple(int(index) for index in value or ())
    if ids and not 0 <= min(ids) <= max(ids) < _MOST_TOKENS:
        raise ValueError(f"a token's id is {min(ids) if min(ids) < 0 else max(ids)}")
    return ids


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in place of a text")
    return storable(value)


def _logprob(value: Any) -> float:
    number = float(value)
    if math.isnan(number):
        raise ValueError("a log probability is NaN")
    return number


def _choice(choice: dict[str, Any]) -> Choice:
    finish_reason, error = _finish(choice)
    message = choice.get("message")
    if message is None and error and "finish_reason" in choice:  # what failed may have no message
        text, reasoning = "", None
    elif message is None:  # of the completions endpoint
        text, reasoning = _text(choice["text"] or ""), None
    else:
        text, thought = _content(message.get("content"))
        text = text or _text(message.get("refusal") or "")
        reasoning = message.get("reasoning_content") or message.get("reasoning") or thought or None
        if not (text or error) and (message.get("tool_calls") or message.get("function_call")):
            finish_reason, error = "error", "the reply calls a tool in place of an answer"
    return Choice(
        text,
        None if reasoning is None else _text(reasoning),
        finish_reason,
        _tokens(choice.get("logprobs")),
        error,
        _ids(choice.get("token_ids")),
    )


def _content(content: Any) -> tuple[str, str]:
    """Return text and reasoning of a message's content: a text, nothing, or a list of parts."""
    if not isinstance(content, list):
        return _text(content or ""), ""
    texts, thoughts = [], []
    for part in content:
        kind = part["type"]
        if kind in ("thinking", "reasoning"):
            inner = part.get(kind, part.get("text"))
            thoughts.append(_content(inner)[0])
        elif kind in ("text", "output_text", "refusal"):
            texts.append(_text(part["refusal" if kind == "refusal" else "text"]))
        else:
            raise ValueError(f"a part of type {kind!r} in place of a text")
    # A secret may have been cut into parts, where the search in the whole reply can't find it.
    return redacted("".join(texts)), redacted("".join(thoughts))


def _finish(choice: Mapping[str, Any]) -> tuple[FinishReason, str | None]:
    """Return how a choice ended, and why it is no answer where it is none."""
    said, error = choice.get("finish_reason"), _words(choice.get("error"))
    reason = said.lower() if isinstance(said, str) else ""
    if error or not (reason in _ENDED or reason in _CUT):
        named = "no finish_reason" if said is None else f"finish_reason {storable(str(said))!r}"
        told = f"the reply ended with {named}{f': {error}' if error else ''}"
        return "error", told[:_SHOWN_OF_ERROR]
    return ("stop" if reason in _ENDED else "length"), None


def _tokens(logprobs: dict[str, Any] | None) -> tuple[Token, ...]:
    if not logprobs:
        return ()
    if logprobs.get("content") is not None:
        return tuple(_token(token or {}) for token in logprobs["content"])
    tokens = logprobs.get("tokens") or []
    tops = logprobs.get("top_logprobs") or [{}] * len(tokens)
    return tuple(
        Token(
            _text(text),
            tuple((_text(t), _logprob(p)) for t, p in (top or {}).items() if p is not None),
        )
        for text, top in zip(tokens, tops, strict=True)
    )


def _token(token: Mapping[str, Any]) -> Token:
    """Return a token of a chat; what a server doesn't say of it is left out."""
    tops = (top for top in token.get("top_logprobs") or [] if top["logprob"] is not None)
    return Token(
        _text(token.get("token") or ""),
        tuple((_text(top["token"]), _logprob(top["logprob"])) for top in tops),
    )
