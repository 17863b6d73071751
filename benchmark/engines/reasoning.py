"""Where reasoning ends and the answer begins, told once per model by ``model.reasoning``.

Every engine hands a generated text through ``split_reasoning`` before it becomes a response, so
that graders never see a box inside the reasoning. Reasoning that doesn't end is a truncated
response with an empty answer, whatever it says.

Models that aren't said to reason write thoughts in tags, too (distilled ones, or where a template
left the tags or channels to the model). What they hold is reasoning for every form, however often
they occur, and so is all that stands before a closing tag without an opening one.
"""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

_FINAL_MARK = "<|channel|>final<|message|>"
_TAG = re.compile(
    r"[<◁](?P<close>/?)(?:seed:)?(?:think|thinking|thoughts?|reasoning)[>▷]|\[(?P<end>/?)THINK\]"
    r"|<\|(?:start|begin_of|(?P<past>end|end_of))_(?:thinking|thought)\|>",
    re.IGNORECASE,
)
_MARK = re.compile(rf"(?P<quotes>`+)|(?P<line>\n)|(?P<tag>{_TAG.pattern})", re.IGNORECASE)
_CHANNELS = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>")
# gpt-oss, where a server left out the special tokens
_BARE_CHANNELS = re.compile(
    r"\s*analysis(?P<reasoning>[^a-z\s,.:;].*?)(?:assistantfinal(?P<text>.*)|\Z)", re.DOTALL
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
    if bare := _BARE_CHANNELS.match(text):
        return Split(
            bare["reasoning"].strip(), (bare["text"] or "").strip(), bare["text"] is not None
        )
    if form == "harmony" or _CHANNELS.match(text):
        return _split_harmony(text)
    return _split_tags(text, opened=opened)


def is_think_tag(text: str) -> bool:
    """Tell whether a token's text is a tag that opens or closes reasoning."""
    return _TAG.fullmatch(text.strip()) is not None


def opens_reasoning(prompt: str) -> bool:
    """Tell whether a rendered prompt, or its end, leaves the model inside its reasoning."""
    tags = _tags(prompt)
    return bool(tags) and not prompt[tags[-1].end() :].strip() and not _closes(tags[-1])


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
    tags = _tags(text)
    channels = _CHANNELS.match(text) is not None
    if form == "none" and not tags and not channels:
        return 0
    form = "harmony" if channels else form
    reasons = opened or bool(tags) or channels
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
    stray = _stray(text, tags)
    closing = tags[-1 - stray] if tags else None
    return closing.end() if closing and _closes(closing) else None


def _closes(tag: re.Match[str]) -> bool:
    return bool(tag["close"] or tag["end"] or tag["past"])


def _tags(text: str) -> list[re.Match[str]]:
    """Return the tags in use, without those between back quotes of one line."""
    if "`" not in text:
        return list(_TAG.finditer(text))
    used: list[re.Match[str]] = []
    quoted: list[re.Match[str]] = []  # unless the line ends before the closing quote
    inside = False
    for mark in _MARK.finditer(text):
        if mark["tag"]:
            (quoted if inside else used).append(mark)
            continue
        used += quoted if mark["line"] else []
        quoted, inside = [], not inside and mark["line"] is None
    return used + quoted


def _stray(text: str, tags: Sequence[re.Match[str]]) -> int:
    """Return how many closing tags end the text behind an answer: "<think>a</think>4</think>"."""
    end, count = len(text), 0
    for tag in reversed(tags):
        if not _closes(tag):
            return 0
        if text[tag.end() : end].strip():
            return count
        end, count = tag.start(), count + 1
    return 0


def _split_tags(text: str, *, opened: bool) -> Split:
    """Split at think tags, of which there may be several pairs, or one half of a pair."""
    thoughts: list[str] = []
    answers: list[str] = []
    inside, begin = opened, 0
    tags = _tags(text)
    if stray := _stray(text, tags):
        text, tags = text[: tags[-stray].start()], tags[:-stray]
    for tag in tags:
        part, begin = text[begin : tag.start()], tag.end()
        if _closes(tag):
            if not inside:  # all before it is reasoning
                thoughts += answers
                answers = []
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
