r"""Reads a number as people and models write it: ``\$70\,000``, "seventy-three", ``3\frac{1}{2}``.

A text is either one number, with or without a unit, or no number at all: nothing is read from a
part of it. Arithmetic is carried out, and the last side of an equation counts.
"""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction
from math import isqrt

from benchmark.grading.arithmetic import evaluated
from benchmark.grading.latex import plain

_READ = 400  # characters
_SCALES = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "dozen": 12, "mil": 10**6, "bn": 10**9, "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_WORDS = {word: i for i, word in enumerate(_UNITS.split())}
NUMBER_WORDS |= {word: 10 * i for i, word in enumerate(_TENS.split(), start=2)}
_WORDS = NUMBER_WORDS | {"fourty": 40}  # a common misspelling
_SPELLED = "|".join(sorted(_WORDS, key=len, reverse=True))
_SPELLED_OUT = re.compile(
    rf"(?<![\w-])(?:(?:{_SPELLED})|an?(?=[\s-](?:hundred|thousand|million|billion|dozen)\b))"
    rf"(?:(?:[\s-]+|,\s)(?:and\s)?(?:{_SPELLED}|hundred|thousand|million|billion|trillion)(?!\w))*"
    r"(?!\w)",
    re.IGNORECASE,
)

DASHES = str.maketrans(dict.fromkeys("−‐‑‒–—﹣－", "-"))
_UNHIDDEN = str.maketrans("⌃⌄⊗", "^_*")  # signs that LaTeX and Markdown would read otherwise
_MONEY = re.compile(
    r"\\(?:pounds|euro|yen|textdollar)(?![A-Za-z])|\\?[$€£¥₹¢]|\b(?:USD|EUR|GBP|Rs\.?)(?![A-Za-z])"
)
_TIMES = re.compile(
    r"\\(?:times|cdot|ast)(?![A-Za-z])|[×·⋅∗]|(?<=\d\s)x(?=\s\d)|(?<=[\d)])\s?\*\s?(?=[\d(])"
)
_EQUAL = re.compile(r"\\(?:approx|simeq|sim|equiv|eq)(?![A-Za-z])|[≈≃≅≡]")
_DEGREES = re.compile(r"\^?\s?\{?\\circ(?![A-Za-z])\}?|\\degree|°")
_FRACTION = re.compile(r"\\[dtc]?frac\s*(\{[^{}]*\}|\d)\s*(\{[^{}]*\}|\d)")
_GROUPED = re.compile(r"(?<![\d.,^_])\d{1,3}(?:(?:\s*,\s*|\s+|['’_])\d{3})+(?![\d])")
_DOTTED = re.compile(r"(?<![\w.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.,])")  # 1.000.000
_LABEL = re.compile(r"\A[^\d=]{1,60}:\s")
_LEAD = re.compile(r"\A(?:[A-Za-z][A-Za-z'-]+[\s,]+|a\s|\*+)+(?=[-(]*\s?[\d.])")
_NO_LEAD = re.compile(
    r"\b(?:not|less|fewer|more|most|least|under|over|above|below|between|than|times|plus|or|no"
    r"|never|without|up|to|from|past|per|cannot|either|neither|half|log|ln|sin|cos|tan|sqrt|exp"
    r"|pi|mod|raised|doubled|squared?|cubed?|root|factor|times|log|version)\b|n't\b",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(r"\A(?:negative|minus)\s(?=[\d.])", re.IGNORECASE)
_RANGE = re.compile(r"\A\(?(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)(?![\d.]*\s*[-+*/^(])")
_AND_PART = re.compile(r"\A\s?and\s(?:a|one|1)\s(half|quarter)\b", re.IGNORECASE)
_SCALE = re.compile(
    rf"\A\s?((?i:{'|'.join(_SCALES)}))s?(?![A-Za-z])|\A(k|K|M)(?![A-Za-z])|\A\s([kK])\b"
)
_MODULUS = re.compile(r"\\?\(?\s?\\?[pb]?mod\b.*", re.DOTALL)
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d(?:\.\d{1,15})?)[eE]\+?(-?\d{1,2})(?!\w)")
_ORDINAL = re.compile(r"(?<=\d)\s?\^?\s?\(?\s?(?:st|nd|rd|th)(?![A-Za-z])\s?\)?")
_ROOT = re.compile(r"\\sqrt\s?\{\s?(\d{1,18})\s?\}")
_FRAMED = re.compile(r"\A(?:\(?[A-E]\)\s(?=.)|\[(?=[^,\[\]]*\]\Z))")
_SAME_AGAIN = re.compile(r"\A\s?\((\d+)\)")

_SHORT_UNITS = (
    "cm mm km dm nm kg mg ml dl cl ft in yd mi lb lbs oz hr hrs min mins sec secs ms mph kph kmh hz"
    " kw kwh kj mb gb tb ha pt qt gal pts rpm usd eur cal kcal am pm sq cu"
)
_COMMON = "of at by on per as he we she us it is if so an my"
_KNOWN = frozenset([*_SHORT_UNITS.split(), *_COMMON.split()])
_LETTERS = frozenset("mgshlLJNWVCFT")  # units that stand behind a space
_NO_UNIT = re.compile(
    r"\A[-\s(]*(?:pi|ln|log|exp|sin|cos|tan|cot|sqrt|mod|choose|or|and|to|times|plus|minus|over|than"
    r"|squared|cubed|factorial|halves|thirds|fourths|fifths|tenths|hundredths|thousandths|hundreds"
    r"|thousands|millions|digits?\slong|more|less|fewer|score)\b",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"(?P<gap>[\s/-]*)(?P<word>[(\[]?[^\W\d_]+)"
    r"(?:[\s./'’()\[\]-]|[^\W\d_]|(?<=[^\W\d_])\^[({]?[23][)}]?|%)*"
)


def parse_number(text: str) -> Fraction | None:
    r"""Return the value of a number, exactly; None if the text is anything else.

    Args:
        text: a number, or arithmetic that gives one, with or without a unit.

    Examples:
        >>> parse_number(r"\$1{,}234.50")
        Fraction(2469, 2)
        >>> parse_number(r"x = 4 + 8 = 12\text{ cm}")
        Fraction(12, 1)
        >>> parse_number("3 or 4") is None
        True
    """
    cleaned = _cleaned(text[:_READ])
    if re.search(r",\s*\w+\s*=", cleaned):
        return None
    sides = [side.strip() for side in cleaned.split("=") if side.strip()]
    if not sides:
        return None
    side = sides[-1] if re.search(r"\d", sides[-1]) else sides[0]
    return _value(_LABEL.sub("", side).strip())


def several_numbers(text: str) -> bool:
    """Tell whether a text is a list of numbers or of assignments, with commas between."""
    return bool(re.search(r"\d\W*,\s*(?:\w{1,9}\s*=)?[-\s\d]", _cleaned(text[:_READ])))


def with_digits(text: str) -> str:
    """Return a text with the numbers that are spelled out in digits, "seventy-three" as "73".

    Examples:
        >>> with_digits("one hundred and five apples, or two million")
        '105 apples, or 2000000'
    """
    return _SPELLED_OUT.sub(lambda m: str(_of_words(m.group())), text)


def _of_words(words: str) -> int:
    total = part = 0
    for word in re.findall("[a-z]+", words.lower()):
        if word in _WORDS:
            part += _WORDS[word]
        elif word in {"a", "an"}:
            part = 1
        elif word == "hundred":
            part *= 100
        elif word in _SCALES:
            total, part = total + part * _SCALES[word], 0
    return total + part


def _cleaned(text: str) -> str:
    r"""Return a text in ASCII where it can be: 70\,000 as 70000, × as *, half as 1/2."""
    text = "".join(_spread(c) for c in text)
    text = unicodedata.normalize("NFKC", text).translate(DASHES)
    text = re.sub(r"(?<=\d)\{,\}(?=\d{1,2}(?!\d))", ".", text).replace("\\!", "")
    text = _MONEY.sub(" ", text).replace("\\%", "%").replace("%", " percent ")
    text = _EQUAL.sub("=", _TIMES.sub("⊗", _DEGREES.sub(" degrees ", text)))
    text = re.sub(r"\\(?:div|over)(?![A-Za-z])|÷", "/", _ROOT.sub(_root, text))
    text = re.sub(r"\\(?:text|mathrm|mbox|textbf|textrm)\s?\{", r"\\text{ ", text)
    text = _FRACTION.sub(lambda m: f" (({m[1].strip('{}')})/({m[2].strip('{}')}))", text)
    text = _SCIENTIFIC.sub(r"\1⊗10^{\2}", _MODULUS.sub("", text).replace("\\therefore", ""))
    text = re.sub(r"\^\{([^{}]*)\}", r"^(\1)", text).replace("^", "⌃").replace("_", "⌄")
    text = _kept_commands(text)
    text = plain(text).lstrip(" *").rstrip(" .,*").translate(_UNHIDDEN)
    for grouped in (_GROUPED, _DOTTED):
        text = grouped.sub(lambda m: re.sub(r"\D", "", m.group()), text)
    text = _ORDINAL.sub("", re.sub(r"_(?:\(?10\)?)\b", "", text))
    text = re.sub(r"\bequals?(?:\sto)?\b", "=", text)
    text = re.sub(r"(?i)\A(?:one |a )?half\Z", "1/2", text)
    text = re.sub(r"\bhalf an? (?=million|billion|thousand|dozen|hundred)", "0.5 ", text)
    text = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", text)
    return " ".join(with_digits(text).split())


def _root(match: re.Match[str]) -> str:
    root = isqrt(int(match[1]))
    return str(root) if root * root == int(match[1]) else match.group()


def _spread(character: str) -> str:
    """Return ½ as " 1/2" and ² as "^2", which plain digits would hide."""
    decomposed = unicodedata.normalize("NFKC", character)
    if "⁄" in decomposed:
        return " " + decomposed.replace("⁄", "/")
    if (
        decomposed != character
        and decomposed.isdigit()
        and unicodedata.decomposition(character).startswith("<super>")
    ):
        return f"^{decomposed}"
    return character


def _kept_commands(text: str) -> str:
    """Mark the commands that stand for something, so that a number before them isn't alone."""
    return re.sub(
        r"\\(?=(?:pi|ln|log|exp|sin|cos|tan|sqrt|pm|mp|infty|le|ge|leq|geq|lt|gt|ne|neq|theta|alpha"
        r"|beta|gamma|lambda|mu|phi|omega|sigma|cup|cap|in|mid|binom|cdots|ldots|dots)(?![A-Za-z]))",
        "@",
        text,
    )


def _value(side: str) -> Fraction | None:
    if lead := _LEAD.match(side):
        rest = side[lead.end() :]
        negative = re.search(r"(?:negative|minus)\s\Z", lead.group(), re.IGNORECASE)
        words = lead.group()[: negative.start()] if negative else lead.group()
        if _NO_LEAD.search(words):
            return None
        side = f"-{rest}" if negative else rest
    if framed := _FRAMED.match(side):  # "(B) 73", "[73]"
        side = side[framed.end() :].removesuffix("]")
    side = _NEGATIVE.sub("-", side)
    low_high = _RANGE.match(side)
    if low_high and Decimal(low_high[1]) < Decimal(low_high[2]):
        return None
    found = evaluated(side)
    if found is None:
        return None
    value, end = found
    rest = side[end:]
    if part := _AND_PART.match(rest):
        value += Fraction(1, 2 if part[1].lower() == "half" else 4)
        rest = rest[part.end() :]
    if scale := _SCALE.match(rest):
        name = scale[1] or scale[2] or scale[3]
        value *= _SCALES.get(name.lower()) or (10**6 if name == "M" else 1000)
        rest = rest[scale.end() :]
    if (again := _SAME_AGAIN.match(rest)) and int(again[1]) == value:
        rest = rest[again.end() :]
    return value if _is_unit(rest) else None


def _is_unit(rest: str) -> bool:
    """Tell whether nothing but a unit follows a number."""
    rest = rest.rstrip(" .")
    if not rest:
        return True
    match = _UNIT.fullmatch(rest)
    if match is None or _NO_UNIT.match(rest):
        return False
    word, gap = match["word"].lstrip("(["), match["gap"]
    letters = set(re.findall(r"(?<![\w/.'])[A-Za-z](?![\w.'])", rest[len(match["gap"]) :]))
    if re.search(r"\b(?:or|than)\b", rest) or letters - _LETTERS - {"a"}:
        return False
    if len(word) == 1:
        return bool(gap) and word in _LETTERS
    return len(word) > 2 or word.lower() in _KNOWN
