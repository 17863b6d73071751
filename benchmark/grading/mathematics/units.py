"""Units of measurement at the end, or before, a mathematical answer."""

import re

_NAMES = {
    "cm": "centimeter centimetre cms", "mm": "millimeter millimetre", "km": "kilometer kilometre",
    "m": "meter metre", "in": "inch inches", "ft": "foot feet", "yd": "yard yds", "mi": "mile",
    "kg": "kilogram kilo kgs", "g": "gram gm gms", "mg": "milligram", "lb": "pound lbs",
    "oz": "ounce ounces", "ton": "tonne", "s": "second sec secs", "min": "minute mins",
    "h": "hour hr hrs", "day": "", "week": "", "month": "", "year": "yr yrs", "l": "liter litre",
    "ml": "milliliter millilitre", "gal": "gallon", "dollar": "usd buck", "cent": "¢ cents",
    "euro": "", "yen": "", "gbp": "", "unit": "", "rad": "radian", "degF": "", "degC": "",
    "ohm": "", "n": "newton", "j": "joule", "w": "watt", "v": "volt", "hz": "hertz",
    "mi/h": "mph", "km/h": "kph kmph", "acre": "", "pa": "pascal", "cal": "calorie", "k": "kelvin",
}  # fmt: skip
_CANONICAL = {
    spelling: unit
    for unit, names in _NAMES.items()
    for name in [unit.lower(), *names.split()]
    for spelling in (name, f"{name}s")
}
_BARE = (
    r"(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:cms?|mm|km|kg|mg|mph|ft|yd|lbs?|oz|gm|mins?|secs?|hrs?|rad|in|"
    r"gal|m[lL]|USD|(?<=\s)[ck]?m(?=\s*/)|(?=[A-Za-z]*[aeiouy])[A-Za-z]{4,}|(?<=\s)(?=[A-Za-z]*[aeiouy])[A-Za-z]{3})"
)
_MORE = (
    r"(?:\s*\^\s*\{?-?[1-9]\}?|\s*(?:/|\bper\b|\\cdot)\s*(?:\"[^\"]*\"|[A-Za-z]+)|\s+[A-Za-z]{2,}"
    r"|\s*\"[^\"]*\")*"
)
_QUOTED = re.compile(rf'(?<=[^\s"])\s*("[^"]*"{_MORE})\Z')
_WORDS = re.compile(rf"(?:(?<=[\d}})\]])|(?<=\\pi ))(\s*{_BARE}{_MORE})\Z")
_FRACTION = re.compile(r'\\frac\s*\{\s*"([^"]*)"\s*\}\s*\{\s*"([^"]*)"\s*\}\s*\Z')
_BRACKETED = re.compile(r'(?<=[\d}])\s*\(\s*("[^"]*")\s*\)\Z')
_OHM = re.compile(r"(?<=\d)\s*\\Omega\Z")
_CURRENCY = re.compile(r"\A([-+]?)\s*(\\dollar|\\euro|\\pounds|\\yen)\s*(?=[-+\d.\\(])")
_CURRENCY_BEHIND = re.compile(r"(?<=[\d}])\s*(\\dollar|\\euro|\\pounds|\\yen)\Z")
_CURRENCIES = {"\\dollar": "dollar", "\\euro": "euro", "\\pounds": "gbp", "\\yen": "yen"}
_MULTIPLES = {
    "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12,
}  # fmt: skip
_POWERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_NOT_UNITS = re.compile(
    r"\A\W*to\b|\b(?:and|or|mod|modulo|base|not|no|if|is|are|when|than|plus|minus|times|over|from|undefined|"
    r"infinity|dozen|tens|squared|cubed|factorial|below|above|negative|zero|half|halves|thirds?|quarters?|pi|sqrt|sin|cos|tan|log|ln|exp)\b",
    re.IGNORECASE,
)

Unit = tuple[str, ...]


def split_unit(text: str) -> tuple[str, Unit]:
    """Return an answer without its unit, and the unit, () without one.

    Examples:
        >>> split_unit('5 "square inches"')
        ('5', ('in^2',))
    """
    if currency := _CURRENCY.match(text):
        name = _CURRENCIES[currency[2]]
        amount, more = split_unit(text[currency.end() :].strip())
        return currency[1] + amount, (name, *(part for part in more if part != name))
    if currency := _CURRENCY_BEHIND.search(text):
        return text[: currency.start()], (_CURRENCIES[currency[1]],)
    text = _BRACKETED.sub(r" \1", text)
    text = _FRACTION.sub(r'"\1/\2"', text)
    text = re.sub(r'\\mu\s*"', '"u', text)
    if _OHM.search(text):
        return _OHM.sub("", text), ("ohm",)
    match = _QUOTED.search(text) or _WORDS.search(text)
    if match is None or _NOT_UNITS.search(match[1]) or match[1].strip(' "') in {"k", "M"}:
        return text, ()
    rest, unit = text[: match.start(1)].strip(), match[1].replace('"', " ")
    first = re.match(r"\s*([A-Za-z]+)\s*", unit)
    if first and (zeros := _MULTIPLES.get(first[1].lower())):
        words = unit[first.end() :]
        return f"({rest})\\cdot 10^{{{zeros}}}", _canonical(words)
    if any(word in unit.lower().split() for word in _MULTIPLES):
        return text, ()
    return rest, _canonical(unit)


def same_unit(one: Unit, other: Unit) -> bool:
    """Return whether units agree: one side has none, or the words of one are among the other's."""
    if not one or not other or one == other:
        return True
    known = set(_NAMES) | {f"{name}^{power}" for name in _NAMES for power in (2, 3)}
    if any(part in known for part in one + other):
        return False
    return set(one) <= set(other) or set(other) <= set(one)


def _canonical(words: str) -> Unit:
    words = re.sub(r"\\cdot|[.{}()]", " ", words)
    words = re.sub(r"\s*(?:/|\bper\b)\s*", "/", words)
    words = re.sub(r"\s*\^\s*", "^", words)
    parts: list[str] = []
    power = ""
    for word in words.split():
        if word.lower() in _POWERS:
            power = _POWERS[word.lower()]
            continue
        named = "/".join(_named(part) for part in word.split("/"))
        parts.append(_CANONICAL.get(named.replace("mi/h", "mph"), named) + power)
        power = ""
    return tuple(part for part in parts if part not in {"of", "the", "a", "an"})


def _named(word: str) -> str:
    name, _, power = word.partition("^")
    singular = _CANONICAL.get(name.lower(), name.lower())
    if singular == name.lower() and len(name) > 3:
        singular = singular.removesuffix("s")
    return f"{singular}^{power}" if power not in {"", "1"} else singular
