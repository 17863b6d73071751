"""Replies as what engines give: responses, and probabilities of the first answer token."""

import math
from collections.abc import Sequence
from itertools import pairwise

from benchmark.config.schema import ModelConfig
from benchmark.engines import ChoiceProbabilities, Response, SampleRequest
from benchmark.engines.prompts import read_answer
from benchmark.engines.reasoning import Split, answer_start
from benchmark.engines.server.replies import Choice, Reply, Token

_ROUNDING = 0.01  # by which probabilities in half precision may exceed 1, alone or together
_FLOOR = -30.0  # log probability below which servers write one value for many tokens


def responses_of(
    model: ModelConfig, request: SampleRequest, waiting: Sequence[int], reply: Reply
) -> list[Response]:
    """Return the responses that a reply's choices are.

    A server may count the tokens of all choices together; they are then shared out by length of
    text.

    Args:
        model: settings of the model, which say how answers are told from reasoning.
        request: request for all samples of a question.
        waiting: places in the request of the samples that the choices are, in order.
        reply: reply of the server, with as many choices as are waiting, or fewer.
    """
    choices = reply.choices[: len(waiting)]
    counts: Sequence[int | None] = [len(choice.tokens) for choice in choices]
    if not all(counts):
        total = reply.completion_tokens
        counts = [None] * len(choices) if total is None else _shared_out(total, choices)
    responses = []
    for index, choice, tokens in zip(waiting, choices, counts, strict=False):
        if choice.error is not None:
            responses.append(failed_response(request, index, choice.error))
            continue
        reasoning, text, ended = _split(model, choice)
        responses.append(
            Response(
                question_id=request.question_id,
                sample_index=request.sample_indices[index],
                text=text,
                reasoning=reasoning,
                finish_reason="stop" if ended else "length",
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=tokens,
                seed=request.counted_seed(index),
            )
        )
    return responses


def probabilities_of(
    model: ModelConfig, reply: Reply, choices: Sequence[str]
) -> ChoiceProbabilities:
    """Return the probability that the answer of a reply's first choice starts with each word."""
    choice = reply.choices[0]
    if choice.error is not None:
        return unknown_probabilities(choices, choice.error)
    seen = len(choice.tokens)
    spent = max(reply.completion_tokens or 0, seen) or None
    token = _answer_token(model, choice)
    # With the drawn token alone, the choice that it spells would get its probability and the others
    # none, which says nothing of them.
    if choice.text.strip() and (not seen or (token is not None and len(token.top) < 2)):
        return unknown_probabilities(choices, "the reply holds no top log probabilities")
    if fault := impossible(token, choices):
        return unknown_probabilities(choices, f"the reply holds impossible probabilities: {fault}")
    found = _summed(token, choices)
    return ChoiceProbabilities(found, reply.prompt_tokens, spent)


def failed_response(request: SampleRequest, index: int, reason: str) -> Response:
    """Return the response that a failed request gives, with the reason."""
    return Response(
        question_id=request.question_id, sample_index=request.sample_indices[index], text="",
        reasoning=None, finish_reason="error", prompt_tokens=None, completion_tokens=None,
        seed=request.counted_seed(index), error=reason,
    )  # fmt: skip


def unknown_probabilities(choices: Sequence[str], reason: str) -> ChoiceProbabilities:
    """Return what a failed request gives, with the reason."""
    return ChoiceProbabilities(dict.fromkeys(choices, 0.0), None, None, reason)


def _split(model: ModelConfig, choice: Choice) -> Split:
    """Return reasoning, answer and whether it ended, split by the server or by us."""
    split = read_answer(model, choice.text, opened=_opened(model, choice))
    ended = split.ended and choice.finish_reason == "stop"
    if choice.reasoning is None:
        return split._replace(ended=ended)
    thoughts = [part for part in (choice.reasoning, split.reasoning) if part is not None]
    return Split("\n\n".join(thoughts), split.text.strip(), ended)


def _opened(model: ModelConfig, choice: Choice) -> bool:
    """Tell whether a text that was cut off may be reasoning, whose tag the template opened."""
    cut = choice.finish_reason != "stop"
    return cut and choice.reasoning is None and model.reasoning == "think"


def _answer_token(model: ModelConfig, choice: Choice) -> Token | None:
    """Return the first token behind the reasoning."""
    texts = [token.text for token in choice.tokens]
    opened = _opened(model, choice)
    start = answer_start(
        texts, model.reasoning, opened=opened, answer="" if opened else choice.text
    )
    return choice.tokens[start] if start is not None and start < len(texts) else None


def impossible(token: Token | None, choices: Sequence[str]) -> str | None:
    """Return what no log probabilities of one token's place can be, with the value, or None."""
    top = token.top if token else ()
    for text, logprob in top:
        if logprob > _ROUNDING:
            return f"{text[:20]!a} has the log probability {logprob:g}, above 0"
    total = sum(math.exp(logprob) for _, logprob in top)
    if total > 1 + _ROUNDING:
        return f"those of {len(top)} tokens add up to {total:.4g}"
    words = {choice.lower() for choice in choices}
    spelled = [pair for pair in top if _word(pair[0]) in words and pair[1] > _FLOOR]
    for text, logprob in spelled:
        if spelled.count((text, logprob)) > 1:
            return f"{text[:20]!a} is there twice, with the log probability {logprob:g}"
    return None


def _word(token: str) -> str:
    return token.strip(" \n\r\t▁Ġ").lower()


def _summed(token: Token | None, choices: Sequence[str]) -> dict[str, float]:
    """Return each choice's probability, summed over the tokens that spell it."""
    found = dict.fromkeys(choices, 0.0)
    wanted = {choice.lower(): choice for choice in choices}
    for text, logprob in token.top if token else ():
        choice = wanted.get(_word(text))
        if choice is not None:
            found[choice] += math.exp(min(logprob, 0.0))
    return {choice: min(probability, 1.0) for choice, probability in found.items()}


def _shared_out(total: int, choices: Sequence[Choice]) -> list[int]:
    """Return whole token counts that add up to ``total``, by length of text."""
    lengths = [len(choice.whole) for choice in choices]
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    marks = [round(total * end / max(ends[-1], 1)) for end in ends]
    return [after - before for before, after in pairwise(marks)]
