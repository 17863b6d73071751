"""Stage 5: estimators give each question a confidence, to be compared with its expected accuracy.

An estimator is a dataclass whose fields are its settings, the schema of its file in
``conf/estimator``, which names it as ``_target_``. ``recalibrated`` and ``average`` are made of
other estimators, whose settings stand inside theirs.
"""

from collections.abc import Collection, Mapping
from typing import Any

from benchmark.config.build import build_all
from benchmark.config.schema import DatasetConfig, Role, SamplingConfig
from benchmark.errors import ConfigError
from benchmark.estimators.estimator import Estimator, roles_of
from benchmark.estimators.recalibrated import Recalibrated

__all__ = ["Estimator", "build_estimators", "check_counted", "check_splits", "needed_roles"]


def build_estimators(
    entries: Mapping[str, Mapping[str, Any]], sampling: SamplingConfig
) -> dict[str, Estimator]:
    """Return the estimators of ``conf/estimator`` entries by name.

    Raises:
        ConfigError: an unknown class or key, or a setting that so few responses don't allow.
    """
    estimators: dict[str, Estimator] = build_all(entries, "estimator", "estimate")
    for name, estimator in estimators.items():
        _check_target(estimator, f"estimator.{name}", {"sampling.k": sampling.k}, sampling)
    return estimators


def _check_target(
    estimator: Estimator, where: str, limits: Mapping[str, int], sampling: SamplingConfig
) -> None:
    """Refuse an estimator that reads all responses of a question, also inside of another one.

    ``limits`` are the responses per question that there are, by the setting that says so.
    """
    if not hasattr(estimator, "estimate"):  # inside of another one, where anything may stand
        raise ConfigError(f"{where}={estimator} must be an estimator's settings, with _target_.")
    if not isinstance(estimator, Estimator):
        raise ConfigError(
            f"{where}._target_ names {type(estimator).__name__}, which doesn't inherit "
            f"benchmark.estimators.Estimator. Let it: the class says what else runs ask of it."
        )
    for setting, used in estimator.reads.items():
        for limit, k in limits.items():
            if used >= k:
                raise ConfigError(
                    f"{where}.{setting}={used} is not allowed: it must be below {limit}={k}, since "
                    f"the other responses are the target."
                )
    if isinstance(estimator, Recalibrated):  # its curve is fitted on training counts
        limits = {**limits, "sampling.k_train": sampling.k_train}
    for place, part in estimator.parts.items():
        _check_target(part, f"{where}{place}", limits, sampling)


def needed_roles(estimators: Mapping[str, Estimator]) -> list[Role]:
    """Return the splits that the estimators need, evaluation first."""
    return ["evaluation", *(r for r in roles_of(estimators.values()) if r != "evaluation")]


def check_splits(estimators: Mapping[str, Estimator], dataset: DatasetConfig) -> None:
    """Refuse estimators that need a split which the dataset lacks.

    Raises:
        ConfigError: naming estimator and split.
    """
    for name, estimator in estimators.items():
        for role in roles_of([estimator]):
            if role not in dataset.splits:
                raise ConfigError(
                    f"estimator.{name} needs {role} questions, which dataset={dataset.name} lacks: "
                    f"leave the estimator out, or give the dataset a split for {role}."
                )


def check_counted(estimators: Mapping[str, Estimator], columns: Collection[str]) -> None:
    """Refuse estimators that a file of counts can't serve.

    Args:
        estimators: of the cell.
        columns: of confidences, which the file holds.

    Raises:
        ConfigError: an estimator needs more than counts, or is named like a column.
    """
    for name, estimator in estimators.items():
        if not estimator.counts_suffice:
            raise ConfigError(
                f"estimator.{name} needs the model or its responses, and dataset=counts has "
                f"neither; choose among random, oracle_cc and oracle_rc, or give its confidences "
                f"as a column."
            )
        if name in columns:
            raise ConfigError(
                f"estimator.{name} is named like a column of dataset.path; rename the column, or "
                f"leave the estimator out."
            )
