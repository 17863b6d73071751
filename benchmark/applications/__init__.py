"""Stage 7: what a capability-calibrated confidence is good for.

An application is a dataclass whose fields are its settings, the schema of its file in
``conf/application``, which names it as ``_target_``. What it computes is done by pure functions on
arrays, which are exported here for use without the pipeline.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import polars as pl

from benchmark.applications.abstention.abstention import Abstention, validation_half
from benchmark.applications.abstention.aurc import (
    accuracy_at_coverage,
    answered_at,
    aurc,
    lowest_threshold,
    normalised_aurc,
)
from benchmark.applications.adaptive import Adaptive
from benchmark.applications.application import Study
from benchmark.applications.budget.budget import Budget
from benchmark.applications.budget.greedy_allocation import (
    greedy_budget_allocation,
    solved_probability,
)
from benchmark.applications.pass_at_k import (
    PassAtK,
    simulate_pass_at_k,
    unbiased_pass_at_k,
)
from benchmark.applications.routing.cascade import Routed, RoutedModel, route, tune_thresholds
from benchmark.applications.routing.frontier import (
    Frontier,
    mean_accuracy,
    oracle_frontier,
)
from benchmark.applications.routing.routing import Routing
from benchmark.config.build import build_all
from benchmark.errors import ConfigError
from benchmark.records import CellResult
from benchmark.statistics.beta_binomial import extrapolate_pass_at_k, fit_beta_binomial

__all__ = [
    "Abstention",
    "Adaptive",
    "Application",
    "Budget",
    "Frontier",
    "PassAtK",
    "Routed",
    "RoutedModel",
    "Routing",
    "Study",
    "accuracy_at_coverage",
    "answered_at",
    "aurc",
    "build_applications",
    "extrapolate_pass_at_k",
    "fit_beta_binomial",
    "greedy_budget_allocation",
    "lowest_threshold",
    "mean_accuracy",
    "normalised_aurc",
    "oracle_frontier",
    "route",
    "simulate_pass_at_k",
    "solved_probability",
    "tune_thresholds",
    "unbiased_pass_at_k",
    "validation_half",
]


class Application(Protocol):
    """Puts the confidences of a cell to use.

    A class outside of the harness may have ``draw(result)``, which returns the figure of its table
    as a ``report.figures.axes.Drawing``.
    """

    def evaluate(self, result: CellResult, study: Study) -> dict[str, pl.DataFrame]:
        """Return tables by a name of their own, of schemas in ``records``."""


def build_applications(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Application]:
    """Return the applications of ``conf/application`` entries by name.

    Raises:
        ConfigError: an unknown class or key, a setting out of range, or two entries of one class,
            whose tables would have the same names.
    """
    applications: dict[str, Application] = build_all(entries, "application", "evaluate")
    names: dict[type, str] = {}
    for name, application in applications.items():
        other = names.setdefault(type(application), name)
        if other != name:
            raise ConfigError(
                f"application.{other} and application.{name} are both {type(application).__name__} "
                f"and would make the same tables; leave one out, and give the other's settings in "
                f"a run of its own."
            )
    return applications
