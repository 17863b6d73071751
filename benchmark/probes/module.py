"""Probes that are trained by steps: all features and all settings in one Lightning module."""

import torch
from lightning.pytorch import LightningModule
from torch import nn

from benchmark.probes.data import QuestionBatch
from benchmark.probes.probe import confidences_of, logits_of
from benchmark.probes.settings import ProbeSettings


class ProbeModule(LightningModule):  # type: ignore[misc]
    """F features times S settings, each trained as if it were alone.

    A probe's start, its batches and the epoch that it keeps depend on no other probe: the loss is
    their sum, no two share a parameter, and one that has waited long enough keeps what it has.

    Args:
        settings: with ``by_steps``; S = ``len(settings.grid)``.
        mean: [F, D], of the features over the training questions.
        scale: [F, D], their standard deviation.
        rate: share of correct responses in the training split, in (0, 1): the probes' start.

    Attributes:
        probes: parameters of each setting, by name, [F, ...].
        best_brier: [F, S], lowest mean of (confidence - c / n)^2 of an epoch, over the validation
            questions.
        waited: [F, S], epochs since then.
        diverged: [F, S], whether a parameter left the finite numbers while it counted.
    """

    def __init__(
        self, settings: ProbeSettings, mean: torch.Tensor, scale: torch.Tensor, rate: float
    ) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        start = _start(settings, mean.shape[0], mean.shape[1], rate)
        self._names = list(start)
        self.probes = nn.ModuleList(
            nn.ParameterDict({name: tensor.clone() for name, tensor in start.items()})
            for _ in settings.grid
        )
        probes = (len(mean), len(settings.grid))
        for name, tensor in self.parameters_by_name().items():
            self.register_buffer(f"best_{name}", tensor.detach().clone())
        self.register_buffer("best_brier", torch.full(probes, torch.inf))
        self.register_buffer("waited", torch.zeros(probes, dtype=torch.int64))
        self.register_buffer("diverged", torch.zeros(probes, dtype=torch.bool))
        self.register_buffer("_error", torch.zeros(probes), persistent=False)
        self._seen = 0

    def parameters_by_name(self) -> dict[str, torch.Tensor]:
        """Return the parameters of all probes, for ``logits_of``."""
        return {
            name: torch.stack([probe.get_parameter(name) for probe in self.probes], dim=1)
            for name in self._names
        }

    def best(self) -> dict[str, torch.Tensor]:
        """Return the parameters of each probe's best epoch, for ``logits_of``."""
        return {name: getattr(self, f"best_{name}") for name in self._names}

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits [F, S, B] of ``features`` [F, B, D]."""
        standardised = (features - self.mean[:, None]) / self.scale[:, None]
        return logits_of(self.parameters_by_name(), standardised)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return one optimizer with the learning rate and the strength of each setting."""
        groups = [
            {
                "params": [tensor],
                "lr": setting.learning_rate,
                "weight_decay": setting.strength if name.endswith("weight") else 0.0,
            }
            for probe, setting in zip(self.probes, self.settings.grid, strict=True)
            for name, tensor in probe.named_parameters()
        ]
        if self.settings.optimizer == "sgd":
            return torch.optim.SGD(groups, momentum=self.settings.momentum)
        return torch.optim.AdamW(groups)

    def training_step(self, batch: QuestionBatch) -> torch.Tensor:
        """Return the mean loss of a batch, summed over the probes."""
        logits = self(batch.features)
        target = batch.target.expand_as(logits)
        if self.settings.objective == "squared":
            losses = (logits - target).square() / 2
        else:
            losses = nn.functional.binary_cross_entropy_with_logits(
                logits, target, reduction="none"
            )
        loss = (batch.weight * losses).mean(-1)
        self.log(
            "train_loss", loss.mean(), on_step=False, on_epoch=True, sync_dist=True,
            batch_size=len(batch.target),
        )  # fmt: skip
        total: torch.Tensor = loss.sum()
        return total

    def on_validation_epoch_start(self) -> None:
        """Forget the errors of the epoch before."""
        self._error.zero_()
        self._seen = 0

    def validation_step(self, batch: QuestionBatch) -> None:
        """Add up the squared errors of a batch."""
        confidences = confidences_of(self(batch.features).float(), self.settings.objective)
        self._error += (confidences - batch.target).square().sum(-1)
        self._seen += len(batch.target)

    def on_validation_epoch_end(self) -> None:
        """Keep the parameters of the probes whose score is their lowest so far."""
        now = {name: tensor.detach() for name, tensor in self.parameters_by_name().items()}
        probes = self.best_brier.shape
        finite = [tensor.reshape(*probes, -1).isfinite().all(-1) for tensor in now.values()]
        active = self.waited < self.settings.patience
        self.diverged |= active & ~torch.stack(finite).all(0)
        score = self._error / self._seen
        better = active & (score < self.best_brier)
        self.best_brier.copy_(torch.where(better, score, self.best_brier))
        self.waited.copy_(torch.where(better, 0, self.waited + 1))
        for name, best in self.best().items():
            best.copy_(torch.where(better.view(*probes, *[1] * (best.dim() - 2)), now[name], best))
        active = (self.waited < self.settings.patience) & ~self.diverged.any()
        self.log("training_probes", active.sum().float(), sync_dist=True)
        self.log("validation_brier", self.best_brier.min(), sync_dist=True)


def _start(
    settings: ProbeSettings, features: int, width: int, rate: float
) -> dict[str, torch.Tensor]:
    """Return a constant probe, the training mean, for each feature."""
    level = rate if settings.objective == "squared" else torch.tensor(rate).logit().item()
    bias = torch.full((features,), level)
    if settings.architecture == "linear":
        return {"weight": torch.zeros(features, width), "bias": bias}
    hidden = torch.empty(features, width, settings.hidden)
    for position in range(features):
        generator = torch.Generator().manual_seed((settings.seed * 1009 + position) % 2**63)
        drawn = torch.randn(width, settings.hidden, generator=generator)
        hidden[position] = drawn * (2 / width) ** 0.5  # He et al., arXiv 1502.01852
    spread = settings.hidden**-0.5
    signs = torch.where(torch.arange(settings.hidden) % 2 == 0, spread, -spread)
    return {
        "weight": signs.repeat(features, 1),
        "bias": bias,
        "hidden_weight": hidden,
        "hidden_bias": torch.zeros(features, settings.hidden),
    }
