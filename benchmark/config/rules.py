"""The rules that settings keep, each with the message that a user reads where one is broken."""

from benchmark.errors import ConfigError


def require(holds: bool, key: str, value: object, rule: str) -> None:
    """Refuse a value that breaks a rule, unless it ``holds``."""
    if not holds:
        raise ConfigError(f"{key}={value} is not allowed: it must be {rule}.")


def at_least(least: int, node: object, where: str, *names: str) -> None:
    """Refuse fields of a node that are below ``least``."""
    for name in names:
        value = getattr(node, name)
        require(value >= least, f"{where}.{name}", value, f"at least {least}")


def one_of(allowed: tuple[str, ...], node: object, where: str, name: str) -> None:
    """Refuse a field of a node that has none of the allowed values."""
    value = getattr(node, name)
    require(value in allowed, f"{where}.{name}".removeprefix("."), value, f"one of {allowed}")
