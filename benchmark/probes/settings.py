"""What a probe is and how it is trained: the schema of ``conf/probe``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmark.config.schema import TrackerConfig
from benchmark.config.trainer import TrainerConfig
from benchmark.errors import ConfigError

_WEAKEST = 1e-12  # below it float64 can't tell the ridge from rounding
_STRONGEST = 1e12  # long before it all weights are 0
OPTIMIZERS = {  # by architecture and objective, the default first
    ("linear", "binomial"): ("lbfgs", "adamw", "sgd"),
    ("linear", "squared"): ("closed_form", "adamw", "sgd"),
    ("mlp", "binomial"): ("adamw", "sgd"),
    ("mlp", "squared"): ("adamw", "sgd"),
}
OBJECTIVES = frozenset(objective for _, objective in OPTIMIZERS)


class Setting(NamedTuple):
    """One point of the grid of hyper-parameters."""

    strength: float
    learning_rate: float | None  # None for full batch


@dataclass
class ProbeSettings:
    """How probes are trained; every strength with every learning rate is tried on every feature.

    Attributes:
        architecture: linear, or mlp with one hidden layer of ``hidden`` rectified units.
        objective: binomial (likelihood of c correct among n responses) or squared (error against
            c / n).
        optimizer: lbfgs and closed_form end at the optimum; adamw and sgd train by steps, with
            ``TrainerConfig``. None takes lbfgs for linear probes (closed_form for squared), adamw
            for an mlp.
        strengths: strengths of the L2 penalty strength / 2 |w|^2 beside the mean loss per response,
            on standardised features; the decoupled weight decay of adamw.
        learning_rates: learning rates of adamw and sgd.
        batch_size: number of questions of a step of adamw or sgd on each device.
        momentum: momentum of sgd, in [0, 1).
        patience: number of epochs of adamw or sgd without a lower validation Brier score after
            which a probe stops; each keeps the epoch of its lowest.
        hidden: number of units of the hidden layer.
        seed: seed of the order of batches and of an mlp's first weights.

    Raises:
        ConfigError: a value out of range, or an optimizer that can't train the probe.
    """

    architecture: str = "linear"
    objective: str = "binomial"
    optimizer: str | None = None
    strengths: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    batch_size: int = 32
    momentum: float = 0.9
    patience: int = 10
    hidden: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what can't be trained."""
        kind = (self.architecture, self.objective)
        if kind not in OPTIMIZERS:
            known = [" ".join(kind) for kind in OPTIMIZERS]
            raise ConfigError(
                f"probe: architecture={self.architecture}, objective={self.objective}; choose one "
                f"of {known}."
            )
        self.optimizer = self.optimizer or OPTIMIZERS[kind][0]
        if self.optimizer not in OPTIMIZERS[kind]:
            raise ConfigError(
                f"probe: optimizer={self.optimizer} doesn't train a probe with "
                f"architecture={kind[0]} and objective={kind[1]}; choose one of "
                f"{list(OPTIMIZERS[kind])}."
            )
        least = 0.0 if self.by_steps else _WEAKEST
        _check_grid("strengths", self.strengths, least)
        if self.by_steps:
            _check_grid("learning_rates", self.learning_rates, _WEAKEST)
        for name in ("batch_size", "patience", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"probe: {name}={getattr(self, name)} must be at least 1.")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"probe: momentum={self.momentum} must be in [0, 1).")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"probe: seed={self.seed} must be at least 0 and below 2^63.")

    @property
    def by_steps(self) -> bool:
        """Whether the optimizer takes mini-batch steps of a given length."""
        return self.optimizer in ("adamw", "sgd")

    @property
    def grid(self) -> list[Setting]:
        """The settings that are tried, S of them."""
        rates = self.learning_rates if self.by_steps else [None]
        return [Setting(float(s), rate) for s in self.strengths for rate in rates]


@dataclass(frozen=True)
class ByLightning:
    """How Lightning trains, and what it leaves.

    Attributes:
        trainer: settings of its trainer.
        folder: of a checkpoint, from which a killed training goes on; it must be named by what
            decides the probes: splits, settings and trainer. None for none.
        tracker: where losses and scores are logged; W&B's files go below ``folder/wandb``.
        group: of the run in W&B.
    """

    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    folder: Path | None = None
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    group: str | None = None


def _check_grid(name: str, values: list[float] | None, least: float) -> None:
    wrong = [value for value in values or [] if not least <= value <= _STRONGEST]
    if wrong or not values or len(set(values)) < len(values):
        raise ConfigError(
            f"probe: {name}={values}; expected at least one, all different, from {least:g} to "
            f"{_STRONGEST:g}."
        )
