"""Where reasoning ends and the answer begins, told once per model by ``model.reasoning``.

Every engine hands a generated text through ``split_reasoning`` before it becomes a response, so
that graders never see a box inside the reasoning. Reasoning that doesn't end is a truncated
response with an empty answer, whatever it says.

Models that aren't said to reason write thoughts in tags, too (distilled ones, or where a template
left the tags to the model). What such tags hold is reasoning for every form, however often they
occur, and so is all that stands before a closing tag without an opening one.
"""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

_FINAL_MARK = "<|channel|>final<|message|>"
_TAG = re.compile(
    r"(?<!`)(?:<(?P<close>/?)(?:think|thinking|thoughts?|reasoning)>|\[(?P<end>/?)THINK\])(?!`)",
    re.IGNORECASE,
)
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

    A text without any tag comes back as it is. Tags in back quotes are talked about, not used.

    Args:
        text: as generated, with the tags of ``form``.
        form: ``none``, ``think`` (``<think>...</think>``, as Qwen3) or ``harmony`` (channels, as
            gpt-oss; https://cookbook.openai.com/articles/openai-harmony).
        opened: the prompt ended with ``<think>``, so that the text begins inside the reasoning.

    Examples:
        >>> split_reasoning("<think>2 + 2</think>4", "think")
        Split(reasoning='2 + 2', text='4', ended=True)
        >>> split_reasoning("is it 5? no</think>4", "none")
        Split(reasoning='is it 5? no', text='4', ended=True)
        >>> split_reasoning("<think>2 + 2", "think")
        Split(reasoning='2 + 2', text='', ended=False)
    """
    if form == "harmony":
        return _split_harmony(text)
    return _split_tags(text, opened=opened)


def is_think_tag(text: str) -> bool:
    """Tell whether a token's text is a tag that opens or closes reasoning."""
    return _TAG.fullmatch(text.strip()) is not None


def opens_reasoning(prompt: str) -> bool:
    """Tell whether a rendered prompt, or its end, leaves the model inside its reasoning."""
    tags = list(_TAG.finditer(prompt))
    return (
        bool(tags)
        and not prompt[tags[-1].end() :].strip()
        and not (tags[-1]["close"] or tags[-1]["end"])
    )


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
    text = "".join(tokens)
    tags = list(_TAG.finditer(text))
    if form == "none" and not tags:
        return 0
    reasons = opened or bool(tags) or text.lstrip().startswith("<|channel|>")
    if (ends_at := _answer_begin(text, tags, form)) is not None:
        begin = ends_at
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


def _answer_begin(text: str, tags: Sequence[re.Match[str]], form: str) -> int | None:
    """Return where the reasoning ends, by its mark; None where it has none."""
    if form == "harmony":
        return text.index(_FINAL_MARK) + len(_FINAL_MARK) if _FINAL_MARK in text else None
    closed = bool(tags) and bool(tags[-1]["close"] or tags[-1]["end"])
    return tags[-1].end() if closed else None


def _split_tags(text: str, *, opened: bool) -> Split:
    """Split at think tags, of which there may be several pairs, or one half of a pair."""
    thoughts: list[str] = []
    answers: list[str] = []
    inside, begin = opened, 0
    for tag in _TAG.finditer(text):
        part, begin = text[begin : tag.start()], tag.end()
        if tag["close"] or tag["end"]:
            if not inside:  # all before it is reasoning
                thoughts, answers = [*thoughts, *answers], []
            thoughts.append(part)
            inside = False
        else:
            (thoughts if inside else answers).append(part)
            inside = True
    (thoughts if inside else answers).append(text[begin:])
    if not opened and begin == 0:
        return Split(None, text, ended=True)
    reasoning = "\n\n".join(t.strip() for t in thoughts if t.strip()) or None
    answer = "" if inside else "".join(answers).strip()
    return Split(reasoning, answer, ended=not inside)


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
