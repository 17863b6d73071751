"""Drawing next tokens: temperature and nucleus, from uniform numbers that belong to the samples.

Every sample has a stream of uniform numbers of its own, derived by hash from (question, sample):
which samples share a batch, or a row, then changes nothing of what is drawn.
"""

from hashlib import blake2b

import torch

from benchmark.engines import Decoding

_NUCLEUS_GUESS = 64


def sample_seed(seed: int, question_id: str, sample_index: int) -> int:
    """Return the seed of one (question, sample), in [0, 2^63)."""
    key = f"{seed}\x1f{question_id}\x1f{sample_index}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big") >> 1


def draw_tokens(logits: torch.Tensor, uniform: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Draw tokens from each row's distribution, one per uniform number.

    A token is the inverse of the distribution function at the uniform number, with tokens in order
    of falling probability (in order of their ids where ``top_p`` is 1).

    Args:
        logits: R rows [R, V].
        uniform: S samples of each row [R, S], in [0, 1).
        decoding: temperature and top_p.

    Returns:
        Token ids [R, S].
    """
    if decoding.temperature == 0:
        return logits.argmax(-1, keepdim=True).expand(uniform.shape)
    logits = logits.float()
    scaled = (logits - logits.amax(-1, keepdim=True)) / decoding.temperature
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


def _invert(mass: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Return the first index whose cumulative mass [R, V] exceeds each share of the total."""
    # Below 1 by more than a rounding, or the share could be the whole and fall past the end.
    share = uniform.to(mass).clamp(max=1 - 2**-23) * mass[:, -1:]
    return torch.searchsorted(mass, share, right=True).clamp(max=mass.shape[-1] - 1)
