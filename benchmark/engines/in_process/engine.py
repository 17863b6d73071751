"""The in-process engine: a transformers model on the CPU or an accelerator."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice

import torch
import transformers
from rich.console import Console

from benchmark.config.schema import ModelConfig
from benchmark.engines import ChoiceProbabilities, Decoding, Response, SampleRequest
from benchmark.engines.answer_tokens import first_answer_token, is_opened
from benchmark.engines.device import find_device
from benchmark.engines.in_process.decoding import Finished, Job, sample_tokens
from benchmark.engines.in_process.fidelity import Way, choose_way
from benchmark.engines.in_process.loading import load_model, load_tokenizer
from benchmark.engines.in_process.vocabulary import Vocabulary
from benchmark.engines.prompts import read_answer, rendered, rendering
from benchmark.engines.reasoning import Split
from benchmark.engines.settings import TransformersConfig
from benchmark.engines.templates import TemplateFault
from benchmark.engines.weights import Weights, model_identity
from benchmark.errors import ModelError
from benchmark.records import FinishReason
from benchmark.terminal import Terminal

_TRIED = "Two and two make four, as everybody knows."  # what the ways to run a model are tried on
_TRIED_LEAST = 4  # tokens
_PORTION = 256  # prompts that are batched together: enough to keep the rows full


class TransformersEngine:
    """Runs a model in this process; weights are read at first use, the tokenizer before.

    Args:
        model_config: how prompts are rendered.
        config: where and in which precision the model runs, and how large its batches are.
        weights: what to load.
        console: told where the model needs a slower way; by default standard error.

    Raises:
        ModelError: the device isn't there, or there is neither chat template nor ``few_shot``.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: TransformersConfig,
        weights: Weights,
        console: Console | None = None,
    ) -> None:
        self._model_config = model_config
        self._config = config
        self._weights = weights
        self._device = find_device(config.device)
        self._console = console or Terminal(stderr=True)
        self.precisions = config.precisions
        self._tokenizer = load_tokenizer(model_config, weights)
        self._vocabulary = Vocabulary(model_config, self._tokenizer, lambda: self._model)
        self.identity = model_identity(
            model_config, weights, rendering(model_config, self._tokenizer)
        )

    def sample(self, requests: Iterable[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield every requested response once, as it is finished.

        Requests are taken some hundred at a time: others may be left to other runs.

        Raises:
            ModelError: a single row doesn't fit into memory.
        """
        coming = iter(requests)
        while portion := [*islice(coming, _PORTION)]:
            yield from self._sample(portion, decoding)

    def _sample(self, requests: Sequence[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield the responses to a portion of the requests.

        Out of memory, what isn't finished starts again in batches half as large.

        Raises:
            ModelError: a single row doesn't fit into memory.
        """
        new = decoding.max_new_tokens
        prompts = [*self._tokens({r.question_id: r.prompt for r in requests}, new).values()]
        for drawn in self._draw(prompts, [r.seeds for r in requests], decoding):
            request, prompt = requests[drawn.key], prompts[drawn.key]
            reasoning, text, ended = self._split(drawn.tokens, prompt)
            finish: FinishReason = "stop" if drawn.stopped and ended else "length"
            if drawn.broken:
                reasoning, text, finish = None, "", "error"
            yield Response(
                question_id=request.question_id,
                sample_index=request.sample_indices[drawn.sample],
                text=text,
                reasoning=reasoning,
                finish_reason=finish,
                prompt_tokens=len(prompt),
                completion_tokens=len(drawn.tokens),
                seed=request.seeds[drawn.sample],
                error=self._not_finite if drawn.broken else None,
            )

    def _draw(
        self, prompts: list[list[int]], seeds: Sequence[Sequence[int]], decoding: Decoding
    ) -> Iterator[Finished]:
        """Yield a sample for each seed of each prompt [tokens], halving batches out of memory."""
        waiting = {key: list(range(len(seeds[key]))) for key in range(len(prompts))}
        rows, budget = self._config.max_rows, self._config.token_budget
        while waiting:
            try:
                forward = self._way.make([prompts[key] for key in waiting])
                drawn = {key: list(samples) for key, samples in waiting.items()}
                jobs = [
                    Job(key, prompts[key], [seeds[key][sample] for sample in samples])
                    for key, samples in drawn.items()
                ]
                for finished in sample_tokens(
                    forward,
                    jobs,
                    decoding,
                    self._vocabulary.ends,
                    max_rows=rows,
                    token_budget=budget,
                ):
                    sample = drawn[finished.key][finished.sample]
                    waiting[finished.key].remove(sample)
                    if not waiting[finished.key]:
                        del waiting[finished.key]
                    yield finished._replace(sample=sample)
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
        kept = [token for token in tokens if token not in self._vocabulary.silent]
        text = self._tokenizer.decode(kept, skip_special_tokens=False)
        return read_answer(self._model_config, text, opened=is_opened(self._tokenizer, prompt))

    def choice_probabilities(
        self, requests: Sequence[SampleRequest], choices: Sequence[str], decoding: Decoding
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield, per request, the probability that the answer starts with a choice.

        A choice's probability is the sum over all tokens that spell it, case and white space aside,
        at temperature 1. A model that reasons draws its reasoning first.
        """
        variants = self._vocabulary.spelling(choices)
        reasons = self._model_config.reasoning != "none"
        new = decoding.max_new_tokens if reasons else 0
        prompts = self._tokens({r.question_id: r.prompt for r in requests}, new)
        asked, spent = prompts, dict.fromkeys(prompts, 1)
        if reasons:
            asked, spent = self._after_reasoning(requests, prompts, decoding)
        for key in prompts.keys() - asked.keys():
            none = dict.fromkeys(choices, 0.0)
            yield key, ChoiceProbabilities(none, len(prompts[key]), spent[key])
        for key, logits in self._read(asked):
            row = logits.float().softmax(-1)
            summed = {choice: float(row[ids].sum()) for choice, ids in variants.items()}
            error = None
            if not logits.amax().isfinite():
                summed, error = dict.fromkeys(choices, 0.0), self._not_finite
            yield key, ChoiceProbabilities(summed, len(prompts[key]), spent[key], error)

    def _after_reasoning(
        self,
        requests: Sequence[SampleRequest],
        prompts: Mapping[str, list[int]],
        decoding: Decoding,
    ) -> tuple[dict[str, list[int]], dict[str, int]]:
        """Return each prompt with a drawn reasoning, where it ends, and the tokens drawn."""
        asked, spent = {}, {}
        seeds = [request.seeds[:1] for request in requests]
        for index, _, tokens, *_ in self._draw([*prompts.values()], seeds, decoding):
            key = requests[index].question_id
            form = self._model_config.reasoning
            start = first_answer_token(self._tokenizer, form, prompts[key], tokens)
            spent[key] = len(tokens) if start is None else start + 1
            if start is not None:
                asked[key] = [*prompts[key], *tokens[:start]]
        return asked, spent

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield, per key, the last prompt token's states [L + 1, D]: embedding, then each layer.

        They are transformers' ``output_hidden_states``, of which the last is behind the final norm,
        in the model's precision; ``layers`` of the settings keeps every n-th of them. Out of
        memory, batches are halved.

        Raises:
            ModelError: the model gives no states, or not of the same shape for all layers.
        """
        if not self._way.has_states:
            raise ModelError(
                f"model={self._model_config.name}: {type(self._model).__name__} gives no hidden "
                f"states of one shape for all layers, which probes read. Leave probes out."
            )
        for key, states in self._read(self._tokens(prompts), states=True):
            yield key, states[:: self._config.layers].cpu()

    @cached_property
    def _model(self) -> transformers.PreTrainedModel:
        """The model in evaluation mode; reading it is the slow part, so it happens once, late."""
        try:
            return load_model(self._model_config, self._config, self._weights, self._device)
        except torch.OutOfMemoryError as error:
            raise self._too_large(error) from error

    @cached_property
    def _way(self) -> Way:
        """How the model is run: checked against its own forward pass, once."""
        tried = self._tokenizer(_TRIED, add_special_tokens=False)["input_ids"]
        tried = [token for token in tried if token < self._vocabulary.size]
        if len(tried) < _TRIED_LEAST:  # a vocabulary of other words
            tried = list(range(2 * _TRIED_LEAST))
        way = choose_way(self._model, self._device, tried, self._model_config.name)
        if way.refused:
            reasons = "; ".join(f"{name}: {why}" for name, why in way.refused.items())
            self._console.print(
                f"{self._model_config.name} runs in the way '{way.name}', which is slower "
                f"({reasons})."
            )
        return way

    @property
    def settings(self) -> dict[str, str]:
        """What is known of how the model runs, for manifests; empty until it is needed."""
        if "_way" not in self.__dict__:
            return {}
        dtype = str(self._model.dtype).removeprefix("torch.")
        return {"way": self._way.name, "dtype": dtype, "check": f"{self._way.error:.1g}"}

    @property
    def _not_finite(self) -> str:
        return (
            f"the logits are not finite in {self._model.dtype}; choose another precision with "
            f"engine.dtype"
        )

    def _tokens(self, prompts: Mapping[str, str], new: int = 0) -> dict[str, list[int]]:
        """Render the chat template around prompts; room is needed for ``new`` tokens more.

        Raises:
            ModelError: a prompt can't be rendered, is empty or too long, or has unknown tokens.
        """
        where = f"model={self._model_config.name}: the prompt of"
        known, decode = self._vocabulary.size, self._tokenizer.decode
        config = self._model.config.get_text_config(decoder=True)
        limit = getattr(config, "max_position_embeddings", None)
        found = self._rendered(prompts)
        for key, tokens in found.items():
            if not tokens:
                why = "question and chat template are empty"
                raise ModelError(f"{where} '{key}' has no tokens: {why}.")
            if (largest := max(tokens)) >= known:
                raise ModelError(
                    f"{where} '{key}' has the token {decode([largest])!r} ({largest}); the model "
                    f"knows {known}. Take model and tokenizer from one place."
                )
            if limit is not None and len(tokens) + new > limit:
                more = f", and model.decoding.max_new_tokens asks for {new} more" if new else ""
                raise ModelError(
                    f"{where} '{key}' has {len(tokens)} tokens{more}; the model reads {limit}."
                )
        return found

    def prompt_tokens(self, prompts: Mapping[str, str]) -> dict[str, int]:
        """Return the number of tokens of each rendered prompt, by key."""
        return {key: len(tokens) for key, tokens in self._rendered(prompts).items()}

    def _rendered(self, prompts: Mapping[str, str]) -> dict[str, list[int]]:
        try:
            tokens = rendered(self._model_config, self._tokenizer, [*prompts.values()])
        except TemplateFault as error:
            raise ModelError(
                f"model={self._model_config.name}: its chat template can't render a question, but "
                f"others: {error}. Give another as +model.chat_template_kwargs.chat_template."
            ) from error
        return dict(zip(prompts, tokens, strict=True))

    def _read(
        self, prompts: Mapping[str, list[int]], *, states: bool = False
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each prompt's next-token logits [V], or its hidden states [L + 1, D].

        At most ``token_budget`` tokens are read at once, at least one prompt.
        """
        forward = self._way.make([*prompts.values()])
        waiting = deque(prompts)
        budget = self._config.token_budget
        while waiting:
            keys: list[str] = []
            size = 0
            while waiting and (not keys or forward.together):
                size += len(prompts[waiting[0]]) - forward.shared
                if keys and size > budget:
                    break
                keys.append(waiting.popleft())
            try:
                batch = [prompts[key] for key in keys]
                found = forward.hidden_states(batch) if states else forward.read(batch)
            except torch.OutOfMemoryError as error:
                if len(keys) == 1:
                    raise self._too_large(error) from error
                budget = sum(len(prompts[key]) - forward.shared for key in keys) // 2
                waiting.extendleft(reversed(keys))
                continue
            yield from zip(keys, found, strict=True)

    def close(self) -> None:
        """Do nothing: the model stays as long as the process."""
