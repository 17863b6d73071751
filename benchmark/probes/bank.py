"""Stage 5's probes: all features and all settings trained at once, and the choice among them."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import polars as pl
import torch

from benchmark.errors import DataError
from benchmark.probes.features import (
    POOLINGS,
    FeatureSet,
    check_splits,
    feature_names,
    select_feature,
)
from benchmark.probes.probe import TrainedProbe, confidences_of, logits_of
from benchmark.probes.ridge import ridge
from benchmark.probes.settings import ByLightning, ProbeSettings
from benchmark.probes.solver import TOLERANCE, minimise
from benchmark.records import PROBE_SELECTION

_ROUNDING = 1e-6  # a spread below this share of the largest value is float32's rounding
_BATCH_NUMBERS = 2**22  # in the features of a batch: 16 MB in float32


class FeatureBatch(NamedTuple):
    """Some features of all N questions of a split.

    Attributes:
        place: [F], their places in ``feature_names``.
        features: [F, N, D], float32.
        n: [N], responses.
        c: [N], correct ones.
    """

    place: torch.Tensor
    features: torch.Tensor
    n: torch.Tensor
    c: torch.Tensor


class _Bank:
    """Probes for F = L + 2 features (layers, their mean and maximum) times S settings.

    Attributes:
        settings: what is trained; S = ``len(settings.grid)``.
        mean: [F, D], over the training questions.
        scale: [F, D], standard deviation over them; 1 where a column is constant.
        parameters: of ``logits_of``, [F, S, ...], of the standardised features.
        brier: [F, S] of each split, mean of (confidence - c / n)^2; NaN without the split.
    """

    def __init__(self, train: FeatureSet, settings: ProbeSettings, device: str) -> None:
        _, layers, width = train.features.shape
        self.settings, self.step = settings, train.step
        self.names = feature_names(layers, train.step)
        probes = len(self.names), len(settings.grid)
        self.mean = torch.zeros(len(self.names), width, device=device)
        self.scale = torch.ones_like(self.mean)
        self.parameters = {
            "weight": torch.zeros(*probes, width, device=device),
            "bias": torch.zeros(probes, device=device),
        }
        scores = torch.full((3, *probes), math.nan, dtype=torch.float64, device=device)
        self.brier = dict(zip(("train", "validation", "test"), scores, strict=True))

    def standardise(self, batch: FeatureBatch) -> torch.Tensor:
        """Return the features of a batch with the training split's mean and deviation."""
        mean, scale = self.mean[batch.place], self.scale[batch.place]
        return (batch.features - mean[:, None]) / scale[:, None]

    def measure(self, batch: FeatureBatch) -> None:
        """Keep mean and deviation of a training batch's features."""
        scale, mean = torch.std_mean(batch.features, dim=1, correction=0)
        constant = scale <= _ROUNDING * batch.features.abs().amax(dim=1)
        self.mean[batch.place] = mean
        self.scale[batch.place] = torch.where(constant, 1, scale)

    def solve(self, batch: FeatureBatch) -> None:
        """Put the optimum of every strength into the places of a training batch's features."""
        features = self.standardise(batch)
        strengths = torch.tensor(self.settings.strengths, device=features.device)
        solver = ridge if self.settings.optimizer == "closed_form" else minimise
        optimum = solver(features, batch.n, batch.c, strengths)
        missed = (~(optimum.decrement <= TOLERANCE)).nonzero().tolist()
        if missed:
            f, s = missed[0]
            raise DataError(
                f"The probe on {self.names[int(batch.place[f])]} at strength "
                f"{self.settings.strengths[s]} did not reach its optimum (decrement "
                f"{optimum.decrement[f, s].item():.1e}, allowed {TOLERANCE}); leave out the "
                "weakest strengths."
            )
        self.parameters["weight"][batch.place] = optimum.weight
        self.parameters["bias"][batch.place] = optimum.bias

    def score(self, batch: FeatureBatch, split: str) -> None:
        """Score the probes of a batch's features on a split's questions."""
        own = {name: values[batch.place] for name, values in self.parameters.items()}
        logits = logits_of(own, self.standardise(batch)).double()
        error = confidences_of(logits, self.settings.objective) - batch.c.double() / batch.n
        self.brier[split][batch.place] = error.square().mean(dim=-1)

    def chosen(self) -> tuple[int, int]:
        """Return feature and setting of the lowest validation Brier score.

        Among equals the stronger regularisation wins, then the earlier feature and setting.
        """
        scores, grid = self.brier["validation"], self.settings.grid
        best = (scores == scores.min()).nonzero().tolist()
        f, s = min(best, key=lambda pair: (-grid[pair[1]].strength, *pair))
        return f, s

    def selection(self) -> pl.DataFrame:
        """Return all probes as a table of schema ``PROBE_SELECTION``, F * S rows."""
        chosen, scores = self.chosen(), [score.tolist() for score in self.brier.values()]
        rows = [
            (name, *setting, *(score[f][s] for score in scores), (f, s) == chosen)
            for f, name in enumerate(self.names)
            for s, setting in enumerate(self.settings.grid)
        ]
        return pl.DataFrame(rows, schema=PROBE_SELECTION, orient="row")

    def best(self) -> TrainedProbe:
        """Return the chosen probe, on the CPU."""
        f, s = self.chosen()
        return TrainedProbe(
            feature=self.names[f],
            objective=self.settings.objective,
            setting=self.settings.grid[s],
            layers=len(self.names) - len(POOLINGS),
            step=self.step,
            mean=self.mean[f].cpu().clone(),
            scale=self.scale[f].cpu().clone(),
            parameters={name: v[f, s].cpu().clone() for name, v in self.parameters.items()},
            selection=self.selection(),
        )


def train_probe(
    train: FeatureSet,
    validation: FeatureSet,
    settings: ProbeSettings,
    test: FeatureSet | None = None,
    by_steps: ByLightning | None = None,
) -> TrainedProbe:
    """Return the probe, among all features and settings, that is best on the validation split.

    Args:
        train: what the probes are trained on.
        validation: what feature and setting, and the epoch of what is trained by steps, are chosen
            on, by the Brier score against c / n.
        settings: how the probes are trained.
        test: questions that the probe will be evaluated on: all probes are scored on them for the
            table ``selection``, which the choice doesn't see.
        by_steps: what Lightning needs to know, where probes are trained by steps; None takes the
            trainer's defaults, keeps no checkpoint and logs nothing.

    Raises:
        DataError: splits that share questions or do not fit each other, or a probe that could not
            be trained.
        ConfigError: this machine doesn't have the trainer's devices.
    """
    splits = {"training": train, "validation": validation} | ({"test": test} if test else {})
    check_splits(splits)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bank = _Bank(train, settings, device)
    for batch in batches(train, device):
        bank.measure(batch)
        if not settings.by_steps:
            bank.solve(batch)
            bank.score(batch, "train")
    if settings.by_steps:
        _step(bank, train, validation, by_steps or ByLightning())
        for batch in batches(train, device):
            bank.score(batch, "train")
    for name, split in (("validation", validation), ("test", test)):
        for batch in batches(split, device) if split else ():
            bank.score(batch, name)
    return bank.best()


def _step(bank: _Bank, train: FeatureSet, validation: FeatureSet, how: ByLightning) -> None:
    """Train the probes of a bank by steps."""
    from benchmark.probes.data import ProbeData
    from benchmark.probes.module import ProbeModule
    from benchmark.probes.training import fit

    settings, device = bank.settings, bank.mean.device
    rate = ((train.c.sum() + 0.5) / (train.n.sum() + 1)).item()
    module = ProbeModule(settings, bank.mean.cpu(), bank.scale.cpu(), rate)
    data = ProbeData(train, validation, settings.batch_size, settings.seed)
    fit(module, data, how)
    for f, s in module.diverged.nonzero().tolist():
        raise DataError(
            f"The probe on {bank.names[f]} at {settings.grid[s]} left the finite numbers; take "
            "smaller learning rates."
        )
    bank.parameters = {name: tensor.to(device) for name, tensor in module.best().items()}


def batches(split: FeatureSet, device: str = "cpu") -> Iterator[FeatureBatch]:
    """Yield every layer and pooling of a split, as many at a time as memory allows."""
    questions, layers, width = split.features.shape
    n, c = split.n.to(device), split.c.to(device)
    size = max(1, _BATCH_NUMBERS // (questions * width))
    for places in torch.split(torch.arange(len(feature_names(layers))), size):
        features = [select_feature(split.features, place) for place in places.tolist()]
        yield FeatureBatch(places.to(device), torch.stack(features).to(device), n, c)
