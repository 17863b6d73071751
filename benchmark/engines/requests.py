"""Requests to an OpenAI-compatible endpoint: one at a time with retries, or many at once.

A reply is read as plain JSON, since servers differ in what they add and leave out.
"""

import json
import math
import queue
import re
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

import anyio
import openai
import tenacity
from anyio.from_thread import start_blocking_portal

from benchmark.errors import ModelError
from benchmark.records import storable

Job = TypeVar("Job")
Result = TypeVar("Result")
_LONGEST_WAIT = 60.0  # seconds between attempts, unless the server names a time
_LONGEST_NAMED = 900.0  # of the times that a server names
_SHOWN = 300  # characters of an error
_MOST_TOKENS = 2**31  # that a reply may count
_UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


class Token(NamedTuple):
    """A generated token and the log probabilities of the most probable tokens in its place."""

    text: str
    top: tuple[tuple[str, float], ...]  # different tokens may have the same text


@dataclass(frozen=True)
class Choice:
    """One of the generated texts of a reply; ``tokens`` is empty where none were asked for."""

    text: str
    reasoning: str | None
    finish_reason: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered.

    Token counts, of all choices together, and the model are as the server says; None where it
    doesn't say.
    """

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str | None


class RequestError(Exception):
    """A request that failed for good: recorded as a state, never an answer."""


class ReplyError(Exception):
    """A reply that isn't what the protocol says."""


@dataclass(frozen=True)
class Endpoint:
    """How requests are sent.

    Attributes:
        base_url: of the API, up to and including its version; None takes ``OPENAI_BASE_URL``, else
            OpenAI's.
        api_key: sent as the bearer token; never stored or logged.
        attempts: for one request, with growing waits, before it counts as failed.
        timeout: seconds for one request.
        alive: raises where the server is known to be gone, so that nothing waits for it.
        settings: the part of the configuration that messages send the user to.
    """

    base_url: str | None
    api_key: str
    attempts: int
    timeout: float
    alive: Callable[[], None] = lambda: None
    settings: str = "engine"

    def client(self) -> openai.AsyncOpenAI:
        """Return a client; it is a context manager that closes its connections."""
        return openai.AsyncOpenAI(
            base_url=self.base_url, api_key=self.api_key, max_retries=0, timeout=self.timeout
        )

    async def ask(self, client: openai.AsyncOpenAI, body: dict[str, Any]) -> Reply:
        """Return the reply to one request; ``messages`` or ``prompt`` in the body says to what.

        Raises:
            RequestError: after all attempts, or where another attempt can't help.
            ModelError: the endpoint refuses every request: a wrong key, model or address.
        """
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_passing),
            stop=tenacity.stop_after_attempt(self.attempts),
            wait=_wait,
            sleep=anyio.sleep,
            before_sleep=lambda _: self.alive(),
            reraise=True,
        )
        try:
            reply: Reply = await retrying(self._ask_once, client, body)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ModelError(
                f"{client.base_url} refuses the key ({_short(error)}). Set the environment "
                f"variable that {self.settings}.api_key_env names."
            ) from error
        except openai.NotFoundError as error:
            raise ModelError(
                f"{client.base_url} has no model '{body['model']}' ({_short(error)}). "
                f"{await self._models(client)} Set {self.settings}.model, or correct "
                f"{self.settings}.base_url."
            ) from error
        except (openai.OpenAIError, ReplyError) as error:
            self.alive()
            raise RequestError(_short(error)) from error
        return reply

    async def _ask_once(self, client: openai.AsyncOpenAI, body: dict[str, Any]) -> Reply:
        kind = client.chat.completions if "messages" in body else client.completions
        raw = await kind.with_raw_response.create(**body)
        try:
            return _read(json.loads(raw.content))
        except _UNREADABLE as error:
            raise ReplyError(f"unreadable reply: {type(error).__name__} {error}") from error

    async def _models(self, client: openai.AsyncOpenAI) -> str:
        try:
            models = await client.models.list()
            return f"It has {[model.id for model in models.data][:10]}."
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            return "It doesn't say which it has."


def run_all(
    endpoint: Endpoint,
    jobs: Iterator[Job],
    work: Callable[[openai.AsyncOpenAI, Job], Awaitable[list[Result]]],
    concurrency: int,
) -> Generator[Result]:
    """Yield the results of all jobs as they end, with at most ``concurrency`` of them at work.

    The event loop runs in a thread of its own; leaving the iteration cancels what is under way.
    """
    done: queue.SimpleQueue[list[Result] | None] = queue.SimpleQueue()

    async def worker(client: openai.AsyncOpenAI) -> None:
        for job in jobs:  # the same iterator for all workers
            done.put(await work(client, job))

    async def every() -> None:
        try:
            async with endpoint.client() as client, anyio.create_task_group() as group:
                for _ in range(concurrency):
                    group.start_soon(worker, client)
        finally:
            done.put(None)

    with start_blocking_portal() as portal:
        running = portal.start_task_soon(every)
        try:
            while (results := done.get()) is not None:
                yield from results
            _result(running.result)
        finally:
            running.cancel()


def _result(get: Callable[[], None]) -> None:
    """Raise the first fault of a task group as itself."""
    try:
        get()
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group


def _passing(error: BaseException) -> bool:
    """Tell whether another attempt may succeed."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in (408, 409, 425, 429) or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | ReplyError)


_BACKOFF = tenacity.wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT)


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next attempt: what the server says, or backoff with jitter."""
    error = state.outcome.exception() if state.outcome else None
    backoff = float(_BACKOFF(state))
    if isinstance(error, openai.APIStatusError):
        named = _retry_after(error.response.headers.get("retry-after", ""))
        if named is not None:
            return named + min(backoff, 1.0)  # not all at the same moment
    return backoff


def _retry_after(header: str) -> float | None:
    """Return the seconds that a Retry-After header names, in either of its forms."""
    if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", header.strip()):
        return min(float(header), _LONGEST_NAMED)
    try:
        seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), _LONGEST_NAMED)


def _read(data: dict[str, Any]) -> Reply:
    choices = tuple(_choice(choice) for choice in data["choices"])
    if not choices:
        raise ValueError("no choices")
    usage, model = data.get("usage") or {}, data.get("model")
    return Reply(
        choices,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        None if model is None else _text(model),
    )


def _count(value: Any) -> int | None:
    if value is None:
        return None
    number = int(value)
    if not 0 <= number < _MOST_TOKENS:
        raise ValueError(f"{number} tokens")
    return number


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
    message = choice.get("message")
    if message is None:  # of the completions endpoint
        text, reasoning = choice["text"], None
    else:
        text = message.get("content")
        reasoning = message.get("reasoning_content") or message.get("reasoning")
    return Choice(
        _text(text or ""),
        None if reasoning is None else _text(reasoning),
        str(choice.get("finish_reason")),
        _tokens(choice.get("logprobs")),
    )


def _tokens(logprobs: dict[str, Any] | None) -> tuple[Token, ...]:
    if not logprobs:
        return ()
    if logprobs.get("content") is not None:
        return tuple(
            Token(
                _text(t["token"]),
                tuple(
                    (_text(top["token"]), _logprob(top["logprob"]))
                    for top in t.get("top_logprobs") or []
                ),
            )
            for t in logprobs["content"]
        )
    tokens = logprobs.get("tokens") or []
    tops = logprobs.get("top_logprobs") or [{}] * len(tokens)
    return tuple(
        Token(
            _text(text),
            tuple((_text(token), _logprob(logprob)) for token, logprob in (top or {}).items()),
        )
        for text, top in zip(tokens, tops, strict=True)
    )


def _short(error: Exception) -> str:
    text = " ".join(storable(str(error)).split()) or type(error).__name__
    cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
    return f"{type(error).__name__}: {text[:_SHOWN]}{cause}"
