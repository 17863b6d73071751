"""Stage 5: estimators give each question a confidence, to be compared with its expected accuracy.

An estimator is a dataclass whose fields are its settings, the schema of its file in
``conf/estimator``; ``KINDS`` maps the ``kind`` of such a file to the class.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from benchmark.cell import Cell
from benchmark.config import ROLES, Role, typed
from benchmark.errors import ConfigError
from benchmark.estimators.baselines import FamilyMean, Random
from benchmark.estimators.consistency import Consistency
from benchmark.estimators.oracles import OracleCC, OracleRC
from benchmark.estimators.p_true import PTrue
from benchmark.estimators.probe import Probe
from benchmark.estimators.verbalized import Verbalized
from benchmark.records import Estimate

KINDS: dict[str, type] = {
    "random": Random,
    "family_mean": FamilyMean,
    "oracle_cc": OracleCC,
    "oracle_rc": OracleRC,
    "verbalized": Verbalized,
    "p_true": PTrue,
    "consistency": Consistency,
    "probe": Probe,
}


class Estimator(Protocol):
    """Gives each evaluation question of a cell a confidence.

    A class may say ``roles``, the splits it needs beside evaluation (default none),
    ``hidden_states``, whether it reads them, and ``counts_suffice``, whether it needs no more than
    the questions and their grades (default False).
    """

    def estimate(self, cell: Cell) -> Estimate:
        """Return the confidences, asking the cell for what they are made of."""


def build_estimators(entries: Mapping[str, Mapping[str, Any]], k: int) -> dict[str, Estimator]:
    """Return the estimators of ``conf/estimator`` entries by name.

    Raises:
        ConfigError: an unknown kind or key, or a setting that k responses don't allow.
    """
    estimators: dict[str, Estimator] = {}
    for name, entry in entries.items():
        kind = entry.get("kind")
        if kind not in KINDS:
            raise ConfigError(f"estimator.{name}.kind={kind} is unknown; known: {sorted(KINDS)}.")
        estimator = typed(dict(entry), KINDS[kind], f"estimator.{name}")
        if isinstance(estimator, Consistency) and not 2 <= estimator.m < k:
            raise ConfigError(
                f"estimator.{name}.m={estimator.m} is not allowed: it must be at least 2 and below "
                f"sampling.k={k}, since the other responses are the target."
            )
        estimators[name] = estimator
    return estimators


def needed_roles(estimators: Mapping[str, Estimator]) -> list[Role]:
    """Return the splits that the estimators need, evaluation first."""
    needed = {role for e in estimators.values() for role in getattr(e, "roles", ())}
    return [role for role in ROLES if role == "evaluation" or role in needed]
