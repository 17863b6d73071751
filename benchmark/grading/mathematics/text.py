r"""Evens out how a mathematical answer is written, before it is read.

Unicode signs, fonts, spacing, thousands separators, Markdown and the words around an answer change
no value. Words in ``\text{}`` come out between ``"``, so that a unit is told from a variable.
"""

import re
import unicodedata

from benchmark.grading.mathematics.symbols import FUNCTIONS
from benchmark.grading.numerals import NUMBER_WORDS

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERSCRIPT, _SUBSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+"), re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑‒﹣－", "-"), **dict.fromkeys("’′‘", "'"),
        **dict.fromkeys("“”\"", " "),
        **dict.fromkeys("\u00a0\u202f\u2009\u2008\u2007\u200a\u2006", r"\,"), "\x00": None,
        "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "∞": r"\infty ",
        "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ", "∈": r"\in ",
        "∖": r"\setminus ", "±": r"\pm ", "∓": r"\mp ", "°": r"^\circ ", "∅": r"\emptyset ",
        "ℝ": r"\reals ", "…": r"\ldots ", "√": r"\sqrt ", "℃": r'^\circ\text{C}', "∠": r"\angle ",
        "℉": r'^\circ\text{F}', "¢": r"\text{cents}", "€": r"\euro ", "£": r"\pounds ",
        "¥": r"\yen ", "Ω": r"\Omega ", "⟨": "(", "⟩": ")", "∛": r"\sqrt[3] ", "∜": r"\sqrt[4] ",
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "∕": "/", "⁄": "/",
        "。": ".", **dict.fromkeys("✓✔✅☑\ufe0f"),
    }
)  # fmt: skip
_SYNONYM = {  # § stands for the end of a command's name
    r"\\(?:[dtcs]|nice)frac§": r"\\frac", r"\\surd§": r"\\sqrt ", r"\{:\}": ":",
    r"\\([ij])math§": r"\1 ",
    r"\\(?:vec|hat|overrightarrow)(?:\s*\{\s*([A-Za-z]{1,2})\s*\}|\s+([A-Za-z]))": r" \1\2 ",
    r"\\cr§|\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm)\s*\]": r"\\\\ ", r"\\hline§": " ",
    r"\\[dt]binom§": r"\\binom",
    r"\\(?:leq|leqslant)§|<=": r"\\le ", r"\\(?:geq|geqslant)§|>=": r"\\ge ",
    r"\\lt§": "<", r"\\gt§": ">", r"\\neq§|!=": r"\\ne ", r"\\colon§": ":",
    r"\\(?:dots[cb]?|cdots)§|\.\.\.": r"\\ldots ", r"\\varnothing§": r"\\emptyset",
    r"\\(?:[lr]?vert|mid)§|\\\|": "|", r"\\lbrace§": r"\\{", r"\\rbrace§": r"\\}",
    r"\\(?:lparen|langle)§": "(", r"\\(?:rparen|rangle)§": ")",
    r"\\(?:backslash|smallsetminus)§": r"\\setminus",
    r"\\(begin|end)\{(?:[bB]|small|)matrix\}": r"\\\1{pmatrix}",
    r"\\begin\{array\}\s*\{[^{}]*\}": r"\\begin{array}",
    r"\\(?:mathbb|mathbf|Bbb)\s*\{?\s*R\s*\}?|\\R§": r"\\reals ", r"\\(?:land|wedge)§": ' "and" ',
    r"\\(?:lor|vee)§": ' "or" ', r"\\textdollar§": r"\\dollar ", r"\*\*": "^", r":=|\{=\}": "=",
    r"(?<![A-Za-z\\])sqrt\s*(?=[({])": r"\\sqrt",
    r"\\(?:degree|degrees)§|\^\s*\{\s*\\circ\s*\}|\^\s*\\circ§": r"^\\circ ",
    r"\^\s*(?:\{\s*\\prime\s*\}|\\prime§)": "'",
    r"\\reals\s*-\s*(?=\\\{)": r"\\reals\\setminus ",
    r"\\(?:mathbb|Bbb)\s*\{\s*([PE])\s*\}": r"\1", r"\bUSD?\s*(?=\\dollar§)": "",
    r"\\operatorname\*": r"\\operatorname", r"\\sqrt\s+(\d+)(?!\d)": r"\\sqrt{\1}",
}  # fmt: skip
_SYNONYMS = [
    (re.compile(pattern.replace("§", "(?![A-Za-z])")), plain) for pattern, plain in _SYNONYM.items()
]
_DROPPED = re.compile(
    r"\\(?:displaystyle|textstyle|scriptstyle|left|right|middle|[bB]igg?[lrm]?|limits|nolimits|bf|rm|it|"
    r"strut|mathstrut|centering|[lL]arge|LARGE|[hH]uge|small|normalsize)(?![A-Za-z])(?:(?<=left|ight)\.)?"
    r"|\\phantom\s*(?:\{[^{}]*\}|.)|\\[hv]space\*?\{[^{}]*\}"
    r"|\\(?:text|page)?color\s*(?:\[\w+\])?\s*\{[^{}]*\}|(?<!\\)\\[()\[\]]"
)
_FONT = re.compile(
    r"\\(text|textbf|textit|textrm|textsf|texttt|textnormal|mathrm|mathbf|mathit|mathsf|mathtt|bm|"
    r"boldsymbol|mbox|hbox|operatorname|emph|underline|boxed|fbox|ensuremath)\s*\{([^{}]*)\}"
)
_TEXT_FONTS = frozenset(
    ["text", "textbf", "textit", "textrm", "textsf", "texttt", "textnormal", "mbox", "hbox", "emph"]
)
_UPRIGHT = set("eid")  # letters that stand upright though they are no unit
_BARE_FONT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|bm|boldsymbol)(?:\s+([A-Za-z])|([A-Za-z])(?![A-Za-z{]))"
)
_BRACED = re.compile(r"\\(?:underline|boxed|fbox|ensuremath|mathbf|boldsymbol|bm)\s*(?=\{)")
_SEPARATOR = r"(?:,\s?\\[!,;:]|\{,\}|\\[,;:!~ ]|~)\s?"
_GROUPED = re.compile(rf"(?<![\d.,_^])\d{{1,3}}(?:{_SEPARATOR}\d{{3}})+(?!\d)")
_SPACED = re.compile(r"(?<![\d.,_^\w}] )(?<![\d.,_^\w}])\d{1,3}(?: \d{3})+(?![ ,.]?\d)")
_SPACE = re.compile(r"(?<!\\)\\(?:[,;:!> ]|quad\b|qquad\b|thinspace\b|enspace\b)|~|(?<!\\)\\$")
_TEMPERATURE = re.compile(
    r'(?:\^\\circ\s*|"?\s*\bdegrees?\s+)"?\s*(?:([FC])\b|(Fahrenheit|Celsius))\s*"?', re.IGNORECASE
)
_DEGREES = re.compile(r'"\s*degrees?\s*"|(?<=[\d} )])\s*\bdegrees?\b(?![^"]*")')
_MINUTES = re.compile(r"(\d+)\s*\^\\circ\s*(\d+)\s*'(?:\s*(\d+)\s*(?:''|\"))?")
_AROUND = re.compile(
    r"\A(?:\s*(?:\\(?:therefore|Rightarrow|implies|sim|because|to)(?![A-Za-z])))+"
    r"|(?:\s*(?:\\(?:checkmark|blacksquare|square|qed|Box)(?![A-Za-z])|\\\\))+\s*\Z"
)
_OVER = re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}|\A([^{}]*)\\over(?![A-Za-z])([^{}]*)\Z")
_CHOOSE = re.compile(r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}")
_LINES = re.compile(
    r"\\begin\{(aligned|align|gathered|gather|equation|split|cases)(\*?)\}(.*)\\end\{\1\2\}",
    re.DOTALL,
)
_ALIGNMENT = re.compile(r"&\s*(?=[=<>]|\\(?:le|ge|approx)(?![A-Za-z]))|(?<=[=<>])\s*&")
_BARS = re.compile("(√|\\.\\d*?)((?:\\d\u0305)+)")  # digits under a line of combining signs
_CHOICE = re.compile(r'\A("?)\s*(?:option|choice)\s+(?="?\s*\(?[A-Z]\)?"?\Z)', re.IGNORECASE)
_LEAD = re.compile(
    r'\A"?\s*(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:the|my|our)\s+)?(?:(?:final|correct)\s+)?'
    r"(?:(?:answer|result|value|solution)s?(?:\s+(?:is|are|equals)\b|\s*:)|(?:it|there|this|that)"
    r"(?:\s+is|\s+are|'s)\b|(?:is|are|equals)\b)\s*:?\s*\"?\s*",
    re.IGNORECASE,
)
_TRAIL = re.compile(
    r'\s*"?\s*(?:\b(?:is|are)\s+the\s+(?:(?:final|correct|only|desired)\s+)?(?:answer|solution|value)s?'
    r'|\(\s*(?:final\s+)?answer\s*\))\s*"?\s*\Z',
    re.IGNORECASE,
)
_QUALIFIER = re.compile(r'[\s,]*"?\s*\b(?:for\s+(?:any|all|every|some|each)|where)\b.*\Z')
_REMARK = re.compile(
    r'(?<=[\d}\w)])\s*"?\s*\(\s*"?(?!\s*(?:mod|base|not|or|minus|negative|wrong|\w+illion|hundred|'
    r'thousand)\b)([A-Za-z][A-Za-z ]{3,30})"?\s*\)\s*"?\Z'
)
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*(?:\{\s*(\d+)\s*\}|(\d))")
_ORDINAL = re.compile(r'\A(\d+)\s*"?\^?\s*\{?\s*"?(?:st|nd|rd|th)"?\s*\}?"?\Z')
_MARKDOWN = re.compile(r"\A(\*\*\*|\*\*|\*|___|__|_|```|``|`|')(?=\S)(.*\S)\1\Z", re.DOTALL)
_NUMBER_WORDS = {word: str(number) for word, number in NUMBER_WORDS.items() if number <= 20}


def normalise(latex: str) -> str:
    r"""Return an answer in one way of writing, with words of text between ``"``.

    Examples:
        >>> normalise(r"**$x = \dfrac12$.**")
        'x = \\frac12'
        >>> normalise(r"1{,}234\text{ cm}")
        '1234 "cm"'
    """
    text = _signs(latex).strip()
    while wrapped := _MARKDOWN.match(text):
        text = wrapped[2].strip()
    text = _dollars(text)
    text = _GROUPED.sub(lambda m: re.sub(r"\D", "", m[0]), text)
    text = _DROPPED.sub(" ", text)
    for pattern, plain in _SYNONYMS:
        text = pattern.sub(plain, text)
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", _one_line(text.strip()))
    text = _SPACE.sub(" ", _without_fonts(text))
    text = re.sub(r'"\s*"', " ", " ".join(text.split()))
    text = _OVER.sub(lambda m: f"\\frac{{{m[1] or m[3]}}}{{{m[2] or m[4]}}}", _AROUND.sub("", text))
    text = _REPEATING.sub(_fraction, text)
    text = _MINUTES.sub(_decimal_degrees, text)
    text = _TEMPERATURE.sub(lambda m: f' "deg{(m[1] or m[2])[0].upper()}"', text)
    text = _DEGREES.sub(r"^\\circ", text).replace("^ \\circ", "^\\circ")
    text = _SPACED.sub(lambda m: m[0].replace(" ", ""), _unbraced(text))
    return _unbraced(_without_words(text))


def _tidy(text: str) -> str:
    text = re.sub(r'"\s*([^"]*?)[\s.]*"', r'"\1"', " ".join(text.split()))
    return text.rstrip(".;, ").lstrip(",; ").replace('""', "").strip()


def _unbraced(text: str) -> str:
    """Return the text without braces around all of it and without a full stop."""
    text = _tidy(text)
    while text[:1] == "{" and closing_bracket(text) == len(text) - 1:
        text = _tidy(text[1:-1])
    return text


def closing_bracket(text: str) -> int:
    """Return where the bracket that a text begins with is closed, by any kind; -1 if nowhere."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and char in ")]}":
            return at
    return -1


def _one_line(text: str) -> str:
    """Return aligned lines as a list, or as a chain where a line goes on with ``=``."""
    lines = _LINES.fullmatch(text)
    if lines is None:
        return text if "\\begin" in text else _ALIGNMENT.sub("", text)
    body = _ALIGNMENT.sub("", lines[3])
    if lines[1] == "cases" and "&" in body:  # a function given in pieces
        return text
    rows = [row.strip(" ,") for row in body.replace("&", " ").split("\\\\") if row.strip(" ,.")]
    return re.sub(r", (?=[=<>])", " ", ", ".join(rows))


def _signs(text: str) -> str:
    text = _BARS.sub(
        lambda m: f"{m[1]}{'' if m[1] == '√' else chr(92) + 'overline'}{{{m[2][::2]}}}", text
    )
    text = text.translate(_SIGNS)
    text = _SUPERSCRIPT.sub(lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _SUBSCRIPT.sub(lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}", text)
    return "".join(char if char.isascii() else _ascii(char) for char in text)


def _ascii(char: str) -> str:
    r"""Return ``\frac{1}{2}`` for ½, ``\pi`` for π, a full-width digit's digit, else the sign."""
    plain = unicodedata.normalize("NFKC", char)
    if "\u2044" in plain:
        top, bottom = plain.split("\u2044")
        return f"\\frac{{{top}}}{{{bottom}}}"
    name = unicodedata.name(plain, "") if len(plain) == 1 else ""
    if name.startswith("GREEK SMALL LETTER ") and " WITH " not in name:
        return f"\\{name.removeprefix('GREEK SMALL LETTER ').lower()} "
    return plain


def _dollars(text: str) -> str:
    r"""Return ``\dollar`` for the currency; the ``$`` around mathematics are dropped."""
    if len(re.findall(r"(?<!\\)\$", text)) % 2:
        text = re.sub(r"(?<!\\)\$(?=\s*[\d.])", r"\\$", text)
    return text.replace("\\$", "\\dollar ").replace("$", " ")


def _without_fonts(text: str) -> str:
    text = _BARE_FONT.sub(lambda m: f" {m[1] or m[2]}", text)
    for _ in range(20):
        plain = _FONT.sub(_words, text)
        if plain == text:
            break
        text = plain
    return _BRACED.sub("", text)


def _words(font: re.Match[str]) -> str:
    """Return words between ``"``; what holds digits or signs of mathematics stays mathematics."""
    name, content = font.groups()
    plain = content.replace("~", " ").replace("\\ ", " ").strip()
    if '"' in content and re.search(r"\w", re.sub(r'"[^"]*"', "", content)):
        return f" {content} "
    plain = " ".join(plain.replace('"', " ").split())
    letters = [part for part in re.split(r"[\s,;.()]+|\band\b|\bor\b", plain) if part]
    if name in {"underline", "boxed", "fbox", "ensuremath"}:
        return f"{{{content}}}" if plain else " "
    if plain in FUNCTIONS and (
        name == "operatorname" or (name in {"mathrm", "text"} and plain != "sec")
    ):
        return f"\\{plain} "
    if re.search(r"[\d\\^_=+<>|/$%:{}\[\]]|(?:\A|\s)-", plain) and not re.fullmatch(
        r"[A-Za-z. ]+/[A-Za-z ]+", plain
    ):
        return f" {content} "
    if len(letters) > 1 and max(map(len, letters)) == 1 and re.search(r",|and|or", plain):
        return f" {plain} "
    if name not in _TEXT_FONTS and (len(plain) < 2 and (name != "mathrm" or plain in _UPRIGHT)):
        return plain
    if letter := re.fullmatch(r"\(\s*([A-Za-z])\s*\)", plain):
        return f' "{letter[1]}" '
    return f' "{plain}" ' if re.search(r"\w", plain) else f" {plain} "


def _fraction(decimal: re.Match[str]) -> str:
    r"""Return the fraction that ``0.1\overline{6}`` stands for."""
    whole, fixed, period = decimal[1] or "0", decimal[2], decimal[3] or decimal[4]
    bottom = 10 ** len(fixed) * (10 ** len(period) - 1)
    return f"\\frac{{{int(whole + fixed + period) - int(whole + fixed)}}}{{{bottom}}}"


def _decimal_degrees(angle: re.Match[str]) -> str:
    seconds = f"+{angle[3]}/3600" if angle[3] else ""
    return f"({angle[1]}+{angle[2]}/60{seconds})^\\circ "


def _without_words(text: str) -> str:
    """Return the answer without the sentence around it and without remarks."""
    for pattern in (_LEAD, _TRAIL):
        # Of a pair of quotes that only one is part of the sentence, the other stays closed.
        plain = pattern.sub(lambda m: '"' if m[0].count('"') == 1 else "", text).strip()
        text = plain if plain.strip('" ') else text
    text = _CHOICE.sub(r"\1", _REMARK.sub("", text))
    if ordinal := _ORDINAL.match(text):
        return ordinal[1]
    return _NUMBER_WORDS.get(text.replace('"', "").strip().lower(), text)


def split_qualifier(text: str) -> tuple[str, str]:
    """Return an answer and the condition behind it, such as ``for any c``."""
    match = _QUALIFIER.search(text)
    if match is None or not match.start():
        return text, ""
    return text[: match.start()].strip(), " ".join(match[0].replace('"', " ").split())


def split(text: str, separators: str = ",") -> list[str]:
    """Return the stripped parts between separators that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in separators and depth <= 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]
