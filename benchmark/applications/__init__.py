"""Stage 7: what a capability-calibrated confidence is good for.

An application is a dataclass whose fields are its settings, the schema of its file in
``conf/application``; ``KINDS`` maps the ``kind`` of such a file to the class. What it computes is
done by pure functions on arrays, which are exported here for use without the pipeline.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Protocol

import polars as pl

from benchmark.applications.abstention.abstention import Abstention, validation_half
from benchmark.applications.abstention.aurc import (
    accuracy_at_coverage,
    answered_at,
    aurc,
    excess_aurc,
    lowest_threshold,
    normalised_aurc,
    risk_coverage_curve,
)
from benchmark.applications.adaptive import Adaptive
from benchmark.applications.application import Study
from benchmark.applications.budget.budget import Budget, budget_table
from benchmark.applications.budget.greedy_allocation import (
    allocation_value,
    greedy_budget_allocation,
    solved_probability,
)
from benchmark.applications.pass_at_k import (
    PassAtK,
    pass_at_k_extrapolation_table,
    pass_at_k_table,
    simulate_pass_at_k,
    simulate_question_pass_at_k,
    unbiased_pass_at_k,
)
from benchmark.applications.routing.cascade import Routed, RoutedModel, route, tune_thresholds
from benchmark.applications.routing.frontier import (
    Frontier,
    concave_frontier,
    mean_accuracy,
    oracle_frontier,
)
from benchmark.applications.routing.routing import Routing
from benchmark.config.schema import typed
from benchmark.errors import ConfigError
from benchmark.records import CellResult
from benchmark.statistics.beta_binomial import extrapolate_pass_at_k, fit_beta_binomial

__all__ = [
    "KINDS",
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
    "allocation_value",
    "answered_at",
    "aurc",
    "budget_table",
    "build_applications",
    "concave_frontier",
    "excess_aurc",
    "extrapolate_pass_at_k",
    "fit_beta_binomial",
    "greedy_budget_allocation",
    "lowest_threshold",
    "mean_accuracy",
    "normalised_aurc",
    "oracle_frontier",
    "pass_at_k_extrapolation_table",
    "pass_at_k_table",
    "risk_coverage_curve",
    "route",
    "simulate_pass_at_k",
    "simulate_question_pass_at_k",
    "solved_probability",
    "tune_thresholds",
    "unbiased_pass_at_k",
    "validation_half",
]

KINDS: dict[str, type] = {
    "pass_at_k": PassAtK,
    "budget": Budget,
    "abstention": Abstention,
    "routing": Routing,
    "adaptive": Adaptive,
}


class Application(Protocol):
    """Puts the confidences of a cell to use."""

    def evaluate(self, result: CellResult, study: Study) -> dict[str, pl.DataFrame]:
        """Return tables by a name of their own, of schemas in ``records``."""


def build_applications(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Application]:
    """Return the applications of ``conf/application`` entries by name.

    Raises:
        ConfigError: an unknown kind or key, a setting out of range, or two entries of one kind,
            whose tables would have the same names.
    """
    applications: dict[str, Application] = {}
    for name, entry in entries.items():
        if not isinstance(entry, Mapping):
            raise ConfigError(f"application.{name}={entry} must be its settings, with its kind.")
        kind = str(entry.get("kind"))
        if kind not in KINDS:
            near = get_close_matches(kind, KINDS) or sorted(KINDS)
            raise ConfigError(f"application.{name}.kind={kind} is unknown; choose one of {near}.")
        application = typed(dict(entry), KINDS[kind], f"application.{name}")
        for other, made in applications.items():
            if type(made) is type(application):
                raise ConfigError(
                    f"application.{other} and application.{name} are both of kind {kind} and would "
                    f"make the same tables; leave one out, and give the other's settings in a run "
                    f"of its own."
                )
        applications[name] = application
    return applications
