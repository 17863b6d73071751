"""Drawing next tokens, as ``Decoding`` says, from uniform numbers that belong to the samples.

Every sample has a stream of uniform numbers of its own, derived by hash from (question, sample):
which samples share a batch, or a row, then changes nothing of what is drawn.
"""

from collections.abc import Sequence
from math import log

import torch

from benchmark.engines import Decoding

_NUCLEUS_GUESS = 64  # tokens; most nuclei are smaller, and sorting them all takes long


def penalised(
    logits: torch.Tensor,
    prompts: Sequence[Sequence[int]],
    drawn: Sequence[Sequence[int]],
    decoding: Decoding,
) -> torch.Tensor:
    """Return each row's logits [R, V] less the penalties; the very same where all are neutral.

    Args:
        logits: R rows [R, V].
        prompts: tokens of each row's whole prompt.
        drawn: tokens of its response so far.
        decoding: the penalties.
    """
    repetition = 1.0 if decoding.repetition_penalty is None else decoding.repetition_penalty
    presence, frequency = decoding.presence_penalty or 0.0, decoding.frequency_penalty or 0.0
    if repetition == 1 and not presence and not frequency:
        return logits
    logits = logits.float()
    counts = _counts(drawn, logits)
    if repetition != 1:
        scaled = torch.where(logits > 0, logits / repetition, logits * repetition)
        logits = torch.where((counts > 0) | (_counts(prompts, logits) > 0), scaled, logits)
    return logits - frequency * counts - presence * (counts > 0)


def _counts(tokens: Sequence[Sequence[int]], logits: torch.Tensor) -> torch.Tensor:
    """Return how often each row holds each token of the vocabulary [R, V]."""
    counts = torch.zeros_like(logits)
    flat = torch.tensor([token for row in tokens for token in row], dtype=torch.long)
    rows = torch.repeat_interleave(torch.tensor([len(row) for row in tokens]))
    places = (rows.to(logits.device), flat.to(logits.device))
    return counts.index_put_(places, counts.new_ones(()), accumulate=True)


def draw_tokens(logits: torch.Tensor, uniform: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Draw tokens from each row's distribution, one per uniform number.

    A token is the inverse of the distribution function at the uniform number, with tokens in order
    of falling probability (in order of their ids where ``top_p`` is 1).

    Args:
        logits: R rows [R, V].
        uniform: S samples of each row [R, S], in [0, 1).
        decoding: all but the penalties, which the logits hold already.

    Returns:
        Token ids [R, S].
    """
    if decoding.temperature == 0:
        return logits.argmax(-1, keepdim=True).expand(uniform.shape)
    logits = logits.float()
    scaled = _kept((logits - logits.amax(-1, keepdim=True)) / decoding.temperature, decoding)
    if decoding.top_p >= 1:
        return _invert(scaled.softmax(-1).cumsum(-1), uniform)
    tokens = torch.empty(uniform.shape, dtype=torch.long, device=logits.device)
    log_total = scaled.logsumexp(-1, keepdim=True)
    vocabulary = logits.shape[-1]
    waiting = torch.arange(len(logits), device=logits.device)
    size = min(_NUCLEUS_GUESS, vocabulary)
    while len(waiting):
        values, ids = scaled[waiting].topk(size)
        mass = (values - log_total[waiting]).exp().cumsum(-1)
        done = (mass[:, -1] >= decoding.top_p) | (size == vocabulary)
        mass, ids, rows = mass[done], ids[done], waiting[done]
        # The nucleus ends with the token that reaches top_p.
        last = (mass < decoding.top_p).sum(-1, keepdim=True).clamp(max=size - 1)
        nucleus = mass.minimum(mass.gather(-1, last))
        tokens[rows] = ids.gather(-1, _invert(nucleus, uniform[rows]))
        waiting = waiting[~done]
        size = min(16 * size, vocabulary)
    return tokens


def _kept(scaled: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Return logits [R, V], whose largest is 0, without what ``min_p`` and ``top_k`` leave out."""
    if decoding.min_p:
        scaled = scaled.masked_fill(scaled < log(decoding.min_p), -torch.inf)
    if decoding.top_k is not None and decoding.top_k < scaled.shape[-1]:
        last = scaled.topk(decoding.top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < last, -torch.inf)
    return scaled


def _invert(mass: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Return the first index whose cumulative mass [R, V] exceeds each share of the total."""
    # Below 1 by more than a rounding, or the share could be the whole and fall past the end.
    share = uniform.to(mass).clamp(max=1 - 2**-23) * mass[:, -1:]
    return torch.searchsorted(mass, share, right=True).clamp(max=mass.shape[-1] - 1)
