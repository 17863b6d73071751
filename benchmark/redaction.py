"""Secrets and control characters, which no text that leaves the process holds.

Secrets are the values of environment variables that hold keys, and what a setting names as one. A
server may send a key back, in whatever encoding; a library may put one into an error.
"""

import html
import json
import math
import os
import re
import unicodedata
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_VARIABLE = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
_LOGIN = re.compile(r"(?<=://)[^\s/?#\"'<>]*@")  # of an address
_LONG = 12  # characters: so long a word is no placeholder such as EMPTY or password
_ESCAPED = 3  # times that a text may be escaped
_DENSE = 12  # letters and digits: so many in a row are never another word's
_SHORT = 5  # characters: a shorter one is no secret, but occurs in any text
# All but line breaks and tabs: what moves the cursor, changes colours, or turns the direction of
# writing, so that a reader would see another text than there is.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069"
    "\ud800-\udfff]"  # and halves of pairs, which no stream takes
)
_CODE = re.compile(r"\\(?:u00|x)([0-7][0-9a-f])", re.IGNORECASE)  # of a character
_PARTING = re.compile(r"[\W_]+")  # what isn't a letter or a digit
_SIGNS = bytes(code for code in range(128) if not chr(code).isalnum())
_secrets: set[str] = set()


def hide(values: Iterable[str]) -> None:
    """Take values for secrets from now on, unless they are placeholders."""
    _secrets.update(value.strip() for value in values if _is_secret(value.strip()))


def hide_variables(names: Iterable[str] = ()) -> None:
    """Take the values of variables for secrets: of those named, and of all named like keys."""
    named = {*names, *filter(_VARIABLE.search, os.environ)}
    hide(os.environ.get(name, "") for name in named)


def redacted(text: str) -> str:
    """Return the text without secrets, in whatever usual encoding they stand."""
    if not _secrets or len(text) < _SHORT:
        return text
    words, dense, pattern, loose = _spelled(frozenset(_secrets))
    if _holds(text, words):
        text = pattern.sub(HIDDEN, text)
    # Escaped twice, or in several ways at once. A text that hides one even better is left out.
    if _holds(_unescaped(text), words):
        text = loose.sub(HIDDEN, text)
    unescaped = _unescaped(text)
    return HIDDEN if _holds(unescaped, words) or _holds(_dense(unescaped), dense) else text


def redacted_data(value: Any) -> Any:
    """Return what JSON holds without secrets, keys of objects included."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(str(name)): redacted_data(item) for name, item in value.items()}
    return [redacted_data(item) for item in value] if isinstance(value, list) else value


def told(text: str) -> str:
    r"""Return a text as a terminal and a log may show it.

    It holds no secrets, no logins of addresses and no control characters.

    Examples:
        >>> told("http://me:pw@host \x1b[2J")
        'http://***@host \\x1b[2J'
    """
    return clean(_LOGIN.sub(f"{HIDDEN}@", redacted(text)))


def clean(text: str) -> str:
    r"""Return the text with control characters spelled out, as ``\x1b``."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _is_secret(value: str) -> bool:
    """Tell a secret from a placeholder, such as EMPTY or none: it is long, or mixes characters."""
    if len(value) < _SHORT:
        return False
    return len(value) >= _LONG or not (value.isalpha() or value.isdecimal())


def _holds(text: str, words: Iterable[str]) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in words)


def _unescaped(text: str) -> str:
    """Return the text without backslashes, percent signs and entities, however often escaped."""
    for _ in range(_ESCAPED):
        text = _CODE.sub(lambda found: chr(int(found[1], 16)), text)
        text = html.unescape(unquote(text.replace("\\", "")))
    return text


def _dense(text: str) -> str:
    """Return a text's letters and digits alone, as wide as usual: what spaces or lines part."""
    if text.isascii():  # the usual case, and fast
        return text.encode().translate(None, _SIGNS).decode().lower()
    return _PARTING.sub("", unicodedata.normalize("NFKC", text)).lower()


@cache
def _spelled(
    secrets: frozenset[str],
) -> tuple[list[str], list[str], re.Pattern[str], re.Pattern[str]]:
    """Return all spellings of the secrets in lower case, also dense, and what finds them.

    The second pattern also finds secrets with any of their characters escaped; it is slow.
    """
    spelled = {word.lower() for secret in secrets for word in _spellings(secret)}
    # The longest first, so that no rest of one is left.
    words = sorted((word for word in spelled if len(word) >= _SHORT), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
    every = sorted(secrets, key=len, reverse=True)
    loose = "|".join("".join(map(_loose, secret)) for secret in every)
    dense = [word for word in map(_dense, words) if len(word) >= _DENSE]
    return words, dense, pattern, re.compile(loose, re.IGNORECASE)


def _loose(character: str) -> str:
    """Return a pattern of a character that may be escaped."""
    escaped = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode())
    code = ord(character)
    entities = [f"#0*{code};", f"#x0*{code:x};", *re.findall("&(.+)", html.escape(character))]
    named = "|".join(f"&(?:amp;)*{entity}" for entity in entities)
    return rf"(?:\\*{re.escape(character)}|{escaped}|\\+(?:u00|x){code:02x}|{named})"


def _spellings(secret: str) -> set[str]:
    """Return the usual encodings of a secret."""
    data = secret.encode()
    escaped = json.dumps(secret)[1:-1]
    spelled = {
        secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret),
        escaped, escaped.replace("/", "\\/"), repr(secret)[1:-1], data.hex(),
        "".join(f"%{byte:02x}" for byte in data), "".join(f"\\u{ord(c):04x}" for c in secret),
        secret[::-1],
    }  # fmt: skip
    if len(secret) >= 2 * _LONG:  # one that is cut off gives most of itself away
        spelled |= {secret[: len(secret) // 2], secret[len(secret) // 2 :]}
    # Base64 of a text that holds it, such as user:secret: three ways, by its place in the text.
    for before in range(3):
        first, end = math.ceil(before * 8 / 6), (before + len(data)) * 8 // 6
        whole = bytes(before) + data
        spelled |= {b64encode(whole).decode()[first:end]}
        spelled |= {urlsafe_b64encode(whole).decode()[first:end]}
    return spelled
