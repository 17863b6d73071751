"""Engines run the model: every stage that needs it talks to the ``Engine`` protocol only.

A prompt is the user turn of one question; the engine renders the chat template around it. What an
engine returns carries the key it was asked with, in whatever order work ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from benchmark.records import FinishReason


@dataclass(frozen=True)
class Decoding:
    """How next tokens are drawn.

    Attributes:
        temperature: divides the logits; 0 takes the most probable token.
        top_p: in (0, 1]; the smallest set of tokens whose probability reaches it is kept.
        max_new_tokens: a response that reaches it ends with finish_reason ``length``.
    """

    temperature: float
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class SampleRequest:
    """Ask for some responses to one prompt: ``seeds[i]`` belongs to ``sample_indices[i]``."""

    question_id: str
    prompt: str
    sample_indices: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """One sampled response; the fields are the columns of ``records.RESPONSE``."""

    question_id: str
    sample_index: int
    text: str
    reasoning: str | None
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    seed: int


class ChoiceProbabilities(NamedTuple):
    """Next-token probabilities of one prompt.

    Attributes:
        probabilities: one per choice, the sum over its token variants, each in [0, 1].
        prompt_tokens: number of tokens of the rendered prompt.
    """

    probabilities: dict[str, float]
    prompt_tokens: int


class Engine(Protocol):
    """Runs one model."""

    @property
    def identity(self) -> dict[str, Any]:
        """What of the model decides the content of its responses: it goes into fingerprints."""

    def sample(self, requests: Sequence[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield every requested response once, as it is finished."""

    def choice_probabilities(
        self, prompts: Mapping[str, str], choices: Sequence[str]
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield, per key of ``prompts``, the probability that the response starts with a choice."""

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield, per key, the last prompt token's states [L + 1, D]: embedding, then each layer."""
