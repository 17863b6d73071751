"""The model's own forward pass over many sequences, packed or in transformers' own batches.

All ways take logits from the model itself, so that whatever follows its output embedding, such as
a scaling or a soft cap, is in them. Which of them a model gets is decided by ``fidelity``.
"""

import inspect
from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from benchmark.engines.in_process.kv_cache import KVCache
from benchmark.engines.in_process.packed_attention import Pack, attending

_LEAST_SHARED = 8  # tokens; a shorter common prefix isn't worth a pass of its own


class Forward(Protocol):
    """Running rows of a batch, and passes over whole prompts.

    Attributes:
        joins: new prompts may be taken in while rows are running.
        together: prompts of different length may be taken in at once.
        shared: number of tokens that all prompts begin with and that cost nothing any more.
    """

    joins: bool
    together: bool
    shared: int

    def step(self, tokens: Sequence[int], prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return next-token logits [R + P, V] behind R running rows' newest tokens and P prompts.

        The prompts become the rows R, R + 1, ..
        """

    def arrange(self, sources: Sequence[int]) -> None:
        """Make row i what row ``sources[i]`` was; rows that aren't named are dropped."""

    def forget(self, rows: Sequence[int]) -> None:
        """Forget rows whose numbers are not finite, so that none reach a row in their place."""

    def read(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return the next-token logits [P, V] behind whole prompts."""

    def hidden_states(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return the states [P, L + 1, D] of each prompt's last token, as transformers has them."""


class PackedForward:
    """Prompts and running rows in one row of tokens without padding; see ``packed``.

    Args:
        model: set to attend by packs.
        device: of its input.
        prompts: all that will come, whose common beginning is computed once.
    """

    joins = together = True

    def __init__(
        self, model: PreTrainedModel, device: torch.device, prompts: Sequence[list[int]]
    ) -> None:
        self._model = model
        self._device = device
        self._cache = KVCache()
        self._prefix: KVCache | None = None
        self.shared = _shared(prompts)
        if self.shared:
            prefix = KVCache()
            prefix.reserve(1, self.shared)
            pack = Pack(0, [self.shared], prefix, device)
            self._run([prompts[0][: self.shared]], pack)
            prefix.lengths[0] = self.shared
            self._prefix = prefix

    def step(self, tokens: Sequence[int], prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return the next-token logits [R + P, V] of R running rows and P prompts."""
        running, cache = len(tokens), self._cache
        rest = [prompt[self.shared :] for prompt in prompts]
        pack = Pack(running, [len(part) for part in rest], cache, self._device, self._prefix)
        rows = running + len(rest)
        longest = max([pack.longest, *(len(prompt) for prompt in prompts)])
        cache.reserve(rows, longest)
        logits = self._last(self._run([tokens, *rest], pack), pack)
        cache.lengths[:running] += 1
        cache.lengths[running:rows] = torch.tensor([len(prompt) for prompt in prompts])
        return logits

    def arrange(self, sources: Sequence[int]) -> None:
        """Make row i what row ``sources[i]`` was; a row that is its own source costs nothing."""
        moving = [(source, row) for row, source in enumerate(sources) if source != row]
        self._cache.reserve(len(sources), 0)
        self._cache.copy([source for source, _ in moving], [row for _, row in moving])

    def forget(self, rows: Sequence[int]) -> None:
        """Make the rows' keys and values 0: behind a mask, what is not a number would stay so."""
        self._cache.clear(rows)

    def read(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return the next-token logits [P, V] behind whole prompts."""
        output, pack = self._whole(prompts)
        return self._last(output, pack)

    def hidden_states(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return the states [P, L + 1, D] of each prompt's last token."""
        output, pack = self._whole(prompts, output_hidden_states=True)
        return torch.stack([states[0, pack.ends] for states in output.hidden_states], dim=1)

    def _whole(self, prompts: Sequence[list[int]], **more: Any) -> tuple[Any, Pack]:
        rest = [prompt[self.shared :] for prompt in prompts]
        pack = Pack(0, [len(part) for part in rest], None, self._device, self._prefix)
        return self._run(rest, pack, **more), pack

    @torch.inference_mode()
    def _run(self, parts: Sequence[Sequence[int]], pack: Pack, **more: Any) -> Any:
        tokens = torch.tensor([list(chain.from_iterable(parts))], device=self._device)
        # A mask of ones keeps transformers from looking for packs of its own kind in the positions.
        with attending(pack):
            return self._model(
                input_ids=tokens, attention_mask=torch.ones_like(tokens),
                position_ids=pack.positions, use_cache=False, logits_to_keep=pack.ends, **more,
            )  # fmt: skip

    @staticmethod
    def _last(output: Any, pack: Pack) -> torch.Tensor:
        logits: torch.Tensor = output.logits[0]
        ends = pack.ends
        return logits if len(logits) == len(ends) else logits[ends.to(logits.device)]


class OwnForward:
    """Transformers' own batches, padded at the left, and the model's own cache.

    Args:
        model: as it was loaded.
        device: of its input.
        together: prompts of different length may share a batch.
    """

    joins = False
    shared = 0

    def __init__(self, model: PreTrainedModel, device: torch.device, *, together: bool) -> None:
        self._model = model
        self._device = device
        self.together = together
        self._accepted = inspect.signature(model.forward).parameters
        self._ids = torch.empty(0)  # of the running rows [R, T]
        self._kept: dict[str, Any] = {}  # their mask, positions and cache, as transformers names it

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return next-token logits [R, V]; there are either running rows or prompts, never both."""
        if prompts:
            self._ids, self._kept = self._padded(prompts)
        else:
            new = torch.tensor(tokens, device=self._device)[:, None]
            self._ids = torch.cat([self._ids, new], dim=1)
        inputs = self._model.prepare_inputs_for_generation(
            self._ids, is_first_iteration=bool(prompts), **self._asked(prompts), **self._kept
        )
        output = self._model(**(inputs | self._last_only), return_dict=True)
        self._kept = self._model._update_model_kwargs_for_generation(output, self._kept)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _asked(self, prompts: Sequence[list[int]]) -> dict[str, Any]:
        """Return what of the sequences the next pass reads: all, or the newest token."""
        return {"use_cache": True, "next_sequence_length": None if prompts else 1}

    @torch.inference_mode()
    def arrange(self, sources: Sequence[int]) -> None:
        """Make row i what row ``sources[i]`` was."""
        if list(sources) == list(range(len(self._ids))):
            return
        chosen = torch.tensor(sources, device=self._device)
        self._ids = self._ids.index_select(0, chosen)
        for name, kept in self._kept.items():
            if isinstance(kept, torch.Tensor):
                self._kept[name] = kept.index_select(0, chosen)
            else:
                kept.reorder_cache(chosen)

    def forget(self, rows: Sequence[int]) -> None:
        """Do nothing: rows that are dropped leave the model's own cache."""

    def read(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return the next-token logits [P, V] behind whole prompts."""
        logits: torch.Tensor = self._whole(prompts).logits[:, -1]
        return logits

    def hidden_states(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Return the states [P, L + 1, D] of each prompt's last token."""
        output = self._whole(prompts, output_hidden_states=True)
        return torch.stack([states[:, -1] for states in output.hidden_states], dim=1)

    @torch.inference_mode()
    def _whole(self, prompts: Sequence[list[int]], **more: Any) -> Any:
        ids, kept = self._padded(prompts)
        return self._model(input_ids=ids, use_cache=False, **self._last_only, **kept, **more)

    @property
    def _last_only(self) -> dict[str, int]:
        """The argument that asks for the last token's logits, where the model knows it."""
        return {"logits_to_keep": 1} if "logits_to_keep" in self._accepted else {}

    def _padded(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return the tokens of padded prompts [P, T], their mask and positions."""
        longest = max(map(len, prompts))
        padding = [longest - len(prompt) for prompt in prompts]
        rows = [[0] * pad + prompt for pad, prompt in zip(padding, prompts, strict=True)]
        ids = torch.tensor(rows, device=self._device)
        mask = torch.ones_like(ids)
        for row, pad in zip(mask, padding, strict=True):
            row[:pad] = 0
        kept: dict[str, Any] = {"attention_mask": mask}
        if "position_ids" in self._accepted:
            kept["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        return ids, kept


class RecomputedForward(OwnForward):
    """The model's own pass over whole sequences at each step, without a cache.

    It is right for any causal model, and slow: each token costs a pass over all before it.
    """

    def __init__(self, model: PreTrainedModel, device: torch.device) -> None:
        super().__init__(model, device, together=False)

    def _asked(self, prompts: Sequence[list[int]]) -> dict[str, Any]:  # noqa: ARG002 - always all
        return {"use_cache": False}


def _shared(prompts: Sequence[list[int]]) -> int:
    """Return the number of tokens that all prompts begin with; each keeps a token of its own."""
    shortest = min(map(len, prompts), default=1) - 1
    columns = zip(*prompts, strict=False)
    same = next((i for i, tokens in enumerate(columns) if len(set(tokens)) > 1), shortest)
    same = min(same, shortest)
    return same if len(prompts) > 1 and same >= _LEAST_SHARED else 0
