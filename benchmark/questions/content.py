"""Tells what a question asks, however it is written: the same content is the same question."""

import re
import unicodedata
from collections.abc import Iterable

# Not of category Cf or Cc, but shown as nothing: fillers, joiners and variation selectors.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")
_BLANK_PLANE = range(0xE0100, 0xE01F0)  # more variation selectors
_SPACE = re.compile(r"(?<!\d)\s|\s(?!\d)")  # but between two numbers
_ALIKE = str.maketrans(  # letters of Cyrillic and Greek, quotes and dashes, as those of ASCII
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf"
    "\u2018\u2019\u201c\u201d\u2010\u2013\u2014\u2212",
    "aeopcyxijsdqwhABEKMHOPCTYXIJSABEZHIKMNOPTYXo''\"\"----",
)
_END = re.compile(r"(?:[\s.,:;?…。？'\"]|(?<![\d)\]}])!)+\Z")  # but the sign of a factorial
_CHOICE = re.compile(r"\A[(\[]?[a-z][.):\]]+\s+(?=\S)")  # "a. ", "(b) "


def normalised(text: str) -> str:
    """Return the text with case, white space and the encoding of characters evened out.

    Ids and the sides of splits are made from it, so that it never changes.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def content(text: str) -> str:
    r"""Return what a text says, without all that a reader doesn't see.

    Characters that are shown as nothing, accents, case, white space, letters of other alphabets
    that look the same, the width and encoding of characters and the punctuation at the end make no
    other question.

    Examples:
        >>> content("Wh\u200bat is the  capital of Ｐeru ?")
        'what is the capital of peru'
    """
    if not (text.isascii() and text.replace("\n", "").isprintable()):
        text = unicodedata.normalize("NFKC", _visible(text).translate(_ALIKE))
    return _END.sub("", " ".join(text.casefold().split()))


def contents(text: str) -> set[str]:
    """Return the content of a question as a whole and, where it has several, of its lines.

    They are without white space, which may be as narrow as none.
    """
    whole, parts = _SPACE.sub("", content(text)), lines(text)
    return {whole, "\n".join(_SPACE.sub("", part) for part in parts)} if parts[1:] else {whole}


def lines(text: str) -> list[str]:
    """Return the contents of a text's lines, the same for choices in any order with any letters."""
    return sorted({_CHOICE.sub("", line) for line in map(content, text.splitlines()) if line})


def asked(question: str, choices: Iterable[str] = ()) -> str:
    """Return the content of a question with its choices in any order."""
    return "\n".join([content(question), *sorted({content(choice) for choice in choices})])


def representatives(texts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the first in order of the normalised texts of each content.

    What is decided by it is the same for all spellings of one question.

    Args:
        texts: content and text of each question.
    """
    found: dict[str, str] = {}
    for key, text in texts:
        normal = normalised(text)
        found[key] = min(normal, found.get(key, normal))
    return found


def _visible(text: str) -> str:
    """Return the decomposed text without invisible characters and without marks on letters."""
    kept: list[str] = []
    for char in unicodedata.normalize("NFKD", text):
        category = unicodedata.category(char)
        hidden = category in {"Cf", "Cc"} and not char.isspace()
        hidden = hidden or _BLANK.match(char) is not None or ord(char) in _BLANK_PLANE
        on_letter = category in {"Mn", "Me"} and bool(kept) and kept[-1].isalnum()
        if not (hidden or on_letter):
            kept.append(char)
    return "".join(kept)
