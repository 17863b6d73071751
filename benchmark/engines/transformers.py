"""The in-process engine: a transformers model on the CPU or an accelerator."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import torch
import transformers

from benchmark.config import ModelConfig, TransformersConfig
from benchmark.engines import ChoiceProbabilities, Decoding, Response, SampleRequest
from benchmark.engines.decoding import Finished, Job, sample_tokens
from benchmark.engines.packed import KVCache, Pack, use_packed_attention
from benchmark.engines.reasoning import THINK_TAGS, Split, answer_start
from benchmark.engines.weights import Weights, model_identity, unavailable
from benchmark.engines.wording import chat_messages, few_shot_text, read_answer
from benchmark.errors import ModelError

_TAIL = 8  # tokens of a prompt that may open the reasoning
_LEAST_SHARED = 8  # tokens; a shorter common prefix isn't worth a pass of its own
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class _Prefilled(NamedTuple):
    """One pack of prompts: keys, final hidden states [N, D], the pack."""

    keys: list[str]
    hidden: torch.Tensor
    pack: Pack


class TransformersEngine:
    """Runs a model in this process; weights are read at first use, the tokenizer before.

    Args:
        model_config: how prompts are rendered.
        config: where and in which precision the model runs, and how large its batches are.
        weights: what to load.

    Raises:
        ModelError: the device isn't there, or there is neither chat template nor ``few_shot``.
    """

    def __init__(
        self, model_config: ModelConfig, config: TransformersConfig, weights: Weights
    ) -> None:
        self._model_config = model_config
        self._config = config
        self._weights = weights
        self._device = _device(config.device)
        self.identity = model_identity(model_config, weights)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                weights.location, revision=weights.revision
            )
        except (OSError, ValueError) as error:
            raise unavailable(model_config.name, weights.location, error) from error
        if not self._tokenizer.chat_template and model_config.few_shot is None:
            raise ModelError(
                f"model={model_config.name}: the tokenizer of {weights.location} has no chat "
                f"template, so its prompts can't be rendered; choose an instruct model, or give "
                f"solved examples as model.few_shot.template."
            )

    def sample(self, requests: Sequence[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield every requested response once, as it is finished.

        Out of memory, what isn't finished starts again in batches half as large.

        Raises:
            ModelError: a single row doesn't fit into memory.
        """
        new = decoding.max_new_tokens
        prompts = [self._tokens(r.question_id, r.prompt, new) for r in requests]
        for key, sample, tokens, stopped in self._draw(
            prompts, [r.seeds for r in requests], decoding
        ):
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

    def _draw(
        self, prompts: list[list[int]], seeds: Sequence[Sequence[int]], decoding: Decoding
    ) -> Iterator[Finished]:
        """Yield a sample for each seed of each prompt [tokens], halving batches out of memory."""
        waiting = {key: list(range(len(seeds[key]))) for key in range(len(prompts))}
        rows, budget = self._config.max_rows, self._config.token_budget
        while waiting:
            try:
                keys = list(waiting)
                prefix, rest = self._share_prefix([prompts[key] for key in keys])
                drawn = {key: list(samples) for key, samples in waiting.items()}
                jobs = [
                    Job(key, tokens, [seeds[key][sample] for sample in drawn[key]])
                    for key, tokens in zip(keys, rest, strict=True)
                ]
                for key, place, tokens, stopped in sample_tokens(
                    self, jobs, decoding, self._end_tokens, max_rows=rows, token_budget=budget,
                    device=self._device, prefix=prefix,
                ):  # fmt: skip
                    sample = drawn[key][place]
                    waiting[key].remove(sample)
                    if not waiting[key]:
                        del waiting[key]
                    yield Finished(key, sample, tokens, stopped)
            except torch.OutOfMemoryError as error:
                if rows == 1:
                    raise self._too_large(error) from error
                rows, budget = max(1, rows // 2), max(1, budget // 2)
                if self._device.type != "cpu":
                    torch.accelerator.empty_cache()

    def _too_large(self, error: Exception) -> ModelError:
        return ModelError(
            f"model={self._model_config.name} runs out of memory on {self._device} with a single "
            f"row ({str(error).splitlines()[0]}). Use a larger device, engine.device_map=auto, or "
            f"engine=vllm with engine.tensor_parallel_size."
        )

    def _split(self, tokens: Sequence[int], prompt: Sequence[int]) -> Split:
        """Return reasoning and answer of a response's tokens."""
        form = self._model_config.reasoning
        # Channels are marked by special tokens; whether think tags are depends on the model.
        text = self._tokenizer.decode(tokens, skip_special_tokens=form == "none")
        if form == "think":
            for special in self._tokenizer.all_special_tokens:
                text = text.replace(special, "") if special not in THINK_TAGS else text
        return read_answer(self._model_config, text, opened=self._opens_reasoning(prompt))

    def _opens_reasoning(self, prompt: Sequence[int]) -> bool:
        """Tell whether the chat template ends inside the reasoning."""
        if self._model_config.reasoning != "think":
            return False
        tail = self._tokenizer.decode(prompt[-_TAIL:], skip_special_tokens=False).rstrip()
        return bool(tail.endswith(THINK_TAGS[0]))

    def choice_probabilities(
        self, requests: Sequence[SampleRequest], choices: Sequence[str], decoding: Decoding
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield, per request, the probability that the answer starts with a choice.

        A choice's probability is the sum over all tokens that spell it, case and white space aside,
        at temperature 1. A model that reasons draws its reasoning first.
        """
        variants = self._variants(tuple(choices))
        new = 0 if self._model_config.reasoning == "none" else decoding.max_new_tokens
        prompts = {r.question_id: self._tokens(r.question_id, r.prompt, new) for r in requests}
        spent = dict.fromkeys(prompts, 1)
        asked = prompts
        if self._model_config.reasoning != "none":
            asked, spent = self._after_reasoning(requests, prompts, decoding)
        for key in prompts.keys() - asked.keys():
            none = dict.fromkeys(choices, 0.0)
            yield key, ChoiceProbabilities(none, len(prompts[key]), spent[key])
        for keys, hidden, pack in self._prefill(asked):
            probabilities = self.logits(hidden[pack.ends]).float().softmax(-1)
            for key, row in zip(keys, probabilities, strict=True):
                summed = {choice: float(row[ids].sum()) for choice, ids in variants.items()}
                yield key, ChoiceProbabilities(summed, len(prompts[key]), spent[key])

    def _after_reasoning(
        self,
        requests: Sequence[SampleRequest],
        prompts: Mapping[str, list[int]],
        decoding: Decoding,
    ) -> tuple[dict[str, list[int]], dict[str, int]]:
        """Return each prompt with a drawn reasoning, where it ends, and the tokens drawn."""
        asked, spent = {}, {}
        seeds = [request.seeds[:1] for request in requests]
        for index, _, tokens, _ in self._draw([*prompts.values()], seeds, decoding):
            key = requests[index].question_id
            texts = [self._tokenizer.decode([token]) for token in tokens]
            opened = self._opens_reasoning(prompts[key])
            start = answer_start(texts, self._model_config.reasoning, opened=opened)
            spent[key] = len(tokens) if start is None else start + 1
            if start is not None:
                asked[key] = [*prompts[key], *tokens[:start]]
        return asked, spent

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield, per key, the last prompt token's states [L + 1, D]: embedding, then each layer.

        The last state is behind the final norm, as in transformers' ``output_hidden_states``. Hooks
        keep these tokens only; the other tokens' states and the logits never exist at once, or at
        all. Out of memory, packs are halved.
        """
        kept: list[torch.Tensor] = []

        def keep(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            states = args[0] if args else kwargs["hidden_states"]
            kept.append(states[0, kwargs["pack"].ends.to(states.device)].float().cpu())

        hooks = [
            layer.register_forward_pre_hook(keep, with_kwargs=True)
            for layer in self._model.base_model.layers
        ]
        try:
            tokens = {key: self._tokens(key, prompt) for key, prompt in prompts.items()}
            for keys, hidden, pack in self._prefill(tokens):
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
                self._weights.location,
                revision=self._weights.revision,
                dtype=self._dtype(),
                device_map=self._config.device_map,
            )
        except (OSError, ValueError) as error:
            name = self._model_config.name
            raise unavailable(name, self._weights.location, error) from error
        use_packed_attention(model)
        return (model if self._config.device_map else model.to(self._device)).eval()

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
        ends = set(end if isinstance(end, list) else [end])
        if self._model_config.few_shot is not None:
            stop = self._model_config.few_shot.stop
            ends |= {index for index, text in enumerate(self._token_texts) if stop in text}
        return frozenset(ends)

    @cached_property
    def _token_texts(self) -> list[str]:
        """The text of every token of the vocabulary."""
        texts: list[str] = self._tokenizer.batch_decode([[i] for i in range(len(self._tokenizer))])
        return texts

    def _tokens(self, key: str, prompt: str, new: int = 0) -> list[int]:
        """Render the chat template around a prompt, straight to ids; room is needed for ``new``."""
        tokens = self._rendered(prompt)
        limit = self._model.config.max_position_embeddings
        if len(tokens) + new > limit:
            wanted = f", and model.decoding.max_new_tokens asks for {new} more" if new else ""
            raise ModelError(
                f"model={self._model_config.name}: the prompt of '{key}' has {len(tokens)} tokens"
                f"{wanted}; the model reads {limit}."
            )
        return tokens

    def _rendered(self, prompt: str) -> list[int]:
        model = self._model_config
        if model.few_shot is not None:
            ids: list[int] = self._tokenizer(few_shot_text(model.few_shot, prompt))["input_ids"]
            return ids
        tokens: list[int] = self._tokenizer.apply_chat_template(
            chat_messages(model, prompt),
            add_generation_prompt=True,
            return_dict=False,
            **model.chat_template_kwargs,
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

    def _prefill(self, prompts: Mapping[str, list[int]]) -> Iterator[_Prefilled]:
        """Run whole prompts in packs of at most ``token_budget`` tokens, at least one prompt."""
        prefix, rest = self._share_prefix([*prompts.values()])
        keys = list(prompts)
        start, budget = 0, self._config.token_budget
        while start < len(rest):
            stop, size = start + 1, len(rest[start])
            while stop < len(rest) and size + len(rest[stop]) <= budget:
                size += len(rest[stop])
                stop += 1
            batch = rest[start:stop]
            pack = Pack(0, [len(part) for part in batch], None, self._device, prefix)
            flat = torch.tensor([list(chain.from_iterable(batch))], device=self._device)
            try:
                hidden = self.hidden(flat, pack)
            except torch.OutOfMemoryError as error:
                if stop == start + 1:
                    raise self._too_large(error) from error
                budget = size // 2
                continue
            yield _Prefilled(keys[start:stop], hidden, pack)
            start = stop

    def close(self) -> None:
        """Do nothing: the model stays as long as the process."""

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
        variants: dict[str, list[int]] = {choice: [] for choice in choices}
        wanted = {choice.lower(): choice for choice in choices}
        for index, text in enumerate(self._token_texts):
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

    @property
    def settings(self) -> dict[str, Any]:
        """What is known of how it ran."""
        return {}


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
