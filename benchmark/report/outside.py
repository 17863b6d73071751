"""Text from outside made safe for the file that it goes to: CSV, TeX, Markdown, names of files.

Names of models, datasets, estimators and columns, and what applications and graders say, come from
files, servers and other packages. Each kind of file has one function here that writes such text so
that it stays text: a spreadsheet runs no formula, TeX no command.
"""

import json
import re
import unicodedata
import zlib
from pathlib import Path

import polars as pl

LONGEST_NAME = 80  # characters of a name that is shown
_LONGEST_FILE_NAME = 60  # characters, without the ending
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # categories of Unicode that show as nothing
_IN_TEXTS = "\n\t\u200c\u200d"  # line breaks, and what joins letters of Persian or parts of emoji
# What spreadsheets take for the start of a formula, also in its full-width forms.
_FORMULA = re.compile(r"[=+\-@|%＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}", '"': r"\char34{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # which \\ before them would take for its own argument
    "−": "$-$", "±": r"$\pm$", "ρ": r"$\rho$", "≥": r"$\geq$", "†": r"$^\dagger$", "–": "--",
    "“": "``", "”": "''", "’": "'", "…": r"\dots{}", "²": r"$^2$", "ß": r"\ss{}", "æ": r"\ae{}",
    "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0304": r"\=",
    "\u0306": r"\u", "\u0307": r"\.", "\u0308": r"\"", "\u030a": r"\r", "\u030b": r"\H",
    "\u030c": r"\v", "\u0327": r"\c",
}  # fmt: skip


def plain(text: str, keep: str = _IN_TEXTS) -> str:
    r"""Return the text with characters spelled out that show as nothing or turn its direction.

    Args:
        text: any text.
        keep: hidden characters that stay as they are.

    Examples:
        >>> plain("a\x1b[2Jb\u202ec")
        'a\\x1b[2Jb\\u202ec'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(char)[1:-1] if unicodedata.category(char) in _HIDDEN and char not in keep else char
        for char in text
    )


def one_line(text: str, most: int = LONGEST_NAME) -> str:
    r"""Return a name in one line of at most ``most`` characters, without hidden characters.

    Examples:
        >>> one_line("two\nlines"), one_line("a" * 9, most=5)
        ('two\\nlines', 'aaaa…')
    """
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    shown = plain(cut, keep="")
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def file_name(name: str) -> str:
    """Return a name that is safe in any folder; different names stay different.

    Examples:
        >>> file_name("risk_2"), file_name("../a b")
        ('risk_2', 'a_b-75e96e29')
    """
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:_LONGEST_FILE_NAME].strip("_-")
    return safe if safe == name != "" else f"{safe}-{zlib.crc32(name.encode(errors='replace')):08x}"


def write_csv(table: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV whose texts no spreadsheet takes for a formula.

    A text that begins like a formula gets an apostrophe before it; numbers stay as they are, also
    those that are texts. Every text is quoted and stands on one line; lists are written as JSON.
    """
    head = ",".join(map(_csv_text, table.columns))
    cells = table.select(_as_text(column) for column in table.iter_columns())
    rows = cells.write_csv(include_header=False, quote_style="never")
    path.write_text(f"{head}\n{rows}", encoding="utf-8")


def _as_text(column: pl.Series) -> pl.Series:
    """Return a column that CSV can hold, its texts cleaned and quoted."""
    kind = column.dtype
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null, pl.Date, pl.Datetime, pl.Time):
        return column
    if kind in (pl.String, pl.Categorical, pl.Enum):
        values = column.cast(pl.String)
        different = values.unique().drop_nulls().to_list()
        return values.replace(different, [_csv_text(text) for text in different])
    nested = column.to_list()
    texts = [None if v is None else _csv_text(json.dumps(v, default=str)) for v in nested]
    return pl.Series(column.name, texts, dtype=pl.String)


def _csv_text(text: str) -> str:
    """Return a text in quotes, on one line, that isn't taken for a formula."""
    formula = _FORMULA.match(text.lstrip()) and not _NUMBER.fullmatch(text)
    shown = plain(text, keep="").replace('"', '""')
    return f'"\'{shown}"' if formula or text[:1] in ("\t", "\r", "\n") else f'"{shown}"'


def latex_text(text: str) -> str:
    r"""Return text for LaTeX, all in ASCII: no character of it is a command.

    Letters with accents are composed; of other letters, which not every engine and font has, the
    number in Unicode is written.

    Examples:
        >>> print(latex_text("P(True) & 5_% é 模"))
        P(True) \& 5\_\% \'{e} {[}U+6A21{]}
    """
    return "".join(map(_latex_character, plain(" ".join(text.split()), keep="")))


def _latex_character(char: str) -> str:
    if char in _TEX:
        return _TEX[char]
    if char.isascii():
        return char
    parts = unicodedata.normalize("NFD", char)
    base, accent = parts[0], _ACCENTS.get(parts[1:])
    if accent and base.isascii() and base.isalpha():
        return f"{accent}{{{base}}}"
    return f"{{[}}U+{ord(char):04X}{{]}}"


def markdown_text(text: str) -> str:
    r"""Return text for a cell of a Markdown table: neither markup nor HTML.

    Examples:
        >>> print(markdown_text("a|b <i>"))
        a\|b \<i\>
    """
    spelled = plain(" ".join(text.split()), keep="")
    return re.sub(r"([\\`*_|<>\[\]~$&#!@])", r"\\\1", spelled)
