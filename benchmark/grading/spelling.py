"""Evens out how a name, a date or a number is written, so that spellings of one thing are equal.

Accents, ß, dashes, apostrophes, initials, full-width letters, the order in a date, numbers in words
and thousands separators don't count. Signs, decimal points and the symbols of ``C++`` do.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from benchmark.grading.numerals import DASHES, with_digits

_APOSTROPHES = re.compile(r"(?<=\w)['’‘´`ʼ](?=\w)")
_UNMARKED = str.maketrans({
    "ð": "d", "Ð": "D", "đ": "d", "Đ": "D", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ı": "i",
    "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "þ": "th", "Þ": "Th", "ß": "ss", "ẞ": "SS",
    "ħ": "h", "Ħ": "H",
})  # fmt: skip
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
_GREEK = {
    letter: unicodedata.name(letter).split()[-1].lower() for letter in "αβγδεζηθικλμνξοπρστυφχψω"
}
_ONE_GREEK = re.compile(r"(?<![^\W\d_])([α-ω])(?![^\W\d_])")

_MONTHS = "January February March April May June July August September October November December"
_SHORT = {month[:3].lower(): month for month in _MONTHS.split()} | {"sept": "September"}
_MONTH = rf"({_MONTHS.replace(' ', '|')}|(?:{'|'.join(_SHORT)})\b\.?)"
_DAY_FIRST = re.compile(
    rf"(?<![\w.])(\d{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH},?(?=\W|\Z)(?:\s(\d{{3,4}})\b)?",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(
    rf"\b{_MONTH}\s(\d{{1,2}})(?:st|nd|rd|th)?(?![\w.:]\w)(?:,?\s(\d{{3,4}})\b)?", re.IGNORECASE
)
_ISO = re.compile(r"(?<![\w-])(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?![\w-])")

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_SCALED = re.compile(r"(?<![\w.])(\d+)(?:\.(\d+))?\s(thousand|million|billion|trillion)\b", re.I)
_ZEROS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_NEGATIVE = re.compile(
    r"(?:(?<=[^\d\s]\s)|(?<=\()|\A)[$€£]?-\s?[$€£]?(?=\.?\d)|\b(?:minus|negative)\s(?=\d)", re.I
)
_DECIMAL = re.compile(r"(?<![\w.])(\d*)\.(\d+)(?!\d|\.\d)")
_PERCENT = re.compile(r"\s?(?:%|\bper\s?cent\b)", re.IGNORECASE)
_INITIALS = re.compile(r"\b(?:(?:[A-Za-z]\.\s?)+[A-Za-z](?!\w)\.?|(?:[A-Za-z]\.\s?){2,})")
_SHORTENED = {"st": "saint", "mt": "mount", "dr": "doctor", "jr": "junior", "sr": "senior"}
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
    " fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_ORDINAL = {word: i for i, word in enumerate(_ORDINALS.split(), start=1)} | {"thirtieth": 30}
_IN_WORDS = re.compile(rf"\b(?:(twenty|thirty)[-\s])?({'|'.join(_ORDINAL)})\b", re.IGNORECASE)
_RANGE = re.compile(
    r"(?:\bfrom\s)?(?<![\d.,])(\d+)\s(?:to|until|through|till)\s(?=\d+\b)", re.IGNORECASE
)
_TOKEN = re.compile(r"~?(?:\d+(?:\.\d+)?|\.\d+)[^\W_]*|[^\W_]+(?:\.\d+)?")


class Word(NamedTuple):
    """A word of an answer.

    Attributes:
        key: evened out, what words are compared by.
        raw: with its capitals.
        gap: what stands between it and the word before.
    """

    key: str
    raw: str
    gap: str


@lru_cache(maxsize=32768)  # references come again with every response
def words(text: str, *, umlauts: bool = False) -> tuple[Word, ...]:
    """Return the words of a text.

    Args:
        text: without LaTeX.
        umlauts: write ü as ue instead of u.
    """
    text = evened(text, umlauts=umlauts)
    found, end = [], 0
    for match in _TOKEN.finditer(text):
        key = match.group().casefold()
        found.append(Word(_SHORTENED.get(key, key), match.group(), text[end : match.start()]))
        end = match.end()
    return tuple(found)


def evened(text: str, *, umlauts: bool = False) -> str:
    """Return a text with its capitals, but without other differences of spelling."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFC", text)).translate(DASHES)
    text = text.replace("_", " ")
    text = text.translate(_UMLAUTS) if umlauts else text
    apart = unicodedata.normalize("NFD", text.translate(_UNMARKED))
    text = unicodedata.normalize("NFC", "".join(c for c in apart if not "\u0300" <= c <= "\u036f"))
    text = _ONE_GREEK.sub(lambda m: _GREEK.get(m[1], m[1]), text)
    text = _IN_WORDS.sub(_ordinal, " ".join(text.split()))
    text = _RANGE.sub(r"\1-", with_digits(_APOSTROPHES.sub("", _dates(text))))
    text = _INITIALS.sub(lambda m: re.sub(r"\W", "", m.group()) + " ", text)
    text = _THOUSANDS.sub(lambda m: m.group().replace(",", ""), text)
    text = _SCALED.sub(_scaled, _PERCENT.sub(" ", _NEGATIVE.sub("~", text)))
    text = re.sub(r"(?<=\w)\s?&\s?(?=\w)|\s&\s", " and ", text)
    text = re.sub(r"(?<=[^\W\d_]) \+ (?=[^\W\d_])", " and ", text)
    text = _DECIMAL.sub(lambda m: f"{m[1] or '0'}.{m[2]}".rstrip("0").rstrip("."), text)
    text = re.sub(r"(?<=[^\W\d_])\+|\+(?=\+)", " plus ", text)
    return re.sub(r"(?<=[^\W\d_])#", " sharp ", text)


def _ordinal(match: re.Match[str]) -> str:
    tens = {"twenty": 20, "thirty": 30}.get((match[1] or "").lower(), 0)
    unit = _ORDINAL[match[2].lower()]
    if tens and unit > 9:
        return match.group()
    ending = {1: "st", 2: "nd", 3: "rd"}.get(unit, "th")
    return f"{tens + unit}{ending}"


def _scaled(match: re.Match[str]) -> str:
    whole, part = match[1], match[2] or ""
    zeros = _ZEROS[match[3].lower()]
    return whole + part.ljust(zeros, "0") if len(part) <= zeros else match.group()


def _dates(text: str) -> str:
    """Return a text with its dates as "5 March 1953"."""
    text = _ISO.sub(lambda m: f"{int(m[3])} {_MONTHS.split()[int(m[2]) - 1]} {m[1]}", text)
    text = _DAY_FIRST.sub(lambda m: _date(m[1], m[2], m[3]), text)
    return _MONTH_FIRST.sub(lambda m: _date(m[2], m[1], m[3]), text)


def _date(day: str, month: str, year: str | None) -> str:
    name = _SHORT.get(month.lower().rstrip("."), month)
    return f"{int(day)} {name}" + (f" {year}" if year else "")


def content(given: tuple[Word, ...]) -> tuple[Word, ...]:
    """Return the words without articles, or all of them where there are no others."""
    return tuple(word for word in given if not is_article(word)) or given


def is_article(word: Word) -> bool:
    """Tell whether a word is an article, which the last letter of "U-S-A" isn't."""
    return word.key in {"a", "an", "the"} and word.gap.strip() != "-"


def joined(given: tuple[Word, ...]) -> str:
    """Return words as one, so that "Spider-Man" and "Spiderman" are equal; numbers stay apart."""
    text = ""
    for word in given:
        apart = text[-1:].isdigit() and word.key[0].isdigit()
        text += f"_{word.key}" if apart else word.key
    return text


def same(answer: str, reference: str) -> bool:
    """Tell whether two texts are spellings of the same name, date or number.

    Examples:
        >>> same("JRR Tolkien", "J. R. R. Tolkien"), same("-12", "12"), same("C", "C++")
        (True, False, False)
    """
    given, wanted = content(words(answer)), content(words(reference))
    if not given or not wanted:
        return bool(answer.strip()) and "".join(answer.split()) == "".join(reference.split())
    if forms(answer) & forms(reference):
        return True
    return (
        _without_initials(given, wanted)
        or _without_initials(wanted, given)
        or _plural(given, wanted)
        or _plural(wanted, given)
    )


def _plural(many: tuple[Word, ...], one: tuple[Word, ...]) -> bool:
    """Tell whether the last words are plural and singular of a noun; in lower case, so no name."""
    last, single = many[-1], one[-1]
    if [w.key for w in many[:-1]] != [w.key for w in one[:-1]] or not single.key.isalpha():
        return False
    noun = len(single.key) > 2 and (last.raw.islower() or single.raw.islower())
    plurals = {f"{single.key}s", f"{single.key}es", f"{single.key.removesuffix('y')}ies"}
    return noun and not single.key.endswith("s") and last.key in plurals


def forms(text: str) -> set[str]:
    """Return how a name may be written as one word; "Albert Einstein" for "Einstein, Albert"."""
    parts = text.split(",")
    variants = {text}
    if len(parts) == 2 and not any(c.isdigit() for c in text):
        variants.add(f"{parts[1]} {parts[0]}")
    return {joined(content(words(v, umlauts=u))) for v in variants for u in (False, True)}


def _without_initials(full: tuple[Word, ...], short: tuple[Word, ...]) -> bool:
    """Tell whether a person's name differs in middle initials only, which one of them lacks."""
    inner = [w for w in full[1:-1] if len(w.key) > 1]
    if len(full) < 3 or len(inner) == len(full) - 2 or any(len(w.key) == 1 for w in short):
        return False
    named = all(w.raw[:1].isupper() and w.key.isalpha() and len(w.key) > 2 for w in short)
    return named and [w.key for w in (full[0], *inner, full[-1])] == [w.key for w in short]
