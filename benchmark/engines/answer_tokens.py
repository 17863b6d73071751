"""Where the answer begins among a response's tokens, and which tokens spell a choice."""

from collections.abc import Sequence
from typing import Any

from benchmark.engines.reasoning import answer_start, opens_reasoning
from benchmark.errors import ModelError

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


def spellings(name: str, texts: Sequence[str], choices: Sequence[str]) -> dict[str, list[int]]:
    """Return the ids of all tokens that spell each choice, case and white space aside.

    Args:
        name: of the model.
        texts: text of each token of its vocabulary, by id.
        choices: words that an answer may begin with.

    Raises:
        ModelError: no token spells one of them.
    """
    found: dict[str, list[int]] = {choice: [] for choice in choices}
    wanted = {choice.lower(): choice for choice in choices}
    for index, text in enumerate(texts):
        choice = wanted.get(text.strip().lower())
        if choice is not None:
            found[choice].append(index)
    missing = [choice for choice, ids in found.items() if not ids]
    if missing:
        raise ModelError(
            f"model={name}: no token spells {missing}; P(True) needs choices of one token."
        )
    return found


def token_texts(tokenizer: Any) -> list[str]:
    """Return the text of every token of the vocabulary, by id."""
    texts: list[str] = tokenizer.batch_decode([[index] for index in range(len(tokenizer))])
    return texts
