"""What the ids of a model's tokens mean: ends of a response, tags, and the tokens of a word."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import transformers

from benchmark.config.schema import ModelConfig
from benchmark.engines.reasoning import is_think_tag
from benchmark.errors import ModelError


class Vocabulary:
    """The tokens of a model.

    Args:
        config: whether it reasons, and how a base model's answer ends.
        tokenizer: of the model, of transformers.
        model: returns the model; it is read as late as can be.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Any,
        model: Callable[[], transformers.PreTrainedModel],
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._model = model

    @cached_property
    def size(self) -> int:
        """Number of tokens that the model has embeddings of; a tokenizer may have more or fewer."""
        try:
            return len(self._model().get_input_embeddings().weight)
        except (AttributeError, NotImplementedError):  # it embeds in a way of its own
            return len(self._tokenizer)

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids that end a response."""
        end = self._model().generation_config.eos_token_id
        ends = {*(end if isinstance(end, list) else [end]), self._tokenizer.eos_token_id} - {None}
        if self._config.few_shot is not None:
            stop = self._config.few_shot.stop
            ends |= {index for index, text in enumerate(self._texts) if stop in text}
        return frozenset(ends)

    @cached_property
    def silent(self) -> frozenset[int]:
        """Special tokens that are no text; channels and think tags, which may be special, are."""
        if self._config.reasoning == "harmony":
            return frozenset()
        added = self._tokenizer.added_tokens_decoder.items()
        return frozenset(
            index for index, token in added if token.special and not is_think_tag(token.content)
        )

    @cached_property
    def _texts(self) -> list[str]:
        texts: list[str] = self._tokenizer.batch_decode([[i] for i in range(len(self._tokenizer))])
        return texts

    def spelling(self, words: Sequence[str]) -> dict[str, list[int]]:
        """Return the ids of all tokens that spell a word, case and white space aside.

        Raises:
            ModelError: no token spells one of them.
        """
        found: dict[str, list[int]] = {word: [] for word in words}
        wanted = {word.lower(): word for word in words}
        for index, text in enumerate(self._texts[: self.size]):
            word = wanted.get(text.strip().lower())
            if word is not None:
                found[word].append(index)
        missing = [word for word, ids in found.items() if not ids]
        if missing:
            raise ModelError(
                f"model={self._config.name}: no token spells {missing}; P(True) needs choices of "
                f"one token."
            )
        return found
