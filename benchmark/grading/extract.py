r"""Finds the final answer of a response: the last ``\boxed{...}``, then what datasets fall back to.

Everything here is linear in the text's length, since responses are untrusted.
"""

import re
import unicodedata

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX_IN_PROMPT = re.compile(r"\\(?:boxed|fbox)")
_ANSWER_IS = re.compile(r"answer(?:\s+is|\s*:)\s*:?\s*", re.IGNORECASE)
_MOST_CHARACTERS = 200_000  # the answer stands at the end


def last_box(text: str) -> str | None:
    r"""Return the content of the last balanced box that isn't empty; None without one.

    Examples:
        >>> last_box(r"so \boxed{1}, no, \boxed {\frac{1}{2}}")
        '\\frac{1}{2}'
        >>> last_box(r"\boxed{ } and \boxed{unclosed") is None
        True
    """
    text = text[-_MOST_CHARACTERS:]
    closing = _closing_braces(text)
    for match in reversed(list(_BOX.finditer(text))):
        end = closing.get(match.end() - 1)
        if end is not None and (content := text[match.end() : end].strip()):
            return content
    return None


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


def stated_answer(text: str) -> str | None:
    """Return what follows the last "answer is" or "answer:" on its line; None without one."""
    matches = list(_ANSWER_IS.finditer(text[-_MOST_CHARACTERS:]))
    if not matches:
        return None
    rest = text[-_MOST_CHARACTERS:][matches[-1].end() :].partition("\n")[0]
    return rest.strip(" *_`\"'.") or None


def last_line(text: str) -> str | None:
    """Return the last line that isn't empty."""
    lines = [line.strip() for line in text[-_MOST_CHARACTERS:].splitlines() if line.strip()]
    return lines[-1] if lines else None


def final_answer(text: str, prompt: str) -> str | None:
    """Return the last box, else what follows "answer is", else the last line."""
    text = visible(without_echo(text, prompt))
    return last_box(text) or stated_answer(text) or last_line(text)


def visible(text: str) -> str:
    """Return the text without control and direction marks; line feeds and tabs stay."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
