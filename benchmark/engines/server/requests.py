"""Requests to an OpenAI-compatible endpoint: one at a time with retries, or many at once.

What an endpoint refuses by name is asked for in another way, or left out: ``terms`` says where that
changes nothing.
"""

import math
import queue
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio
import httpx2
import openai
import tenacity
from anyio.from_thread import start_blocking_portal

from benchmark.engines.server.client import GuardedClient, check_address, check_sendable
from benchmark.engines.server.replies import Reply, ReplyError, read_reply
from benchmark.engines.server.retries import busy, passing, refusal, retry_after, short, wait
from benchmark.engines.server.spread import Spread
from benchmark.engines.server.terms import Terms
from benchmark.errors import ModelError
from benchmark.redaction import hide

Job = TypeVar("Job")
Result = TypeVar("Result")
_SHOWN = 300  # characters of a list of models in a message
_LONG_WAIT = 10.0  # seconds until the next attempt from which on the terminal is told
_NEWS_SECONDS = 60.0  # between two such lines


class RequestError(Exception):
    """A request that failed for good: recorded as a state, never an answer.

    Attributes:
        busy: whether the server is away or overloaded, so that other requests fail, too.
    """

    def __init__(self, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


@dataclass
class Endpoint:
    """How requests are sent.

    Attributes:
        base_url: address of the API, up to and including its version; None takes
            ``OPENAI_BASE_URL``, else OpenAI's.
        api_key: bearer token; never stored or logged.
        attempts: number of attempts at one request, with growing waits, before it has failed.
        timeout: longest time in seconds that one attempt may take.
        alive: function that raises where the server has ended, so that nothing waits for it.
        settings: part of the configuration that messages send the user to.
        headers: further headers; their values are never stored or logged.
        say: function that is told, in one line each, of fields that the endpoint doesn't take.
        terms: which fields it takes, as far as is known.
        spread: the servers that share the requests, where there are several; ``base_url`` is one.
        served: name that the server gives its model in replies; None before the first one.
        keep: function that is told that name once; it raises where it must be another one.
    """

    base_url: str | None
    api_key: str
    attempts: int
    timeout: float
    alive: Callable[[], None] = lambda: None
    settings: str = "engine"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    say: Callable[[str], None] = lambda _: None
    terms: Terms = field(default_factory=Terms)
    spread: Spread | None = None
    served: str | None = None
    keep: Callable[[str], None] = lambda _: None
    _said: float = -math.inf

    def client(self) -> openai.AsyncOpenAI:
        """Return a client; it is a context manager that closes its connections.

        Raises:
            ModelError: the address, the key or a header can't be sent.
        """
        for url in [self.base_url] if self.spread is None else self.spread.urls:
            check_address(url, self.settings)
        check_sendable({"the API key": self.api_key, **self.headers})
        hide([self.api_key, *self.headers.values()])
        return openai.AsyncOpenAI(
            base_url=self.base_url, api_key=self.api_key, max_retries=0, timeout=self.timeout,
            default_headers=self.headers, http_client=GuardedClient(self.timeout, self.settings),
        )  # fmt: skip

    async def ask(
        self, client: openai.AsyncOpenAI, body: dict[str, Any], *, patient: bool = True
    ) -> Reply:
        """Return the reply to one request; ``messages`` or ``prompt`` in the body says to what.

        A field that the endpoint refuses by name is left out, or said in another way, where the
        request means the same; what is learnt so from a request that succeeds holds from then on.

        Args:
            client: client of this endpoint.
            body: fields of the request, as if the endpoint took them all.
            patient: whether to ask again after a fault of the server's own (status 500), or where
                the time ran out.

        Raises:
            RequestError: after all attempts, or where another attempt can't help.
            ModelError: the endpoint refuses every request: a wrong key, model or address, or a
                setting that changes what is sampled.
        """
        terms, kept, lost = self.terms, body, ""
        while True:
            sent = terms.applied(kept)
            try:
                reply = await self._attempts(client, sent, terms, kept, patient)
            except (openai.APIStatusError, ReplyError) as error:
                name = terms.named(kept, refusal(error))
                if name is None:
                    self.alive()
                    raise RequestError(short(error), busy=busy(error)) from error
                changed = terms.refusing(name, kept, refusal(error))
                if changed is None:  # asked once without it, to see whether it is the cause
                    kept = {key: value for key, value in kept.items() if key != name}
                    lost = lost or (
                        f"{client.base_url} refuses {name}={body[name]} ({short(error)})."
                    )
                terms = changed or terms
            else:
                if lost:
                    raise ModelError(f"{lost} Set it to what the server takes, or choose another.")
                self.learn(terms, client)
                self._compare(reply.model, client)
                return reply

    async def ask_bare(self, client: openai.AsyncOpenAI, body: dict[str, Any]) -> None:
        """Learn which fields the endpoint refuses without naming them, adding one after another.

        Raises the errors of ``ask``, also where it refuses the request without any of them.
        """
        bare = self.terms.bare(body)
        try:
            await self.ask(client, bare.applied(body), patient=False)
        except RequestError:
            try:
                short = replace(bare, short_cap=True).applied(body)
                await self.ask(client, short, patient=False)
                self.learn(replace(self.terms, short_cap=True), client)
            except RequestError:  # the cause is none of these fields; this says what it is
                await self.ask(client, bare.applied(body))
        left = bare.left_out - self.terms.left_out
        for name in sorted(left):
            fuller = replace(self.terms, left_out=self.terms.left_out | left - {name})
            with suppress(RequestError):
                await self.ask(client, fuller.applied(body), patient=False)
                left -= {name}
        self.learn(replace(self.terms, left_out=self.terms.left_out | left), client)

    def learn(self, terms: Terms, client: openai.AsyncOpenAI) -> None:
        """Apply terms from now on, and say what is new in them."""
        for line in terms.news(self.terms):
            self.say(f"{client.base_url} {line}.")
        self.terms = terms

    def _compare(self, model: str | None, client: openai.AsyncOpenAI) -> None:
        """Refuse another model than the one that answered before; its name may be an alias."""
        if self.served is None and model is not None:
            self.keep(model)
            self.served = model
        if model is not None and model != self.served:
            raise ModelError(
                f"{client.base_url} called its model {self.served!r} before and calls it {model!r} "
                f"now: responses of two models would be mixed. What was finished is kept. Make "
                f"sure that the same model answers every request, then run again."
            )

    def _say_wait(self, state: tenacity.RetryCallState, client: openai.AsyncOpenAI) -> None:
        """Say that a request waits long, at most once a minute: many wait at the same time."""
        self.alive()
        seconds, now = state.next_action.sleep if state.next_action else 0.0, time.monotonic()
        error = state.outcome.exception() if state.outcome else None
        if (
            seconds < _LONG_WAIT
            or now - self._said < _NEWS_SECONDS
            or not isinstance(error, Exception)
        ):
            return
        self._said = now
        asked = retry_after(error)
        named = f", which asks for a wait of {asked:,.0f} s" if asked else ""
        self.say(
            f"{client.base_url}: {short(error)}{named}. The next attempt is in {seconds:,.0f} s."
        )

    async def _attempts(
        self,
        client: openai.AsyncOpenAI,
        sent: dict[str, Any],
        terms: Terms,
        body: dict[str, Any],
        patient: bool,
    ) -> Reply:
        """Return the reply to one request, asked again as long as that may help."""

        def again(error: BaseException) -> bool:
            faulty = getattr(error, "status_code", None) in (500, 501)
            if not patient and (faulty or isinstance(error, openai.APITimeoutError)):
                return False
            named = isinstance(error, openai.APIStatusError | ReplyError) and terms.named(
                body, refusal(error)
            )
            return not named and passing(error)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(again),
            stop=tenacity.stop_after_attempt(self.attempts),
            wait=wait,
            sleep=anyio.sleep,
            before_sleep=lambda state: self._say_wait(state, client),
            reraise=True,
        )
        try:
            reply: Reply = await retrying(self._ask_once, client, sent)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            if terms.named(body, refusal(error)):  # the key is good, but may not use a field
                raise
            raise ModelError(
                f"{client.base_url} refuses the key ({short(error)}). Set the environment "
                f"variable that {self.settings}.api_key_env names."
            ) from error
        except openai.NotFoundError as error:
            raise ModelError(
                f"{client.base_url} has no model '{sent['model']}' ({short(error)}). "
                f"{await self._models(client)} Set {self.settings}.model, or correct "
                f"{self.settings}.base_url: most end with the API's version, as /v1."
            ) from error
        except (openai.APIStatusError, ReplyError):
            raise
        except openai.OpenAIError as error:
            self.alive()
            raise RequestError(short(error), busy=busy(error)) from error
        return reply

    async def _ask_once(self, client: openai.AsyncOpenAI, sent: dict[str, Any]) -> Reply:
        # The client's typed methods refuse fields that they don't know, so the body goes as it is.
        path = "/chat/completions" if "messages" in sent else "/completions"

        async def post(url: str) -> bytes:
            raw = await client.post(url + path, cast_to=httpx2.Response, body=sent)
            content: bytes = raw.content
            return content

        return read_reply(await (post("") if self.spread is None else self.spread.ask(post)))

    async def _models(self, client: openai.AsyncOpenAI) -> str:
        try:
            models = await client.models.list()
            return f"It has {str([model.id for model in models.data])[:_SHOWN]}."
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
        for job in jobs:  # all workers share one iterator, so that each job is done once
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
