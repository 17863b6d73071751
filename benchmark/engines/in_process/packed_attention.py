"""Packed attention: many sequences of different lengths in one forward pass, without padding.

A pass takes one row of tokens [1, N]: first one token of each of R running rows (decoding), then
the whole prompts that are new (prefill). Every matrix product of the model then sees all N tokens
at once, and attention alone is told where sequences begin and end. What a token may see within its
own sequence (all before it, a window, a chunk) is what the model's own mask says. ``KVCache`` keeps
keys and values of the running rows; rows 0 .. R - 1 are always the ones that run, so that a step
reads views of the cache and gathers nothing. What all prompts begin with (a chat template's head)
is computed once, kept as a cache of one row, and seen by every prompt.

Only attention can be packed. A model that carries anything else from token to token is found out by
``fidelity``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import causal_mask_function

from benchmark.engines.in_process.kv_cache import KVCache

PACKED_ATTENTION = "capcal_packed"


class Sight(NamedTuple):
    """What the model's mask lets a token see of its own sequence.

    Attributes:
        sees: of batch, head, position of the token and position of the other, all to be broadcast.
        plain_up_to: number of tokens of the longest sequence in which each token sees all before
            it; None where that holds for any length.
    """

    sees: Callable[..., torch.Tensor]
    plain_up_to: int | None


CAUSAL = Sight(causal_mask_function, None)
_current: "ContextVar[Pack]" = ContextVar("pack")  # models don't hand all arguments down


@contextmanager
def attending(pack: "Pack") -> Iterator[None]:
    """Let attention see the sequences of ``pack`` inside the block."""
    token = _current.set(pack)
    try:
        yield
    finally:
        _current.reset(token)


def packed_mask(
    *, mask_function: Callable[..., torch.Tensor], local_size: int | None = None, **other: Any
) -> Sight:
    """Return what the attention layers of one kind get as their mask.

    Args:
        mask_function: the model's own; a window's or a chunk's holds causality, too.
        local_size: number of tokens of the window or chunk.
        other: about sizes and devices, of the tensor that it would have become.

    Raises:
        ValueError: the mask doesn't follow from the positions of two tokens alone.
    """
    if other.get("use_vmap"):
        raise ValueError("its attention has a mask of its own")
    if mask_function is causal_mask_function:
        return CAUSAL
    return Sight(mask_function, local_size or 0)


class Pack:
    """Where the sequences of one pass lie, and what each token may see.

    Args:
        running: number R of tokens, one per running row, that stand first.
        prompts: lengths of the new prompts that follow, without their common prefix; they become
            the rows R, R + 1, ..
        cache: keys and values; None where nothing is decoded afterwards.
        device: of the model.
        prefix: keys and values of what every new prompt begins with, in row 0.
    """

    def __init__(
        self,
        running: int,
        prompts: Sequence[int],
        cache: KVCache | None,
        device: torch.device,
        prefix: KVCache | None = None,
    ) -> None:
        self.running = running
        self.prompts = tuple(prompts)
        self.cache = cache
        self.device = device
        self.prefix = prefix
        self.prefix_length = 0 if prefix is None else int(prefix.lengths[0])
        self.rows = torch.arange(running, device=device)
        lengths = cache.lengths[:running] if cache else torch.zeros(0, dtype=torch.long)
        self.lengths = lengths.to(device)
        self.longest = int(lengths.max()) + 1 if running else 0
        self._running_sees: dict[Sight, torch.Tensor] = {}
        self._prompt_sees: dict[tuple[int, Sight], torch.Tensor] = {}

    @property
    def positions(self) -> torch.Tensor:
        """Position of every token in its own sequence, [1, N]."""
        shift = self.prefix_length
        new = [torch.arange(shift, shift + n, device=self.device) for n in self.prompts]
        return torch.cat([self.lengths, *new])[None]

    @property
    def ends(self) -> torch.Tensor:
        """Index in the pack of the last token of every row, [R + number of prompts]."""
        prompt_ends = torch.tensor(self.prompts, dtype=torch.long).cumsum(0) - 1 + self.running
        return torch.cat([self.rows, prompt_ends.to(self.device)])

    def seen_by_running(self, sight: Sight) -> torch.Tensor:
        """Return the mask [R, 1, 1, longest] of cached positions that each running row sees."""
        if sight not in self._running_sees:
            positions = torch.arange(self.longest, device=self.device)
            seen = _visible(sight, self.lengths[:, None], positions)
            self._running_sees[sight] = seen[:, None, None]
        return self._running_sees[sight]

    def seen_by_prompt(self, length: int, sight: Sight, *, explicit: bool) -> torch.Tensor | None:
        """Return the mask [T, P + T] of a new prompt behind P shared tokens.

        It is None where plain causality says the same, unless it must be ``explicit``.
        """
        whole = self.prefix_length + length
        if sight.plain_up_to is not None and whole <= sight.plain_up_to:
            sight = CAUSAL
        if sight is CAUSAL and not (explicit or self.prefix_length):
            return None
        if (length, sight) not in self._prompt_sees:
            positions = torch.arange(whole, device=self.device)
            seen = _visible(sight, positions[self.prefix_length :, None], positions)
            self._prompt_sees[length, sight] = seen
        return self._prompt_sees[length, sight]


def _visible(sight: Sight, tokens: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return which ``others`` [K] each of the ``tokens`` [T, 1] sees, [T, K]."""
    first = torch.zeros((), dtype=torch.long, device=tokens.device)
    return sight.sees(first, first, tokens, others) & (others <= tokens)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Sight | None,
    *,
    scaling: float | None = None,
    s_aux: torch.Tensor | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence of the current pack.

    Args:
        module: the attention layer; its ``layer_idx`` names the cache's layer.
        query: [1, heads, N, width].
        key: [1, kv heads, N, width].
        value: [1, kv heads, N, width].
        attention_mask: as ``packed_mask`` made it; None means causal.
        scaling: factor of the scores; None is one over the root of the width.
        s_aux: attention sinks [heads] (GPT-OSS): a logit per head that takes part in the softmax
            and contributes nothing.
        other: what else the layer hands to attention.

    Returns:
        The attended values [1, N, heads, width], and None for the weights.

    Raises:
        ValueError: the layer wants more of attention than is done here.
    """
    unknown = [name for name in ("softcap", "position_bias") if other.get(name) is not None]
    if unknown or not isinstance(attention_mask, Sight | None):
        raise ValueError(f"its attention has {unknown or 'a mask of its own'}")
    sight, pack = attention_mask or CAUSAL, _current.get()
    running, cache = pack.running, pack.cache
    device = query.device  # with a device map, another than the pack's
    rows, lengths = pack.rows.to(device), pack.lengths.to(device)
    output = query.new_empty((1, query.shape[2], query.shape[1], value.shape[3]))
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if cache is not None:
        keys, values = cache.layer(layer, key, value)
    if running:
        keys[rows, :, lengths] = key[0, :, :running].transpose(0, 1)
        values[rows, :, lengths] = value[0, :, :running].transpose(0, 1)
        output[0, :running] = _attend(
            query[0, :, :running].transpose(0, 1)[:, :, None],
            keys[:running, :, : pack.longest],
            values[:running, :, : pack.longest],
            scaling,
            pack.seen_by_running(sight).to(device),
            s_aux,
        )[:, 0]
    shared = pack.prefix_length
    if pack.prefix is not None:
        prefix_keys, prefix_values = (
            kept[:1, :, :shared] for kept in pack.prefix.layer(layer, key, value)
        )
    start = running
    for row, length in enumerate(pack.prompts, start=running):
        part = slice(start, start + length)
        start += length
        whole_key, whole_value = key[:, :, part], value[:, :, part]
        if pack.prefix is not None:
            whole_key = torch.cat([prefix_keys, whole_key], dim=2)
            whole_value = torch.cat([prefix_values, whole_value], dim=2)
        seen = pack.seen_by_prompt(length, sight, explicit=s_aux is not None)
        seen = None if seen is None else seen.to(device)
        output[:, part] = _attend(query[:, :, part], whole_key, whole_value, scaling, seen, s_aux)
        if cache is not None:
            keys[row, :, : shared + length] = whole_key[0]
            values[row, :, : shared + length] = whole_value[0]
    return output, None


def _attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float | None,
    seen: torch.Tensor | None,
    s_aux: torch.Tensor | None,
) -> torch.Tensor:
    """Return [B, T, heads, width] from query [B, heads, T, width]; ``seen`` None means causal."""
    mask = seen
    if s_aux is not None and seen is not None:
        # A key of zeros whose score is the sink, and whose value is zero.
        keys, values = functional.pad(keys, (0, 0, 0, 1)), functional.pad(values, (0, 0, 0, 1))
        shape = (query.shape[0], query.shape[1], query.shape[2], seen.shape[-1])
        hidden = torch.zeros(shape, dtype=query.dtype, device=query.device)
        hidden.masked_fill_(~seen, float("-inf"))
        sink = s_aux.to(query.dtype).view(1, -1, 1, 1).expand(*shape[:3], 1)
        mask = torch.cat([hidden, sink], dim=-1)
    return functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True
    ).transpose(1, 2)


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, packed_mask)
