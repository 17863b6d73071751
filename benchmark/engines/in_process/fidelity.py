"""A check of each model at loading: what a way of running it gives, against its own forward pass.

Architectures differ in what follows the output embedding, in what attention is told, and in what
else passes from token to token. No list of names keeps up with them, so that each model is tried:
two prompts of different length together, and one decoding step, against each alone.
"""

from collections.abc import Callable, Mapping, Sequence
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

# Largest relative error that rounding explains, of logits and of hidden states.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
_NOISE_FACTOR = 4.0  # above what the model's own passes over other lengths differ by
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
        ModelError: no way does, or the model's own logits are not finite.
    """
    own_attention = model.config._attn_implementation
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
    tolerance = _TOLERANCE[model.dtype]
    for way, make in _ways(model, device).items():
        if way in ("packed", "batched") and _positions_depend_on_length(model.config):
            refused[way] = "its rotary embedding depends on the longest sequence of a batch"
            continue
        attention = PACKED_ATTENTION if way == "packed" else own_attention
        try:
            model.set_attn_implementation(attention)
            error = _error(make, tokens, own)
        except torch.OutOfMemoryError:
            raise
        except _FAULTS as fault:
            refused[way] = _short(fault)
            continue
        if error > tolerance and model.dtype != torch.float32:
            model.set_attn_implementation(own_attention)
            tolerance = max(tolerance, _NOISE_FACTOR * _noise(model, device, tokens, own))
            model.set_attn_implementation(attention)
        if error <= tolerance:
            return Way(way, make, error, own.states is not None, refused)
        refused[way] = f"off by {error:.2g}, rounding explains {tolerance:.2g}"
    raise _unusable(model, name, refused)


def _ways(
    model: PreTrainedModel, device: torch.device
) -> dict[str, Callable[[Sequence[list[int]]], Forward]]:
    """Return all ways to run a model, the fastest first."""
    return {
        "packed": lambda prompts: PackedForward(model, device, prompts),
        "batched": lambda _: OwnForward(model, device, together=True),
        "single": lambda _: OwnForward(model, device, together=False),
        "recomputed": lambda _: RecomputedForward(model, device),
    }


def _unusable(model: PreTrainedModel, name: str, refused: Mapping[str, str]) -> ModelError:
    reasons = "; ".join(f"{way}: {why}" for way, why in refused.items())
    return ModelError(
        f"model={name}: {type(model).__name__} can't be run in this process as its own forward "
        f"pass says ({reasons}). Use a server (engine=server or engine=vllm)."
    )


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


def _noise(model: PreTrainedModel, device: torch.device, tokens: Sequence[int], own: _Own) -> float:
    """Return the relative error of logits that comes from rounding: a token more, in other sums."""
    shorter = _own(model, device, tokens[:-1]).logits
    return _relative(_centred(shorter), _centred(own.logits[:-1]))


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
        errors.append(_relative(_centred(logits), _centred(own.logits[places])))
        if own.states is not None:
            states = forward.hidden_states(prompts).float().transpose(0, 1)
            errors.append(_relative(states, own.states[:, [length - 1 for length in group]]))
    return max(errors)


def _short(fault: Exception) -> str:
    lines = str(fault).splitlines() or [""]
    return f"{type(fault).__name__}: {lines[0]:.200}"


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Return logits [R, V] less their mean, which no distribution depends on."""
    return logits - logits.mean(-1, keepdim=True)


def _relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest relative error of vectors [R, D]; infinite where one is not a number."""
    difference = (found.to(wanted.device) - wanted).norm(dim=-1)
    error = (difference / wanted.norm(dim=-1).clamp(min=1e-12)).max().item()
    return error if error == error else float("inf")
