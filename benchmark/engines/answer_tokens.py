"""Where the answer begins among a response's tokens."""

from collections.abc import Sequence
from typing import Any

from benchmark.engines.reasoning import answer_start, opens_reasoning

_TAIL = 8  # tokens at the end of a prompt, which may open the reasoning


def is_opened(tokenizer: Any, prompt: Sequence[int]) -> bool:
    """Tell whether the end of a prompt's tokens leaves the model inside its reasoning."""
    return opens_reasoning(tokenizer.decode(prompt[-_TAIL:], skip_special_tokens=False))


def first_answer_token(
    tokenizer: Any, form: str, prompt: Sequence[int], tokens: Sequence[int]
) -> int | None:
    """Return the index of the first token behind the reasoning; None where it doesn't end.

    Args:
        tokenizer: of the model, of transformers.
        form: of the reasoning, as in ``split_reasoning``.
        prompt: ids of the rendered prompt.
        tokens: ids of the response.
    """
    texts = [tokenizer.decode([token]) for token in tokens]
    return answer_start(texts, form, opened=is_opened(tokenizer, prompt))
