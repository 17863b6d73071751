"""The engine behind an OpenAI-compatible endpoint: one that runs, or one that the harness starts.

It samples and reads probabilities there; hidden states are read by a model in this process, after
a server of our own has freed the accelerator. Before it is trusted a server is checked, since some
ignore ``n``, seeds or log probabilities without a word.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import openai
import torch
from rich.console import Console

from benchmark.config import ModelConfig, ServerConfig
from benchmark.engines import ChoiceProbabilities, Decoding, Engine, Response, SampleRequest
from benchmark.engines.device import precisions
from benchmark.engines.launch import LaunchedServer
from benchmark.engines.reasoning import Split, answer_start
from benchmark.engines.requests import (
    Choice,
    Endpoint,
    Reply,
    RequestError,
    Token,
    run_all,
)
from benchmark.engines.wording import chat_messages, few_shot_text, read_answer
from benchmark.errors import ModelError

_SEEDS = 2**31  # seeds of the protocol are 32-bit in some servers
_CHECK = "Write a line of twenty random words that have nothing to do with each other."
_CHECK_TOKENS = 32


class Abilities(NamedTuple):
    """What a server was found to do.

    Attributes:
        several: gives ``n`` different choices to one request.
        counts_all: its usage counts the tokens of all choices.
        logprobs: gives the log probabilities of the most probable tokens.
    """

    several: bool
    counts_all: bool
    logprobs: bool


class ServerEngine:
    """Runs a model behind an endpoint.

    Args:
        model_config: how prompts are rendered and answers told from reasoning.
        config: of the endpoint and the requests.
        identity: of the model, as every engine gives it.
        api_key: for the endpoint.
        console: told what the server can't do.
        in_process: makes the engine that reads hidden states.
        launched: the server, where the harness runs it itself.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: ServerConfig,
        identity: dict[str, Any],
        api_key: str,
        console: Console,
        in_process: Callable[[], Engine],
        launched: LaunchedServer | None = None,
    ) -> None:
        self._model_config = model_config
        self._config = config
        self._api_key = api_key
        self._console = console
        self._make_in_process = in_process
        self._launched = launched
        self.identity = identity
        self.precisions = precisions(config)
        self._failures = 0  # in a row

    def sample(self, requests: Sequence[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield every requested response once, as it is finished.

        Samples are asked for in chunks of ``samples_per_request``; a chunk's seed is that of its
        first sample. Where the server counts the tokens of a chunk as a whole, they are shared out
        by length of text. A request that fails for good gives responses with finish_reason
        ``error`` and the reason.

        Raises:
            ModelError: the server refuses, is gone, or can't give different samples.
        """
        size = self._config.samples_per_request if self._abilities.several else 1
        chunks = (
            (request, range(start, min(start + size, len(request.sample_indices))))
            for request in requests
            for start in range(0, len(request.sample_indices), size)
        )

        async def draw(
            client: openai.AsyncOpenAI, job: tuple[SampleRequest, Sequence[int]]
        ) -> list[Response]:
            request, waiting = job
            responses: list[Response] = []
            while waiting:
                seed = request.seeds[waiting[0]] % _SEEDS
                body = self._body(request.prompt, decoding, len(waiting), seed)
                if not self._abilities.counts_all and len(waiting) > 1:
                    body |= self._with_logprobs(1)
                try:
                    reply = await self._endpoint.ask(client, body)
                except RequestError as error:
                    self._count_failure(str(error))
                    failed = [_failed(request, index, seed, str(error)) for index in waiting]
                    return responses + failed
                self._failures = 0
                responses += self._responses(request, waiting, seed, reply)
                waiting = waiting[len(reply.choices) :]
            return responses

        yield from run_all(self._endpoint, chunks, draw, self._config.concurrency)

    def choice_probabilities(
        self, requests: Sequence[SampleRequest], choices: Sequence[str], decoding: Decoding
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield, per request, the probability that the answer starts with a choice.

        It is summed over the tokens that spell the choice among the most probable ones; what those
        leave out is below the last one's probability.

        Raises:
            ModelError: the server gives no log probabilities.
        """
        if not self._abilities.logprobs:
            raise ModelError(
                f"{self._endpoint.base_url} gives no top_logprobs, which P(True) needs; choose "
                f"engine=transformers or a server that gives them, or leave p_true out."
            )
        plain = Decoding(1.0, 1.0, 1)  # without reasoning the first token is the answer's

        async def ask(
            client: openai.AsyncOpenAI, request: SampleRequest
        ) -> list[tuple[str, ChoiceProbabilities]]:
            used = plain if self._model_config.reasoning == "none" else decoding
            body = self._body(request.prompt, used, 1, request.seeds[0] % _SEEDS)
            try:
                reply = await self._endpoint.ask(
                    client, body | self._with_logprobs(self._config.top_logprobs)
                )
            except RequestError as error:
                self._count_failure(str(error))
                none = ChoiceProbabilities(dict.fromkeys(choices, 0.0), None, None, str(error))
                return [(request.question_id, none)]
            self._failures = 0
            found = _summed(self._answer_token(reply.choices[0]), choices)
            seen = len(reply.choices[0].tokens)
            spent = max(reply.completion_tokens or 0, seen) or None
            return [(request.question_id, ChoiceProbabilities(found, reply.prompt_tokens, spent))]

        yield from run_all(self._endpoint, iter(requests), ask, self._config.concurrency)

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the states as the in-process engine does, after our own server has stopped."""
        self.close()
        yield from self._in_process.hidden_states(prompts)

    def prompt_tokens(self, prompts: Mapping[str, str]) -> dict[str, int]:
        """Return the number of tokens of each prompt as the in-process engine renders it."""
        return self._in_process.prompt_tokens(prompts)

    def close(self) -> None:
        """Stop the server where the harness runs it; it starts again when it is needed."""
        if self._launched is not None:
            self._launched.stop()
            self.__dict__.pop("_endpoint", None)

    @cached_property
    def _in_process(self) -> Engine:
        return self._make_in_process()

    @cached_property
    def _endpoint(self) -> Endpoint:
        launched, config = self._launched, self._config
        url = str(config.base_url) if launched is None else launched.base_url()
        alive = (lambda: None) if launched is None else launched.alive
        return Endpoint(url, self._api_key, config.attempts, config.timeout, alive)

    def _body(self, prompt: str, decoding: Decoding, n: int, seed: int) -> dict[str, Any]:
        """Return the request for n samples."""
        model = self._model_config
        body: dict[str, Any] = {
            "model": self._config.model, "n": n, "seed": seed,
            "temperature": decoding.temperature, "top_p": decoding.top_p,
        }  # fmt: skip
        if model.few_shot is not None:
            text, stop = few_shot_text(model.few_shot, prompt), [model.few_shot.stop]
            return body | {"prompt": text, "stop": stop, "max_tokens": decoding.max_new_tokens}
        body["messages"] = chat_messages(model, prompt)
        body["max_completion_tokens"] = decoding.max_new_tokens
        arguments = dict(model.chat_template_kwargs)
        if "reasoning_effort" in arguments:  # a parameter of its own in the protocol
            body["reasoning_effort"] = arguments["reasoning_effort"]
        if arguments:
            body["extra_body"] = {"chat_template_kwargs": arguments}
        return body

    def _with_logprobs(self, top: int) -> dict[str, Any]:
        if self._model_config.few_shot is not None:
            return {"logprobs": top}
        return {"logprobs": True, "top_logprobs": top}

    def _responses(
        self, request: SampleRequest, waiting: Sequence[int], seed: int, reply: Reply
    ) -> list[Response]:
        choices = reply.choices[: len(waiting)]
        counts: Sequence[int | None] = [len(choice.tokens) for choice in choices]
        if not all(counts):
            total = reply.completion_tokens
            counts = [None] * len(choices) if total is None else _shared_out(total, choices)
        responses = []
        for index, choice, tokens in zip(waiting, choices, counts, strict=False):
            reasoning, text, ended = self._split(choice)
            responses.append(
                Response(
                    question_id=request.question_id,
                    sample_index=request.sample_indices[index],
                    text=text,
                    reasoning=reasoning,
                    finish_reason="stop" if ended else "length",
                    prompt_tokens=reply.prompt_tokens,
                    completion_tokens=tokens,
                    seed=seed,
                )
            )
        return responses

    def _split(self, choice: Choice) -> Split:
        """Return reasoning, answer and whether it ended, split by the server or by us."""
        stopped = choice.finish_reason != "length"
        if choice.reasoning is not None:
            text = choice.text.strip()
            return Split(choice.reasoning, text, ended=stopped and bool(text))
        # A template may open the reasoning in the prompt: cut off, it then shows no tag at all.
        hidden = not stopped and self._model_config.reasoning == "think"
        split = read_answer(self._model_config, choice.text, opened=hidden)
        return split._replace(ended=split.ended and stopped)

    def _answer_token(self, choice: Choice) -> Token | None:
        """Return the first token behind the reasoning."""
        texts = [token.text for token in choice.tokens]
        start = answer_start(texts, self._model_config.reasoning, answer=choice.text)
        return choice.tokens[start] if start is not None and start < len(texts) else None

    def _count_failure(self, reason: str) -> None:
        """Stop where nothing succeeds any more."""
        self._failures += 1
        if self._failures > max(20, self._config.concurrency):
            raise ModelError(
                f"{self._endpoint.base_url}: the last {self._failures} requests all failed "
                f"({reason}). What was finished is kept; run again when the server answers."
            )

    @cached_property
    def _abilities(self) -> Abilities:
        """Find out what the server does, with three short requests at temperature 1.

        Raises:
            ModelError: it gives the same text whatever the seed, or doesn't answer.
        """
        try:
            several, other = run_all(self._endpoint, iter([None]), self._check, 1)
        except RequestError as error:
            raise ModelError(f"{self._endpoint.base_url} doesn't answer: {error}") from error
        where = self._endpoint.base_url
        texts = [_whole(choice) for choice in several.choices]
        if texts[0] == _whole(other.choices[0]):
            raise ModelError(
                f"{where} gives the same text for two seeds at temperature 1, so every sample of a "
                f"question would be the same response. Choose a server that samples, such as vLLM."
            )
        counts, counted = [len(c.tokens) for c in several.choices], several.completion_tokens or 0
        tops = [token.top for choice in several.choices for token in choice.tokens]
        abilities = Abilities(
            several=len(texts) == 2 and len(set(texts)) == 2,
            counts_all=len(counts) == 2 and counted >= sum(counts) > 0,
            logprobs=bool(tops) and all(tops),
        )
        if not all(counts) and abilities.several:  # tokens can't be compared with the usage
            abilities = abilities._replace(counts_all=counted > _CHECK_TOKENS)
        if max(counts, default=0) > _CHECK_TOKENS:
            raise ModelError(f"{where} ignores the cap on a response's tokens.")
        if not abilities.several:
            self._console.print(f"{where} ignores n: one request is sent for each sample.")
        elif not abilities.counts_all and not abilities.logprobs:
            self._console.print(f"{where} counts no tokens: one request is sent for each sample.")
            abilities = abilities._replace(several=False)
        return abilities

    async def _check(self, client: openai.AsyncOpenAI, _: None) -> list[Reply]:
        """Return the reply to two samples with one seed, and that to one sample with another."""
        decoding = Decoding(1.0, 1.0, _CHECK_TOKENS)
        body = self._body(_CHECK, decoding, 2, 1)
        try:
            several = await self._endpoint.ask(client, body | self._with_logprobs(2))
        except RequestError:  # some refuse log probabilities
            several = await self._endpoint.ask(client, body)
        return [several, await self._endpoint.ask(client, self._body(_CHECK, decoding, 1, 2))]


def _whole(choice: Choice) -> str:
    return f"{choice.reasoning or ''}\n{choice.text}"


def _summed(token: Token | None, choices: Sequence[str]) -> dict[str, float]:
    """Return each choice's probability, summed over the tokens that spell it."""
    found = dict.fromkeys(choices, 0.0)
    wanted = {choice.lower(): choice for choice in choices}
    for text, logprob in token.top if token else ():
        choice = wanted.get(text.strip(" \n\r\t▁Ġ").lower())
        if choice is not None:
            found[choice] += math.exp(min(logprob, 0.0))
    return found


def _shared_out(total: int, choices: Sequence[Choice]) -> list[int]:
    """Return whole token counts that add up to ``total``, by length of text."""
    lengths = [len(_whole(choice)) for choice in choices]
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    marks = [round(total * end / max(ends[-1], 1)) for end in ends]
    return [after - before for before, after in pairwise(marks)]


def _failed(request: SampleRequest, index: int, seed: int, reason: str) -> Response:
    return Response(
        question_id=request.question_id, sample_index=request.sample_indices[index], text="",
        reasoning=None, finish_reason="error", prompt_tokens=None, completion_tokens=None,
        seed=seed, error=reason,
    )  # fmt: skip
