"""A check of each model at loading: what a way of running it gives, against its own forward pass.

Architectures differ in what follows the output embedding, in what attention is told, and in what
else passes from token to token. No list of names keeps up with them, so that each model is tried:
two prompts of different length together, and one decoding step, against each alone. Rounding hides
small errors in half precision, but not that another text changes a result: between passes of the
same shapes it is nothing, so that what must not be seen is told by changing it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from benchmark.engines.in_process.forward import (
    Forward,
    OwnForward,
    PackedForward,
    RecomputedForward,
)
from benchmark.engines.in_process.packed_attention import PACKED_ATTENTION
from benchmark.errors import ModelError

# Largest relative error of logits and hidden states that rounding explains.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
_NOISE_FACTOR = 4.0  # allowed error, in multiples of what the model's own passes differ by
_UNSEEN = 0.1  # share of the tolerance by which tokens that must not be seen may change logits
_EXACT = 1e-5  # relative error of rounding alone in float32: nothing else can hide in it
_FAULTS = (
    AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


class Way(NamedTuple):
    """How a model is run, and how far that is from its own forward pass.

    Attributes:
        name: packed, batched, single or recomputed.
        make: returns a ``Forward`` for all prompts that will come.
        error: the largest relative error of logits and hidden states in the check.
        has_states: whether there are hidden states of one shape for all layers.
        refused: ways that were tried before, each with the reason.
    """

    name: str
    make: Callable[[Sequence[list[int]]], Forward]
    error: float
    has_states: bool
    refused: dict[str, str]


class _Own(NamedTuple):
    """What the model's own forward pass gives at each place of a sequence.

    Attributes:
        logits: [T, V].
        states: [L + 1, T, D]; None where the model gives none of one shape for all layers.
    """

    logits: torch.Tensor
    states: torch.Tensor | None


def choose_way(
    model: PreTrainedModel, device: torch.device, tokens: Sequence[int], name: str
) -> Way:
    """Return the fastest way to run a model that gives what its own forward pass gives.

    Args:
        model: as it was loaded; left set up for the way that is chosen.
        device: of its input.
        tokens: a sequence of the model's own language, at least 4; the check's two prompts are
            its first half and all but its last token.
        name: of the model, for messages.

    Raises:
        ModelError: no way does, the model's own logits are not finite, or it is not causal.
    """
    own_attention = model.config._attn_implementation
    tokens = tokens[: _reach(model.config)]
    try:
        own = _own(model, device, tokens)
    except _FAULTS as fault:
        raise _unusable(model, name, {"its own forward pass": _short(fault)}) from fault
    if not own.logits.isfinite().all():
        raise ModelError(
            f"model={name}: its logits are not finite in {model.dtype}. Choose another precision "
            f"with engine.dtype=float32 or bfloat16."
        )
    refused: dict[str, str] = {}

    @cache
    def limits() -> tuple[float, float]:
        model.set_attn_implementation(own_attention)
        return _limits(model, device, tokens, own, name)

    ways: dict[str, Callable[[Sequence[list[int]]], Forward]] = {  # the fastest first
        "packed": lambda prompts: PackedForward(model, device, prompts),
        "batched": lambda _: OwnForward(model, device, together=True),
        "single": lambda _: OwnForward(model, device, together=False),
        "recomputed": lambda _: RecomputedForward(model, device),
    }
    for way, make in ways.items():
        if way in ("packed", "batched") and _positions_depend_on_length(model.config):
            refused[way] = "its rotary embedding depends on the longest sequence of a batch"
            continue
        attention = PACKED_ATTENTION if way == "packed" else own_attention
        try:
            model.set_attn_implementation(attention)
            error = _error(make, tokens, own)
            leak = _leak(make, tokens) if error > _EXACT else 0.0
        except torch.OutOfMemoryError:
            raise
        except _FAULTS as fault:
            refused[way] = _short(fault)
            continue
        tolerance, unseen = (_EXACT, _EXACT) if error <= _EXACT else limits()
        if error > tolerance:
            refused[way] = f"off by {error:.2g}, rounding explains {tolerance:.2g}"
        elif leak > unseen:
            refused[way] = f"another prompt beside it changes the logits by {leak:.2g}"
        else:
            model.set_attn_implementation(attention)
            return Way(way, make, error, own.states is not None, refused)
    model.set_attn_implementation(own_attention)
    raise _unusable(model, name, refused)


def _unusable(model: PreTrainedModel, name: str, refused: Mapping[str, str]) -> ModelError:
    reasons = "; ".join(f"{way}: {why}" for way, why in refused.items())
    return ModelError(
        f"model={name}: {type(model).__name__} can't be run in this process as its own forward "
        f"pass says ({reasons}). Use a server (engine=server or engine=vllm)"
        f"{'' if model.dtype == torch.float32 else ', or engine.dtype=float32'}."
    )


def _reach(config: PreTrainedConfig) -> int | None:
    """Return the number of tokens up to which the length of a sequence changes nothing."""
    text = config.get_text_config(decoder=True)
    settings = getattr(text, "rope_parameters", None) or {}
    name = "original_max_position_embeddings"
    known = [getattr(text, "max_position_embeddings", None), getattr(text, name, None)]
    known.append(settings.get(name))
    return min((bound for bound in known if bound), default=None)


def _positions_depend_on_length(config: PreTrainedConfig) -> bool:
    """Tell whether a long sequence changes how shorter ones beside it are rotated (LongRoPE)."""
    settings = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    kinds = [settings, *(part for part in settings.values() if isinstance(part, dict))]
    return any(kind.get("rope_type") == "longrope" for kind in kinds)


@torch.inference_mode()
def _own(model: PreTrainedModel, device: torch.device, tokens: Sequence[int]) -> _Own:
    ids = torch.tensor([tokens], device=device)
    output = model(input_ids=ids, use_cache=False, output_hidden_states=True)
    layers = [*(output.hidden_states or ())]
    alike = len({layer.shape for layer in layers}) == 1 and layers[0].ndim == 3
    states = torch.cat([layer.to(device) for layer in layers]).float() if alike else None
    return _Own(output.logits[0].float(), states)


def _limits(
    model: PreTrainedModel, device: torch.device, tokens: Sequence[int], own: _Own, name: str
) -> tuple[float, float]:
    """Return the error that rounding explains, and by how much unseen tokens may change logits.

    The latter is more where experts round otherwise since they get other tokens together.

    Raises:
        ModelError: most tokens see the last one, as in an encoder.
    """
    other = _own(model, device, [*tokens[:-1], abs(tokens[-1] - 1)]).logits[:-1]
    errors = _errors(_centred(other), _centred(own.logits[:-1]))
    tolerance = _TOLERANCE[model.dtype]
    unseen = _UNSEEN * tolerance
    doubtful = model.dtype == torch.float32 or getattr(model.config, "is_decoder", None) is False
    if errors.median() > (_EXACT if doubtful else unseen):
        raise ModelError(
            f"model={name}: {type(model).__name__} is not causal: its tokens see those behind them "
            f"(a change of the last changes the others' logits by {errors.median():.2g}). It is an "
            f"encoder, or its config.json doesn't say is_decoder; choose a model that generates."
        )
    if model.dtype != torch.float32:
        # The same logits in sums of another length differ by rounding alone.
        shorter = _own(model, device, tokens[:-1]).logits
        noise = _errors(_centred(shorter), _centred(own.logits[:-1])).max().item()
        tolerance = max(tolerance, _NOISE_FACTOR * noise)
    return tolerance, max(unseen, _NOISE_FACTOR * errors.max().item())


def _error(
    make: Callable[[Sequence[list[int]]], Forward], tokens: Sequence[int], own: _Own
) -> float:
    """Return the largest relative error of a way of running the model.

    Both prompts begin the same sequence, so that one pass of a causal model is the measure of both.
    """
    forward = make([])
    lengths = [len(tokens) // 2, len(tokens) - 1]
    errors = []
    for group in [lengths] if forward.together else [[length] for length in lengths]:
        prompts = [list(tokens[:length]) for length in group]
        found = [*forward.step([], prompts)]
        forward.arrange([*range(len(group)), 0])  # a sample splits off
        rows = [*group, group[0]]
        found += forward.step([tokens[length] for length in rows], [])
        places = [length - 1 for length in group] + rows
        logits = torch.stack([row.float() for row in found])
        errors.append(_errors(_centred(logits), _centred(own.logits[places])).max())
        if own.states is not None:
            states = forward.hidden_states(prompts).float().transpose(0, 1)
            ends = [length - 1 for length in group]
            errors.append(_errors(states, own.states[:, ends]).max())
    return max(error.item() for error in errors)


def _leak(make: Callable[[Sequence[list[int]]], Forward], tokens: Sequence[int]) -> float:
    """Return by how much the tokens of a prompt change the logits of the one beside it."""
    first, second = list(tokens[: len(tokens) // 2]), list(tokens[:-1])
    if not make([]).together:
        return 0.0
    one, other = (
        make([]).step([], [begun, second])[1].float()
        for begun in (first, [abs(token - 1) for token in first])  # and other tokens
    )
    return _errors(_centred(other), _centred(one)).max().item()


def _short(fault: Exception) -> str:
    lines = str(fault).splitlines() or [""]
    return f"{type(fault).__name__}: {lines[0]:.200}"


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Return logits [R, V] less their mean, which no distribution depends on."""
    return logits - logits.mean(-1, keepdim=True)


def _errors(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the relative errors [..] of vectors [.., D]; infinite where one is not a number."""
    difference = (found.to(wanted.device) - wanted).norm(dim=-1)
    errors: torch.Tensor = difference / wanted.norm(dim=-1).clamp(min=1e-12)
    return errors.nan_to_num(nan=float("inf"), posinf=float("inf"))
