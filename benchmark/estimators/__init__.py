"""Stage 5: estimators give each question a confidence, to be compared with its expected accuracy.

An estimator is a dataclass whose fields are its settings, the schema of its file in
``conf/estimator``; ``KINDS`` maps the ``kind`` of such a file to the class. ``recalibrated`` and
``average`` are made of other estimators, whose settings stand inside theirs.
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from benchmark.config.schema import Role, SamplingConfig, typed
from benchmark.errors import ConfigError
from benchmark.estimators.average import Average
from benchmark.estimators.baselines import TFIDF, FamilyMean, QuestionLength, Random, TrainMean
from benchmark.estimators.consistency import Consistency
from benchmark.estimators.estimator import Estimator, roles_of
from benchmark.estimators.oracles import OracleCC, OracleRC
from benchmark.estimators.p_true import PTrue
from benchmark.estimators.probe import Probe
from benchmark.estimators.recalibrated import Recalibrated
from benchmark.estimators.verbalized import Verbalized

__all__ = ["KINDS", "Estimator", "build_estimators", "check_counted", "needed_roles"]

KINDS: dict[str, type[Estimator]] = {
    "random": Random,
    "train_mean": TrainMean,
    "family_mean": FamilyMean,
    "question_length": QuestionLength,
    "tfidf": TFIDF,
    "oracle_cc": OracleCC,
    "oracle_rc": OracleRC,
    "verbalized": Verbalized,
    "p_true": PTrue,
    "consistency": Consistency,
    "probe": Probe,
    "recalibrated": Recalibrated,
    "average": Average,
}


def build_estimators(
    entries: Mapping[str, Mapping[str, Any]], sampling: SamplingConfig
) -> dict[str, Estimator]:
    """Return the estimators of ``conf/estimator`` entries by name.

    Raises:
        ConfigError: an unknown kind or key, or a setting that so few responses don't allow.
    """
    limits = {"sampling.k": sampling.k}
    return {
        name: _built(entry, f"estimator.{name}", limits, sampling)
        for name, entry in entries.items()
    }


def _built(
    entry: object, where: str, limits: Mapping[str, int], sampling: SamplingConfig
) -> Estimator:
    """Return the estimator of an entry, with those that it is made of.

    Args:
        entry: its settings.
        where: names them.
        limits: responses per question of the splits that it is evaluated or fitted on, by setting.
        sampling: has those of the others.
    """
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}={entry} must be an estimator's settings, with its kind.")
    kind = str(entry.get("kind"))
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS) or sorted(KINDS)
        raise ConfigError(f"{where}.kind={kind} is unknown; choose one of {near}.")
    estimator = typed(dict(entry), KINDS[kind], where)
    if isinstance(estimator, Recalibrated):
        limits = {**limits, "sampling.k_train": sampling.k_train}
        estimator.base = _built(estimator.base, f"{where}.base", limits, sampling)
    elif isinstance(estimator, Average):
        estimator.of = {
            name: _built(part, f"{where}.of.{name}", limits, sampling)
            for name, part in estimator.of.items()
        }
    _check_target(estimator, where, limits)
    return estimator  # type: ignore[no-any-return]


def _check_target(estimator: Estimator, where: str, limits: Mapping[str, int]) -> None:
    """Refuse an estimator that reads all responses of a question."""
    for setting in ("m", "responses"):
        used = getattr(estimator, setting, 0)
        for limit, k in limits.items():
            if used >= k:
                raise ConfigError(
                    f"{where}.{setting}={used} is not allowed: it must be below {limit}={k}, since "
                    f"the other responses are the target."
                )


def needed_roles(estimators: Mapping[str, Estimator]) -> list[Role]:
    """Return the splits that the estimators need, evaluation first."""
    return ["evaluation", *(r for r in roles_of(estimators.values()) if r != "evaluation")]


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
            enough = sorted(k for k, c in KINDS.items() if c.counts_suffice)
            raise ConfigError(
                f"estimator.{name} needs the model or its responses, and dataset=counts has "
                f"neither; choose among {enough}, or give its confidences as a column."
            )
        if name in columns:
            raise ConfigError(
                f"estimator.{name} is named like a column of dataset.path; rename the column, or "
                f"leave the estimator out."
            )
