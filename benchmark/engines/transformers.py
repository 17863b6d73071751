"""The in-process engine: a transformers model on the CPU or an accelerator."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple

import torch
import transformers

from benchmark.config import EngineConfig, ModelConfig
from benchmark.engines import ChoiceProbabilities, Decoding, Response, SampleRequest
from benchmark.engines.decoding import Job, sample_tokens
from benchmark.engines.packed import KVCache, Pack, use_packed_attention
from benchmark.engines.reasoning import THINK_TAGS, Split, split_reasoning
from benchmark.engines.weights import Weights, unavailable
from benchmark.errors import ModelError

_TAIL = 8  # tokens of a prompt that may open the reasoning
_LEAST_SHARED = 8  # tokens; a shorter common prefix isn't worth a pass of its own
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class _Prefilled(NamedTuple):
    """One pack of prompts: keys, whole lengths in tokens, final hidden states [N, D], the pack."""

    keys: list[str]
    lengths: list[int]
    hidden: torch.Tensor
    pack: Pack


class TransformersEngine:
    """Runs a model in this process; weights are read at first use, the tokenizer before.

    Args:
        model_config: how prompts are rendered.
        config: where and in which precision the model runs, and how large its batches are.
        weights: what to load.

    Raises:
        ModelError: the device isn't there, or the tokenizer has no chat template.
    """

    def __init__(self, model_config: ModelConfig, config: EngineConfig, weights: Weights) -> None:
        self._model_config = model_config
        self._config = config
        self._weights = weights
        self._device = _device(config.device)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                weights.location, revision=weights.revision
            )
        except (OSError, ValueError) as error:
            raise unavailable(model_config.name, weights.location, error) from error
        if not self._tokenizer.chat_template:
            raise ModelError(
                f"model={model_config.name}: the tokenizer of {weights.location} has no chat "
                f"template, so its prompts can't be rendered; choose an instruct model."
            )

    @property
    def identity(self) -> dict[str, Any]:
        """The weights, and everything that turns a prompt into tokens."""
        return {
            "weights": self._weights.identity,
            "chat_template": sha256(str(self._tokenizer.chat_template).encode()).hexdigest(),
            "chat_template_kwargs": dict(self._model_config.chat_template_kwargs),
            "system_prompt": self._model_config.system_prompt,
            "reasoning": self._model_config.reasoning,
        }

    def sample(self, requests: Sequence[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield every requested response once, as it is finished."""
        prompts = [
            self._tokens(request.question_id, request.prompt, decoding.max_new_tokens)
            for request in requests
        ]
        prefix, rest = self._share_prefix(prompts)
        jobs = [
            Job(key, tokens, request.seeds)
            for key, (tokens, request) in enumerate(zip(rest, requests, strict=True))
        ]
        finished = sample_tokens(
            self,
            jobs,
            decoding,
            self._end_tokens,
            max_rows=self._config.max_rows,
            token_budget=self._config.token_budget,
            device=self._device,
            prefix=prefix,
        )
        for key, sample, tokens, stopped in finished:
            request = requests[key]
            reasoning, text, ended = self._split(tokens, prompts[key])
            yield Response(
                question_id=request.question_id,
                sample_index=request.sample_indices[sample],
                text=text,
                reasoning=reasoning,
                finish_reason="stop" if stopped and ended else "length",
                prompt_tokens=len(prompts[key]),
                completion_tokens=len(tokens),
                seed=request.seeds[sample],
            )

    def _split(self, tokens: Sequence[int], prompt: Sequence[int]) -> Split:
        """Return reasoning and answer of a response's tokens."""
        form = self._model_config.reasoning
        # Channels are marked by special tokens; whether think tags are depends on the model.
        text = self._tokenizer.decode(tokens, skip_special_tokens=form == "none")
        if form == "think":
            for special in self._tokenizer.all_special_tokens:
                text = text.replace(special, "") if special not in THINK_TAGS else text
        tail = self._tokenizer.decode(prompt[-_TAIL:], skip_special_tokens=False).rstrip()
        return split_reasoning(text, form, opened=tail.endswith(THINK_TAGS[0]))

    def choice_probabilities(
        self, prompts: Mapping[str, str], choices: Sequence[str]
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield, per key of ``prompts``, the probability that the response starts with a choice.

        A choice's probability is the sum over all tokens that spell it, case and white space aside.
        """
        variants = self._variants(tuple(choices))
        for keys, lengths, hidden, pack in self._prefill(prompts):
            probabilities = self.logits(hidden[pack.ends]).float().softmax(-1)
            for key, length, row in zip(keys, lengths, probabilities, strict=True):
                summed = {choice: float(row[ids].sum()) for choice, ids in variants.items()}
                yield key, ChoiceProbabilities(summed, length)

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield, per key, the last prompt token's states [L + 1, D]: embedding, then each layer.

        The last is behind the final norm, as in transformers' ``output_hidden_states``. Hooks keep
        these tokens only; the other tokens' states and the logits never exist at once, or at all.
        """
        kept: list[torch.Tensor] = []

        def keep(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            states = args[0] if args else kwargs["hidden_states"]
            kept.append(states[0, kwargs["pack"].ends].float().cpu())

        hooks = [
            layer.register_forward_pre_hook(keep, with_kwargs=True)
            for layer in self._model.base_model.layers
        ]
        try:
            for keys, _, hidden, pack in self._prefill(prompts):
                # A pass over the common prefix may have come first.
                states = [*kept[-len(hooks) :], hidden[pack.ends].float().cpu()]
                kept.clear()
                yield from zip(keys, torch.stack(states, dim=1), strict=True)
        finally:
            for hook in hooks:
                hook.remove()

    @cached_property
    def _model(self) -> transformers.PreTrainedModel:
        """The model in evaluation mode; reading it is the slow part, so it happens once, late."""
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                self._weights.location, revision=self._weights.revision, dtype=self._dtype()
            )
        except (OSError, ValueError) as error:
            name = self._model_config.name
            raise unavailable(name, self._weights.location, error) from error
        use_packed_attention(model)
        return model.to(self._device).eval()

    def _dtype(self) -> torch.dtype:
        if self._config.dtype != "auto":
            return _DTYPES[self._config.dtype]
        slow = self._device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported()
        return torch.float32 if slow else torch.bfloat16

    @cached_property
    def _end_tokens(self) -> frozenset[int]:
        end = self._model.generation_config.eos_token_id
        if end is None:
            end = self._tokenizer.eos_token_id
        return frozenset(end if isinstance(end, list) else [end])

    def _tokens(self, key: str, prompt: str, new: int = 0) -> list[int]:
        """Render the chat template around a prompt, straight to ids; room is needed for ``new``."""
        system = self._model_config.system_prompt
        messages = [{"role": "system", "content": system}] if system is not None else []
        tokens: list[int] = self._tokenizer.apply_chat_template(
            [*messages, {"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_dict=False,
            **self._model_config.chat_template_kwargs,
        )
        limit = self._model.config.max_position_embeddings
        if len(tokens) + new > limit:
            wanted = f", and model.decoding.max_new_tokens asks for {new} more" if new else ""
            raise ModelError(
                f"model={self._model_config.name}: the prompt of '{key}' has {len(tokens)} tokens"
                f"{wanted}; the model reads {limit}."
            )
        return tokens

    def _share_prefix(self, prompts: list[list[int]]) -> tuple[KVCache | None, list[list[int]]]:
        """Compute what all prompts begin with; return its keys and values, and the rest of each."""
        shortest = min(map(len, prompts), default=1) - 1  # a prompt keeps a token of its own
        columns = zip(*prompts, strict=False)
        shared = next((i for i, tokens in enumerate(columns) if len(set(tokens)) > 1), shortest)
        shared = min(shared, shortest)
        if len(prompts) < 2 or shared < _LEAST_SHARED:
            return None, prompts
        prefix = KVCache()
        prefix.reserve(1, shared)
        pack = Pack(0, [shared], prefix, self._device)
        self.hidden(torch.tensor([prompts[0][:shared]], device=self._device), pack)
        prefix.lengths[0] = shared
        return prefix, [prompt[shared:] for prompt in prompts]

    def _prefill(self, prompts: Mapping[str, str]) -> Iterator[_Prefilled]:
        """Run whole prompts in packs of at most ``token_budget`` tokens, at least one prompt."""
        tokens = [self._tokens(key, prompt) for key, prompt in prompts.items()]
        prefix, rest = self._share_prefix(tokens)
        keys = list(prompts)
        start = 0
        while start < len(rest):
            stop, size = start + 1, len(rest[start])
            while stop < len(rest) and size + len(rest[stop]) <= self._config.token_budget:
                size += len(rest[stop])
                stop += 1
            batch = rest[start:stop]
            pack = Pack(0, [len(part) for part in batch], None, self._device, prefix)
            flat = torch.tensor([list(chain.from_iterable(batch))], device=self._device)
            lengths = [len(whole) for whole in tokens[start:stop]]
            yield _Prefilled(keys[start:stop], lengths, self.hidden(flat, pack), pack)
            start = stop

    @torch.inference_mode()
    def hidden(self, tokens: torch.Tensor, pack: Pack) -> torch.Tensor:
        """Return the final hidden states [N, D] of a pack's tokens [1, N]."""
        output = self._model.base_model(
            input_ids=tokens, position_ids=pack.positions, use_cache=False, pack=pack
        )
        hidden: torch.Tensor = output.last_hidden_state[0]
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the next-token logits [R, V] behind hidden states [R, D]."""
        logits: torch.Tensor = self._model.get_output_embeddings()(hidden)
        return logits

    def _variants(self, choices: tuple[str, ...]) -> dict[str, list[int]]:
        """Return the ids of all tokens that spell a choice, case and white space aside."""
        texts = self._tokenizer.batch_decode([[i] for i in range(len(self._tokenizer))])
        variants: dict[str, list[int]] = {choice: [] for choice in choices}
        wanted = {choice.lower(): choice for choice in choices}
        for index, text in enumerate(texts):
            choice = wanted.get(text.strip().lower())
            if choice is not None:
                variants[choice].append(index)
        missing = [choice for choice, ids in variants.items() if not ids]
        if missing:
            raise ModelError(
                f"model={self._model_config.name}: no token spells {missing}; P(True) needs "
                f"choices of one token."
            )
        return variants


def _device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes an accelerator where there is one.

    Raises:
        ModelError: it isn't one, or isn't there.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return accelerator or torch.device("cpu")
    here = ["cpu"]
    if accelerator is not None:
        count = torch.accelerator.device_count()
        here += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(count))]
    if name not in here:
        raise ModelError(f"engine.device={name} is not there; this machine has auto, {here}.")
    return torch.device(name)
