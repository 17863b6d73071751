"""P(True) of a model that reasons, in two requests: the reasoning, then one token behind it.

Log probabilities of every token of the reasoning would be nearly all of what a server computes and
sends. A server that gives the ids of its tokens (vLLM, SGLang) and continues a prompt of ids needs
none of them: the second request is the first one's own tokens up to the answer.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import openai

from benchmark.config.schema import ModelConfig
from benchmark.engines import ChoiceProbabilities, Decoding
from benchmark.engines.answer_tokens import first_answer_token
from benchmark.engines.server.abilities import Body, LogProbs
from benchmark.engines.server.answers import impossible, unknown_probabilities
from benchmark.engines.server.replies import Choice, Reply, Token
from benchmark.engines.server.requests import Endpoint, RequestError, run_all
from benchmark.errors import ModelError

_WITH_IDS = {"return_token_ids": True}
_ID = "token_id:"  # how vLLM writes a token that is asked for by its id
_CHECKED = Decoding(1.0, 1.0, 32)  # how the reply is drawn whose middle is asked for again
_DIGITS = 9  # at most, of a token's id
_ALIKE = 0.1  # largest total variation between one distribution in two batches
_MOST_NAMED = 128  # tokens whose log probabilities vLLM gives by their ids

Spelled = Mapping[str, Sequence[int]]  # ids of the tokens that spell each choice


@dataclass(frozen=True)
class BehindReasoning:
    """Asks one token behind a reasoning that was drawn without log probabilities.

    Attributes:
        endpoint: where requests go.
        model: settings of the model, which reasons.
        tokenizer: tokenizer of the model, of transformers.
        one_token: request for one token at temperature 1, which lacks its prompt.
        top: number of most probable tokens that are asked for.
    """

    endpoint: Endpoint
    model: ModelConfig
    tokenizer: Any
    one_token: Mapping[str, Any]
    top: int

    def spelling(self, choices: Sequence[str]) -> Spelled:
        """Return the ids of the tokens that spell each choice, as ``Vocabulary.spelling``."""
        from benchmark.engines.in_process.vocabulary import Vocabulary  # seconds to import

        return Vocabulary(self.model, self.tokenizer, _elsewhere).spelling(choices)

    async def works(
        self, client: openai.AsyncOpenAI, body: Mapping[str, Any], logprobs: Mapping[str, Any]
    ) -> bool:
        """Tell whether the server gives ids and, behind half a reply, what it gave there before.

        Args:
            client: client of the endpoint.
            body: request for a reply of some tokens at temperature 1.
            logprobs: fields that ask for the log probabilities of each token.
        """
        try:
            reply = await self.endpoint.ask(
                client, {**body, **logprobs, **_WITH_IDS}, patient=False
            )
            choice = reply.choices[0]
            half = len(choice.ids) // 2
            if half >= len(choice.tokens) or not (
                choice.ids and reply.prompt_ids and self._reads(choice)
            ):
                return False
            token = await self._behind(client, [*reply.prompt_ids, *choice.ids[:half]], [])
        except (RequestError, ModelError):  # it has no such endpoint, or takes no ids there
            return False
        before, behind = self._by_text(choice.tokens[half]), self._by_text(token)
        differences = (abs(before.get(t, 0.0) - behind.get(t, 0.0)) for t in before | behind)
        return len(token.top) > 1 and sum(differences) / 2 < _ALIKE

    async def probabilities(
        self, client: openai.AsyncOpenAI, body: Mapping[str, Any], spelled: Spelled
    ) -> tuple[Reply, ChoiceProbabilities]:
        """Return a drawn reply, and the probability that its answer starts with each choice.

        Raises:
            RequestError: one of the two requests fails for good.
        """
        reply = await self.endpoint.ask(client, {**body, **_WITH_IDS})
        choice, choices = reply.choices[0], [*spelled]
        if choice.error is not None:
            return reply, unknown_probabilities(choices, choice.error)
        if not (choice.ids and reply.prompt_ids):
            return reply, unknown_probabilities(choices, "the reply holds no token ids")
        spent = max(reply.completion_tokens or 0, len(choice.ids))
        start = first_answer_token(
            self.tokenizer, self.model.reasoning, reply.prompt_ids, choice.ids
        )
        if start is None:
            none = dict.fromkeys(choices, 0.0)
            return reply, ChoiceProbabilities(none, reply.prompt_tokens, spent)
        wanted = [index for ids in spelled.values() for index in ids]
        token = await self._behind(client, [*reply.prompt_ids, *choice.ids[:start]], wanted)
        if fault := impossible(token, choices):
            reason = f"the reply holds impossible probabilities: {fault}"
            return reply, unknown_probabilities(choices, reason)
        if len(token.top) < len(choices):  # the drawn token alone says nothing of the others
            return reply, unknown_probabilities(choices, "the reply holds no top log probabilities")
        return reply, ChoiceProbabilities(_summed(token, spelled), reply.prompt_tokens, spent)

    async def _behind(
        self, client: openai.AsyncOpenAI, prompt: Sequence[int], wanted: Sequence[int]
    ) -> Token:
        """Return what comes behind a prompt of ids: the tokens that are wanted, or the top ones."""
        body = {**self.one_token, "prompt": prompt, "logprobs": self.top}
        body["return_tokens_as_token_ids"] = True  # two tokens may have one text
        if 0 < len(wanted) <= _MOST_NAMED:
            body["logprob_token_ids"] = wanted
        reply = await self.endpoint.ask(client, body)
        choice = reply.choices[0]
        if reply.prompt_tokens not in (None, len(prompt)):
            raise RequestError(
                f"the server read {reply.prompt_tokens} tokens where {len(prompt)} were sent"
            )
        if choice.error is not None:
            raise RequestError(choice.error)
        return choice.tokens[0] if choice.tokens else Token("", ())

    def _reads(self, choice: Choice) -> bool:
        """Tell whether the tokenizer here makes a reply's texts of its ids, white space aside."""
        written = _dense(self.tokenizer.decode(choice.ids, skip_special_tokens=True))
        return all(_dense(text) in written for text in (choice.text, choice.reasoning or ""))

    def _by_text(self, token: Token) -> dict[str, float]:
        """Return the probabilities of a token's place, summed by text without white space."""
        found: dict[str, float] = {}
        for name, logprob in token.top:
            index = name.removeprefix(_ID)
            named = name.startswith(_ID) and index.isdecimal() and len(index) <= _DIGITS
            text = _dense(self.tokenizer.decode([int(index)]) if named else name)
            found[text] = found.get(text, 0.0) + math.exp(min(logprob, 0.0))
        return found


def _elsewhere() -> Any:
    """Stand for a model at a server, whose tokens are taken to be the tokenizer's."""


def find_behind(
    endpoint: Endpoint,
    model: ModelConfig,
    tokenizer: Callable[[], Any] | None,
    one_token: Mapping[str, Any],
    body: Body,
    logprobs: LogProbs,
    top: int,
) -> BehindReasoning | None:
    """Return what asks behind a reasoning; None, which is told, where that can't be done.

    Args:
        endpoint: where requests go.
        model: settings of the model, which reasons.
        tokenizer: function that reads the model's tokenizer, if it is on this machine.
        one_token: request for one token at temperature 1, which lacks its prompt.
        body: function that makes the request for n samples of the check with a seed.
        logprobs: function that makes the fields that ask for log probabilities.
        top: number of most probable tokens that are asked for.
    """

    async def check(client: openai.AsyncOpenAI, asking: BehindReasoning) -> list[bool]:
        return [await asking.works(client, body(_CHECKED, 1, 1), logprobs(top))]

    with suppress(ModelError):  # the model's files may be at the server alone
        if tokenizer is not None:
            asking = BehindReasoning(endpoint, model, tokenizer(), one_token, top)
            (works,) = run_all(endpoint, iter([asking]), check, 1)
            if works:
                return asking
    endpoint.say(
        f"{endpoint.base_url}: P(True) asks for the log probabilities of every token of the "
        f"reasoning, since those behind it alone can't be had."
    )
    return None


def _dense(text: str) -> str:
    return "".join(text.split())


def _summed(token: Token, spelled: Spelled) -> dict[str, float]:
    """Return each choice's probability, of tokens that are named by their id or by their text."""
    named = {f"{_ID}{index}": choice for choice, ids in spelled.items() for index in ids}
    written = {choice.lower(): choice for choice in spelled}
    found = dict.fromkeys(spelled, 0.0)
    for text, logprob in token.top:
        choice = named.get(text) or written.get(text.strip().lower())
        if choice is not None:
            found[choice] += math.exp(min(logprob, 0.0))
    return found
