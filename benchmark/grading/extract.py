r"""Finds the final answer of a response: the last ``\boxed{...}``, then what datasets fall back to.

Everything here is linear in the text's length, since responses are untrusted.
"""

import re
import unicodedata

READING = 2  # raise it when another answer is found in the same response

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_JOINED = re.compile(r"(?:,|,?\s*(?:and|or),?)")
_SETTING = re.compile(
    r"\\q?quad|\\text(?=\W)|\\[()\[\],; ]|[${}*\s]+"
)  # of what stands between boxes
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX_IN_PROMPT = re.compile(r"\\(?:boxed|fbox)")
_ANSWER = (
    r"(?:(?<![\w])(?:answers?|ans|antwort|lösung|réponse|respuesta|resposta|risposta|ответ|odpowiedź"
    r"|antwoord|svar|cevap|jawaban|đáp án)(?!\w)|答案|答え|答|正解|정답|답)"
)
_IS = (
    r"(?:\s(?:is|are|was|would be|should be|must be|could be|will be|seems to be|appears to be|ist"
    r"|es|est|é|è|sont|son)(?!\w)|\s?[:：=]|是|为|為|は|은|는)"
)
_ANSWER_IS = re.compile(
    rf"{_ANSWER}(?:[^.\n:：=?!]{{0,60}}?){_IS}[*_`]{{0,3}}\s?[:：]?"
    rf"|{_ANSWER}\s?[-–—]\s|<answer>"
    rf"|^\W{{0,8}}(?:final |correct )?answer\W{{0,4}}$",
    re.IGNORECASE | re.MULTILINE,
)
_DENIED = re.compile(r"(?:n['’]t|\bnot|\bnever|\bdoubt)\b[^.\n]{0,30}\Z", re.IGNORECASE)
_IT_IS = r"(?:(?:it|that)(?:\sis|['’]s|\sshould\sbe|\smust\sbe)|should\sbe)"
_CORRECTED = re.compile(
    r"\b(?:wait|actually|correction|oops|sorry|hold on|i mean|on second thought)\b"
    rf"(?:[^\n\\]{{0,60}}?\b{_IT_IS}|[^.\n\\]{{0,40}}?[,:—–]|(?<=actually)|(?<=i mean))"
    rf"(?:\s(?:actually|no|{_IT_IS})\b,?){{0,3}}\s(?=[\W_]{{0,4}}(?:\d|(?:option|choice|[A-Za-z])\b))",
    re.IGNORECASE,
)
_BEFORE_ANSWER = re.compile(r"(?:[\s*_`>]|\$\$|\\[\[(]|```\w*\n)*")
_FRAME = re.compile(r"(?:`{3,}\w*|\$\$|\\[\])]|</\w+>|[-*_]{3,})\Z")
_NEXT_QUESTION = re.compile(
    r"\n\s{0,20}[*#]{0,4}\s?(?:question|problem|q|user|human)\s?\d{0,4}\s?[:：]",
    re.IGNORECASE,
)
_HASHES = re.compile(r"####[ \t]*[^\w\n#]{0,4}\d")
_READ = 200_000  # characters; the answer stands at the end
_TRIED = 50  # statements, from the last back


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Return start, end and content of each balanced box that isn't empty, in their order.

    Examples:
        >>> boxes(r"\boxed{1}, no, \boxed {2}")
        [(0, 9, '1'), (15, 25, '2')]
    """
    text = text[-_READ:]
    closing = _closing_braces(text)
    found = []
    for match in _BOX.finditer(text):
        end = closing.get(match.end() - 1)
        if end is not None and (content := text[match.end() : end].strip()):
            found.append((match.start(), end + 1, content))
    return found


def last_box(text: str) -> str | None:
    r"""Return the content of the last balanced box that isn't empty; None without one.

    Examples:
        >>> last_box(r"so \boxed{1}, no, \boxed {\frac{1}{2}}")
        '\\frac{1}{2}'
        >>> last_box(r"\boxed{ } and \boxed{unclosed") is None
        True
    """
    found = boxes(text)
    return found[-1][2] if found else None


def last_boxes(text: str) -> str | None:
    r"""Return the last box, with those before it that only a comma, "and" or "or" parts from it.

    Examples:
        >>> last_boxes(r"$x=\boxed{1}$, $\boxed{2}$ or $\boxed{3}$.")
        '1, 2, 3'
        >>> last_boxes(r"\boxed{1}, no, \boxed{2}")
        '2'
    """
    found = boxes(text)
    text = text[-_READ:]
    joined: list[str] = []
    follows = -1
    for start, end, content in reversed(found):
        between = _SETTING.sub(" ", text[end : min(follows, end + 60)]).strip()
        if joined and not (end <= follows and _JOINED.fullmatch(between)):
            break
        if content not in joined:
            joined.insert(0, content)
        follows = start
    return ", ".join(joined) or None


def _closing_braces(text: str) -> dict[int, int]:
    """Return where each brace closes that does; escaped braces don't count."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            closing[opened.pop()] = match.start()
    return closing


def without_echo(text: str, prompt: str) -> str:
    r"""Return the response without the prompt's lines that hold a box, where it repeats them.

    An instruction such as "put your answer into \boxed{}" is no answer.
    """
    for line in prompt.splitlines():
        if _BOX_IN_PROMPT.search(line) and line.strip():
            text = text.replace(line.strip(), " ")
    return text


def own_turn(text: str) -> str:
    r"""Return the response up to where it goes on with a question of its own, as base models do.

    Examples:
        >>> own_turn("Answer: 7\n\nQuestion: and now?\nAnswer: 8")
        'Answer: 7'
    """
    text = text[-_READ:]
    marks = [start for start, _, _ in boxes(text)[:1]]
    marks += [match.start() for match in [_HASHES.search(text)] if match]
    stated = _ANSWER_IS.search(text)
    if not marks and stated is None:
        return text
    begin = min(marks) if marks else stated.end()  # type: ignore[union-attr]
    following = _NEXT_QUESTION.search(text, begin)
    return text[: following.start()] if following else text


def stated_answers(text: str) -> list[str]:
    """Return what follows "the answer is", "Answer:" and the like, the last first.

    It is the rest of the line, or the next line where nothing follows. "I don't think that the
    answer is 4" states none.
    """
    text = text[-_READ:]
    found = []
    for match in list(_ANSWER_IS.finditer(text))[: -_TRIED - 1 : -1]:
        if _DENIED.search(text[max(0, match.start() - 80) : match.start()]):
            continue
        if stated := _rest(text, match.end()):
            found.append(stated)
    return found


def corrections(text: str) -> list[str]:
    """Return what follows "Wait, actually" and the like behind the last stated answer, last first.

    Most such remarks correct nothing, so only what is an answer by its form should be taken.
    """
    text = text[-_READ:]
    begin = max((match.end() for match in _ANSWER_IS.finditer(text)), default=len(text))
    found = [_rest(text, match.end()) for match in _CORRECTED.finditer(text, begin)]
    return [rest for rest in found[: -_TRIED - 1 : -1] if rest]


def _rest(text: str, start: int) -> str:
    """Return the rest of the line, or the next line where nothing follows."""
    begin = _BEFORE_ANSWER.match(text, start).end()  # type: ignore[union-attr]
    rest = text[begin : begin + 2000].partition("\n")[0].partition("</answer>")[0]
    return rest.strip(" *_`\"'").removesuffix("\\]").rstrip(" *_`\"'.")


def last_line(text: str) -> str | None:
    """Return the last line that isn't empty and doesn't only close a frame, as ``` does."""
    lines = [line.strip() for line in text[-_READ:].splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not _FRAME.match(line)), None)


def final_answer(text: str, prompt: str) -> str | None:
    """Return the last box, else the last stated answer, else the last line."""
    text = own_turn(visible(without_echo(text, prompt)))
    return last_box(text) or next(iter(stated_answers(text)), None) or last_line(text)


def visible(text: str) -> str:
    """Return the text without control and direction marks; line feeds and tabs stay."""
    if text.replace("\n", "").replace("\t", "").isprintable():  # almost always, and fast
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
