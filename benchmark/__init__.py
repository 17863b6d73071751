"""capcal: a benchmark harness for the capability calibration of language models.

The modules stand in the order of the data's path: questions, sampling, grading, capability,
estimators, metrics, applications, report. ``runs`` runs them, ``store`` keeps what they make.

``load_cell``, ``grade_text`` and ``CapabilityProbe`` are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.cell.saved import load_cell
    from benchmark.grading import grade_text
    from benchmark.probes import CapabilityProbe

__all__ = ["CapabilityProbe", "grade_text", "load_cell"]

_PLACES = {
    "load_cell": "benchmark.cell.saved",
    "grade_text": "benchmark.grading",
    "CapabilityProbe": "benchmark.probes",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
