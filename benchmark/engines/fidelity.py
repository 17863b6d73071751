"""A check of each model at loading: what a way of running it gives, against its own forward pass.

Architectures differ in what follows the output embedding, in what attention is told, and in what
else passes from token to token. No list of names keeps up with them, so that each model is tried:
two prompts of different length together, and one decoding step, against each alone.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from benchmark.engines.forward import Forward, OwnForward, PackedForward, RecomputedForward
from benchmark.engines.packed import PACKED_ATTENTION
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


class _Expected(NamedTuple):
    """What the model's own forward pass gives for one prompt and the token behind it.

    Attributes:
        logits: behind the prompt, and behind that token [2, V].
        states: of the prompt's last token [L + 1, D]; None where the model gives none of one shape.
        noise: by how much the same pass without that token differs.
    """

    logits: torch.Tensor
    states: torch.Tensor | None
    noise: float


def choose_way(
    model: PreTrainedModel, device: torch.device, prompts: Sequence[list[int]], name: str
) -> Way:
    """Return the fastest way to run a model that gives what its own forward pass gives.

    Args:
        model: as it was loaded; left set up for the way that is chosen.
        device: of its input.
        prompts: two of different length; the last token of each is the one that is decoded.
        name: of the model, for messages.

    Raises:
        ModelError: no way does, or the model's own logits are not finite.
    """
    own_attention = model.config._attn_implementation
    expected = [_alone(model, device, prompt) for prompt in prompts]
    if not all(torch.isfinite(one.logits).all() for one in expected):
        raise ModelError(
            f"model={name}: its logits are not finite in {model.dtype}. Choose another precision "
            f"with engine.dtype=float32 or bfloat16."
        )
    tolerance = max(
        _TOLERANCE.get(model.dtype, 1e-1), _NOISE_FACTOR * max(one.noise for one in expected)
    )
    ways: dict[str, Callable[[Sequence[list[int]]], Forward]] = {
        "packed": lambda all_prompts: PackedForward(model, device, all_prompts),
        "batched": lambda _: OwnForward(model, device, together=True),
        "single": lambda _: OwnForward(model, device, together=False),
        "recomputed": lambda _: RecomputedForward(model, device),
    }
    refused: dict[str, str] = {}
    if _positions_depend_on_length(model.config):
        why = "its rotary embedding depends on the longest sequence of a batch"
        refused = dict.fromkeys(("packed", "batched"), why)
    for way, make in ways.items():
        if way in refused:
            continue
        try:
            model.set_attn_implementation(PACKED_ATTENTION if way == "packed" else own_attention)
            error = _error(make, prompts, expected)
        except torch.OutOfMemoryError:
            raise
        except _FAULTS as fault:
            refused[way] = f"{type(fault).__name__}: {str(fault).splitlines()[0]:.200}"
            continue
        if error <= tolerance:
            has_states = all(one.states is not None for one in expected)
            return Way(way, make, error, has_states, refused)
        refused[way] = f"off by {error:.2g}, rounding explains {tolerance:.2g}"
    raise ModelError(
        f"model={name}: {type(model).__name__} can't be run in this process as its own forward "
        f"pass says ({'; '.join(f'{way}: {why}' for way, why in refused.items())}). Use a server "
        f"(engine=server or engine=vllm)."
    )


def _positions_depend_on_length(config: PreTrainedConfig) -> bool:
    """Tell whether a long sequence changes how shorter ones beside it are rotated (LongRoPE)."""
    settings = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    kinds = [settings, *(part for part in settings.values() if isinstance(part, dict))]
    return any(kind.get("rope_type") == "longrope" for kind in kinds)


@torch.inference_mode()
def _alone(model: PreTrainedModel, device: torch.device, prompt: list[int]) -> _Expected:
    tokens = torch.tensor([prompt], device=device)
    output = model(input_ids=tokens, use_cache=False, output_hidden_states=True)
    logits = output.logits[0, -2:].float()
    layers = output.hidden_states or ()
    states = None
    if layers and len({layer.shape for layer in layers}) == 1 and layers[0].ndim == 3:
        states = torch.stack([layer[0, -2] for layer in layers]).float()
    noise = 0.0
    if model.dtype != torch.float32:
        shorter = model(input_ids=tokens[:, :-1], use_cache=False).logits[0, -1:].float()
        noise = _relative(_centred(shorter), _centred(logits[:1]))
    return _Expected(logits, states, noise)


def _error(
    make: Callable[[Sequence[list[int]]], Forward],
    prompts: Sequence[list[int]],
    expected: Sequence[_Expected],
) -> float:
    """Return the largest relative error of a way of running the model."""
    forward = make([])
    groups = [[0, 1]] if forward.together else [[0], [1]]
    errors = []
    for group in groups:
        begun = [prompts[i][:-1] for i in group]
        first = forward.step([], begun)
        rows = [*group, group[0]]  # a sample that splits off
        forward.arrange([*range(len(group)), 0])
        second = forward.step([prompts[i][-1] for i in rows], [])
        for logits, i, place in [
            *((row, i, 0) for row, i in zip(first, group, strict=True)),
            *((row, i, 1) for row, i in zip(second, rows, strict=True)),
        ]:
            wanted = expected[i].logits[place][None]
            errors.append(_relative(_centred(logits[None].float()), _centred(wanted)))
        wanted_states = [one.states for i in group if (one := expected[i]).states is not None]
        if len(wanted_states) == len(group):
            for states, wanted in zip(forward.hidden_states(begun), wanted_states, strict=True):
                errors.append(_relative(states.float(), wanted))
    return max(errors)


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Return logits [R, V] less their mean, which no distribution depends on."""
    return logits - logits.mean(-1, keepdim=True)


def _relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest relative error of vectors [R, D]; infinite where one is not a number."""
    difference = (found.to(wanted.device) - wanted).norm(dim=-1)
    error = (difference / wanted.norm(dim=-1).clamp(min=1e-12)).max().item()
    return error if error == error else float("inf")
