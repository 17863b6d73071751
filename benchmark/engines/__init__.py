"""Engines run the model: every stage that needs it talks to the ``Engine`` protocol only.

A prompt is the user turn of one question; the engine renders the chat template around it. What an
engine returns carries the key it was asked with, in whatever order work ends.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from benchmark.records import FinishReason

if TYPE_CHECKING:
    import torch  # seconds to import, and not needed to tell which model it is


_SEEDS = 2**31 - 2**20  # seeds are 32-bit in some servers, and a million samples follow each


@dataclass(frozen=True)
class Decoding:
    """How next tokens are drawn.

    Penalties change the logits, the temperature divides them, and of the resulting distribution
    ``min_p``, ``top_k`` and ``top_p`` keep a part, in this order, which is vLLM's: ``top_p`` is a
    share of what the two before it have left. None is neutral: it changes nothing. At temperature 0
    only the penalties can change the token.

    Attributes:
        temperature: divisor of the logits; 0 takes the most probable token.
        top_p: probability, in (0, 1], that the smallest kept set of tokens must reach.
        max_new_tokens: number of tokens at which a response ends with finish_reason ``length``.
        top_k: number of most probable tokens that are kept, at least 1; ties with the last of them
            are kept, too.
        min_p: share of the largest probability, in [0, 1], below which tokens are left out.
        repetition_penalty: factor above 0 that divides positive and multiplies negative logits of
            tokens in the rendered prompt or the response (Keskar et al. 2019, arXiv 1909.05858).
        presence_penalty: amount, in [-2, 2], taken from the logits of tokens in the response.
        frequency_penalty: the same, as often as the response holds the token.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    @property
    def inputs(self) -> dict[str, float]:
        """What of it a fingerprint covers: every setting that is not left neutral."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class SampleRequest:
    """Ask for some responses to one prompt.

    Attributes:
        question_id: names the question.
        prompt: user turn.
        sample_indices: indices of the wanted samples among all of the question, rising.
        seeds: seed of each of them, where every sample is drawn by itself.
        first_seed: seed of sample 0, from which a server's seeds are counted on; None counts from
            the first of ``seeds``.
    """

    question_id: str
    prompt: str
    sample_indices: tuple[int, ...]
    seeds: tuple[int, ...]
    first_seed: int | None = None

    def counted_seed(self, place: int) -> int:
        """Return the seed of a server's sample: that of sample 0 plus the sample's index."""
        first = self.first_seed
        if first is None:
            first = self.seeds[0] - self.sample_indices[0]
        return first % _SEEDS + self.sample_indices[place]


@dataclass(frozen=True, slots=True)
class Response:
    """One sampled response; the fields are the columns of ``records.RESPONSE``, and ``more``.

    Attributes:
        more: whether further responses of the same request follow, which are kept in one part: the
            same requests are then sent again after a kill.
    """

    question_id: str
    sample_index: int
    text: str
    reasoning: str | None
    finish_reason: FinishReason
    prompt_tokens: int | None
    completion_tokens: int | None
    seed: int
    error: str | None = None
    more: bool = False


class ChoiceProbabilities(NamedTuple):
    """Probabilities of a response's first answer token.

    Attributes:
        probabilities: one per choice, the sum over its token variants, each in [0, 1]; all 0 where
            the reasoning before the answer didn't end.
        prompt_tokens: number of tokens of the rendered prompt; None where a server doesn't say.
        completion_tokens: generated, reasoning included; None where a server doesn't say.
        error: why the request failed, or None.
    """

    probabilities: dict[str, float]
    prompt_tokens: int | None
    completion_tokens: int | None = 1
    error: str | None = None


class StatesReader(Protocol):
    """Reads the hidden states of one model."""

    @property
    def settings(self) -> dict[str, Any]:
        """What is known of how it ran, for the manifest: nothing before it has run."""

    def hidden_states(self, prompts: Mapping[str, str]) -> Iterator[tuple[str, "torch.Tensor"]]:
        """Yield, per key, the last prompt token's states [L + 1, D]: embedding, then each layer.

        They are in the model's precision. Settings may keep every n-th layer.
        """

    def prompt_tokens(self, prompts: Mapping[str, str]) -> dict[str, int]:
        """Return the number of tokens of each prompt that ``hidden_states`` reads, by key."""

    def close(self) -> None:
        """Free what it holds; it can be used again."""


class Engine(StatesReader, Protocol):
    """Runs one model."""

    @property
    def identity(self) -> dict[str, Any]:
        """What of the model decides the content of its responses: it goes into fingerprints."""

    @property
    def precisions(self) -> Mapping[str, str]:
        """Precision by stage (p_true, features) of what this process computes.

        It decides these numbers and goes into their fingerprints. A server's isn't known.
        """

    def sample(self, requests: Iterable[SampleRequest], decoding: Decoding) -> Iterator[Response]:
        """Yield every requested response once, as it is finished.

        Requests are taken as there is room for them: those that are left may go to another run.
        """

    def choice_probabilities(
        self, requests: Sequence[SampleRequest], choices: Sequence[str], decoding: Decoding
    ) -> Iterator[tuple[str, ChoiceProbabilities]]:
        """Yield, per request, the probability that the answer starts with a choice.

        Where the model reasons first, one reply is drawn as ``decoding`` says, with the request's
        first seed, and the distribution is that of the first token behind the reasoning.
        """
