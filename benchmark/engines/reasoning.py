"""Where reasoning ends and the answer begins, told once per model by ``model.reasoning``.

Every engine hands a generated text through ``split_reasoning`` before it becomes a response, so
that graders never see a box inside the reasoning. Reasoning that doesn't end is a truncated
response with an empty answer, whatever it says.
"""

import re
from typing import NamedTuple

THINK_TAGS = ("<think>", "</think>")
_MESSAGE = re.compile(
    r"<\|channel\|>(?P<channel>\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>(?P<text>.*?)"
    r"(?P<end><\|(?:end|return|call)\|>|(?=<\|start\|>|<\|channel\|>)|\Z)",
    re.DOTALL,
)
_FINAL = "final"


class Split(NamedTuple):
    """A generated text in its two parts.

    Attributes:
        reasoning: None where the model gave none.
        text: the final answer text.
        ended: False where the reasoning doesn't end, so that there is no answer.
    """

    reasoning: str | None
    text: str
    ended: bool


def split_reasoning(text: str, form: str, *, opened: bool = False) -> Split:
    """Return reasoning and answer of a generated text.

    Args:
        text: as generated, with the tags of ``form``.
        form: ``none``, ``think`` (``<think>...</think>``, as Qwen3) or ``harmony`` (channels, as
            gpt-oss; https://cookbook.openai.com/articles/openai-harmony).
        opened: the prompt ended with ``<think>``, so that the text begins inside the reasoning.

    Examples:
        >>> split_reasoning("<think>2 + 2</think>4", "think")
        Split(reasoning='2 + 2', text='4', ended=True)
        >>> split_reasoning("<think>2 + 2", "think")
        Split(reasoning='2 + 2', text='', ended=False)
    """
    if form == "think":
        return _split_think(text, opened=opened)
    if form == "harmony":
        return _split_harmony(text)
    return Split(None, text, ended=True)


def _split_think(text: str, *, opened: bool) -> Split:
    start, end = THINK_TAGS
    begins = text.lstrip().startswith(start)
    if not (opened or begins or end in text):
        return Split(None, text, ended=True)
    inside = text.lstrip().removeprefix(start) if begins else text
    reasoning, close, answer = inside.partition(end)
    return Split(reasoning.strip() or None, answer.strip(), ended=bool(close))


def _split_harmony(text: str) -> Split:
    """Join the final channel's messages; the others are reasoning."""
    messages = list(_MESSAGE.finditer(text))
    if not messages:
        plain = "<|channel|>" not in text
        return Split(None, text if plain else "", ended=plain)
    reasoning = [m["text"].strip() for m in messages if m["channel"] != _FINAL]
    answers = [m["text"] for m in messages if m["channel"] == _FINAL]
    joined = "\n\n".join(part for part in reasoning if part) or None
    return Split(joined, "".join(answers).strip(), ended=bool(answers))
