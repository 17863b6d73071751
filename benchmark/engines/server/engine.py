"""The engine behind an OpenAI-compatible endpoint: one that runs, or one that the harness starts.

It samples and reads probabilities there; hidden states are read by a model in this process, after
a server of our own has freed the accelerator. ``abilities`` checks a server before it is trusted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import anyio
import openai
import torch
from omegaconf import MISSING
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines import (
    ChoiceProbabilities,
    Decoding,
    Response,
    SampleRequest,
    StatesReader,
)
from benchmark.engines.server.abilities import (
    CHECK,
    Abilities,
    check_settings,
    find_abilities,
    in_common,
    within_cap,
)
from benchmark.engines.server.answers import (
    failed_response,
    probabilities_of,
    responses_of,
    unknown_probabilities,
)
from benchmark.engines.server.behind_reasoning import BehindReasoning, find_behind
from benchmark.engines.server.bodies import SEEDS, logprobs_of, sample_body, token_body
from benchmark.engines.server.launch import LaunchedServer
from benchmark.engines.server.repeats import Repeats, warmth
from benchmark.engines.server.replies import Reply
from benchmark.engines.server.requests import Endpoint, RequestError, run_all
from benchmark.engines.server.spread import Spread
from benchmark.engines.settings import ServerConfig
from benchmark.errors import ModelError
from benchmark.store.artifact import fingerprint
from benchmark.store.files import remember

_PATIENCE = 30.0  # seconds without a first reply before the terminal is told
_FIRST_TOKEN = Decoding(1.0, 1.0, 1)  # enough without reasoning: it is the answer's first token
_NO_SETTINGS = {"n", "seed", "logprobs", "top_logprobs", "stop", "model", "messages", "prompt"}


@dataclass
class ServerEngine:
    """Runs a model behind an endpoint.

    Attributes:
        model_config: settings of the model: how prompts are rendered and answers are told from
            reasoning.
        config: settings of the endpoint and of the requests.
        identity: identity of the model, as every engine gives it.
        api_key: key for the endpoint.
        console: terminal, which is told what the server can't do.
        in_process: function that makes what reads hidden states.
        launched: server that the harness runs itself, if it does.
        headers: headers of every request; their values are never stored or logged.
        names: folder that keeps what the server calls its model, of each model it has; None keeps
            nothing.
        tokenizer: function that reads the model's tokenizer, if it is on this machine.
    """

    model_config: ModelConfig
    config: ServerConfig
    identity: dict[str, Any]
    api_key: str = field(repr=False)
    console: Console
    in_process: Callable[[], StatesReader]
    launched: LaunchedServer | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    names: Path | None = None
    tokenizer: Callable[[], Any] | None = None
    _failures: int = field(default=0, init=False)  # in a row
    _known: Endpoint | None = field(default=None, init=False)
    _repeats: dict[Decoding, Repeats] = field(default_factory=dict, init=False)
    _decoding: Decoding | None = field(default=None, init=False)  # of the last requests

    @property
    def precisions(self) -> Mapping[str, str]:
        """The precision by stage, as ``Engine.precisions``."""
        return self.config.precisions

    def sample(self, requests: Iterable[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield every requested response once, as it is finished.

        Samples are asked for in chunks of at most ``samples_per_request``. The seed of a sample is
        that of the question's first plus its index, as servers number the choices of a request: how
        samples are shared out among requests changes nothing. Where the server counts the tokens of
        a chunk as a whole, they are shared out by length of text. A request that fails for good
        gives responses with finish_reason ``error`` and the reason.

        Raises:
            ModelError: the server refuses, is gone, or can't give different samples.
        """
        endpoint, model = self._prepare(decoding), self.model_config
        size = self.config.samples_per_request if self._abilities.several else 1
        chunks = ((request, chunk) for request in requests for chunk in _chunks(request, size))
        repeats = self._repeats.setdefault(decoding, Repeats(warmth(decoding)))

        async def draw(
            client: openai.AsyncOpenAI, job: tuple[SampleRequest, Sequence[int]]
        ) -> list[Response]:
            request, waiting = job
            responses: list[Response] = []
            while waiting:
                seed = request.counted_seed(waiting[0])
                body = self._body(request.prompt, decoding, len(waiting), seed)
                if not self._abilities.counts_all and len(waiting) > 1:
                    body |= logprobs_of(model, 1)
                try:
                    reply = await endpoint.ask(client, body)
                except RequestError as error:
                    self._count_failure(str(error))
                    responses += [failed_response(request, i, str(error)) for i in waiting]
                    break
                reply = within_cap(reply, decoding.max_new_tokens)
                self._count_choices(reply)
                texts = [choice.whole for choice in reply.choices if choice.error is None]
                if finding := repeats.add(request.prompt, texts):
                    raise ModelError(_repeated(endpoint, finding, decoding))
                responses += responses_of(model, request, waiting, reply)
                waiting = waiting[len(reply.choices) :]
            return [replace(response, more=True) for response in responses[:-1]] + responses[-1:]

        yield from run_all(endpoint, chunks, draw, self.config.concurrency)

    def choice_probabilities(
        self, requests: Sequence[SampleRequest], choices: Sequence[str], decoding: Decoding
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield, per request, the probability that the answer starts with a choice.

        It is summed over the tokens that spell the choice among the most probable ones; what those
        leave out is below the last one's probability. Behind a reasoning it is asked for in a
        request of its own, where the server can (``behind_reasoning``).

        Raises:
            ModelError: the server gives no log probabilities.
        """
        reasons = self.model_config.reasoning != "none"
        used = decoding if reasons else _FIRST_TOKEN
        endpoint, model = self._prepare(used), self.model_config
        if not self._abilities.logprobs:
            raise ModelError(
                f"{endpoint.base_url} gives no top_logprobs, or only one for each token, from "
                f"which P(True) can't be read. Choose engine=transformers or a server that gives "
                f"them, or leave p_true out of estimator=[...]."
            )

        behind = self._behind_reasoning if reasons else None
        spelled = {} if behind is None else behind.spelling(choices)

        async def ask(
            client: openai.AsyncOpenAI, request: SampleRequest
        ) -> list[tuple[str, ChoiceProbabilities]]:
            body = self._body(request.prompt, used, 1, request.seeds[0] % SEEDS)
            try:
                if behind is None:
                    reply = await endpoint.ask(
                        client, body | logprobs_of(model, self.config.top_logprobs)
                    )
                    found = probabilities_of(model, reply, choices)
                else:
                    reply, found = await behind.probabilities(client, body, spelled)
            except RequestError as error:
                self._count_failure(str(error))
                return [(request.question_id, unknown_probabilities(choices, str(error)))]
            self._count_choices(reply)
            return [(request.question_id, found)]

        yield from run_all(endpoint, iter(requests), ask, self.config.concurrency)

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the states as the in-process engine does, after our own server has stopped."""
        if self.launched is not None:
            self.launched.stop()
        yield from self._in_process.hidden_states(prompts)

    def prompt_tokens(self, prompts: Mapping[str, str]) -> dict[str, int]:
        """Return the number of tokens of each prompt as the in-process engine renders it."""
        return self._in_process.prompt_tokens(prompts)

    @property
    def settings(self) -> dict[str, Any]:
        """What is known of how it ran: which settings were sent, confirmed and refused."""
        known: dict[str, Any] = {}
        if self._known is not None and self._decoding is not None:
            abilities, terms = self._abilities, self._known.terms
            sent = terms.applied(self._body("", self._decoding, 1, 0))
            known = {
                "server": abilities.server,
                "model": self._known.served,
                "sent": {name: value for name, value in sent.items() if name not in _NO_SETTINGS},
                "confirmed": [*abilities.confirmed],
                "refused": sorted(terms.left_out),
                "same_seed_same_text": abilities.repeats,
            }
        if "_in_process" in self.__dict__:
            known["in_process"] = self._in_process.settings
        return known

    def close(self) -> None:
        """Stop what the harness runs; it starts again when it is needed."""
        if self.launched is not None:
            self.launched.stop()
        self._close_states()

    @cached_property
    def _in_process(self) -> StatesReader:
        return self.in_process()

    def _close_states(self) -> None:
        if "_in_process" in self.__dict__:
            self._in_process.close()

    @property
    def _endpoint(self) -> Endpoint:
        """The endpoint; a server of our own is started where it doesn't run."""
        launched, config = self.launched, self.config
        self._close_states()  # what read hidden states may hold the accelerator
        url = config.urls[0] if launched is None else launched.base_url()
        if self._known is None:
            alive = (lambda: None) if launched is None else launched.alive
            self._known = Endpoint(
                url, self.api_key, config.attempts, self._deadline, alive,
                headers=self.headers, say=self.console.print, keep=self._keep_name,
            )  # fmt: skip
            if launched is None and len(config.urls) > 1:
                self._known.spread = Spread(config.urls, self.console.print, self._admit)
        self._known.base_url = url  # its port is another after each start
        return self._known

    @property
    def _deadline(self) -> float:
        cap: Any = self.model_config.decoding.max_new_tokens
        return self.config.deadline(0 if cap == MISSING else cap)

    def _keep_name(self, name: str) -> None:
        """Keep what the server calls its model; refuse another one than stored responses are of.

        Where the weights are known, they say which model it is, whatever the server calls it.
        """
        if self.names is None or "served" not in self.identity:
            return
        kept = self.names / f"served-{fingerprint(self.identity)}.txt"
        with suppress(OSError):
            if (before := kept.read_text().strip()) != name:
                raise ModelError(
                    f"The server of engine.model={self.config.model} calls its model {name!r}, but "
                    f"the stored responses are of {before!r}. Choose another model.name for the "
                    f"new one; if both are the same model, delete {kept}."
                )
        remember(kept, name)

    def _prepare(self, decoding: Decoding) -> Endpoint:
        """Return the endpoint, checked to draw responses as they are meant."""
        check_settings(self._abilities, self._endpoint, decoding, self.model_config)
        self._decoding = decoding
        return self._endpoint

    def _body(self, prompt: str, decoding: Decoding, n: int, seed: int) -> dict[str, Any]:
        """Return the request for n samples."""
        body = sample_body(self.model_config, self.config.model, prompt, decoding, n, seed)
        return body | (self.config.extra_body or {})

    def _count_choices(self, reply: Reply) -> None:
        """Count a reply without an answer as a failure."""
        errors = [choice.error for choice in reply.choices]
        if errors[0] is not None and all(errors):
            self._count_failure(errors[0])
        else:
            self._failures = 0

    def _count_failure(self, reason: str) -> None:
        """Stop where many requests in a row have failed."""
        self._failures += 1
        if self._failures > max(20, self.config.concurrency):
            raise ModelError(
                f"{self._endpoint.base_url}: the last {self._failures} requests all failed "
                f"({reason}). What was finished is kept. Run again when the server answers."
            )

    @cached_property
    def _behind_reasoning(self) -> BehindReasoning | None:
        model, config = self.model_config, self.config
        return find_behind(
            self._endpoint,
            model,
            self.tokenizer,
            token_body(config.model) | (config.extra_body or {}),
            partial(self._body, CHECK),
            partial(logprobs_of, model),
            config.top_logprobs,
        )

    @cached_property
    def _abilities(self) -> Abilities:
        """Find out what the server does; of several, what all of them do that answer."""
        endpoint = self._endpoint
        spread, away = endpoint.spread, None

        async def check(_: openai.AsyncOpenAI, url: str) -> list[Abilities]:
            nonlocal away
            found = []
            async with anyio.create_task_group() as group:
                group.start_soon(say_if_slow, url)
                try:
                    found.append(await self._found(endpoint, url))
                except ModelError as error:
                    if spread is None or _absence(error) is None:
                        raise
                    away = error
                    spread.leave_out(url, error, unchecked=True)
                group.cancel_scope.cancel()
            return found

        async def say_if_slow(url: str) -> None:
            await anyio.sleep(_PATIENCE)
            endpoint.say(
                f"{url}: waiting for its first replies; each may take {self._deadline:,.0f} s "
                f"(engine.timeout)."
            )

        urls = [str(endpoint.base_url)] if spread is None else spread.urls
        found = [*run_all(endpoint, iter(urls), check, 1)]
        if not found and away is not None:
            raise away
        return in_common(found)

    async def _found(self, endpoint: Endpoint, url: str) -> Abilities:
        """Return what the server at an address does, and keep what is learnt of it.

        Raises:
            ModelError: its samples are of no use, or it doesn't answer.
        """
        alone = replace(endpoint, base_url=url, spread=None)
        body, logprobs = partial(self._body, CHECK), partial(logprobs_of, self.model_config)
        async with alone.client() as client:
            found = await find_abilities(client, alone, body, logprobs, self.config.top_logprobs)
        endpoint.terms, endpoint.served = alone.terms, alone.served
        return found

    async def _admit(self, url: str) -> None:
        """Check a server that was away at the start, before it gets its first request.

        Raises:
            openai.OpenAIError: it is still away.
            ModelError: it would sample otherwise than it is meant.
        """
        assert self._known is not None
        endpoint = replace(self._known, attempts=1)
        try:
            found = await self._found(endpoint, url)
        except ModelError as error:
            absence = _absence(error)
            raise error if absence is None else absence from error
        assert self._decoding is not None
        check_settings(found, endpoint, self._decoding, self.model_config)
        self._known.terms = endpoint.terms


def _chunks(request: SampleRequest, size: int) -> Iterator[range]:
    """Yield the places of samples that follow one another, cut at multiples of ``size``."""
    indices, start = request.sample_indices, 0
    for place in range(1, len(indices) + 1):
        last = place == len(indices) or indices[place] != indices[place - 1] + 1
        if last or indices[place] % size == 0:
            yield range(start, place)
            start = place


def _absence(error: ModelError) -> openai.OpenAIError | None:
    """Return why a server is away or overloaded, where that is the reason of a failed check."""
    failed = error.__cause__
    if not (isinstance(failed, RequestError) and failed.busy):
        return None
    return failed.__cause__ if isinstance(failed.__cause__, openai.OpenAIError) else None


def _repeated(endpoint: Endpoint, finding: str, decoding: Decoding) -> str:
    return (
        f"{endpoint.base_url} repeats itself at temperature {decoding.temperature}: {finding}. "
        f"Chance can't explain that: a cache in front of the server may answer whatever the seed. "
        f"Switch it off, or choose another server. The responses of this run that are stored may "
        f"be such repeats; delete their folder before you run it again."
    )
