r"""Reads LaTeX and Markdown around words as plain text: ``\textbf{Dvo\v{r}\'ak}`` is Dvořák."""

import re
import unicodedata

_MARKS = dict(
    zip("\"'`^~=.Hcvurbdk", "\u0308\u0301\u0300\u0302\u0303\u0304\u0307\u030b\u0327\u030c\u0306"
        "\u030a\u0331\u0323\u0328", strict=True)
)  # fmt: skip
_ACCENT = re.compile(
    r"\\(?:([\"'`^~=.])\s?|([Hcvurbdk])(?=\s?\{|\s))\s?(\{\s?)?\\?([A-Za-z])(?(3)\s?\})"
)
_LETTERS = {"ss": "ß", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ae": "æ", "AE": "Æ", "oe": "œ",
            "OE": "Œ", "aa": "å", "AA": "Å", "i": "i", "j": "j"}  # fmt: skip
_COLOUR = re.compile(r"\\(?:text)?color\s?(?:\[[^\]]{0,40}\])?\{[^{}]{0,40}\}")
_SPACE = re.compile(
    r"\\(?:[,;: ]|(?:q?quad|thinspace|enspace)(?![A-Za-z])|hspace\*?\{[^{}]{0,20}\}|\\)|(?<!\\)~"
)
_FORM = re.compile(
    r"\\(?:(?:text|math)(?!emdash)[a-z]*|mbox|hbox|emph|operatorname\*?|boldsymbol|bm|underline"
    r"|boxed|fbox|ce|num|left|right|displaystyle|bf|it|rm|sf|tt|tiny|small|normalsize|[lL]arge|LARGE"
    r"|[hH]uge)(?![A-Za-z])\s?"
)
_COMMAND = re.compile(r"\\([A-Za-z]+)\s?")
_ESCAPED = re.compile(r"\\([%$&#_{}])")
_SUBSCRIPT = re.compile(r"(?<=[\w)}])\$?[_^](?=\{?[0-9+\-]{1,3}\}?)")


def plain(text: str) -> str:
    r"""Return a text without what only gives it its look.

    Commands that have no meaning here stay as their names, as ``\alpha`` does.

    Examples:
        >>> plain(r"\text{Schr\"odinger} \& \mathrm{H}_2\mathrm{O}")
        'Schrödinger & H2O'
    """
    text = _COLOUR.sub("", text).replace("``", '"').replace("---", "—").replace("--", "–")
    text = _SPACE.sub(" ", text.replace("\\!", "").replace("{,}", ","))
    text = _ACCENT.sub(lambda m: m[4] + _MARKS[m[1] or m[2]], text)
    text = _FORM.sub("", text.replace("\\(", "").replace("\\)", ""))
    text = _SUBSCRIPT.sub("", text)
    text = re.sub(r"(?<!\\)[{}$]", "", _COMMAND.sub(lambda m: _LETTERS.get(m[1], m[1]), text))
    text = _ESCAPED.sub(r"\1", text)
    text = re.sub(r"\*\*|__|\*(?=\S)|(?<=\S)\*|`", "", text)
    return unicodedata.normalize("NFC", re.sub(r"[ \t]+", " ", text)).strip()
