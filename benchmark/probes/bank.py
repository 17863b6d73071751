"""Stage 5's probes: all features and all settings trained at once, and the choice among them."""

import logging
import math
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from benchmark.errors import DataError
from benchmark.probes.data import FeatureBatch, ProbeData
from benchmark.probes.descent import descend, logits_of
from benchmark.probes.features import POOLINGS, FeatureSet, feature_names
from benchmark.probes.probe import PARAMETERS, TrainedProbe, confidences_of
from benchmark.probes.settings import ProbeSettings
from benchmark.probes.solver import TOLERANCE, draw_pairs, minimise, ridge
from benchmark.records import PROBE_SELECTION

_ROUNDING = 1e-6  # a spread below this share of the largest value is float32's rounding
_SCALING = 1e-6  # strength of the regression that turns a ranking's scores into confidences
_SPLITS = ("train", "validation", "test")


class ProbeBank(LightningModule):  # type: ignore[misc]
    """Probes for F = L + 2 features (layers, their mean and maximum) times S settings.

    A training step trains all probes of the features in a batch to their end, each feature
    standardised with the training split's mean and deviation, so that one pass over the features
    is all the training there is.

    Attributes:
        settings: what is trained; S = ``len(settings.grid)``.
        weight: [F, S, K], of the standardised features or of the hidden units.
        bias: [F, S].
        hidden_weight: [F, S, D, K], for an mlp.
        hidden_bias: [F, S, K], for an mlp.
        mean: [F, D], over the training questions.
        scale: [F, D], standard deviation over them; 1 where a column is constant.
        train_brier: [F, S], mean of (confidence - c / n)^2 over the training questions.
        validation_brier: [F, S], over the validation questions; what is chosen by.
        test_brier: [F, S], over the test questions; NaN without.
    """

    def __init__(self, layers: int, width: int, settings: ProbeSettings) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings = settings
        self.names = feature_names(layers)
        features, probes = len(self.names), (len(self.names), len(settings.grid))
        shapes: dict[str, tuple[int, ...]] = {"weight": (*probes, width), "bias": probes}
        if settings.architecture == "mlp":
            shapes |= {
                "weight": (*probes, settings.hidden),
                "hidden_weight": (*probes, width, settings.hidden),
                "hidden_bias": (*probes, settings.hidden),
            }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("mean", torch.zeros(features, width))
        self.register_buffer("scale", torch.ones(features, width))
        for split in _SPLITS:
            self.register_buffer(f"{split}_brier", torch.full(probes, math.nan).double())

    def configure_optimizers(self) -> None:
        """Return none: a training step goes to the end."""

    def training_step(self, batch: FeatureBatch) -> None:
        """Standardise the features of a batch and train all probes on them.

        Raises:
            DataError: a probe did not reach its optimum, or left the numbers that are finite.
        """
        place = batch.position
        self.mean[place], self.scale[place] = _standardisation(batch.features)
        features = self._standardise(batch)
        for name, values in self._train(features, batch).items():
            getattr(self, name)[place] = values
            if not values.isfinite().all():
                f, s = (~values.isfinite()).nonzero()[0].tolist()[:2]
                raise DataError(
                    f"The probe on {self.names[int(place[f])]} at {self.settings.grid[s]} left "
                    "the finite numbers; take smaller learning rates."
                )
        self._score(batch, "train")

    def validation_step(self, batch: FeatureBatch) -> None:
        """Score the probes of a batch's features on the validation questions."""
        self._score(batch, "validation")

    def test_step(self, batch: FeatureBatch) -> None:
        """Score the probes of a batch's features on the test questions."""
        self._score(batch, "test")

    def _train(self, features: torch.Tensor, batch: FeatureBatch) -> dict[str, torch.Tensor]:
        """Return the parameters of the probes on a batch's features."""
        settings, n, c = self.settings, batch.n, batch.c
        ranked = settings.objective == "ranking"
        if settings.by_steps:
            found = descend(features, n, c, settings, batch.position)
        else:
            strengths = torch.tensor(settings.strengths, device=features.device)
            pairs = draw_pairs(n, c, settings.seed) if ranked else None
            optimum = (
                ridge(features, n, c, strengths)
                if settings.optimizer == "closed_form"
                else minimise(features, n, c, strengths, pairs)
            )
            self._check_solved(optimum.decrement, batch.position)
            found = {"weight": optimum.weight, "bias": optimum.bias}
        return _scaled(found, features, n, c) if ranked else found

    def _check_solved(self, decrement: torch.Tensor, place: torch.Tensor) -> None:
        solved = decrement <= TOLERANCE
        if not solved.all():
            f, s = (~solved).nonzero()[0].tolist()
            raise DataError(
                f"The probe on {self.names[int(place[f])]} at strength "
                f"{self.settings.strengths[s]} did not reach its optimum (decrement "
                f"{decrement[f, s].item():.1e}, allowed {TOLERANCE}); leave out the weakest "
                "strengths."
            )

    def _standardise(self, batch: FeatureBatch) -> torch.Tensor:
        mean, scale = self.mean[batch.position], self.scale[batch.position]
        standardised: torch.Tensor = (batch.features - mean[:, None]) / scale[:, None]
        return standardised

    def _score(self, batch: FeatureBatch, split: str) -> None:
        own = {name: getattr(self, name)[batch.position] for name in self._parameter_names}
        logits = logits_of(own, self._standardise(batch)).double()
        confidences = confidences_of(logits, self.settings.objective)
        error = confidences - batch.c.double() / batch.n.double()
        getattr(self, f"{split}_brier")[batch.position] = error.square().mean(dim=-1)

    @property
    def _parameter_names(self) -> list[str]:
        return [name for name in PARAMETERS if hasattr(self, name)]

    def chosen(self) -> tuple[int, int]:
        """Return feature and setting of the lowest validation Brier score.

        Among equals the stronger regularisation wins, then the earlier feature and setting.
        """
        scores, grid = self.validation_brier, self.settings.grid
        best = (scores == scores.min()).nonzero().tolist()
        f, s = min(best, key=lambda pair: (-grid[pair[1]].strength, *pair))
        return f, s

    def selection(self) -> pl.DataFrame:
        """Return all probes as a table of schema ``PROBE_SELECTION``, F * S rows."""
        chosen = self.chosen()
        scores = [getattr(self, f"{split}_brier").tolist() for split in _SPLITS]
        rows = [
            (name, *setting, *(score[f][s] for score in scores), (f, s) == chosen)
            for f, name in enumerate(self.names)
            for s, setting in enumerate(self.settings.grid)
        ]
        return pl.DataFrame(rows, schema=PROBE_SELECTION, orient="row")

    def best(self) -> TrainedProbe:
        """Return the chosen probe, on the CPU."""
        f, s = self.chosen()
        own = {name: getattr(self, name)[f, s].cpu().clone() for name in self._parameter_names}
        return TrainedProbe(
            feature=self.names[f],
            objective=self.settings.objective,
            setting=self.settings.grid[s],
            layers=len(self.names) - len(POOLINGS),
            mean=self.mean[f].cpu().clone(),
            scale=self.scale[f].cpu().clone(),
            parameters=own,
            selection=self.selection(),
        )


def train_probe(
    train: FeatureSet,
    validation: FeatureSet,
    settings: ProbeSettings,
    test: FeatureSet | None = None,
) -> TrainedProbe:
    """Return the probe, among all features and settings, that is best on the validation split.

    Args:
        train: what the probes are trained on.
        validation: what feature and setting are chosen on, by the Brier score against c / n.
        settings: how the probes are trained.
        test: questions that the probe will be evaluated on: all probes are scored on them for the
            table ``selection``, which the choice doesn't see.

    Raises:
        DataError: splits that share questions or do not fit each other, or a probe that could not
            be trained.
    """
    data = ProbeData(train, validation, test)
    signals = _Signals()
    _, layers, width = train.features.shape
    bank = ProbeBank(layers, width, settings)
    with _quiet(), isolate_rng():
        trainer = Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=1,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[signals],
            plugins=[LightningEnvironment()],  # a SLURM job's variables are not for this training
        )
        with signals.interrupting():
            trainer.fit(bank, datamodule=data)
            if test is not None:
                trainer.test(bank, datamodule=data, verbose=False)
    return bank.best()


class _Signals(Callback):  # type: ignore[misc]
    """Has signals end the process as they did before.

    At SIGTERM Lightning trains on and ends the process with status 0 afterwards, at SIGINT it ends
    it with status 1 and ignores further ones.
    """

    def __init__(self) -> None:
        self._handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

    def on_train_start(self, *_: object) -> None:
        self._restore()

    def on_test_start(self, *_: object) -> None:
        self._restore()

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        try:
            yield
        except SystemExit as stop:  # Lightning's in place of KeyboardInterrupt
            self._restore()
            raise KeyboardInterrupt from stop

    def _restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                signal.signal(number, handler)


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


def _scaled(
    found: dict[str, torch.Tensor], features: torch.Tensor, n: torch.Tensor, c: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return probes whose scores only rank, turned into logits by a regression on the counts."""
    scores = logits_of(found, features)  # [F, S, N]
    spread, centre = torch.std_mean(scores, dim=-1, correction=0)
    spread = torch.where(spread > 0, spread, 1)
    columns = ((scores - centre[..., None]) / spread[..., None]).flatten(0, 1)[..., None]
    fitted = minimise(columns, n, c, torch.tensor([_SCALING], device=features.device))
    slope = fitted.weight.reshape(spread.shape) / spread
    offset = fitted.bias.reshape(spread.shape)
    return found | {
        "weight": found["weight"] * slope[..., None],
        "bias": (found["bias"] - centre) * slope + offset,
    }
