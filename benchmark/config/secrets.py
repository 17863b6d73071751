"""No secret stands in a configuration: Hydra writes it into files before anything else is checked.

Settings name environment variables instead: ``api_key_env``, ``headers``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.errors import ConfigError
from benchmark.redaction import hide_variables, redacted

_SECRET = re.compile(
    r"(api|access|auth|private)[_-]?(key|token)$|secret|passw(or)?d|credential|authorization|bearer",
    re.IGNORECASE,
)
_MAYBE = re.compile(r"(^|[_-])(key|token)$", re.IGNORECASE)  # or a column's, as sort_key is
_WORD = re.compile(r"[a-z_]+")
_OF_TEXT = re.compile(r"(bos|eos|pad|unk|sep|cls|mask)_token")  # names of special tokens
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
# An argument of a program whose value is the next one.
_ARGUMENT = re.compile(r"-+[\w-]*(key|token|secret|passw(or)?d)", re.IGNORECASE)
_ASSIGNED = re.compile(r"(^|[\s,'\"\[-])[\w-]*(key|token|secret|passw(or)?d)=\S", re.IGNORECASE)
_COMMANDS = ("command", "setup")  # settings whose texts are arguments of programs
_HEADER = re.compile(  # with a value that is no variable of the shell
    r"(authorization|(api|access|auth)[_-]?(key|token)|secret|passw(or)?d)['\"]?\s*:\s*['\"]?"
    r"(\w+\s+)?(?!\w+\s)[^\s'\"$]|\bbearer\s+[^\s$]",
    re.IGNORECASE,
)
_LOGINS = ("-u", "--user", "--proxy-user")  # arguments whose value is name:password
_ADDRESS = re.compile(r"(^|[_.])(ur[li]s?|endpoint|proxy|address|host|server)$", re.IGNORECASE)
_LOGIN = re.compile(r":[/\\]{2}[^\s/?#\\]*@")
_QUERY = re.compile(r"://\S*[?&;#][\w-]*(key|token|secret|passw(or)?d|signature)=", re.IGNORECASE)


def refuse_secrets(
    composed: DictConfig, overrides: Sequence[str] = (), folders: Iterable[Path] = ()
) -> None:
    """Refuse secrets in the configuration, and hide the values of the variables that it names.

    Args:
        composed: configuration before it is checked.
        overrides: settings on the command line, with those that a grid varies.
        folders: folders of files that a grid may choose, such as ``engine/mine.yaml``.

    Raises:
        ConfigError: naming the key, without its value.
    """
    raw: Any = OmegaConf.to_container(composed)
    hide_variables(_variables(raw))
    _refuse(raw, "")
    with suppress(OmegaConfBaseException):  # told where the configuration is checked
        _refuse(OmegaConf.to_container(composed, resolve=True), "")
    for override in OverridesParser.create().parse_overrides([*overrides]):
        varied = override.is_sweep_override()
        for value in override.sweep_iterator() if varied else [override.value()]:
            key = override.key_or_group
            _refuse({key.rpartition(".")[2]: value}, key.rpartition(".")[0])
            for choice in _choices(key, value, folders) if varied else ():
                _refuse(choice, key.replace("/", "."))


def refuse_argument(argument: str) -> None:
    """Refuse a secret in an argument as it was typed: Hydra repeats what it can't read.

    Raises:
        ConfigError: naming the key, without its value.
    """
    key, _, text = argument.partition("=")
    key = key.lstrip("+~")
    name = key.rpartition(".")[2]
    if not name.endswith("_env"):  # which may be in quotes, or vary
        _refuse_named(name, text, key)
    _refuse([text] if name in _COMMANDS else text, key)


def _choices(group: str, value: Any, folders: Iterable[Path]) -> Iterator[Any]:
    """Yield what the files say that a grid chooses for a group."""
    names = value if isinstance(value, list) else [value]
    for path in (folder / group / f"{name}.yaml" for folder in folders for name in names):
        with suppress(OSError, ValueError, yaml.YAMLError):  # told where Hydra reads it
            yield yaml.safe_load(path.read_text(encoding="utf-8"))


def _variables(value: Any) -> Iterator[str]:
    """Yield the names of environment variables that settings hold."""
    for name, item in value.items() if isinstance(value, dict) else ():
        if str(name).endswith("_env") and isinstance(item, str):
            yield item
        elif name == "headers" and isinstance(item, dict):
            yield from map(str, item.values())
        yield from _variables(item)


def _refuse(value: Any, where: str) -> None:
    """Refuse a secret in a setting, at any depth."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            key = f"{where}.{name}".removeprefix(".")
            _refuse_named(str(name), item, key)
            _refuse(str(name), f"a key of {where}")
            if name != "headers":
                _refuse(item, key)
    elif isinstance(value, list):
        for before, item in zip([None, *value], value, strict=False):
            command = where.rpartition(".")[2] in _COMMANDS
            if isinstance(item, str) and (
                _ASSIGNED.search(item)
                or _follows(before, item)
                or (command and _HEADER.search(item))
            ):
                raise _fault(where, "an argument that is a secret")
            _refuse(item, where)
    elif isinstance(value, str):
        if _LOGIN.search(value) or _QUERY.search(value):
            raise _fault(where, "a login or a query")
        if redacted(value) != value:
            raise _fault(where, "the value of an environment variable with a key")


def _refuse_named(name: str, value: Any, key: str) -> None:
    """Refuse the value of a setting whose name says that it is a secret, or should be none."""
    named = {name: value} if name.endswith("_env") else value if name == "headers" else None
    for part, variable in named.items() if isinstance(named, Mapping) else ():
        if variable is not None and not _VARIABLE.fullmatch(str(variable)):
            raise ConfigError(
                f"{key if part == name else f'{key}.{part}'} must be the name of an environment "
                f"variable, in capital letters, such as MY_TOKEN: keys and values of headers never "
                f"stand in a configuration."
            )
    given = [text for text in _leaves(value) if text not in ("", "???")]
    words = _OF_TEXT.fullmatch(name) or all(map(_WORD.fullmatch, given))
    maybe = _MAYBE.search(name) and not words
    if given and (_SECRET.search(name) or maybe):
        raise _fault(key, "a secret")
    if _ADDRESS.search(name) and any(re.search(r"[@?#]", text) for text in given):
        raise _fault(key, "a login or a query")


def _leaves(value: Any) -> Iterator[str]:
    """Yield what a setting holds, at any depth, as texts: an address may be a list of several."""
    if isinstance(value, str | int | float):
        yield str(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part)


def _follows(before: Any, item: str) -> bool:
    """Tell whether an argument is the value of ``--api-key`` or the like before it."""
    if before in _LOGINS:
        return ":" in item
    return isinstance(before, str) and bool(_ARGUMENT.fullmatch(before)) and item[:1] != "-"


def _fault(where: str, what: str) -> ConfigError:
    return ConfigError(
        f"{where} holds {what}, which would reach files and logs. Put the key into an environment "
        f"variable and name that, as engine.api_key_env and engine.headers do."
    )
