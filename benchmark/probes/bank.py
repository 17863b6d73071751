"""Stage 5's probes: linear, for all layers and strengths at once, and the choice among them."""

import logging
import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import polars as pl
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from benchmark.errors import ConfigError, DataError
from benchmark.probes.data import FeatureBatch, ProbeData
from benchmark.probes.features import FeatureSet, feature_names
from benchmark.probes.probe import TrainedProbe
from benchmark.probes.solver import TOLERANCE, minimise
from benchmark.records import PROBE_SELECTION

_WEAKEST = 1e-12  # below it float64 can't tell the ridge from rounding
_ROUNDING = 1e-6  # a spread below this share of the largest value is float32's rounding


class ProbeBank(LightningModule):  # type: ignore[misc]
    """Linear probes for F = L + 1 features (layers, mean over layers) times S L2 strengths.

    The objective is convex (see ``solver``), so one pass over the features trains all probes to
    their optimum, each feature standardised with the training split's mean and deviation.

    Attributes:
        strengths: S strengths.
        weight: [F, S, D], of the standardised features.
        bias: [F, S].
        mean: [F, D], over the training questions.
        scale: [F, D], standard deviation over them; 1 where a column is constant.
        train_brier: [F, S], mean of (confidence - c / n)^2 over the training questions.
        validation_brier: [F, S], the same over the validation questions; what is chosen by.

    Raises:
        ConfigError: no strengths, one twice, or one that is not finite or below 1e-12.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    train_brier: torch.Tensor
    validation_brier: torch.Tensor

    def __init__(self, layers: int, width: int, strengths: Sequence[float]) -> None:
        super().__init__()
        wrong = [s for s in strengths if not (math.isfinite(s) and s >= _WEAKEST)]
        if wrong or not strengths or len(set(strengths)) < len(strengths):
            raise ConfigError(
                f"Probe strengths are {list(strengths)}; expected at least one, all different, "
                f"finite and not below {_WEAKEST}."
            )
        self.automatic_optimization = False
        self.strengths = [float(s) for s in strengths]
        self.names = feature_names(layers)
        shape = (layers + 1, len(strengths))
        self.weight = nn.Parameter(torch.zeros(*shape, width), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(shape), requires_grad=False)
        self.register_buffer("mean", torch.zeros(layers + 1, width))
        self.register_buffer("scale", torch.ones(layers + 1, width))
        self.register_buffer("train_brier", torch.full(shape, math.nan, dtype=torch.float64))
        self.register_buffer("validation_brier", torch.full(shape, math.nan, dtype=torch.float64))

    def configure_optimizers(self) -> None:
        """Return none: a training step ends at the optimum."""

    def training_step(self, batch: FeatureBatch) -> None:
        """Standardise the features of a batch and train all probes on them.

        Raises:
            DataError: a probe did not reach its optimum.
        """
        place = batch.position
        self.mean[place], self.scale[place] = _standardisation(batch.features)
        strengths = torch.tensor(self.strengths, device=batch.features.device)
        optimum = minimise(self._standardise(batch), batch.n, batch.c, strengths)
        solved = optimum.decrement <= TOLERANCE
        if not solved.all():
            f, s = (~solved).nonzero()[0].tolist()
            raise DataError(
                f"The probe on {self.names[int(place[f])]} at strength {self.strengths[s]} did not "
                f"reach its optimum (decrement {optimum.decrement[f, s].item():.1e}, allowed "
                f"{TOLERANCE}); leave out the weakest strengths."
            )
        self.weight[place], self.bias[place] = optimum.weight, optimum.bias
        self.train_brier[place] = self._brier(batch)

    def validation_step(self, batch: FeatureBatch) -> None:
        """Score the probes of a batch's features on the validation questions."""
        self.validation_brier[batch.position] = self._brier(batch)

    def _standardise(self, batch: FeatureBatch) -> torch.Tensor:
        mean, scale = self.mean[batch.position], self.scale[batch.position]
        return (batch.features - mean[:, None]) / scale[:, None]

    def _brier(self, batch: FeatureBatch) -> torch.Tensor:
        logits = self.weight[batch.position] @ self._standardise(batch).mT
        confidence = (logits + self.bias[batch.position][..., None]).double().sigmoid()
        return (confidence - batch.c.double() / batch.n.double()).square().mean(dim=-1)

    def chosen(self) -> tuple[int, int]:
        """Return feature and strength of the lowest validation Brier score.

        Among equals the stronger regularisation wins, then the earlier layer.
        """
        best = (self.validation_brier == self.validation_brier.min()).nonzero().tolist()
        f, s = min(best, key=lambda pair: (-self.strengths[pair[1]], pair[0]))
        return f, s

    def selection(self) -> pl.DataFrame:
        """Return all probes as a table of schema ``PROBE_SELECTION``, F * S rows."""
        chosen = self.chosen()
        rows = [
            (name, strength, *scores, (f, s) == chosen)
            for f, name in enumerate(self.names)
            for s, strength in enumerate(self.strengths)
            for scores in [(self.train_brier[f, s].item(), self.validation_brier[f, s].item())]
        ]
        return pl.DataFrame(rows, schema=PROBE_SELECTION, orient="row")

    def best(self) -> TrainedProbe:
        """Return the chosen probe, on the CPU."""
        f, s = self.chosen()
        return TrainedProbe(
            feature=self.names[f],
            strength=self.strengths[s],
            layers=len(self.names) - 1,
            weight=self.weight[f, s].cpu().clone(),
            bias=self.bias[f, s].cpu().clone(),
            mean=self.mean[f].cpu().clone(),
            scale=self.scale[f].cpu().clone(),
            selection=self.selection(),
        )


def train_probe(
    train: FeatureSet,
    validation: FeatureSet,
    strengths: Sequence[float],
    seed: int = 0,
    test_ids: Collection[str] = (),
) -> TrainedProbe:
    """Return the probe, among all layers and strengths, that is best on the validation split.

    Args:
        train: what the probes are trained on.
        validation: what layer and strength are chosen on, by the Brier score against c / n.
        strengths: of the L2 penalty strength / 2 |w|^2 beside the mean loss per response, on
            standardised features.
        seed: of the generators in training; the optimum is unique and does not depend on it.
        test_ids: questions that the probe will be evaluated on.

    Raises:
        ConfigError: strengths that are not positive.
        DataError: splits that share questions or do not fit each other.
    """
    data = ProbeData(train, validation, test_ids)
    _, layers, width = train.features.shape
    bank = ProbeBank(layers, width, strengths)
    with _quiet(), isolate_rng():
        torch.manual_seed(seed)
        trainer = Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=1,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            plugins=[LightningEnvironment()],  # a SLURM job's variables are not for this training
        )
        trainer.fit(bank, datamodule=data)
    return bank.best()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's remarks on devices, workers and optimisers out of the terminal."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)


def _standardisation(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and scale [F, D] over the questions of ``features`` [F, N, D]."""
    scale, mean = torch.std_mean(features, dim=1, correction=0)
    constant = scale <= _ROUNDING * features.abs().amax(dim=1)
    return mean, torch.where(constant, 1, scale)
