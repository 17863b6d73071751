"""Where reasoning ends and the answer begins, told once per model by ``model.reasoning``.

Every engine hands a generated text through ``split_reasoning`` before it becomes a response, so
that graders never see a box inside the reasoning. Reasoning that doesn't end is a truncated
response with an empty answer, whatever it says.
"""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

THINK_TAGS = ("<think>", "</think>")
_ANSWER_MARKS = {"think": "</think>", "harmony": "<|channel|>final<|message|>"}
_MESSAGE = re.compile(
    r"<\|channel\|>(?P<channel>\w++)[^<]*+(?:<\|constrain\|>[^<]*+)?<\|message\|>(?P<text>.*?)"
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


def answer_start(
    tokens: Sequence[str], form: str, *, opened: bool = False, answer: str = ""
) -> int | None:
    r"""Return the index of the first answer token, white space aside, or None.

    Args:
        tokens: texts of the generated tokens, in order.
        form: of the reasoning, as in ``split_reasoning``.
        opened: the prompt ended with ``<think>``.
        answer: the final text, where a server split it off and hid the tags.

    Examples:
        >>> answer_start(["<think>", "hm", "</think>", "\n\n", "Yes"], "think")
        4
        >>> answer_start(["<think>", "hm"], "think") is None
        True
    """
    if form == "none":
        return 0
    text = "".join(tokens)
    mark = _ANSWER_MARKS[form]
    reasons = opened or text.lstrip().startswith((THINK_TAGS[0], "<|channel|>"))
    if mark in text:
        begin = text.index(mark) + len(mark)
    elif answer.strip() and text.rfind(answer.strip()) >= 0:
        begin = text.rfind(answer.strip())
    elif reasons:
        return None
    else:
        begin = 0
    ends = list(accumulate(len(token) for token in tokens))
    for index, (token, end) in enumerate(zip(tokens, ends, strict=True)):
        if end > begin and token[max(0, begin - end + len(token)) :].strip():
            return index
    return None


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
