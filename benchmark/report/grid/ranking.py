"""Stage 8: which estimators of a cell stand out, as far as paired differences support it."""

from collections.abc import Callable, Mapping

from benchmark.records import CellResult

LEVEL = 0.05  # of the Holm-adjusted p-value below which two estimators are told apart


def ranks(cell: CellResult, metric: str, among: list[str] | None = None) -> dict[str, str]:
    return {}


def ranked(losses: Mapping[str, float], apart: Callable[[str, str], bool]) -> dict[str, str]:
    """Return ``best`` or ``runner-up`` for the estimators that deserve it.

    Best are the estimator of the lowest loss and all that aren't told apart from it; of the others,
    runners-up are the one of the lowest loss and all that aren't told apart from that one. So each
    best one is told apart from no other best one, and nobody is runner-up by chance alone.

    Args:
        losses: of each estimator; lower is better.
        apart: whether a paired difference tells two estimators apart.

    Examples:
        >>> close = {("a", "b"), ("c", "d")}
        >>> ranked({"c": 3, "a": 1, "b": 2, "d": 4, "e": 9}, lambda *pair: pair not in close)
        {'a': 'best', 'b': 'best', 'c': 'runner-up', 'd': 'runner-up'}
    """
    order = sorted(losses, key=lambda name: losses[name])
    found: dict[str, str] = {}
    for rank in ("best", "runner-up"):
        left = [name for name in order if name not in found]
        if len(left) + len(found) < 2:
            break
        first = next(iter(left), None)
        found |= {name: rank for name in left if name == first or not apart(str(first), name)}
    return found
