"""What a server is found to do before it is trusted, from short requests at the start.

Servers ignore settings without a word: ``n``, seeds, caps, log probabilities, samplers. What can be
done without is said in one line; a server whose samples don't differ is of no use.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import openai

from benchmark.config.schema import ModelConfig
from benchmark.engines import Decoding
from benchmark.engines.reasoning import split_reasoning
from benchmark.engines.server.replies import Reply
from benchmark.engines.server.requests import Endpoint, RequestError
from benchmark.errors import ModelError

CHECK = "Write a line of two hundred random words that have nothing to do with each other."
_TOKENS = (32, 512)  # caps of the check: a model that thinks needs more to say anything
_QUICK_SECONDS = 20.0  # for the list of models
_WORDS_A_TOKEN = 2  # at most, on average over a text
_CHARACTERS_A_TOKEN = 32  # at most, on average over a text
# Each of these values alone leaves only the most probable token.
_GREEDY: dict[str, Any] = {"temperature": 0.0, "top_p": 1e-6, "top_k": 1, "min_p": 1.0}

Body = Callable[[Decoding, int, int], dict[str, Any]]  # of n samples of the check, with a seed
LogProbs = Callable[[int], dict[str, Any]]


class Abilities(NamedTuple):
    """What a server was found to do.

    Attributes:
        several: whether it gives ``n`` different choices to one request.
        numbered: whether choice i of a request is the one of a request with the seed plus i.
        counts_all: whether its usage counts the tokens of all choices.
        logprobs: whether it gives log probabilities of more tokens than the drawn one.
        repeats: whether it gives the same text for the same seed.
        reasons: whether its replies hold reasoning.
        confirmed: settings that were seen to change what is sampled.
        unconfirmed: settings that it takes, but wasn't seen to use.
        server: kind of server as it calls itself, or None.
    """

    several: bool
    numbered: bool
    counts_all: bool
    logprobs: bool
    repeats: bool
    reasons: bool
    confirmed: tuple[str, ...]
    unconfirmed: tuple[str, ...]
    server: str | None


async def find_abilities(
    client: openai.AsyncOpenAI, endpoint: Endpoint, body: Body, logprobs: LogProbs, top: int
) -> Abilities:
    """Find out what a server does.

    Args:
        client: of the endpoint.
        endpoint: the server's; learns which fields it takes.
        body: makes the request for n samples of the check with a seed.
        logprobs: makes the fields that ask for log probabilities.
        top: log probabilities that are wanted of each token.

    Raises:
        ModelError: it gives the same text whatever the seed, ignores the cap on tokens, or doesn't
            answer.
    """
    try:
        for tokens in _TOKENS:
            decoding = Decoding(1.0, 1.0, tokens)
            several, *alone = await _replies(client, endpoint, body, logprobs(top), decoding)
            texts = [choice.whole.strip() for choice in several.choices]
            seeded = [reply.choices[0].whole.strip() for reply in alone]
            if seeded[0] != seeded[1] and (all(texts) or tokens == _TOKENS[-1]):
                break
        else:
            raise _refused(endpoint, any(texts))
        again = await endpoint.ask(client, body(decoding, 1, 2))
        confirmed = await _confirmed(client, endpoint, body, decoding)
    except RequestError as error:
        raise ModelError(f"{client.base_url} doesn't answer: {error}") from error
    counts, total = [len(c.tokens) for c in several.choices], several.completion_tokens or 0
    tops = [token.top for choice in several.choices for token in choice.tokens]
    sent = endpoint.terms.applied(body(decoding, 1, 1))
    abilities = Abilities(
        several=len(texts) == 2 and len(set(texts)) == 2,
        numbered=texts == seeded,
        # Where tokens can't be counted, more than one choice can hold.
        counts_all=total >= sum(counts) if all(counts) else total > tokens,
        logprobs=bool(tops) and all(len(top) > 1 for top in tops),
        repeats=again.choices[0].whole.strip() == seeded[1],
        reasons=any(
            c.reasoning or split_reasoning(c.text, "none").reasoning for c in several.choices
        ),
        confirmed=confirmed,
        unconfirmed=tuple(name for name in _GREEDY if name in sent and name not in confirmed),
        server=await _kind(client),
    )
    return _told(abilities, endpoint, client, max(map(len, tops), default=0), top)


def in_common(found: Sequence[Abilities]) -> Abilities:
    """Return what all of several servers do: each may get any of the requests."""
    confirmed = [name for name in found[0].confirmed if all(name in a.confirmed for a in found)]
    unconfirmed = dict.fromkeys(name for each in found for name in each.unconfirmed)
    servers = [each.server for each in found]
    return Abilities(
        several=all(each.several for each in found),
        numbered=all(each.numbered for each in found),
        counts_all=all(each.counts_all for each in found),
        logprobs=all(each.logprobs for each in found),
        repeats=all(each.repeats for each in found),
        reasons=any(each.reasons for each in found),
        confirmed=tuple(confirmed),
        unconfirmed=tuple(unconfirmed),
        server="llamacpp" if "llamacpp" in servers else servers[0],  # whose penalties differ
    )


async def _replies(
    client: openai.AsyncOpenAI,
    endpoint: Endpoint,
    body: Body,
    logprobs: dict[str, Any],
    decoding: Decoding,
) -> tuple[Reply, Reply, Reply]:
    """Return the replies to two samples with seed 1, to one with seed 1, and to one with seed 2.

    The last two requests differ in nothing but the seed: what answers the one for the other, as a
    cache in front of the server may, gives no samples.
    """
    wanted = body(decoding, 2, 1) | logprobs
    try:
        several = await endpoint.ask(client, wanted, patient=False)
    except RequestError as error:
        if error.busy:
            raise
        await endpoint.ask_bare(client, wanted)
        several = await endpoint.ask(client, wanted)
    if too_long(several, decoding.max_new_tokens) and not endpoint.terms.short_cap:
        endpoint.learn(replace(endpoint.terms, short_cap=True), client)
        several = await endpoint.ask(client, wanted)
    if reason := too_long(several, decoding.max_new_tokens):
        raise ModelError(f"{client.base_url} ignores the cap on a response's tokens: {reason}.")
    first, other = [await endpoint.ask(client, body(decoding, 1, seed)) for seed in (1, 2)]
    replies = several, first, other
    failed = next((c.error for reply in replies for c in reply.choices if c.error), None)
    if failed:
        raise RequestError(failed)
    return replies


def too_long(reply: Reply, cap: int) -> str | None:
    """Return how a reply shows that the cap on each choice's tokens was ignored, or None.

    Tokens are counted, or the reply's usage is, or the texts are longer than any that fit.
    """
    counted = max(len(choice.tokens) for choice in reply.choices)
    if not counted:
        counted = (reply.completion_tokens or 0) // len(reply.choices)
    if counted > cap + 1:  # some count the end of the text
        return f"{counted} tokens, not {cap}"
    for choice in reply.choices:
        words, characters = len(choice.whole.split()), len(choice.whole)
        if words > _WORDS_A_TOKEN * (cap + 1) or characters > _CHARACTERS_A_TOKEN * (cap + 1):
            return f"{words} words in a text of at most {cap} tokens"
    return None


def within_cap(reply: Reply, cap: int) -> Reply:
    """Return a reply whose choices are errors where the server ignored the cap on tokens."""
    reason = too_long(reply, cap)
    if reason is None:
        return reply
    error = f"the server ignores the cap on tokens: {reason}"
    choices = (replace(choice, finish_reason="error", error=error) for choice in reply.choices)
    return replace(reply, choices=tuple(choices))


def check_settings(
    abilities: Abilities, endpoint: Endpoint, decoding: Decoding, model: ModelConfig
) -> None:
    """Refuse what a server would sample otherwise than it is meant.

    Raises:
        ModelError: naming the setting.
    """
    where, plain = endpoint.base_url, Decoding(1.0, 1.0, decoding.max_new_tokens).inputs
    changed = [name for name, value in decoding.inputs.items() if plain.get(name) != value]
    for name in changed:
        said = f"model.decoding.{name}={decoding.inputs[name]}"
        if abilities.confirmed and name in abilities.unconfirmed:
            raise ModelError(
                f"{where} ignores {name}: its responses aren't drawn as {said} says. Choose "
                f"another server, or leave this setting neutral."
            )
        if abilities.server == "llamacpp" and name in ("presence_penalty", "frequency_penalty"):
            raise ModelError(
                f"{where} is llama.cpp's server, whose penalties count the prompt's tokens too; "
                f"{said} is meant for those of the response. Choose engine=transformers or "
                f"engine=vllm, or set it to null."
            )
    refused = "chat_template_kwargs" in endpoint.terms.left_out
    if refused and abilities.reasons and model.reasoning == "none":
        raise ModelError(
            f"{where} refuses chat_template_kwargs and its replies reason, but model.reasoning is "
            f"none. Ask for that in the server's own words with engine.extra_body, or choose "
            f"another server."
        )


async def _confirmed(
    client: openai.AsyncOpenAI, endpoint: Endpoint, body: Body, decoding: Decoding
) -> tuple[str, ...]:
    """Return the settings that make the server give the most probable text, whatever the seed."""
    sent = endpoint.terms.applied(body(decoding, 1, 1))
    texts: dict[str, list[str]] = {name: [] for name in _GREEDY if name in sent}
    confirmed: set[str] = set()
    for seed in (3, 4):  # a second time, since rounding may turn a text that is nearly a tie
        for name in texts.keys() - confirmed:
            wanted = body(replace(decoding, **{name: _GREEDY[name]}), 1, seed)
            with suppress(RequestError, ModelError):  # this value is refused, not the setting
                texts[name].append((await endpoint.ask(client, wanted)).choices[0].whole.strip())
        every = [text for some in texts.values() for text in some]
        confirmed = {n for n, some in texts.items() if any(t and every.count(t) > 1 for t in some)}
    return tuple(name for name in _GREEDY if name in confirmed)


async def _kind(client: openai.AsyncOpenAI) -> str | None:
    """Return whom the server names as the owner of its models: vllm, sglang, llamacpp .."""
    try:
        models = await client.with_options(timeout=_QUICK_SECONDS).models.list()
        owner = models.data[0].owned_by
    except (openai.OpenAIError, ValueError, TypeError, AttributeError, IndexError):
        return None
    return owner[:40] if isinstance(owner, str) else None


def _refused(endpoint: Endpoint, texts: bool) -> ModelError:
    if not texts:
        return ModelError(
            f"{endpoint.base_url} gives no text in {_TOKENS[-1]} tokens, so that its samples can't "
            f"be compared. Choose a server that shows what it generates."
        )
    return ModelError(
        f"{endpoint.base_url} gives the same text for two seeds at temperature 1, so every sample "
        f"of a question would be the same response. Switch off a cache that answers whatever the "
        f"seed, or choose a server that samples, such as vLLM."
    )


def _told(
    abilities: Abilities, endpoint: Endpoint, client: openai.AsyncOpenAI, given: int, top: int
) -> Abilities:
    """Say what the server can't do, one line each; return what follows from it all."""
    lines = []
    if not abilities.several:
        if "n" not in endpoint.terms.left_out and endpoint.terms.most.get("n") != 1:
            lines.append("ignores n: one request is sent for each sample")
    elif not abilities.counts_all and not abilities.logprobs:
        lines.append("counts no tokens: one request is sent for each sample")
        abilities = abilities._replace(several=False)
    elif abilities.repeats and not abilities.numbered:
        lines.append(
            "gives the choices of a request seeds of its own: one request is sent for each sample, "
            "so that the same samples come however they are asked for"
        )
        abilities = abilities._replace(several=False)
    asked = min([top, *(endpoint.terms.most.get(n, top) for n in ("logprobs", "top_logprobs"))])
    if abilities.logprobs and given < asked:
        lines.append(f"gives {given} top log probabilities, not {top}")
    if not abilities.repeats and "seed" not in endpoint.terms.left_out:
        lines.append("gives another text for the same seed: runs can't be repeated to the bit")
    if abilities.unconfirmed:
        names = ", ".join(abilities.unconfirmed)
        lines.append(f"wasn't seen to use {names}: its own values may apply")
    for line in lines:
        endpoint.say(f"{client.base_url} {line}.")
    return abilities
