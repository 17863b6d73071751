"""The one way from an entry of the configuration to an object: ``_target_`` names its class.

Only configuration that a user composed is built so. What comes from elsewhere, such as the card of
a probe, names no class.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from inspect import isabstract
from types import ModuleType
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.config.schema import near_names, typed
from benchmark.errors import ConfigError

TARGET = "_target_"
_SLOW = ("estimator", "application")  # groups whose classes take seconds to import


def build(entry: object, where: str, method: str) -> Any:
    """Return the object of an entry: an instance of its class, made from its other keys.

    An entry inside the entry, at any depth of mappings and lists, is of the same kind and is built
    into its place, unless the field's metadata say ``entries: kept``.

    Args:
        entry: a mapping with the dotted path of a dataclass as ``_target_``; the other keys are the
            fields of that class.
        where: key of the entry, for messages.
        method: name of a method that every class of this kind has, such as ``estimate``.

    Raises:
        ConfigError: no such module or class, a class of another kind, or a key or a value that it
            doesn't take.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get(TARGET), str):
        raise ConfigError(
            f"{where}={entry} must be settings with the class that they are for: "
            f"{where}.{TARGET}=package.module.Class, a dataclass with the method {method}."
        )
    target, key = str(entry[TARGET]), f"{where}.{TARGET}"
    found = _found(target, key)
    if not (isinstance(found, type) and is_dataclass(found)) or isabstract(found):
        raise ConfigError(f"{key}={target} must be a dataclass that leaves no method abstract.")
    if not callable(getattr(found, method, None)):
        raise ConfigError(f"{key}={target} must have the method '{method}', as its kind does.")
    made = typed({name: value for name, value in entry.items() if name != TARGET}, found, where)
    for part in fields(found):
        if part.metadata.get("entries") == "kept":
            continue
        value = getattr(made, part.name)
        built = _inside(value, f"{where}.{part.name}", method)
        if built is not value:
            setattr(made, part.name, built)
    return made


def build_all(entries: object, where: str, method: str) -> dict[str, Any]:
    """Return the objects of a group's entries by name; a ``ConfigError`` as ``build``."""
    if not isinstance(entries, Mapping):
        raise ConfigError(f"{where}={entries} must hold entries by name.")
    for name, entry in entries.items():
        if isinstance(entry, Mapping) and TARGET not in entry:
            near = near_names(str(name), [n for n in entries if n != name])
            raise ConfigError(
                f"{where}.{name}={entry} names no class as {where}.{name}.{TARGET}.{near}"
            )
    return {name: build(entry, f"{where}.{name}", method) for name, entry in entries.items()}


def with_schemas(node: DictConfig) -> dict[str, Any]:
    """Return the nodes by key, those of entries that name a class typed as the class says.

    An entry that is wrong stays as it is: ``build`` refuses it. So do estimators and applications.
    """
    if node._is_none() or node._is_missing():
        return {}
    parts = {str(name): node._get_node(name) for name in node}
    return {
        name: with_schemas(_typed(part))
        if isinstance(part, DictConfig) and not part._is_interpolation() and name not in _SLOW
        else part
        for name, part in parts.items()
    }


def _typed(node: DictConfig) -> DictConfig:
    if node._is_none() or node._is_missing() or TARGET not in node:
        return node
    given: Any = OmegaConf.to_container(node)
    try:
        found = _found(given.pop(TARGET), "")
        typed_node: Any = OmegaConf.merge(OmegaConf.structured(found), given)
    except (ConfigError, OmegaConfBaseException, ValueError, TypeError, AttributeError):
        return node
    return cast(DictConfig, typed_node)


def dotted_path(of: type) -> str:
    """Return what ``_target_`` says for a class."""
    return f"{of.__module__}.{of.__qualname__}"


def _inside(value: Any, where: str, method: str) -> Any:
    """Return the value with the entries in it built; the same object where there is none."""
    if isinstance(value, Mapping):
        if TARGET in value:
            return build(value, where, method)
        items = {name: _inside(item, f"{where}.{name}", method) for name, item in value.items()}
        return items if any(items[name] is not value[name] for name in items) else value
    if isinstance(value, list):
        parts = [_inside(item, f"{where}[{index}]", method) for index, item in enumerate(value)]
        return parts if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    return value


def _found(target: str, key: str) -> object:
    """Return what a dotted path names; a ``ConfigError`` gives the names that are near to it."""
    module, _, name = target.rpartition(".")
    if not module or not all(part.isidentifier() for part in target.split(".")):
        raise ConfigError(f"{key}={target} must be written as package.module.Class.")
    _refuse_absent(module, key, target)
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # of whatever kind its code raises
        raise ConfigError(
            f"{key}={target}: importing {module} fails with {type(error).__name__}: {error}"
        ) from error
    if not hasattr(imported, name):
        near = near_names(name, [n for n, item in vars(imported).items() if isinstance(item, type)])
        raise ConfigError(f"{key}={target}: the module {module} has no class '{name}'.{near}")
    return getattr(imported, name)


def _refuse_absent(module: str, key: str, target: str) -> None:
    """Refuse a module that isn't there, with the names of its neighbours."""
    package: ModuleType | None = None
    for end in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:end])
        try:
            if find_spec(name) is not None:
                package = importlib.import_module(name) if name != module else None
                continue
        except Exception as error:  # of whatever kind the code of a package raises
            raise ConfigError(
                f"{key}={target}: importing {name} fails with {type(error).__name__}: {error}"
            ) from error
        beside = getattr(package, "__path__", None)
        near = near_names(name.rpartition(".")[2], [m.name for m in pkgutil.iter_modules(beside)])
        raise ConfigError(
            f"{key}={target}: there is no module '{name}'.{near} A module of your own must be "
            f"installed, or lie in the current folder or in one that PYTHONPATH names."
        )
