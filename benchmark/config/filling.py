"""Fills the places of a wording, such as ``{question}``."""

import re
from collections.abc import Mapping


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return the template with every place in it filled; what it is filled with stays as it is.

    Examples:
        >>> filled("{a}, box{{b}}, {c}", {"a": "{b}", "b": "0.5"})
        '{b}, box{0.5}, {c}'
    """
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), template)
